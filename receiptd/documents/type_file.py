"""``type.yaml``: read as YAML 1.2 would be, held against its own JSON Schema, every fault told with its line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import yaml

from receiptd.documents.errors import bounded
from receiptd.documents.findings import pointer
from receiptd.domain.errors import ConfigurationError

NAME = "type.yaml"
SCHEMA = Path(__file__).with_name("type.schema.json")
"""The JSON Schema of ``type.yaml``, for editors too."""

_FILE_MAX_BYTES = 1_048_576
_UNEXPECTED = re.compile(r"'([^']*)'")
_BASE: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):  # type: ignore[misc, valid-type]
    """Reads ``no`` and ``2026-11-22`` as text, as YAML 1.2 does: only ``true`` and ``false`` are booleans."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":timestamp"))]
    for first, resolvers in _BASE.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


@dataclass(frozen=True, slots=True)
class TypeFile:
    """One ``type.yaml``. ``spec`` has passed the schema."""

    path: Path
    spec: dict[str, Any]
    _root: yaml.Node

    @classmethod
    def read(cls, folder: Path) -> TypeFile:
        """Read the file in ``folder``.

        Raises:
            ConfigurationError: a line for each fault: the file and line, the place, what is wrong, how to mend it.
        """
        path = folder / NAME
        try:
            if path.stat().st_size > _FILE_MAX_BYTES:
                raise ConfigurationError(f"{path}: is larger than {_FILE_MAX_BYTES} bytes")
            loader = _Loader(path.read_bytes())
            root = loader.get_single_node()
            spec = None if root is None else loader.construct_document(root)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise ConfigurationError(f"{path}:{line}: is no YAML: {bounded(error.problem or str(error))}") from error
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be read: {error.strerror}; a receipt type has one") from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ConfigurationError(f"{path}: is no YAML: {bounded(' '.join(str(error).split()))}") from error
        if root is None or not isinstance(spec, dict):
            raise ConfigurationError(f"{path}:1: is no mapping of keys to values; begin with: id, version, title")
        file = cls(path, spec, root)
        faults = [*file._repeated(root), *file._violations()]
        if faults:
            raise ConfigurationError("\n".join(faults))
        return file

    def fault(self, place: Sequence[str | int], message: str) -> str:
        """Return one line about what is wrong at ``place``, with the file and the line of it."""
        what = bounded(" ".join(message.split()))
        return f"{self.path}:{self._line(place)}: at {pointer(list(place)) or 'the top'}: {what}"

    def error(self, place: Sequence[str | int], message: str) -> ConfigurationError:
        """Return the fault as an error."""
        return ConfigurationError(self.fault(place, message))

    def _line(self, place: Sequence[str | int]) -> int:
        node, line = self._root, self._root.start_mark.line
        for step in place:
            if isinstance(node, yaml.MappingNode):
                found = next((pair for pair in node.value if pair[0].value == step), None)
                if found is None:
                    break
                line, node = found[0].start_mark.line, found[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = node.start_mark.line
            else:
                break
        return int(line) + 1

    def _repeated(self, node: yaml.Node) -> Iterable[str]:
        """YAML (1.2, section 3.2.1.3) wants keys unique; PyYAML keeps the last in silence."""
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                if key.value in seen:
                    yield f"{self.path}:{key.start_mark.line + 1}: the key {key.value!r} stands twice; keep one"
                seen.add(key.value)
                yield from self._repeated(value)
        elif isinstance(node, yaml.SequenceNode):
            for entry in node.value:
                yield from self._repeated(entry)

    def _violations(self) -> Iterable[str]:
        try:
            errors = list(_validator().iter_errors(self.spec))
        except ValueError as problem:  # a value that JSON does not have
            yield f"{self.path}:1: {bounded(str(problem))}; write it in quotes"
            return
        for error in errors:
            place = list(error.instance_path)
            message = error.message
            if "unexpected" in message and (names := _UNEXPECTED.findall(message)):
                for name in names:
                    yield self.fault([*place, name], f"there is no key {name!r} here{_nearest(name, error)}")
            else:
                yield self.fault(place, message)


@cache
def _validator() -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(orjson.loads(SCHEMA.read_bytes()))


@cache
def _known_keys() -> frozenset[str]:
    def keys(schema: Any) -> Iterable[str]:
        if isinstance(schema, dict):
            yield from schema.get("properties", ())
            for part in schema.values():
                yield from keys(part)
        elif isinstance(schema, list):
            for part in schema:
                yield from keys(part)

    return frozenset(keys(orjson.loads(SCHEMA.read_bytes())))


def _nearest(name: str, error: jsonschema_rs.ValidationError) -> str:
    """Return what was probably meant, and otherwise where to look."""
    schema: Any = orjson.loads(SCHEMA.read_bytes())
    here: list[str] = []
    for step in list(error.schema_path)[:-1]:
        schema = schema.get(step) if isinstance(schema, dict) else None
        if not isinstance(schema, (dict, list)):
            break
    else:
        here = sorted(schema.get("properties", ())) if isinstance(schema, dict) else []
    near = get_close_matches(name, here or _known_keys(), n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known are {', '.join(here)}" if here else f"; see {SCHEMA.name}"
