"""JSON decoding: what is written is what is held, or the document is refused."""

from __future__ import annotations

from decimal import Decimal

import pytest

from receiptd.documents import DocumentError
from receiptd.documents.json_document import CONTAINERS_MAX, decode_json


def refusal(body: bytes, charset: str = "") -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        decode_json(body, charset)
    return caught.value


def test_plain_document_is_decoded():
    assert decode_json(b' {"a": [1, 2.5, "x", null, true]} ') == {"a": [1, 2.5, "x", None, True]}


def test_utf_8_mark_is_ignored_and_utf_8_charset_accepted():
    assert decode_json('\ufeff{"a": "Ж"}'.encode(), "utf-8") == {"a": "Ж"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":1}',
        b'{"a" : 1, "b": {"c": 1, "c" :2}}',
        b'{"\\u0061":1,"a":2}',
        b'{"x":"\\u0022:","a":1,"a":2}',
        b'{"a":"\\"","a":"\\u0022\\u0022"}',
        b'{"x":"\\u0022\\u0022","a":1,"a":1}',
        b'{"x":"\\u0022","a":1,"b":"\\u0022","a":1}',
        b'{"":1,"":2}',
        b'[{"a":":"},{"a":1,"b":"\\\\","a":3}]',
    ],
)
def test_duplicate_keys_are_refused(body):
    assert refusal(body).code == "json-duplicate-key"


@pytest.mark.parametrize("body", [b'{"a":":","b":"\\u0022:"}', b'{"\\"":1,"\\\\":2}', b'[{"a":1},{"a":1}]'])
def test_what_only_looks_like_duplicate_keys_is_not(body):
    decode_json(body)


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        (b"12.30", 12.3),
        (b"0.1234567890123456789", Decimal("0.1234567890123456789")),
        (b"18446744073709551616", 2**64),
        (b"-9223372036854775809", -(2**63) - 1),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        (b"9007199254740993.0", Decimal("9007199254740993.0")),
        (b"1234567890123456e1", 12345678901234560.0),
        (b"1e300", 1e300),
        (b"5e-324", 5e-324),
        (b"0e-9999", 0.0),
    ],
)
def test_numbers_are_exact(literal, value):
    decoded = decode_json(b'{"a":' + literal + b"}")["a"]
    assert decoded == value
    assert Decimal(repr(decoded) if isinstance(decoded, float) else decoded) == Decimal(literal.decode())


@pytest.mark.parametrize("literal", [b"1e-400", b"0.00001E-0330", b"-1e-99999999999999999999"])
def test_numbers_that_underflow_are_refused(literal):
    assert refusal(b"[" + literal + b"]").code == "json-number"


def test_long_digits_inside_strings_cost_nothing_but_a_look():
    assert decode_json(b'{"iban":"UA213223130000026007233566001","n":1.5}')["n"] == 1.5


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "document-empty"),
        (b" \n", "document-empty"),
        (b"{", "json-malformed"),
        (b'{"a":NaN}', "json-malformed"),
        (b"[Infinity]", "json-malformed"),
        (b"[1e400]", "json-malformed"),
        (b'["\\ud800"]', "json-malformed"),
        (b'["\xed\xa0\x80"]', "json-malformed"),
        (b'["\xff"]', "json-malformed"),
        (b'["\x00"]', "json-malformed"),
        (b"[1],", "json-malformed"),
        (b"'a'", "json-malformed"),
        (b"[01]", "json-malformed"),
        ("[]".encode("utf-16"), "encoding-unsupported"),
        ("[1]".encode("utf-16-be"), "encoding-unsupported"),
        ("[1]".encode("utf-32"), "encoding-unsupported"),
        (b"[" * (CONTAINERS_MAX + 1), "document-too-complex"),
    ],
)
def test_what_is_no_json_is_refused_with_400(body, code):
    error = refusal(body)
    assert (error.status, error.code) == (400, code)


def test_a_refusal_names_the_place():
    assert refusal(b'{"a":1,\n "b":}').where == "line 2, column 6"


@pytest.mark.parametrize("charset", ["windows-1251", "utf-16", "utf-7", "nonsense"])
def test_other_charsets_are_refused_with_415(charset):
    error = refusal(b"{}", charset)
    assert (error.status, error.code) == (415, "charset-unsupported")


def test_depth_is_bounded_at_64():
    assert decode_json(b"[" * 64 + b"]" * 64)
    assert refusal(b"[" * 65 + b"]" * 65).code == "json-too-deep"
    assert refusal(b'{"a":' * 65 + b"1" + b"}" * 65).code == "json-too-deep"
    assert refusal(b"[" * 2000 + b"]" * 2000).code == "json-too-deep"
    assert decode_json(b"[" + b"[]," * 500 + b"[]]")
    assert decode_json(b'"' + b"[{" * 500 + b'"')
