"""Entries: what the guesses at lists of lines and of taxes have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from receiptd.documents.kit.guesses import NAMED, Guess
from receiptd.documents.kit.outline import Place
from receiptd.documents.kit.tastes import Taste
from receiptd.documents.kit.trial import Trial
from receiptd.documents.media import Format

_OTHERWISE = -1.0
_SEVERAL = 1.0
BEST = 8
"""How many places are tried for a field."""
_DECIMAL = re.compile(r"[+-]?(?:\d{1,18}(?:\.\d{0,12})?|\.\d{1,12})", re.ASCII)


def list_score(place: Place, format_: Format, taste: Taste) -> float | None:
    """Return how much a place looks like the list that is sought; None when it is no list of objects."""
    nodes = place.nodes
    names = {child.name for node in nodes for child in node.children}
    if place.is_leaf or not names:
        return None
    if len(names) == 1 and not any(child.value is not None for node in nodes for child in node.children):
        return None  # only a wrapper of the list
    score = taste.name(place.steps)
    if score < _OTHERWISE:
        return None  # its name says that it is something else
    if not place.entries[-1]:  # one element may be a list of one; one object of JSON is none
        return score if format_ is Format.XML and score >= NAMED else None
    return score + _SEVERAL - (1 - place.coverage)


def best(below: Iterable[Place], taste: Taste, fits: Callable[[Place], bool] = lambda _: True) -> list[Place]:
    """Return the best named of the places of an entry that fit."""
    scored = [(score, leaf) for leaf in below if (score := taste.score(leaf)) >= NAMED and fits(leaf)]
    return [leaf for _, leaf in sorted(scored, key=lambda pair: -pair[0])[:BEST]]


def with_optional_fields(
    trial: Trial,
    group: str,
    found: dict[str, Guess],
    below: Iterable[Place],
    wanted: Mapping[str, tuple[Taste, Callable[[Place], bool]]],
) -> dict[str, Guess]:
    """Return ``found`` with those fields that names speak for and that can be read in every sample."""
    spec = {name: one.spec for name, one in found.items()}
    for name, (taste, fits) in wanted.items():
        for leaf in best(below, taste, fits):
            if leaf.written in spec.values():
                continue
            entries = trial.entries(group, {**spec, name: leaf.written})
            if entries is not None:
                spec[name] = leaf.written
                example = next((entry[name] for one in entries for entry in one if entry[name]), None)
                found[name] = Guess(leaf.written, example=example)
                break
    return found


def money_specs(
    written: str, unit: Mapping[str, str], *, less: str = "", default: str | None = None
) -> list[str | dict[str, Any]]:
    """Return the ways to read an amount: as it is, and rounded."""
    options = {**({} if default is None else {"default": default}), **({"less": less} if less else {}), **unit}
    plain: str | dict[str, Any] = {"at": written, **options} if options else written
    return [plain] if unit else [plain, {"at": written, **options, "round": "half-up"}]


def are_numbers(place: Place) -> bool:
    """Whether ``place`` holds decimal numbers wherever it holds anything."""
    values = [value for value in place.values if value is not None]
    return bool(values) and all(number(value) is not None for value in values)


def are_rates(place: Place) -> bool:
    """Whether ``place`` holds decimal numbers, with or without a percent sign."""
    values = [value.removesuffix("%") if isinstance(value, str) else value for value in place.values]
    return any(values) and all(value is None or number(value) is not None for value in values)


def are_no_numbers(place: Place) -> bool:
    """Whether ``place`` holds something else."""
    return not are_numbers(place)


def number(value: Any) -> Decimal | None:
    """Return the number that ``value`` is, or is written as; None when it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float | Decimal):
        return Decimal(str(value))
    if isinstance(value, str) and _DECIMAL.fullmatch(value.strip()):
        return Decimal(value.strip())
    return None


def numbers(place: Place) -> list[Decimal]:
    """Return the numbers of ``place``, base by base; 0 where there is none."""
    return [number(value) or Decimal(0) for value in place.values]
