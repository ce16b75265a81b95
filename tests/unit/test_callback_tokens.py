from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from receiptd.pipeline.callback_tokens import CallbackTokens

RECEIPT = "20260101-" + "0" * 24


def test_a_token_names_its_receipt_invariant_8():
    tokens = CallbackTokens("tax", ("new", "old"))
    assert tokens.read(tokens.make("shop-1", RECEIPT)) == ("shop-1", RECEIPT)


def test_a_token_made_before_a_rotation_still_counts():
    before = CallbackTokens("tax", ("old",)).make("c", RECEIPT)
    assert CallbackTokens("tax", ("new", "old")).read(before) == ("c", RECEIPT)


def test_a_token_of_another_registrar_or_secret_is_none_of_ours():
    token = CallbackTokens("tax", ("a",)).make("c", RECEIPT)
    assert CallbackTokens("warehouse", ("a",)).read(token) is None
    assert CallbackTokens("tax", ("b",)).read(token) is None


@given(st.integers(0, 200), st.integers(1, 255))
def test_no_changed_byte_passes(position, change):
    tokens = CallbackTokens("tax", ("a",))
    raw = bytearray(tokens.make("client", RECEIPT).encode())
    position %= len(raw)
    raw[position] = (raw[position] + change) % 256
    token = raw.decode("latin-1")
    # Base64 leaves bits of the last character unused: only a token that decodes to the same bytes may pass.
    assert tokens.read(token) in (None, ("client", RECEIPT)) if position == len(raw) - 1 else tokens.read(token) is None


@given(st.text(max_size=200))
def test_no_text_makes_it_fail(text):
    assert CallbackTokens("tax", ("a",)).read(text) is None
