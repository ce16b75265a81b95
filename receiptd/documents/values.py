"""Values: from what a document holds (text, or a JSON number) to text, exact decimals, money and times.

The converters take a column of raw values and the receipt's currency, and return the column converted. One wrong value,
``None`` or ``""`` among them makes them raise ValueError; the caller then asks again, value by value, to learn which.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Any, TypeAlias

from receiptd.domain.money import exponent, to_minor

Converter: TypeAlias = Callable[[Sequence[Any], str], list[Any]]

TEXT_MAX_CHARS = 1_000
_DIGITS_MAX = 18
_FLOAT_EXACT = 10**15
_MINOR = re.compile(r"[+-]?[0-9]{1,18}")
_PLAIN = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,12})?")
_DECIMAL = re.compile(r"[+-]?(?=\.?[0-9])[0-9]{0,18}(?:\.[0-9]{0,12})?")
_CURRENCY = re.compile(r"[A-Z]{3}")


def texts(found: Sequence[Any], _currency: str) -> list[str]:
    """Return text without surrounding space, and numbers in plain digits, as they were written.

    Raises:
        ValueError: a value is neither text nor a number, is empty, or is longer than 1,000 characters.
    """
    column = [value.strip() if type(value) is str else _text(value) for value in found]
    if "" in column:
        raise ValueError("is empty")
    if len("".join(column)) > TEXT_MAX_CHARS and max(map(len, column)) > TEXT_MAX_CHARS:  # the first is quick
        raise ValueError(f"is longer than {TEXT_MAX_CHARS} characters")
    return column


def quantities(found: Sequence[Any], currency: str) -> list[str]:
    """Return plain decimals: ``"0.400"`` stays so, ``"+.5"`` is ``"0.5"``. Raises ValueError."""
    column = texts(found, currency)
    for index, written in enumerate(column):
        if (written.isdecimal() and written.isascii() and len(written) <= _DIGITS_MAX) or _PLAIN.fullmatch(written):
            continue
        if _DECIMAL.fullmatch(written) is None:
            raise ValueError("is no decimal number of at most 18 digits before the point and 12 behind")
        column[index] = f"{Decimal(written):f}"
    return column


def currencies(found: Sequence[Any], currency: str) -> list[str]:
    """Return what has the form of an ISO 4217 code. Raises ValueError."""
    column = texts(found, currency)
    if not all(map(_CURRENCY.fullmatch, column)):
        raise ValueError("is no ISO 4217 currency code of three capital letters")
    return column


def amounts_in_major(found: Sequence[Any], currency: str) -> list[int]:
    """Return amounts that are written in major units of the currency, in minor units. Raises ValueError."""
    scale: int = 10 ** exponent(currency)
    column = []
    for value in found:
        if type(value) is float:
            # Quick and exact: a float stands for one decimal of up to 15 digits, and division rounds correctly.
            minor = round(value * scale)
            if minor / scale == value and -_FLOAT_EXACT < minor < _FLOAT_EXACT:
                column.append(minor)
                continue
        try:
            column.append(to_minor(_text(value).strip(), currency))
        except ValueError as error:  # its text holds the amount, which a finding must not
            raise ValueError(f"is no amount of money of at most {exponent(currency)} decimals") from error
    return column


def amounts_in_minor(found: Sequence[Any], currency: str) -> list[int]:
    """Return amounts that are written in minor units. Raises ValueError."""
    column = texts(found, currency)
    if not all(map(_MINOR.fullmatch, column)):
        raise ValueError("is no whole number of the currency's minor unit")
    return list(map(int, column))


def iso_times(zone: tzinfo | None) -> Converter:
    """Return a converter of ISO 8601 times; ``zone`` is for those that name none (None: they must)."""

    def read(written: str) -> datetime:
        try:
            return datetime.fromisoformat(written)
        except ValueError:
            raise ValueError("is no time in ISO 8601") from None

    return _times(read, zone)


_FIELDS = ("YYYY", "MM", "DD", "hh", "mm", "ss")
_FIELD = re.compile("|".join(_FIELDS))
_DATE_FIELDS = 3


def patterned_times(pattern: str, zone: tzinfo | None) -> Converter:
    """Return a converter of times of fixed width: ``DDMMYYYYhhmmss``; all else in a pattern stands for itself.

    Raises:
        ValueError: the pattern lacks year, month or day, has a field twice, or one without the greater before it.
    """
    places = {match[0]: slice(*match.span()) for match in _FIELD.finditer(pattern)}
    names = _FIELDS[: len(places)]
    if len(places) < _DATE_FIELDS or set(names) != places.keys() or len(places) != len(_FIELD.findall(pattern)):
        raise ValueError("a time's format has YYYY, MM and DD, then perhaps hh, mm and ss, in any order, once each")
    shape = re.compile(_FIELD.sub(lambda match: f"[0-9]{{{len(match[0])}}}", re.escape(pattern)))
    spans = [places[name] for name in names]

    def read(written: str) -> datetime:
        if shape.fullmatch(written) is None:
            raise ValueError(f"is no time of the form {pattern}")
        try:
            return datetime(*(int(written[span]) for span in spans))  # type: ignore[arg-type]  # noqa: DTZ001 - _times adds it
        except ValueError:
            raise ValueError("is no possible time") from None

    return _times(read, zone)


def _times(read: Callable[[str], datetime], zone: tzinfo | None) -> Converter:
    """Return a converter to ISO 8601 with the offset."""

    def convert(found: Sequence[Any], currency: str) -> list[str]:
        moments = [read(written) for written in texts(found, currency)]
        if zone is not None:
            moments = [moment if moment.tzinfo else moment.replace(tzinfo=zone) for moment in moments]
        elif not all(moment.tzinfo for moment in moments):
            raise ValueError("names no time zone")
        return [moment.isoformat() for moment in moments]

    return convert


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    if type(value) is float:  # repr gives back what was written, unless with an exponent
        written = repr(value)
        return f"{Decimal(written):f}" if "e" in written else written
    if type(value) is Decimal:
        return f"{value:f}"
    raise ValueError("is neither text nor a number")
