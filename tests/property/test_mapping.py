"""Mapping: the quick way and the careful way read every document alike."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lxml import etree

from receiptd.documents.mapping import ENTRIES_MAX, DocumentMapping, reading
from receiptd.documents.mapping.quick import UNUSUAL, compile_quick
from receiptd.documents.media import Format
from receiptd.documents.values import rounded_amount
from receiptd.domain.money import exponent

JSON_MAPPING = {
    "number": "/no",
    "issued_at": {"at": "/at", "zone": "Europe/Kyiv", "default": "2026-01-01"},
    "seller": {"first": ["shop.id", "/cur"]},
    "buyer": {"at": "/buyer/0/id", "default": 7},
    "currency": {"at": "/cur", "default": "EUR"},
    "total": {"at": "/sum", "less": ["/off", "shop.off"]},
    "taxes": {
        "each": "taxes[]",
        "code": "/a/b",
        "rate": "/rate",
        "base": {"at": "/base", "less": "/off"},
        "amount": "",
    },
    "lines": {
        "each": "/lines",
        "description": {"at": ["/name", "/kind"]},
        "category": {"at": "/kind", "required": True},
        "sku": "code || id",
        "quantity": {"at": "/qty", "default": "2.0"},
        "unit": {"value": "pcs"},
        "amount": {"at": "/sum", "round": "half-up"},
    },
}
XML_MAPPING = {
    "number": "/r/no",
    "issued_at": {"at": ["/r/day", "/r/hour"], "zone": "UTC"},
    "seller": {"at": "/r/no/@id", "default": "s"},
    "buyer": "concat(/r/no, ' ', /r/@id)",
    "currency": {"value": "KWD"},
    "total": "sum(/r/lines/line/sum)",
    "taxes": {"each": "/r//tax", "code": "@id", "rate": "no", "amount": {"at": "sum", "less": ["off", "@off"]}},
    "lines": {
        "each": "/r/lines/*",
        "description": "name",
        "category": {"at": "name/@id", "required": True},
        "sku": "@id",
        "quantity": "no",
        "unit": "no/@id",
        "amount": {"at": "sum", "unit": "minor", "default": "5"},
    },
}
DEEP_XML_MAPPING = XML_MAPPING | {
    "lines": {"each": "/r/lines/line", "description": "name | ../@id", "sku": "no/sum", "amount": "sum[1]"}
}
SHORT_XML_MAPPING = {
    "number": "/r/no",
    "issued_at": {"at": "/r/day", "zone": "UTC"},
    "seller": {"at": "/r/no/@id", "default": "s"},
    "buyer": "/r/@id",
    "currency": {"value": "EUR"},
    "total": {"at": "/r/sum", "less": "/r/off", "default": "1.00"},
    "taxes": {"each": "/r/lines/tax", "rate": "no", "amount": "sum"},
    "lines": {"each": "/r/lines/line", "description": "name", "amount": "sum"},
}


def both(spec: dict[str, Any], format_: Format) -> Any:
    mapping = DocumentMapping(spec, format_, {})
    quick = compile_quick(mapping._places, mapping._head, mapping._groups, ENTRIES_MAX)
    return mapping, quick


JSON = both(JSON_MAPPING, Format.JSON)
XML = both(XML_MAPPING, Format.XML)
DEEP_XML = both(DEEP_XML_MAPPING, Format.XML)
SHORT_XML = both(SHORT_XML_MAPPING, Format.XML)

WRITTEN = st.sampled_from(
    [
        *("", " ", "x", " 7 ", "12.30", "-12.30", "0.005", "1.005", "5", "5.", ".5", "1.234", "12.3", "1,5", "1e2"),
        *("2026-05-01", "2026-05-01T10:00:00Z", "2026-05-01T10:00:00+02:00", "10:00", "EUR", "JPY", "KWD", "eur"),
        *("22%", "x" * 1001, " " * 1001, "9" * 19, "92233720368547758.07", "\ue000", "é", "١٢.٣٤", "1_0.00", "+1.00"),
    ]
)
SCALARS = (
    WRITTEN
    | st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(allow_nan=False, allow_infinity=False, places=3)
    | st.integers(-(10**7), 10**7).map(lambda cents: cents / 100)
    | st.sampled_from([[], {}, [{}], {"id": "7"}, [{"id": "7"}], {"b": "c"}, 1e300, 1e15, -0.0, Decimal("1e-30")])
)
GOOD_LINE = {"name": "Tea", "kind": "hot", "qty": 2, "sum": 1.5}
GOOD = {"no": "7", "at": "2026-05-01T10:00:00Z", "shop": {"id": "S"}, "sum": 1.5, "lines": [GOOD_LINE]}


def changed(good: dict[str, Any], *names: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return strategies for ``good`` with some members replaced, or taken out."""
    changes = st.dictionaries(st.sampled_from(names), SCALARS | st.just(...), max_size=3)
    return changes.map(lambda change: {name: value for name, value in (good | change).items() if value is not ...})


