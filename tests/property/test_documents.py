"""Documents: any bytes give a verdict or a DocumentError; JSON means what the standard library reads."""

from __future__ import annotations

import json
from decimal import Decimal

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from receiptd.documents import BUNDLED_ROOT, Checked, DocumentError, ReceiptTypes
from receiptd.documents.json_document import decode_json
from receiptd.documents.values import major_amount
from receiptd.domain.money import to_minor
from receiptd.domain.receipt import Severity

TYPES = ReceiptTypes.load([BUNDLED_ROOT])
SAMPLES = sorted(path for path in BUNDLED_ROOT.glob("*/samples/*/*") if path.suffix in {".json", ".xml"})
BODIES = [path.read_bytes() for path in SAMPLES]
CONTENT_TYPES = st.sampled_from(
    [
        "",
        "application/json",
        "application/xml",
        "text/xml; charset=windows-1251",
        "application/xml; charset=utf-16",
        "application/vnd.receiptd.retail-receipt+xml; charset=koi8-u",
        "application/json; charset=utf-8",
        "text/plain",
    ]
)
HINTS = st.sampled_from(["", "", "retail-receipt", "retail-receipt-xml@1", "prro-check", "nothing", "@"])


def judge(body: bytes, content_type: str = "", hint: str = "") -> Checked | DocumentError:
    """Check, and hold the verdict against what every verdict promises."""
    before = bytes(body)
    result: Checked | DocumentError
    try:
        result = TYPES.check(body, content_type, hint)
    except DocumentError as error:
        result = error
    if isinstance(result, DocumentError):
        assert result.status in {400, 413, 415, 422}
        assert result.code
        assert 0 < len(result.detail) <= 300
        return result
    assert body == before
    assert len(result.findings) <= 50
    assert all(finding.code and finding.message and len(finding.message) <= 300 for finding in result.findings)
    assert result.valid is not any(finding.severity is Severity.ERROR for finding in result.findings)
    if result.canonical:
        receipt = orjson.loads(result.canonical)
        assert isinstance(receipt["total"], int)
        assert all(isinstance(line["amount"], int) for line in receipt["lines"])
    else:
        assert not result.valid
    return result


@given(st.binary(max_size=400), CONTENT_TYPES, HINTS)
def test_any_bytes(body, content_type, hint):
    judge(body, content_type, hint)


@given(st.text(max_size=300), st.text(max_size=40), st.text(max_size=40))
def test_any_headers(content_type, hint, text):
    judge(text.encode("utf-8", "replace"), content_type, hint)


@st.composite
def mutated(draw):
    """Return a sample with a few bytes changed, dropped, doubled, or a piece of another put in."""
    body = bytearray(draw(st.sampled_from(BODIES)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.integers(0, 40)))
        kind = draw(st.integers(0, 4))
        if kind == 0:
            body[start:end] = draw(st.binary(max_size=8))
        elif kind == 1:
            del body[start:end]
        elif kind == 2:
            body[start:start] = body[start:end]
        elif kind == 3:
            other = draw(st.sampled_from(BODIES))
            place = draw(st.integers(0, len(other)))
            body[start:end] = other[place : place + draw(st.integers(0, 60))]
        else:
            tricks = [
                b"-",
                b"e9",
                b"9" * 20,
                b'"',
                b"\\u0000",
                b"<",
                b"&#0;",
                b"<!DOCTYPE a>",
                b"{",
                b"]]>",
                b"\xff",
                b"1e-400",
            ]
            body[start:end] = draw(st.sampled_from(tricks))
    return bytes(body)


@settings(max_examples=300, deadline=None)
@given(mutated(), CONTENT_TYPES, HINTS)
def test_mutated_samples(body, content_type, hint):
    judge(body, content_type, hint)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
RECEIPT = orjson.loads((BUNDLED_ROOT / "retail-receipt" / "samples" / "valid" / "grocery.json").read_bytes())


@st.composite
def receipts(draw):
    """Return the sample receipt with any value in some of its places."""
    receipt = json.loads(json.dumps(RECEIPT))
    for _ in range(draw(st.integers(1, 4))):
        place = receipt
        while True:
            key = (
                draw(st.sampled_from(sorted(place)))
                if isinstance(place, dict)
                else draw(st.integers(0, len(place) - 1))
            )
            if not isinstance(place[key], dict | list) or not place[key] or draw(st.booleans()):
                break
            place = place[key]
        place[key] = draw(JSON)
    return receipt


@settings(deadline=None)
@given(receipts() | JSON, HINTS)
def test_any_json(value, hint):
    judge(json.dumps(value).encode(), "application/json", hint)


TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters="<&\x00", min_codepoint=32, max_codepoint=0xD7FF), max_size=12
)
NAMES = st.sampled_from(["CHECK", "CHECKHEAD", "CHECKBODY", "ROW", "SUM", "COST", "TIN", "ORDERDATE", "x"])
TREES = st.recursive(
    st.builds("<{0}>{1}</{0}>".format, NAMES, TEXT),
    lambda inner: st.builds(
        lambda name, parts: f"<{name} ROWNUM='1'>{''.join(parts)}</{name}>", NAMES, st.lists(inner, max_size=5)
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(TREES, st.sampled_from(["utf-8", "utf-16", "cp1251"]))
def test_any_tree(tree, encoding):
    body = f"<CHECK>{tree}</CHECK>".encode(encoding, "xmlcharrefreplace")
    result = judge(body, "application/xml" if encoding == "utf-16" else f"application/xml; charset={encoding}")
    assert isinstance(result, Checked | DocumentError)


FRAGMENTS = st.sampled_from(
    [
        '"a"',
        '"b"',
        '"\\u0061"',
        '"\\""',
        '":"',
        '"\\u0022"',
        '"\\\\"',
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        " ",
        "1",
        "1.5",
        "12345678901234567.5",
        "1e-400",
        "null",
    ]
)


def exactly(text: str) -> object:
    """Decode as the standard library does, with every number a Decimal and duplicate keys refused."""

    def unique(pairs):
        if len(dict(pairs)) != len(pairs):
            raise KeyError
        return dict(pairs)

    return json.loads(text, object_pairs_hook=unique, parse_float=Decimal, parse_int=int)


def same(ours: object, theirs: object) -> bool:
    if isinstance(theirs, dict):
        return isinstance(ours, dict) and ours.keys() == theirs.keys() and all(same(ours[k], theirs[k]) for k in theirs)
    if isinstance(theirs, list):
        return isinstance(ours, list) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(theirs, Decimal):
        return (Decimal(repr(ours)) if isinstance(ours, float) else ours) == theirs
    return type(ours) is type(theirs) and ours == theirs


PAIRS = st.lists(st.tuples(st.sampled_from(["a", "b", '"', "\\", ":", "é"]), st.text('":\\a', max_size=3)), max_size=4)


@st.composite
def objects(draw):
    """Return an object's text, with keys that may recur, each written in one of several ways."""

    def written(text: str) -> str:
        way = draw(st.integers(0, 2))
        if way == 2:
            return '"' + "".join(f"\\u{ord(character):04x}" for character in text) + '"'
        return json.dumps(text, ensure_ascii=bool(way))

    members = [f"{written(key)}{draw(st.sampled_from(['', ' ']))}:{written(value)}" for key, value in draw(PAIRS)]
    return "{" + ",".join(members) + "}"


@settings(max_examples=500, deadline=None)
@given(objects() | st.lists(objects(), max_size=3).map(lambda parts: f"[{','.join(parts)}]"))
@example('{"a":"\\u0022","a":1}')
def test_duplicate_keys_are_refused_as_the_standard_library_counts_them(text):
    try:
        theirs = exactly(text)
    except KeyError:
        with pytest.raises(DocumentError) as caught:
            decode_json(text.encode())
        assert caught.value.code == "json-duplicate-key"
    else:
        assert same(decode_json(text.encode()), theirs)


@settings(max_examples=300, deadline=None)
@given(st.lists(FRAGMENTS, max_size=14).map("".join))
def test_what_is_accepted_is_what_the_standard_library_reads(text):
    try:
        ours = decode_json(text.encode())
    except DocumentError:
        return
    assert same(ours, exactly(text))


NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)


@settings(max_examples=500, deadline=None)
@given(NUMBERS)
@example("1.2345678e-320")
@example("9007199254740993.0")
def test_numbers_are_exact_or_refused(literal):
    try:
        ours = decode_json(b'{"n": %b}' % literal.encode())["n"]
    except DocumentError:
        assert abs(Decimal(literal)) > Decimal("1e308") or 0 < abs(Decimal(literal)) < Decimal("1e-322")
        return
    assert same(ours, Decimal(literal)) or ours == int(literal)


@given(st.decimals(-(10**13), 10**13, places=4) | st.floats(-1e18, 1e18), st.sampled_from(["EUR", "JPY", "KWD"]))
def test_float_amounts_are_those_of_their_text(amount, currency):
    number = float(amount)
    try:
        expected = to_minor(f"{Decimal(repr(number)):f}", currency)
    except ValueError:
        with pytest.raises(ValueError, match="amount"):
            major_amount(number, currency)
    else:
        assert major_amount(number, currency) == expected
