"""Unions of a JSON Schema: constants told as one list, and the widest union that is left.

Published schemas write an enumeration as ``oneOf`` with a ``const`` (and a title) for each value. A validator tries
them one by one, and tells of each that it does not fit; as one ``enum`` they are a third of the time and one fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

_NOTES: Final = frozenset({"const", "type", "title", "description", "$comment", "deprecated"})


def merge_constants(schema: Any) -> None:
    """Make the text constants of each union in ``schema`` one ``enum``, in place; the verdicts stay the same.

    Not for draft 4, which knows no ``const``, nor where a reference counts on a union's positions.
    """
    for owner, keyword in _unions(schema):
        alternatives = owner[keyword]
        constants = [one["const"] for one in alternatives if _is_text(one)]
        if len(constants) > 1 and len(constants) == len(set(constants)):
            owner[keyword] = [{"enum": constants}, *(one for one in alternatives if not _is_text(one))]


def widest(schema: Any) -> int:
    """Return how many alternatives the widest union of ``schema`` has; 1 without unions."""
    return max((len(owner[keyword]) for owner, keyword in _unions(schema)), default=1) or 1


def _unions(schema: Any) -> Iterator[tuple[dict[str, Any], str]]:
    rest = [schema]
    while rest:
        value = rest.pop()
        if type(value) is list:
            rest += value
        elif type(value) is dict:
            yield from ((value, keyword) for keyword in ("oneOf", "anyOf") if type(value.get(keyword)) is list)
            rest += [part for name, part in value.items() if name not in ("const", "enum")]


def _is_text(schema: Any) -> bool:
    return (
        type(schema) is dict
        and type(schema.get("const")) is str
        and schema.get("type", "string") == "string"
        and schema.keys() <= _NOTES
    )
