"""The text of a drafted ``type.yaml``: for people to go on with, so every guess says what it is a guess at.

A field for which there is no guess is written as ``FILL IN: …``, which is no place in any format: ``check`` reports it
in those words, and no daemon takes the type until somebody has filled it in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from receiptd.documents.kit import FILL_IN
from receiptd.documents.kit.detection import Detection
from receiptd.documents.kit.guesses import Guess
from receiptd.documents.media import Format
from receiptd.documents.type_file import SCHEMA

_WIDTH = 120
_EXAMPLE_MAX_CHARS = 40
_PLACE_MAX_CHARS = 480
_RULE = """\
rules:
  - id: total-equals-lines
    that: {condition}
    message: >-
      the lines add up to {{money(sum(receipt.lines.map(l, l.amount)))}} {{receipt.currency}}, not to the total of
      {{money(receipt.total)}}
"""
_SUM = "sum(receipt.lines.map(l, l.amount)) == receipt.total"
_MEANS = {
    "number": "the receipt's number",
    "issued_at": "the time at which it was issued",
    "seller": "who sells: a tax number, or a name",
    "buyer": "who buys",
    "currency": "the ISO 4217 currency",
    "total": "the total",
    "each": "the list of the lines",
    "description": "a line's description",
    "amount": "a line's amount",
}
_REGISTRARS = ("tax", "warehouse")
_CONSTANTS = {"seller": "12345678", "currency": "EUR"}


@dataclass(slots=True)
class Draft:
    """What is known of a new type."""

    id: str
    format: Format
    registrars: Sequence[str]
    """Those of the settings; empty: none are known."""
    schema: str
    """The schema's file; empty: none."""
    detection: Detection
    namespaces: Mapping[str, str]
    head: Mapping[str, Guess]
    lines: Mapping[str, Guess]
    taxes: Mapping[str, Guess]
    adds_up: bool | None
    """Whether the lines of every sample add up to its total; None: some sample has no lines, the others do."""
    samples: int
    notes: list[str] = field(default_factory=list)


def type_yaml(draft: Draft) -> str:
    """Return the text of ``type.yaml``."""
    return "\n".join(_lines(draft)) + "\n"


def _lines(draft: Draft) -> Iterator[str]:
    count = "one sample" if draft.samples == 1 else f"{draft.samples} samples"
    yield f"# yaml-language-server: $schema={SCHEMA.name}"
    yield f"# Drafted from {count}. Look at each GUESS; what is marked {FILL_IN} is yours to say."
    yield f"id: {draft.id}"
    yield "version: 1"
    yield f"title: {_scalar(draft.id.replace('-', ' ').capitalize())}"
    yield f"format: {draft.format.value}"
    if draft.schema:
        yield f"schema: {_scalar(draft.schema)}"
        if draft.format is Format.JSON:
            yield "# formats: assert                  # makes the schema's formats (date, email) binding"
    else:
        kind = "schema.xsd" if draft.format is Format.XML else "schema.json"
        yield f"# schema: {kind}                # there is none: without it mapping and rules alone judge a document"
    if not draft.registrars:
        yield "# GUESS: no settings say which registrars there are; a registrar is a file NAME.toml of registrars_dir"
    registrars = ", ".join(draft.registrars or _REGISTRARS)
    yield f"registrars: [{registrars}]     # who must confirm a receipt before it is COMPLETE"
    yield "# retention: standard               # how long receipts are kept: a class of the settings"
    yield "# personal: [buyer]                 # what logs and analytics mask"
    yield ""
    yield from _detection(draft.detection)
    if draft.namespaces:
        yield "namespaces:"
        yield from (f"  {prefix}: {_scalar(uri)}" for prefix, uri in draft.namespaces.items())
    yield ""
    yield "mapping:"
    for name in ("number", "issued_at", "seller", "buyer", "currency", "total"):
        yield from _field(name, draft.head[name], 2, optional=name == "buyer")
    if draft.taxes:
        yield "  taxes:"
        for name, guess in draft.taxes.items():
            yield from _field(name, guess, 4)
    yield "  lines:"
    for name in ("each", "description", "category", "sku", "quantity", "unit", "amount"):
        guess = draft.lines.get(name, Guess(None))
        yield from _field(name, guess, 4, optional=name not in {"each", "description", "amount"})
    yield from _rules(draft)


def _detection(detection: Detection) -> Iterator[str]:
    if detection.note:
        yield f"# {detection.note}"
    if detection.recognise:
        yield "recognise:"
        yield from (f"  - {_flow(entry)}" for entry in detection.recognise)
    if detection.media_types:
        yield f"media_types: {_flow(detection.media_types)}"


def _field(name: str, guess: Guess, indent: int, *, optional: bool = False) -> Iterator[str]:
    margin = " " * indent
    if guess.spec is None and optional:
        return
    if guess.spec is None:
        yield f"{margin}{name}: {_scalar(fill_in(name, guess.others))}"
        return
    if guess.note:
        yield f"{margin}# {guess.note}"
    text = f"{margin}{name}: {_flow(guess.spec)}"
    told = []
    if guess.example not in {None, ""}:
        told.append(f"e.g. {_short(guess.example)}")
    if guess.others:
        told.append(f"or {', '.join(guess.others)}")
    comment = f"  # {'; '.join(told)}" if told else ""
    if len(text + comment) > _WIDTH and told:
        comment = f"  # {told[0]}"
    yield text + (comment if len(text + comment) <= _WIDTH else "")


def fill_in(name: str, candidates: Sequence[str]) -> str:
    """Return what stands where a place is to be named."""
    text = f"{FILL_IN}: name the place of {_MEANS[name]}"
    if name in _CONSTANTS:
        text += f", or write {{value: {_CONSTANTS[name]}}}"
    for index, candidate in enumerate(candidates):
        further = ("; candidates: " if not index else ", ") + candidate
        if len(text + further) > _PLACE_MAX_CHARS:
            break
        text += further
    return text


def _rules(draft: Draft) -> Iterator[str]:
    yield ""
    if draft.adds_up is False:
        yield "# rules:                              # what must hold of the canonical receipt, in CEL"
        yield "#   - id: has-lines"
        yield "#     that: receipt.lines.map(l, l.amount) != []"
        yield "#     message: a receipt has lines"
        return
    condition = _SUM
    if draft.adds_up is None:
        condition = f">-\n      receipt.lines.map(l, l.amount) == []\n      || {_SUM}"
    yield "# GUESS: the lines of every sample add up to its total; drop the rule if that need not be so"
    yield _RULE.format(condition=condition).rstrip()


def _flow(spec: Any) -> str:
    """Return a place, or an object, on one line."""
    if isinstance(spec, str):
        return _scalar(spec)
    text = yaml.safe_dump(spec, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000)
    return str(text).strip()


def _scalar(text: str) -> str:
    """Return text as YAML, in quotes only where it needs them."""
    dumped = yaml.safe_dump({"k": text}, sort_keys=False, allow_unicode=True, width=10_000)
    return str(dumped).removeprefix("k: ").strip()


def _short(value: Any) -> str:
    text = "".join(character if character.isprintable() else " " for character in str(value))
    return text if len(text) <= _EXAMPLE_MAX_CHARS else text[: _EXAMPLE_MAX_CHARS - 1] + "…"
