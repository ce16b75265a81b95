"""Taxes: the guess at the list of taxes, which is made only when it is sure; many receipts have none."""

from __future__ import annotations

from collections.abc import Mapping

from receiptd.documents.kit.entries import (
    BEST,
    are_no_numbers,
    are_numbers,
    are_rates,
    best,
    list_score,
    money_specs,
    with_optional_fields,
)
from receiptd.documents.kit.guesses import NAMED, Guess
from receiptd.documents.kit.outline import Outline, Place, Steps
from receiptd.documents.kit.tastes import TAX_AMOUNT, TAX_BASE, TAX_CODE, TAX_RATE, TAXES
from receiptd.documents.kit.trial import Trial


def guess_taxes(
    outline: Outline, head: Mapping[Steps, Place], lines: Place | None, unit: Mapping[str, str], trial: Trial
) -> dict[str, Guess]:
    """Return the guesses at the fields of a tax; empty when no list outside of the lines is one of taxes."""
    ranked = [
        (score, place)
        for place in head.values()
        if (score := list_score(place, outline.format, TAXES)) is not None
        and score >= NAMED
        and not (lines and place.steps[: len(lines.steps)] == lines.steps)
    ]
    for _, place in sorted(ranked, key=lambda pair: -pair[0])[:BEST]:
        found = _read(place, outline, unit, trial)
        if found:
            return found
    return {}


def _read(place: Place, outline: Outline, unit: Mapping[str, str], trial: Trial) -> dict[str, Guess]:
    below = [leaf for leaf in outline.places(place.nodes).values() if leaf.is_leaf and not any(leaf.entries)]
    each = outline.each([place])
    bases = best(below, TAX_BASE, are_numbers)
    if not any(leaf.coverage == 1 for leaf in (*bases, *best(below, TAX_RATE, are_rates))):
        return {}  # an amount alone may be anything
    for amount in best(below, TAX_AMOUNT, lambda leaf: leaf.coverage == 1 and are_numbers(leaf)):
        for money in money_specs(amount.written, unit):
            if trial.entries("taxes", {"each": each, "amount": money}) is not None:
                found = {"each": Guess(each), "amount": Guess(money)}
                found = with_optional_fields(trial, "taxes", found, below, _OPTIONAL)
                return _with_base(trial, found, [leaf for leaf in bases if leaf is not amount], unit)
    return {}


def _with_base(trial: Trial, found: dict[str, Guess], bases: list[Place], unit: Mapping[str, str]) -> dict[str, Guess]:
    spec = {name: one.spec for name, one in found.items()}
    for leaf in bases:
        for money in money_specs(leaf.written, unit):
            if trial.entries("taxes", {**spec, "base": money}) is not None:
                return {**found, "base": Guess(money)}
    return found


_OPTIONAL = {"code": (TAX_CODE, are_no_numbers), "rate": (TAX_RATE, are_rates)}
