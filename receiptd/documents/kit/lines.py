"""Lines: the guess at the list of what was sold. Names propose, arithmetic decides between what they propose.

Lines that add up to the total are the lines, and the total that they add up to is the total.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise, permutations, product
from typing import Any

from receiptd.documents.kit.entries import (
    BEST,
    are_no_numbers,
    are_numbers,
    best,
    list_score,
    money_specs,
    numbers,
    with_optional_fields,
)
from receiptd.documents.kit.guesses import NAMED, Guess
from receiptd.documents.kit.outline import Outline, Place, Steps, either
from receiptd.documents.kit.tastes import CATEGORY, DESCRIPTION, LESS, LINE_AMOUNT, LINES, QUANTITY, SKU, UNIT
from receiptd.documents.kit.totals import Total
from receiptd.documents.kit.trial import Trial
from receiptd.documents.kit.words import concepts
from receiptd.documents.media import Format

_ADDS_UP = 6.0
_ADDS_UP_MIN = 0.6
_ADDS_UP_TO_NET = 2.5
_NAME_MAX = 2.0
_LESS = -0.5
_UNDESCRIBED = -2.0
_CENT = Decimal("0.01")
_NO_DESCRIPTION = "-"


@dataclass(frozen=True, slots=True)
class Lines:
    """A list that may be the lines, with its amount."""

    score: float
    place: Place
    below: Sequence[Place]
    """The places of an entry."""
    amount: Place
    less: Place | None = None
    """What is taken off the amount."""
    total: Place | None = None
    """The place of the total that the amounts add up to."""


def find_lines(outline: Outline, head: Mapping[Steps, Place], totals: Sequence[Total]) -> Lines | None:
    """Return the likeliest list of lines; None when there is no list that has amounts."""
    found = [lines for place in head.values() for lines in _readings(place, outline, totals)]
    return max(found, key=lambda lines: lines.score, default=None)


def guess_lines(
    lines: Lines, outline: Outline, head: Mapping[Steps, Place], unit: Mapping[str, str], trial: Trial
) -> dict[str, Guess]:
    """Return the guesses at the fields of a line; what cannot be read in every sample is left to the author."""
    each = outline.each([lines.place, *_same_shape(lines, outline, head)])
    described = best(lines.below, DESCRIPTION, lambda leaf: any(isinstance(value, str) for value in leaf.values))
    descriptions: list[tuple[Any, str]] = [(leaf.written, "") for leaf in described]
    descriptions += [
        ({"at": leaf.written, "default": _NO_DESCRIPTION}, "GUESS: not every line has one") for leaf in described[:2]
    ]
    amounts = money_specs(lines.amount.written, unit, less=lines.less.written if lines.less else "")
    for amount, (description, note) in product(amounts, descriptions):
        entries = trial.entries("lines", {"each": each, "description": description, "amount": amount})
        if entries is None:
            continue
        lacking = sum(not found for found in entries)
        first: dict[str, Any] = next((found[0] for found in entries if found), {})
        guesses = {
            "each": Guess(each, f"GUESS: {lacking} of {len(entries)} samples have no lines here" if lacking else ""),
            "description": Guess(description, note, example=first.get("description")),
            "amount": Guess(amount, example=trial.written(first.get("amount"))),
        }
        guesses = with_optional_fields(trial, "lines", guesses, lines.below, _OPTIONAL)
        return guesses if "quantity" in guesses else guesses | _factor(lines)
    return {
        "each": Guess(each),
        "description": Guess(None, others=tuple(leaf.written for leaf in described or _texts(lines.below))),
        "amount": Guess(None, others=(lines.amount.written,)),
    }


def _texts(below: Sequence[Place]) -> list[Place]:
    return [leaf for leaf in below if are_no_numbers(leaf) and leaf.coverage == 1][:BEST]


def _readings(place: Place, outline: Outline, totals: Sequence[Total]) -> list[Lines]:
    """Return the ways to read ``place`` as lines: by each amount of an entry, with and without a discount."""
    score = list_score(place, outline.format, LINES)
    if score is None:
        return []
    below = [leaf for leaf in outline.places(place.nodes).values() if leaf.is_leaf]
    if not any(DESCRIPTION.score(leaf) > 0 for leaf in below):
        score += _UNDESCRIBED
    money = [leaf for leaf in below if are_numbers(leaf) and not any(leaf.entries)]
    whole = [leaf for leaf in money if leaf.coverage == 1] + _alternatives(money, outline.format)
    less = [None, *(leaf for leaf in below if LESS.score(leaf) >= NAMED and are_numbers(leaf))]
    found = []
    for amount, taken in product(sorted(whole, key=LINE_AMOUNT.score, reverse=True)[:BEST], less):
        sums = _sums(place, amount, taken)
        bonus, total = _add_up(place, sums, totals)
        named = LINE_AMOUNT.score(amount)
        if (named > 0 or bonus) and any(sums):
            whole_score = score + max(named, 0.0) + bonus + (_LESS if taken else 0.0)
            found.append(Lines(whole_score, place, below, amount, taken, total))
    return found


def _add_up(place: Place, sums: Sequence[Decimal], totals: Sequence[Total]) -> tuple[float, Place | None]:
    """Return how much the sums speak for the lines, and the total that they are."""
    best_bonus, best_total = 0.0, None
    for total in totals:
        if total.place.steps[: len(place.steps)] == place.steps:
            continue
        equal = [one == other for one, other, nodes in zip(total.numbers, sums, place.found, strict=True) if nodes]
        share = sum(equal) / len(equal)  # a rounding, a deposit: not all need add up
        if share < _ADDS_UP_MIN or not any(map(_are_same_amount, total.numbers, sums)):
            continue
        if total.score > 0:
            bonus, is_total = _ADDS_UP * share + min(_NAME_MAX, total.score / 4), total.place
        else:
            bonus, is_total = _ADDS_UP_TO_NET * share, None
        if bonus > best_bonus:
            best_bonus, best_total = bonus, is_total
    return best_bonus, best_total


def _are_same_amount(one: Decimal, other: Decimal) -> bool:
    return one == other != 0


def _sums(place: Place, amount: Place, less: Place | None) -> list[Decimal]:
    """Return what the amounts add up to in each sample."""
    values = numbers(amount)
    if less is not None:
        values = [value - taken for value, taken in zip(values, numbers(less), strict=True)]
    sums, start = [], 0
    for nodes in place.found:
        sums.append(sum(values[start : start + len(nodes)], Decimal(0)))
        start += len(nodes)
    return sums


def _alternatives(money: Sequence[Place], format_: Format) -> list[Place]:
    """Return pairs of amounts of which each line has the one or the other."""
    partial = [leaf for leaf in money if leaf.coverage < 1 and LINE_AMOUNT.score(leaf) > 0]
    return [
        Place(
            one.steps,
            [nodes or instead for nodes, instead in zip(one.found, other.found, strict=True)],
            one.entries,
            either(one, other, format_),
        )
        for one, other in permutations(partial, 2)
        if one.coverage >= other.coverage and all(map(any, zip(one.found, other.found, strict=True)))
    ]


def _same_shape(lines: Lines, outline: Outline, head: Mapping[Steps, Place]) -> list[Place]:
    """Return lists of the same shape in the samples that lack the chosen one."""
    further: list[Place] = []
    lacking = {index for index, nodes in enumerate(lines.place.found) if not nodes}
    needed = [lines.amount.steps, *(leaf.steps for leaf in best(lines.below, DESCRIPTION)[:1])]
    for place in head.values():
        here = {index for index, nodes in enumerate(place.found) if nodes}
        if not here or not here <= lacking or not place.entries[-1] or place.is_leaf:
            continue
        below = outline.places(place.nodes)
        if all(steps in below and below[steps].coverage == 1 for steps in needed):
            further.append(place)
            lacking -= here
    return further


def _factor(lines: Lines) -> dict[str, Guess]:
    """Return as the quantity what times a price gives the amount in every line, whatever it is called."""
    leaves = [leaf for leaf in lines.below if leaf.coverage == 1 and are_numbers(leaf) and leaf is not lines.amount]
    prices = [leaf for leaf in leaves if {"price", "cost", "unitary"} & set(concepts(leaf.steps[-1]))]
    for factor, price in product(leaves, prices):
        triples = zip(numbers(factor), numbers(price), numbers(lines.amount), strict=True)
        if factor is not price and all(abs(f * p - amount) <= _CENT for f, p, amount in triples):
            return {"quantity": Guess(factor.written, example=factor.values[0])}
    return {}


def _names_a_thing(leaf: Place) -> bool:
    """Whether an id is more than the count of the lines."""
    counts = numbers(leaf)
    return len(leaf.steps) > 1 or not (
        counts[0] <= 1 and all(after in {before + 1, counts[0]} for before, after in pairwise(counts))
    )


_OPTIONAL = {
    "category": (CATEGORY, are_no_numbers),
    "sku": (SKU, _names_a_thing),
    "quantity": (QUANTITY, are_numbers),
    "unit": (UNIT, are_no_numbers),
}
