"""Guesses: which place of the samples holds which field of the canonical receipt.

A guess is the best named place whose values have the field's shape and which the mapping can read in every sample. It
is a proposal to a person, so it comes with the runners-up; what no name speaks for is not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from receiptd.documents.kit.outline import Place
from receiptd.documents.kit.tastes import BUYER_ID, CURRENCY, NUMBER, SELLER_ID, Taste
from receiptd.documents.kit.trial import Trial

NAMED = 2.0
"""The least score of a guess."""
_TRIED_MAX = 12
_OTHERS_MAX = 2
_CANDIDATES_MAX = 5
_NUMBER_MAX_CHARS = 60
_PARTY_MAX_CHARS = 200
_CURRENCY = re.compile(r"[A-Za-z]{3}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d.*|\d\d?[./]\d\d?[./]\d{4}.*")


@dataclass(frozen=True, slots=True)
class Guess:
    """What to write for a field."""

    spec: Any
    """A place or an object, as in ``type.yaml``; None when nothing was found."""
    note: str = ""
    """What the author should look at."""
    others: tuple[str, ...] = ()
    """Places that came next; when nothing was found, those that may be it."""
    example: Any = None
    """What the first sample holds there."""


def head_fields(places: Iterable[Place], trial: Trial) -> dict[str, Guess]:
    """Return guesses of currency, number, seller and buyer; a trial of amounts then knows the currency."""
    leaves = [place for place in places if place.is_leaf]
    found = {"currency": guess("currency", leaves, CURRENCY, _is_currency, trial)}
    if found["currency"].spec is not None:
        trial.currency = found["currency"].spec
    found["number"] = guess("number", leaves, _Distinct(NUMBER), _is_number, trial)
    found["seller"] = guess("seller", leaves, SELLER_ID, _is_party, trial)
    found["buyer"] = guess("buyer", leaves, BUYER_ID, _is_party, trial)
    return found


def guess(field: str, leaves: Iterable[Place], taste: Taste, fits: Callable[[Any], bool], trial: Trial) -> Guess:
    """Return the best named of ``leaves`` whose values fit and which the mapping can read in every sample."""
    shaped = [place for place in leaves if all(value is None or fits(value) for value in place.values)]
    scored = sorted(((taste.score(place), place) for place in shaped), key=lambda pair: -pair[0])
    named = [(score, place) for score, place in scored if score >= NAMED]
    for index, (_, place) in enumerate(named[:_TRIED_MAX]):
        values = trial.values(field, place.written)
        if values is not None and any(values):
            others = tuple(other.written for _, other in named[index + 1 : index + 1 + _OTHERS_MAX])
            return Guess(place.written, others=others, example=values[0])
    named_or_alike = [pair for pair in scored if pair[0] > 0 or field in {"number", "currency"}]
    return Guess(None, others=candidates(named_or_alike))


def candidates(scored: Iterable[tuple[float, Place]]) -> tuple[str, ...]:
    """Return the best of places that may be meant, those that are in every sample and not deep first."""
    scored = list(scored)
    if any(score >= NAMED for score, _ in scored):  # it is one of those, if the mapping could only read it
        scored = [pair for pair in scored if pair[0] > 0]
    ranked = sorted(scored, key=lambda pair: (-pair[0], -pair[1].coverage, any(pair[1].entries), len(pair[1].steps)))
    return tuple(place.written for _, place in ranked[:_CANDIDATES_MAX])


class _Distinct(Taste):
    """A taste for places whose values tell the samples apart."""

    __slots__ = ()

    def __init__(self, taste: Taste) -> None:
        super().__init__(taste.leaf, taste.above)

    def score(self, place: Place) -> float:
        """Return the score of the name, more when all values differ, less when all are the same."""
        score = Taste.score(self, place)
        distinct, several = len(set(map(str, place.values))), len(place.values)
        if several == 1 or not score:
            return score
        return score + (0.7 if distinct == several else -3.0 if distinct == 1 else 0.0)


def _is_currency(value: Any) -> bool:
    return isinstance(value, str) and _CURRENCY.fullmatch(value) is not None


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return False
    text = str(value)
    return len(text) <= _NUMBER_MAX_CHARS and any(map(str.isdigit, text)) and not _DATE.fullmatch(text)


def _is_party(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return False
    return len(str(value)) <= _PARTY_MAX_CHARS and not _DATE.fullmatch(str(value))
