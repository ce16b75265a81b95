"""Detection: the guess at how documents of a new type are told from all others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

from receiptd.documents.kit.outline import Outline
from receiptd.documents.kit.words import concepts
from receiptd.documents.media import Format
from receiptd.domain.errors import ReceiptdError

_VALUE_MAX_CHARS = 200
_VALUES_MAX = 4
_SURE_SAMPLES = 3
_NAMED = (
    *("$schema", "@type", "$type", "_type", "schema", "resourcetype", "messagetype", "object", "kind", "class"),
    *("@context", "typ", "tipo", "type"),
)
"""Members whose value names what a document is; the surest first."""
_VERSION = re.compile(r"ver|stat", re.IGNORECASE)
_NO_LETTERS = re.compile(r"[^a-z]")
_TELLING = re.compile(r"[:/.]|[a-z][A-Z]|[-_]")
_TOKENS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")


@dataclass(frozen=True, slots=True)
class Detection:
    """What to write under ``recognise`` and ``media_types``, and what the author should look at."""

    recognise: list[dict[str, Any]] = field(default_factory=list)
    media_types: list[str] = field(default_factory=list)
    note: str = ""


def detect(documents: Sequence[Any], outline: Outline, type_id: str, schema: Any = None) -> Detection:
    """Return the guess; ``schema`` is the JSON Schema that the author gave, whose constants tell, too.

    Raises:
        ReceiptdError: XML samples with different root elements: they are of more than one type.
    """
    if outline.format is Format.XML:
        return _by_root(documents)
    members = {steps[0]: place.values for steps, place in outline.head().items() if len(steps) == 1 and place.is_leaf}
    constant = _by_constant(members, len(documents)) or _by_schema(members, schema)
    if constant is not None:
        return constant
    for name in sorted(outline_members(outline, len(documents)), key=_rarity, reverse=True)[:1]:
        return Detection(
            recognise=[{"pointer": _pointer(name), "present": True}],
            note=f"GUESS: no member names the type, so every document that has {_pointer(name)} is taken for one",
        )
    return Detection(
        media_types=[f"application/vnd.{type_id}+json"],
        note="GUESS: nothing in the samples tells them from others, so clients name the type by this Content-Type",
    )


def outline_members(outline: Outline, count: int) -> list[str]:
    """Return the members at the top that every sample has."""
    there = [{node.name for node in base.children} for base in outline.bases]
    return sorted(set.intersection(*there)) if there and len(there) == count else []


def _by_root(documents: Sequence[Any]) -> Detection:
    roots = {document.tag for document in documents}
    if len(roots) > 1:
        names = ", ".join(sorted(etree.QName(root).localname for root in roots))
        raise ReceiptdError(f"the samples have different root elements ({names}); give those of one at a time")
    name = etree.QName(roots.pop())
    entry = {"root": name.localname} | ({"namespace": name.namespace} if name.namespace else {})
    note = "" if name.namespace else "GUESS: no namespace, so every document with this root element is taken for one"
    return Detection(recognise=[entry], note=note)


def _by_constant(members: Mapping[str, Sequence[Any]], count: int) -> Detection | None:
    for name, values in sorted(members.items(), key=lambda member: _sureness(member[0])):
        sure = _sureness(name)
        if sure == len(_NAMED) or not all(isinstance(v, str) and len(v) <= _VALUE_MAX_CHARS for v in values):
            continue
        kinds = sorted(set(values))
        # One sample makes everything a constant: its value must sound like a name of a kind of document.
        if len(kinds) == 1 and (_is_telling(kinds[0]) or (count >= _SURE_SAMPLES and _NAMED[sure] != "type")):
            return Detection(recognise=[{"pointer": _pointer(name), "equals": kinds[0]}])
        if 1 < len(kinds) <= min(_VALUES_MAX, count - 1) and all(map(_is_telling, kinds)):
            return Detection(recognise=[{"pointer": _pointer(name), "equals": kind} for kind in kinds])
    return None


def _by_schema(members: Mapping[str, Sequence[Any]], schema: Any) -> Detection | None:
    for name, value in _constants(schema):
        if name in members and all(type(found) is type(value) and found == value for found in members[name]):
            return Detection(recognise=[{"pointer": _pointer(name), "equals": value}])
    return None


def _constants(schema: Any) -> Iterator[tuple[str, Any]]:
    """Yield the members that a JSON Schema demands to be one value."""
    root = schema if isinstance(schema, dict) else {}
    reference = root.get("$ref", "")
    if isinstance(reference, str) and reference.startswith("#/"):
        target: Any = root
        for step in reference[2:].split("/"):
            target = target.get(step, {}) if isinstance(target, dict) else {}
        root = target if isinstance(target, dict) else {}
    for name, part in root.get("properties", {}).items():
        if not isinstance(part, dict) or name not in root.get("required", ()):
            continue
        only = part.get("enum", [])
        value = part.get("const", only[0] if len(only) == 1 else None)
        if isinstance(value, str | int) and name not in {"version", "schemaVersion", "schema_version"}:
            yield name, value


def _sureness(name: str) -> int:
    if {"document", "type"} == set(concepts(name)) and not _VERSION.search(name):
        return 0
    plain = name.lower() if name.lower() in _NAMED else _NO_LETTERS.sub("", name.lower())
    return _NAMED.index(plain) if plain in _NAMED else len(_NAMED)


def _is_telling(value: str) -> bool:
    words = {concept for token in _TOKENS.findall(value) for concept in concepts(token)}
    return bool(words & {"document", "deal"}) or _TELLING.search(value) is not None


def _rarity(name: str) -> float:
    words = concepts(name)
    return 2 * len(_TOKENS.findall(name)) + len(name) / 5 - (3 if "type" in words else 0)


def _pointer(name: str) -> str:
    return f"/{name.replace('~', '~0').replace('/', '~1')}"
