"""Money: exact both ways, or refused."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from receiptd.domain.money import exponent, to_major, to_minor

CURRENCIES = st.sampled_from(["EUR", "UAH", "USD", "JPY", "KWD", "CLF", "XXX"])
MOST = 2**63 - 1
MINOR = st.integers(-MOST, MOST)


@given(MINOR, CURRENCIES)
@example(0, "CLF")
def test_minor_to_major_and_back(minor, currency):
    major = to_major(minor, currency)
    assert to_minor(major, currency) == minor
    assert len(major.partition(".")[2]) == exponent(currency)
    assert Decimal(major).scaleb(exponent(currency)) == minor


@given(MINOR, CURRENCIES, st.integers(0, 9), st.integers(0, 9), st.sampled_from(["", "+"]))
def test_zeros_and_plus_change_nothing(minor, currency, leading, trailing, plus):
    major = to_major(minor, currency)
    sign, digits = ("-", major[1:]) if major.startswith("-") else (plus, major)
    padded = f"{sign}{'0' * leading}{digits}{'' if '.' in digits else '.'}{'0' * trailing}"
    assert to_minor(padded, currency) == minor


@given(st.decimals(allow_nan=True, allow_infinity=True) | st.decimals(-(10**12), 10**12, places=2), CURRENCIES)
@example(Decimal("1E+999999"), "EUR")
@example(Decimal("1.00000000000000000000000000000000000001"), "EUR")
@example(Decimal("1E+15"), "EUR")
def test_decimals_are_exact_or_refused(amount, currency):
    try:
        minor = to_minor(amount, currency)
    except ValueError:
        if amount.is_finite() and amount:
            fits = abs(amount.adjusted()) <= 30 and abs(amount * 10 ** exponent(currency)) <= MOST
            whole = fits and amount * 10 ** exponent(currency) == int(amount * 10 ** exponent(currency))
            assert not (whole and len(f"{amount:f}") < 40)
    else:
        assert Decimal(minor).scaleb(-exponent(currency)) == amount


@given(st.integers(), CURRENCIES)
def test_integers_are_major_units(amount, currency):
    scaled = amount * 10 ** exponent(currency)
    if abs(scaled) <= MOST:
        assert to_minor(amount, currency) == scaled
    else:
        with pytest.raises(ValueError, match=r"amount|large"):
            to_minor(amount, currency)


@given(st.text(max_size=60), CURRENCIES)
@example("1_0", "EUR")
@example("١٢.٣٤", "EUR")
@example(" 1", "EUR")
@example("1e2", "EUR")
@example("NaN", "EUR")
@example("", "JPY")
@example(".", "JPY")
def test_any_text_is_an_amount_in_ascii_digits_or_refused(text, currency):
    try:
        minor = to_minor(text, currency)
    except ValueError:
        return
    assert set(text) <= set("+-.0123456789")
    assert Decimal(text).scaleb(exponent(currency)) == minor


@given(MINOR, CURRENCIES, st.integers(1, 9))
def test_a_decimal_too_many_is_refused(minor, currency, digit):
    major = to_major(minor, currency)
    with pytest.raises(ValueError, match="decimals"):
        to_minor(f"{major}{'' if '.' in major else '.'}{digit}", currency)


@given(CURRENCIES, st.integers(1, 10**30), st.booleans())
def test_what_does_not_fit_63_bits_is_refused(currency, excess, negative):
    major = (
        Decimal(MOST + excess) * Decimal(1).scaleb(-exponent(currency)) if excess < 10**8 else Decimal(excess + MOST)
    )
    with pytest.raises(ValueError, match=r"large|amount"):
        to_minor(-major if negative else major, currency)
