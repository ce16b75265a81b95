"""Times: the guess at when a receipt was issued, in the many ways in which times are written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any

from receiptd.documents.kit.guesses import NAMED, Guess, candidates
from receiptd.documents.kit.outline import Place
from receiptd.documents.kit.tastes import TIME
from receiptd.documents.kit.trial import Trial
from receiptd.documents.kit.words import concepts
from receiptd.documents.media import Format

_ISO = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d.*|Z|[+-]\d\d:\d\d)?")
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_ISO_TIME = re.compile(r"\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?")
_EPOCH_S = range(400_000_000, 5_000_000_000)
_EPOCH_MS = range(400_000_000_000, 5_000_000_000_000)
_DATES = (
    "YYYY-MM-DD", "YYYYMMDD", "DDMMYYYY", "DD.MM.YYYY", "DD/MM/YYYY", "MM/DD/YYYY", "DD-MM-YYYY", "YYYY/MM/DD",
    "YYYY.MM.DD",
)  # fmt: skip
_TIMES = ("hh:mm:ss", "hhmmss", "hh:mm", "hhmm")
_BETWEEN = ("", " ", "T", ", ")
_TRIED_MAX = 16
_ZONE_NOTE = "GUESS: the samples name no time zone; name the seller's, such as Europe/Kyiv"
_DAY_NOTE = "GUESS: day first; the samples would also read month first (MM before DD)"


def issued_at(places: Iterable[Place], trial: Trial, format_: Format) -> Guess:
    """Return the guess at the time of issue: a time, a date with a time beside it, or a date alone."""
    timely = [place for place in places if place.is_leaf and _formats(place)]
    by_steps = {place.steps: place for place in places}
    options: list[tuple[float, list[dict[str, Any]]]] = []
    for place in timely:
        score = TIME.score(place)
        if score < NAMED:
            continue
        specs = [{"at": place.written, **form} for form in _formats(place)]
        options.append((score + (1.0 if _has_clock(place) else 0.0), specs))
        beside = _clock_beside(place, by_steps)
        if beside is not None:
            options.append((score + 1.5, list(_together(place, beside, format_))))
    options.sort(key=lambda option: -option[0])
    for _, specs in options[:_TRIED_MAX]:
        for spec, zone in product(specs, ({}, {"zone": "UTC"})):
            values = trial.values("issued_at", spec | zone)
            if values is not None:
                return _told(spec | zone, values, trial)
    return Guess(None, others=candidates([(TIME.score(place), place) for place in timely]))


def _told(spec: dict[str, Any], values: Sequence[str], trial: Trial) -> Guess:
    notes = [_ZONE_NOTE] if "zone" in spec else []
    swapped = {"DD/MM/YYYY": "MM/DD/YYYY"}.get(str(spec.get("format", ""))[:10])
    if swapped and trial.values("issued_at", spec | {"format": swapped + spec["format"][10:]}) is not None:
        notes.append(_DAY_NOTE)
    return Guess(spec if len(spec) > 1 else spec["at"], "; ".join(notes), example=values[0])


def _formats(place: Place) -> list[dict[str, Any]]:
    """Return the ways to read all values of ``place`` as times; none when they are none."""
    values = [value for value in place.values if value is not None]
    if not values or any(isinstance(value, bool) for value in values):
        return []
    if all(isinstance(value, int) or (isinstance(value, str) and value.isdecimal()) for value in values):
        numbers = [int(value) for value in values]
        if all(number in _EPOCH_MS for number in numbers):
            return [{"format": "unix-ms"}]
        # An eight-digit date is less than any of these seconds, which began in 1982.
        if all(number in _EPOCH_S for number in numbers):
            return [{"format": "unix"}]
    if not all(isinstance(value, str) for value in values):
        return []
    if all(map(_ISO.fullmatch, values)):
        return [{}]
    return [{"format": form} for form in _whole_forms() if all(_has_form(value, form) for value in values)]


def _whole_forms() -> Iterator[str]:
    yield from _DATES
    for date, between, time in product(_DATES, _BETWEEN, _TIMES):
        yield f"{date}{between}{time}"


def _has_form(text: str, form: str) -> bool:
    return len(text) == len(form) and all(
        character.isdecimal() if letter in "YMDhms" else character == letter
        for character, letter in zip(text, form, strict=True)
    )


def _has_clock(place: Place) -> bool:
    return all(
        not isinstance(value, str) or len(value) > len("YYYY-MM-DD") for value in place.values if value is not None
    )


def _clock_beside(place: Place, by_steps: dict[tuple[str, ...], Place]) -> Place | None:
    """Return the time of day that has the same name as a date: IssueTime beside IssueDate."""
    if _has_clock(place):
        return None
    words = set(concepts(place.steps[-1])) - {"date", "stamp"}
    for steps, beside in by_steps.items():
        if steps[:-1] != place.steps[:-1] or beside.coverage < 1 or steps == place.steps:
            continue
        about = set(concepts(steps[-1]))
        if "time" in about and about - {"time", "stamp"} == words and all(map(_is_clock, beside.values)):
            return beside
    return None


def _is_clock(value: Any) -> bool:
    text = str(value)
    return _ISO_TIME.fullmatch(text) is not None or any(_has_form(text, form) for form in _TIMES)


def _together(date: Place, time: Place, format_: Format) -> Iterator[dict[str, Any]]:
    """Yield the ways to read a date and a time of day that stand beside each other."""
    days, clocks = [str(value) for value in date.values], [str(value) for value in time.values]
    for day, clock in product(_DATES, _TIMES):
        if all(_has_form(value, day) for value in days) and all(_has_form(value, clock) for value in clocks):
            yield {"at": [date.written, time.written], "format": day + clock}
    if all(map(_ISO_DATE.fullmatch, days)) and all(map(_ISO_TIME.fullmatch, clocks)):
        if format_ is Format.XML:
            yield {"at": f"concat({date.written}, 'T', {time.written})"}
        else:
            steps = [".".join(f'"{step}"' for step in place.steps) for place in (date, time)]
            yield {"at": f"join('T', [{', '.join(steps)}])"}
