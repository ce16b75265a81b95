"""Totals: the guess at the total, and whether amounts are in minor units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from receiptd.documents.kit.entries import BEST, are_numbers, money_specs, number, numbers
from receiptd.documents.kit.guesses import NAMED, Guess, candidates
from receiptd.documents.kit.outline import Outline, Place
from receiptd.documents.kit.tastes import TOTAL
from receiptd.documents.kit.trial import Trial
from receiptd.documents.kit.words import concepts
from receiptd.documents.media import Format
from receiptd.domain.money import exponent

_MONEY = frozenset(
    {"total", "amount", "sum", "price", "cost", "gross", "net", "payable", "unitary", "subtotal", "minor"}
)
_NO_MONEY = frozenset({"rate", "quantity", "number", "id", "code", "type", "date", "time", "stamp", "currency", "uom"})
_GREATEST = 0.4
_IS_SUM = 1.5
_MINOR_MIN = 100
_MINOR_NOTE = (
    "GUESS: all amounts are whole numbers, so they are read as minor units (cents); without unit, as major ones"
)
_PARTIAL_NOTE = "GUESS: not every sample has one"


@dataclass(frozen=True, slots=True)
class Total:
    """A place that may hold the total: how much its name says so, and its number in each sample."""

    score: float
    place: Place
    numbers: Sequence[Decimal]


def totals(places: Iterable[Place]) -> list[Total]:
    """Return every place of the head that holds numbers, the likeliest total first."""
    found = [Total(TOTAL.score(p), p, numbers(p)) for p in places if p.is_leaf and are_numbers(p)]
    columns = zip(*(total.numbers for total in found if total.score >= NAMED), strict=True)
    greatest = [max(column) for column in columns]
    return sorted(
        (
            Total(one.score + (_GREATEST if one.score > 0 and one.numbers == greatest else 0.0), one.place, one.numbers)
            for one in found
        ),
        key=lambda one: (-one.score, len(one.place.steps)),
    )


def guess_total(
    found: Sequence[Total], is_sum: Place | None, unit: Mapping[str, str], note: str, trial: Trial
) -> Guess:
    """Return the guess at the total; ``is_sum`` is the place that the lines add up to."""
    ranked = [(one.score + (_IS_SUM if one.place is is_sum else 0.0), one.place) for one in found]
    ranked.sort(key=lambda pair: -pair[0])
    named = [place for score, place in ranked if score >= NAMED]
    for index, place in enumerate(named[:BEST]):
        for spec in money_specs(place.written, unit, default=None if place.coverage == 1 else "0"):
            values = trial.values("total", spec)
            if values is not None:
                notes = [note, _PARTIAL_NOTE if place.coverage < 1 else ""]
                others = tuple(other.written for other in named[index + 1 : index + 3])
                return Guess(spec, "; ".join(filter(None, notes)), others, trial.written(values[0]))
    return Guess(None, others=candidates(ranked))


def guess_unit(outline: Outline, places: Iterable[Place], trial: Trial) -> tuple[dict[str, str], str]:
    """Return the option for amounts in minor units, where the samples look like it, and what to say of it."""
    money = [place for place in places if place.is_leaf and _is_money(place)]
    if any("minor" in concepts(place.steps[-1]) for place in money):
        return {"unit": "minor"}, ""
    values = [node.value for place in money for node in place.nodes if number(node.value) is not None]
    whole = outline.format is Format.JSON and values and all(type(value) is int for value in values)
    if not whole or max(values) < _MINOR_MIN:
        return {}, ""
    currencies = {receipt["currency"] for receipt in trial.receipts({}) or []}
    return ({"unit": "minor"}, _MINOR_NOTE) if all(map(exponent, currencies)) else ({}, "")


def _is_money(place: Place) -> bool:
    words = set(concepts(place.steps[-1]))
    return bool(words & _MONEY) and not words & _NO_MONEY
