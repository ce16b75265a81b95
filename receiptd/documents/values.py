"""Values: from what a document holds (text, or a JSON number) to text, exact decimals and money.

The converters take a raw value and the receipt's currency. What is wrong with a value is told without the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, TypeAlias

from receiptd.domain.money import exponent, to_minor

Converter: TypeAlias = Callable[[Any, str], Any]
"""``(value, currency)`` to the value converted. Raises ValueError, whose text says what the value is not."""

TEXT_MAX_CHARS = 1_000
FLOAT_EXACT = 1e15
"""A float stands for one decimal of up to 15 digits."""
INT64_MAX = 2**63 - 1

INTEGER_MAX = 10**18
_SHORT_CHARS = 13
_MINOR = re.compile(r"[+-]?[0-9]{1,18}")
_PLAIN = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,12})?")
_DECIMAL = re.compile(r"[+-]?(?=\.?[0-9])[0-9]{0,18}(?:\.[0-9]{0,12})?")
_AMOUNT = re.compile(r"[+-]?(?=\.?[0-9])[0-9]{0,40}(?:\.[0-9]{0,40})?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_EXACT = Context(prec=800, traps=[Inexact, InvalidOperation])
_WIDE = Context(prec=100)


def text(value: Any, _currency: str = "") -> str:
    """Return text without surrounding space, and a number in plain digits, as it was written.

    Raises:
        ValueError: it is neither text nor a number, is empty, is longer than 1,000 characters, or holds NUL.
    """
    found = written(value).strip()
    if not found:
        raise ValueError("is empty")
    if len(found) > TEXT_MAX_CHARS:
        raise ValueError(f"is longer than {TEXT_MAX_CHARS} characters")
    if "\0" in found:  # JSON may hold it; XML and the text of databases may not
        raise ValueError("holds a NUL character")
    return found


def quantity(value: Any, _currency: str = "") -> str:
    """Return a plain decimal: ``"0.400"`` stays so, ``"+.5"`` is ``"0.5"``. Raises ValueError."""
    kind = type(value)
    if kind is int and -INTEGER_MAX < value < INTEGER_MAX:
        return str(value)
    if kind is float and len(digits := repr(value)) <= _SHORT_CHARS and "e" not in digits:
        return digits
    found = text(value)
    if _PLAIN.fullmatch(found):
        return found
    if _DECIMAL.fullmatch(found) is None:
        raise ValueError("is no decimal number of at most 18 digits before the point and 12 behind")
    return f"{Decimal(found):f}"


def rate(value: Any, _currency: str = "") -> str:
    """Return a plain decimal; a percent sign behind it is taken off. Raises ValueError."""
    return quantity(text(value).removesuffix("%"))


def fraction(value: Any, _currency: str = "") -> str:
    """Return a rate that is written as a part of one, in percent: ``"0.075"`` is ``"7.5"``. Raises ValueError."""
    return f"{Decimal(quantity(value)).scaleb(2):f}"


def currency_code(value: Any, _currency: str = "") -> str:
    """Return what has the form of an ISO 4217 code, in capital letters. Raises ValueError."""
    if type(value) is str and _CURRENCY.fullmatch(value):
        return value
    found = text(value)
    if found.isascii() and found.islower():  # as several payment services write it
        found = found.upper()
    if _CURRENCY.fullmatch(found) is None:
        raise ValueError("is no ISO 4217 currency code of three letters")
    return found


def major_amount(value: Any, currency: str) -> int:
    """Return an amount that is written in major units of ``currency``, in minor units. Raises ValueError."""
    places = exponent(currency)
    kind = type(value)
    if kind is float:
        # Quick and exact: a float stands for one decimal of up to 15 digits, and division rounds correctly.
        scale: int = 10**places
        scaled: float = value * scale
        if -FLOAT_EXACT < scaled < FLOAT_EXACT and (minor := round(scaled)) / scale == value:
            return minor
    elif kind is int and -INT64_MAX <= (whole := int(value) * 10**places) <= INT64_MAX:
        return int(whole)
    try:
        return to_minor(value.strip() if kind is str else written(value), currency)
    except ValueError:  # its text holds the amount, which a finding must not
        raise ValueError(f"is no amount of money of at most {places} decimals") from None


def minor_amount(value: Any, _currency: str) -> int:
    """Return an amount that is written in minor units. Raises ValueError."""
    found = text(value)
    if _MINOR.fullmatch(found) is None:
        raise ValueError("is no whole number of the currency's minor unit")
    return int(found)


def rounded_amount(rounding: str, *, minor: bool) -> Converter:
    """Return a converter of amounts in minor or major units that rounds further decimals (a mode of ``decimal``)."""

    def convert(value: Any, currency: str) -> int:
        found = written(value).strip()
        if _AMOUNT.fullmatch(found) is None:
            raise ValueError("is no amount of money")
        places = 0 if minor else exponent(currency)
        amount = int(Decimal(found).scaleb(places, _WIDE).quantize(Decimal(1), rounding, _WIDE))
        if abs(amount) > INT64_MAX:
            raise ValueError("is too large an amount")
        return amount

    return convert


def exact_sum(numbers: Iterable[Decimal]) -> Decimal:
    """Return the sum, every digit of it. Raises ArithmeticError past 800 digits."""
    total = Decimal(0)
    for number in numbers:
        total = _EXACT.add(total, number)
    return total


def written(value: Any) -> str:
    """Return text as it is, and a number in plain digits. Raises ValueError for anything else."""
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    if type(value) is float:  # repr gives back what was written, unless with an exponent
        digits = repr(value)
        return f"{Decimal(digits):f}" if "e" in digits else digits
    if type(value) is Decimal:
        return f"{value:f}"
    raise ValueError("is neither text nor a number")
