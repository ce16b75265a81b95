"""JSON decoding against the standard library, which is told to keep every digit and to see every key.

Whole documents, written in every way that JSON allows: spaces, escapes, spellings of numbers, keys that recur. The
quick way (bytes that orjson would write itself) and the slow way must both give what was written, or the refusal.
"""

from __future__ import annotations

import json
from decimal import Decimal

import orjson
from hypothesis import example, given, settings
from hypothesis import strategies as st

from receiptd.documents import DocumentError
from receiptd.documents.json_document import decode_json

NUMBERS = st.one_of(
    st.from_regex(r"-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,3})?", fullmatch=True),
    st.from_regex(r"-?(0|[1-9][0-9]{0,22})(\.[0-9]{1,22})?([eE][+-]?[0-9]{1,2})?", fullmatch=True),
    st.integers(-(2**70), 2**70).map(str),
    st.from_regex(r"-?[1-9][0-9]{14,17}\.[0-9]{1,3}", fullmatch=True),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["1e-307", "1.25E-0310", "0.1e-330", "5e-324", "0e-999", "-0", "-0.0", "1E5", "2e+3"]),
)
TEXTS = st.one_of(
    st.text('ab"\\:,[{-0123456789e.é \u2028\x7f', max_size=24),
    st.sampled_from(
        [
            "12345678901234567890",
            ":1234567890123456",
            ",-1234567890123456",
            "[12 34 56 78 90 12 34 56",
            "5e-400",
            "\0\x1f",
        ]
    ),
)
KEYS = st.sampled_from(["a", "b", "aa", '"', "\\", ":", "é", "", "\U0001f600"])
SPACES = st.sampled_from(["", "", "", " ", "\n  ", "\t\r\n"])


@st.composite
def written(draw, text: str) -> str:
    """Return a string in one of its spellings."""
    if draw(st.booleans()):
        return json.dumps(text, ensure_ascii=draw(st.booleans()))
    escaped = [
        "".join(f"\\u{unit:04X}" for unit in memoryview(character.encode("utf-16-le")).cast("H"))
        if draw(st.booleans())
        else json.dumps(character, ensure_ascii=False)[1:-1]
        for character in text
    ]
    return f'"{"".join(escaped)}"'


def scalars() -> st.SearchStrategy[str]:
    return st.one_of(NUMBERS, NUMBERS, TEXTS.flatmap(written), st.sampled_from(["true", "false", "null"]))


@st.composite
def container(draw, inner: st.SearchStrategy[str]) -> str:
    """Return an array, or an object whose keys may recur."""
    space = draw(SPACES)
    items = draw(st.lists(inner, max_size=5))
    if draw(st.booleans()):
        return f"[{space}{f'{space},'.join(items)}{space}]"
    keys = draw(st.lists(KEYS, min_size=len(items), max_size=len(items), unique=draw(st.booleans())))
    members = [f"{draw(written(key))}{space}:{space}{item}" for key, item in zip(keys, items, strict=True)]
    return f"{{{space}{f',{space}'.join(members)}{space}}}"


DOCUMENTS = st.recursive(scalars(), container, max_leaves=20)


def exactly(text: str) -> tuple[object, list[Decimal], bool]:
    """Return the value with every number a Decimal, all its numbers, and whether a key occurs twice in an object."""
    numbers: list[Decimal] = []
    twice = False

    def number(literal):
        numbers.append(Decimal(literal))
        return numbers[-1]

    def members(pairs):
        nonlocal twice
        twice = twice or len(dict(pairs)) != len(pairs)
        return dict(pairs)

    value = json.loads(text, object_pairs_hook=members, parse_float=number, parse_int=number)
    return plain(value), numbers, twice


def plain(value: object) -> object:
    """Return ``value`` with every number as the Decimal that it stands for, and nothing else that equals a number."""
    if isinstance(value, dict):
        return {key: plain(member) for key, member in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if type(value) is float:
        return Decimal(repr(value))
    return value if type(value) is Decimal else Decimal(value) if type(value) is int else (type(value), value)


def judge(text: str) -> None:
    expected, numbers, twice = exactly(text)
    try:
        ours = decode_json(text.encode())
    except DocumentError as error:
        refusal = error.code
    else:
        assert not twice
        assert plain(ours) == expected
        return
    if refusal == "json-duplicate-key":
        assert twice
    else:
        assert refusal in {"json-number", "json-malformed"}
        assert any(abs(number) > Decimal("1e308") or 0 < abs(number) < Decimal("1e-307") for number in numbers)


@settings(max_examples=500, deadline=None)
@given(DOCUMENTS)
@example('{"a":1,"\\u0061":2}')
@example('{"x":"\\u0022\\u0022","a":1,"a":1}')
@example('{"a": 12345678901234567.12}')
@example('{"a": -12345678901234567.12}')
@example("[12345678901234567.12]")
@example("[-12345678901234567.12]")
@example("[0, 9007199254740993]")
@example("[0, 9007199254740993e0]")
@example("[0, 9007199254740993.0]")
@example("[0, -9007199254740993.0]")
@example("[ 0.1000000000000001e-300]")
@example("-12345678901234567")
@example("[1.0000000000000000,1e22,1e23]")
@example('["e",-123]')
def test_whole_documents(text):
    judge(text)


@settings(max_examples=200, deadline=None)
@given(DOCUMENTS)
def test_documents_as_orjson_writes_them_itself(text):
    """They take the quick way, whose premise is that equal bytes lost nothing."""
    try:
        again = orjson.dumps(orjson.loads(text))
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return
    judge(again.decode())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 400), st.integers(0, 400), st.sampled_from(["k", "\\u006b"]), st.booleans())
def test_one_key_twice_in_a_large_document(place, other, spelling, pretty):
    keys = [f'"k{number}"' for number in range(400)]
    keys.insert(place, f'"{spelling}{other}"')
    text = "{" + (", " if pretty else ",").join(f'{key}:{{"k":"v","n":[1.50]}}' for key in keys) + "}"
    judge(text)
