"""Request header fields, by the letter of their standards."""

from __future__ import annotations

import pytest

from receiptd.http import fields


@pytest.mark.parametrize(
    ("prefer", "expected"),
    [
        (None, 0),
        ("", 0),
        ("wait=5", 5),
        ("WAIT = 5", 5),
        ('wait="5"', 5),
        ("respond-async, wait=5", 5),
        ('foo="a, wait=9, b"; x, wait=5; y=1', 5),
        ("wait=3, wait=5", 3),
        ("wait=99", 30),
        ("wait=0", 0),
        ("wait=-1", 0),
        ("wait=5.5", 0),
        ("wait=٣", 0),
        ("waiting=5", 0),
        ("wait", 0),
        ('"wait=5', 0),
    ],
)
def test_prefer_wait(prefer, expected):
    assert fields.wait_s(prefer, 30.0) == expected


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ('"8e03978e"', "8e03978e"),
        ('"a,b;c"', "a,b;c"),
        (r'"a\"b\\c"', 'a"b\\c'),
        ("order/2026:17=+~", "order/2026:17=+~"),
        ("k" * 255, "k" * 255),
        (f'"{"k" * 255}"', "k" * 255),
        ('"' + r"\\" * 255 + '"', "\\" * 255),
    ],
)
def test_idempotency_key(value, key):
    assert fields.idempotency_key(value) == key


@pytest.mark.parametrize(
    "value",
    [
        "",
        '""',
        '"',
        '"a',
        'a"',
        '"a"b"',
        "a b",
        '"a b"',
        "a,b",
        "a;b",
        "a\\b",
        r'"a\b"',
        '"a";p=1',
        "ключ",
        '"é"',
        "\x7f",
        "k" * 256,
        f'"{"k" * 256}"',
    ],
)
def test_a_malformed_idempotency_key_is_refused(value):
    with pytest.raises(ValueError, match=r"\w"):
        fields.idempotency_key(value)


@pytest.mark.parametrize(
    ("value", "matches"),
    [
        (None, False),
        ("", False),
        ('"v1"', True),
        ('W/"v1"', True),
        ('"v0", "v1"', True),
        ("*", True),
        ('"v0"', False),
        ("v1", False),
        ('"x"v1"y"', False),
    ],
)
def test_if_none_match(value, matches):
    assert fields.none_match(value, '"v1"') is matches


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.mark.parametrize("value", [f"00-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01", f"01-{TRACE}-{SPAN}-01-more"])
def test_a_valid_traceparent_gives_its_trace_id(value):
    assert fields.trace_id(value) == TRACE


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_an_invalid_traceparent_gets_a_fresh_trace_id(value):
    first, second = fields.trace_id(value), fields.trace_id(value)
    assert len({TRACE, first, second}) == 3
    assert len(bytes.fromhex(first)) == 16


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("application/json", True),
        ("application/vnd.a+json ; charset=utf-8", True),
        ('text/xml;charset="utf-8"', True),
        ("json", False),
        ("a/b c", False),
        ("a/b;x=\x00", False),
        ("a/b;é", False),
        (f"a/b;{'x' * 255}", False),
        ("a/b\n", False),
    ],
)
def test_media_types(value, expected):
    assert fields.is_media_type(value) is expected


OFFERS = ("application/json", "application/x-ndjson")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, OFFERS[0]),
        ("", OFFERS[0]),
        ("*/*", OFFERS[0]),
        ("application/*", OFFERS[0]),
        ("application/x-ndjson", OFFERS[1]),
        ("Application/X-NDJSON", OFFERS[1]),
        ("application/json;q=0.5, application/x-ndjson", OFFERS[1]),
        ("application/json; charset=utf-8", OFFERS[0]),
        ("*/*;q=0.1, application/json;q=0", OFFERS[1]),
        ("text/html, */*;q=0.001", OFFERS[0]),
        ("text/html", None),
        ("*/*;q=0", None),
        ("application/json;q=2", None),
        ("nonsense", OFFERS[0]),
    ],
)
def test_accept(accept, chosen):
    assert fields.negotiate(accept, OFFERS) == chosen
