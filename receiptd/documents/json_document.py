"""JSON: from bytes to a value that holds exactly what was written, or a refusal.

orjson is quick and strict (RFC 8259; no NaN, no lone surrogates), yet it keeps the last of duplicate keys and rounds
long numbers, both in silence. A value that is written out again as the very bytes that came has lost nothing; of any
other document one scan at C speed makes a short *shape*, which tells whether something may have been lost. Only then
is it read again, by the standard library, which can be told to look.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import orjson

from receiptd.documents.errors import DocumentError

DEPTH_MAX = 64
CONTAINERS_MAX = 20_000
"""``{`` and ``[`` in one document: each is an object to build, to walk and to validate."""
VALUES_MAX = 50_000
"""Commas in one document: where it must be read again, each value costs some 0.5 us."""
LONG_NUMBERS_MAX = 5_000
"""Numbers of 16 digits or more in one document: each is read again, at some 3 us."""
_NUMBER_MAX_CHARS = 100
_EXACT_CHARS = 15
_NORMAL_MIN = 1e-300
_BOM = b"\xef\xbb\xbf"
_CHARSETS = frozenset({"", "utf-8", "utf8", "us-ascii"})

_SHAPE = bytes.maketrans(b".123456789E{", b"0000000000e[")
_SHAPELESS = b" \t\r\nABCDFGHIJKLMNOPQRSTUVWXYZabcdfghijklmnopqrstuvwxyz" + bytes(range(0x80, 0x100))
"""What stands in no number, separates no two numbers and opens nothing: half of a receipt."""
_LONG_RUN = b"0" * 16
_LONG_NUMBERS = [before + _LONG_RUN for before in (b":", b",", b"[", b":-", b",-", b"[-")]
_TINY_NUMBER = b"0e-000"


def decode_json(body: bytes, charset: str = "") -> Any:
    """Return the JSON value of ``body``.

    A number that a float cannot hold exactly comes as ``Decimal``, an integer of any size as ``int``; every other
    number as orjson gives it, where ``repr`` of a float is again what was written (15 digits always survive).

    Raises:
        DocumentError: 400 (not JSON, not UTF-8, duplicate keys, deeper than 64, more than 20,000 objects and arrays,
            50,000 values or 5,000 long numbers, a number of over 100 characters or too small for a float) or 415 (a
            charset other than UTF-8; RFC 8259, section 8.1).
    """
    if charset not in _CHARSETS:
        raise DocumentError(415, "charset-unsupported", "JSON is UTF-8 (RFC 8259, section 8.1); drop the charset")
    if body.startswith(_BOM):  # a parser may ignore it (section 8.1)
        body = body[3:]
    if len(body) > CONTAINERS_MAX:  # a shorter one cannot have so many, nor so many values
        _refuse_crowd(body)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _malformed(body, error) from None
    # Taking bytes out finds them by memchr: a third of what counting them costs.
    if 2 * len(body) - len(body.replace(b"{", b"")) - len(body.replace(b"[", b"")) > DEPTH_MAX:
        _refuse_depth(value)
    written = orjson.dumps(value)
    return value if written == body else _verified(value, written, body, body.translate(_SHAPE, _SHAPELESS))


def _refuse_crowd(body: bytes) -> None:
    shape = body.translate(_SHAPE, _SHAPELESS)
    if shape.count(b"[") > CONTAINERS_MAX:
        raise _too_complex(f"{CONTAINERS_MAX} objects and arrays")
    if len(shape) > VALUES_MAX and shape.count(b",") > VALUES_MAX:
        raise _too_complex(f"{VALUES_MAX} values")


def _verified(value: Any, written: bytes, body: bytes, shape: bytes) -> Any:
    """Return ``value``, or what the standard library reads where ``value`` may have lost something."""
    long_numbers = _long_numbers(shape)
    if long_numbers > LONG_NUMBERS_MAX:
        raise _too_complex(f"{LONG_NUMBERS_MAX} numbers of 16 digits or more")
    # orjson has vouched for the syntax and the depth is bounded, so this neither recurses far nor accepts more.
    if long_numbers:
        return json.loads(body, object_pairs_hook=_unique, parse_float=_exact_number, parse_int=_exact_integer)
    if _may_lack_strings(body, shape, written):
        return json.loads(body, object_pairs_hook=_unique)
    return value


def _may_lack_strings(body: bytes, shape: bytes, written: bytes) -> bool:
    r"""Whether strings got lost between ``body`` and ``written``: a dropped key takes its two quotes with it.

    Written out again, each string has its two quotes and each escaped quote its one, as before; only ``\u0022`` comes
    back in another form (behind a backslash), so a document that has one is suspect too.
    """
    return shape.count(b'"') != written.count(b'"') or (b"\\" in written and b"\\u0022" in body)


def _long_numbers(shape: bytes) -> int:
    """Return how many numbers may have lost digits: 16 or more of them, or an exponent that underflows.

    It may count some that are in strings.
    """
    count = 0
    if _LONG_RUN in shape:  # most long runs of digits are in strings
        count = shape.startswith((_LONG_RUN, b"-" + _LONG_RUN)) + sum(map(shape.count, _LONG_NUMBERS))
    if b"e-" in shape:  # quicker to look for
        count += shape.count(_TINY_NUMBER)
    return count


def _refuse_depth(value: Any) -> None:
    level = [value] if type(value) in (dict, list) else []
    for _ in range(DEPTH_MAX):
        level = [
            child
            for container in level
            for child in (container.values() if type(container) is dict else container)
            if type(child) in (dict, list)
        ]
        if not level:
            return
    raise DocumentError(400, "json-too-deep", f"the document nests deeper than {DEPTH_MAX} levels")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise DocumentError(400, "json-duplicate-key", f"the key {name[:100]!r} occurs twice in one object")
            seen.add(name)
    return value


def _exact_integer(text: str) -> int:
    _refuse_length(text)
    return int(text)


def _exact_number(text: str) -> float | Decimal:
    number = float(text)
    if len(text) <= _EXACT_CHARS and abs(number) > _NORMAL_MIN:
        return number
    _refuse_length(text)
    mantissa = text.lower().partition("e")[0].removeprefix("-")
    if len(mantissa) <= _EXACT_CHARS and abs(number) > _NORMAL_MIN:
        return number
    if number == 0.0 and mantissa.strip("0."):
        raise DocumentError(400, "json-number", "a number is too small to be held; write it with a larger exponent")
    exact = Decimal(text)
    return number if Decimal(repr(number)) == exact else exact


def _refuse_length(number: str) -> None:
    if len(number) > _NUMBER_MAX_CHARS:
        raise DocumentError(400, "json-number", f"a number is longer than {_NUMBER_MAX_CHARS} characters")


def _too_complex(bound: str) -> DocumentError:
    return DocumentError(400, "document-too-complex", f"the document has more than {bound}; split it")


def _malformed(body: bytes, error: orjson.JSONDecodeError) -> DocumentError:
    if not body.strip():
        return DocumentError(400, "document-empty", "the document is empty")
    if body.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in body[:2]:
        return DocumentError(400, "encoding-unsupported", "JSON is UTF-8 (RFC 8259, section 8.1), and this is not")
    if "depth limit" in error.msg:
        return DocumentError(400, "json-too-deep", f"the document nests deeper than {DEPTH_MAX} levels")
    try:
        body.decode()
    except UnicodeDecodeError as fault:  # orjson says neither where, nor that it is not a lone surrogate
        line = body.count(b"\n", 0, fault.start) + 1
        return DocumentError(400, "json-malformed", "this is no UTF-8, which JSON is (RFC 8259, 8.1)", f"line {line}")
    return DocumentError(400, "json-malformed", error.msg, f"line {error.lineno}, column {error.colno}")
