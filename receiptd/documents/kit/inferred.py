"""The JSON Schema of a new type that has none: inferred from its samples, and no stricter than they justify.

What every sample has is required, everything else may come and go, and members that no sample has are allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from genson import SchemaBuilder  # type: ignore[import-untyped]  # it has no types

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def infer_schema(documents: Sequence[Any], *, title: str, whole_amounts: bool) -> dict[str, Any]:
    """Return a schema that all of ``documents`` pass.

    ``whole_amounts``: whole numbers stay integers (amounts are in minor units); otherwise the next sample's 12 may be
    12.5, and they become numbers. What is null in every sample may be anything.
    """
    builder = SchemaBuilder(schema_uri=_DIALECT)
    for document in documents:
        builder.add_object(_plain(document))
    schema = _relaxed(builder.to_schema(), whole=whole_amounts)
    return {"$schema": _DIALECT, "title": title, **{key: value for key, value in schema.items() if key != "$schema"}}


def _plain(value: Any) -> Any:
    """Return ``value`` with numbers that are in the library's reach."""
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return float(value) if isinstance(value, Decimal) else value


def _relaxed(schema: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    relaxed: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "type":
            types = [value] if isinstance(value, str) else list(value)
            types = sorted({"number" if name == "integer" and not whole else name for name in types})
            if types != ["null"]:
                relaxed[key] = types[0] if len(types) == 1 else types
        elif key == "properties":
            relaxed[key] = {name: _relaxed(part, whole=whole) for name, part in value.items()}
        elif key in {"items", "additionalProperties"} and isinstance(value, dict):
            relaxed[key] = _relaxed(value, whole=whole)
        elif key == "anyOf":
            relaxed[key] = [_relaxed(part, whole=whole) for part in value]
        else:
            relaxed[key] = value
    return relaxed