LINES = st.lists(changed(GOOD_LINE, "name", "kind", "code", "id", "qty", "sum") | SCALARS, max_size=3)
TAXES = st.lists(SCALARS, max_size=2)
DOCUMENTS = st.builds(
    lambda head, lists: head | lists,
    changed(GOOD, "no", "at", "shop", "buyer", "cur", "sum", "off", "lines", "taxes"),
    st.fixed_dictionaries({}, optional={"lines": LINES | SCALARS, "taxes": TAXES | SCALARS}),
)


def agree(pair: Any, document: Any) -> bool:
    """Hold the quick reading against the careful one; return whether there was one."""
    mapping, quick = pair
    receipt, findings = mapping.read_carefully(document)
    try:
        quickly = quick(document)
    except UNUSUAL:
        return False
    assert findings == []
    assert orjson.dumps(quickly) == orjson.dumps(receipt)
    return True


@settings(max_examples=1000, deadline=None)
@given(DOCUMENTS | SCALARS)
@example(GOOD | {"sum": 1.005})
@example(GOOD | {"lines": [GOOD_LINE] * 1001})
def test_json_is_read_alike(document):
    agree(JSON, document)


def test_a_good_document_is_read_quickly():
    assert agree(JSON, GOOD)
    assert agree(XML, etree.fromstring(GOOD_XML))
    assert agree(DEEP_XML, etree.fromstring(GOOD_XML))
    assert agree(SHORT_XML, etree.fromstring(GOOD_XML))


GOOD_XML = (
    "<r id='1'><no id='2'>7</no><day>2026-05-01</day><hour>10:00</hour>"
    "<lines><line id='3'><name id='4'>Tea</name><no id='5'>1</no><sum>2</sum></line></lines></r>"
)
NAMES = st.sampled_from(["line", "lines", "tax", "no", "name", "sum", "off", "day", "hour"])
TEXTS = WRITTEN.map(lambda text: text.replace("&", "")) | st.sampled_from(["1.5", "2.50", "7"])
ATTRIBUTES = st.sampled_from(["", " id='7'", " id=' '", " off='1.00'", " off='x'", " id=''"])
PIECES = st.recursive(
    st.builds("<{0}{1}>{2}</{0}>".format, NAMES, ATTRIBUTES, TEXTS),
    lambda inner: st.builds(
        lambda name, attributes, parts, text: f"<{name}{attributes}>{text}{''.join(parts)}</{name}>",
        NAMES,
        ATTRIBUTES,
        st.lists(inner, max_size=4),
        TEXTS,
    ),
    max_leaves=10,
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD_XML)), PIECES), max_size=4))
def test_xml_is_read_alike(pieces):
    body = GOOD_XML
    for place, piece in pieces:
        at = body.find("<", place)  # between two tags, where text may stand too
        body = body[:at] + piece + body[at:] if at > 0 else body
    document = etree.fromstring(body)
    agree(XML, document)
    agree(DEEP_XML, document)
    agree(SHORT_XML, document)


@given(
    st.decimals(-(10**9), 10**9, places=7) | st.floats(-1e9, 1e9).filter(lambda amount: abs(amount) > 1e-15),
    st.sampled_from(["EUR", "JPY", "KWD"]),
    st.sampled_from(["ROUND_HALF_UP", "ROUND_HALF_EVEN"]),
)
def test_rounding_is_of_what_was_written(amount, currency, mode):
    written = Decimal(repr(amount)) if isinstance(amount, float) else amount
    minor = rounded_amount(mode, minor=False)(f"{written:f}", currency)
    assert minor == int((written * 10 ** exponent(currency)).quantize(Decimal(1), mode))
    assert abs(minor - written * 10 ** exponent(currency)) <= Decimal("0.5")


def test_reading_warms_up():
    mapping = DocumentMapping(JSON_MAPPING, Format.JSON, {})
    read = [mapping.read(GOOD) for _ in range(reading._CAREFUL_READS + 3)]
    assert all(one == read[0] for one in read)
    assert mapping._quick.__name__ == "read"
