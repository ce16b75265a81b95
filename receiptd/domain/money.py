"""Money: exact amounts in the minor unit of an ISO 4217 currency. Floats never hold money."""

from __future__ import annotations

import re
from decimal import Decimal

_EXPONENTS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"), 0),
    **dict.fromkeys(("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}
"""Currencies whose minor unit is not a hundredth (ISO 4217, list one)."""

_MAX_MINOR = 2**63 - 1
_SURE_DIGITS = 14
"""So many digits in major units always fit 63 bits in minor ones."""
_DIGITS_MAX = 40
_AMOUNT = re.compile(rf"([+-]?)(?=\.?[0-9])([0-9]{{0,{_DIGITS_MAX}}})(?:\.([0-9]{{0,{_DIGITS_MAX}}}))?")


def exponent(currency: str) -> int:
    """Return the number of decimals of ``currency`` (an ISO 4217 code): 2 unless the standard says otherwise."""
    return _EXPONENTS.get(currency, 2)


def to_minor(amount: str | int | Decimal, currency: str) -> int:
    """Return ``amount`` (in major units) as an integer of the minor unit: ``"12.30"`` EUR is 1230.

    A string is a plain decimal in ASCII digits, at most 40 of them on either side of the point: no exponent, no
    spaces, no grouping.

    Raises:
        ValueError: it is no such number, has more decimals than the currency, or does not fit 63 bits.
    """
    places = _EXPONENTS.get(currency, 2)
    if isinstance(amount, str):
        text = amount
        point = len(text) - places - 1
        digits = text if places == 0 else text[:point] + text[point + 1 :] if text[point:][:1] == "." else ""
        if len(digits) <= _SURE_DIGITS and digits.isdecimal() and digits.isascii():
            return int(digits)  # every decimal is there: the usual amount, three times as fast
    elif isinstance(amount, Decimal) and amount.is_finite() and abs(amount.adjusted()) <= _DIGITS_MAX:
        text = f"{amount:f}"  # the bound keeps 1e999999 from being written out
    else:
        text = str(amount)
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is not an amount of money")
    sign, whole, fraction = match.groups("")
    if fraction[places:].strip("0"):
        raise ValueError(f"{text[:40]!r} has more decimals than {currency} has ({places})")
    minor = int(f"{sign}0{whole}{fraction[:places]:0<{places}}")
    if abs(minor) > _MAX_MINOR:
        raise ValueError(f"{text[:40]!r} is too large")
    return minor


def to_major(minor: int, currency: str) -> str:
    """Return an amount in minor units as a decimal string in major units: 1230 EUR is ``"12.30"``."""
    return f"{Decimal(minor).scaleb(-exponent(currency)):f}"
