"""Hostile documents by structure: good receipts, taken apart and put together wrongly, and written in every way.

What every verdict promises is held by the judge of ``scripts/fuzz``: a refusal that says something, or findings and a
canonical receipt that round-trips, within a second.
"""

from __future__ import annotations

import json
from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from lab.fuzz_targets import DocumentJudge
from receiptd.documents import BUNDLED_ROOT

JSON_SAMPLES = [json.loads(path.read_bytes()) for path in sorted(BUNDLED_ROOT.glob("*/samples/valid/*.json"))]
XML_SAMPLES = [
    etree.fromstring(path.read_bytes(), etree.XMLParser(remove_blank_text=True))
    for path in sorted(BUNDLED_ROOT.glob("*/samples/valid/*.xml"))
]


@pytest.fixture(scope="module")
def judges() -> dict[str, DocumentJudge]:
    return {"json": DocumentJudge("json"), "xml": DocumentJudge("xml")}


VALUES = st.one_of(
    st.sampled_from(
        [None, True, False, 0, -1, 10**18, 10**30, -(2**63), 0.1, 1e300, 5e-324, -0.0, "", " ", "\0", "NaN"]
    ),
    st.sampled_from(
        ["UAH", "JPY", "XXX", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "1.10", "+.5", "٣", "1e5"]
    ),
    st.sampled_from([[], {}, [[]], [{}], {"": {}}, [None] * 20, {"amount": "1"}, "x" * 2_000, "\U0001f600" * 400]),
    st.text(max_size=12),
    st.floats(allow_nan=False, allow_infinity=False),
)


def places(value: object) -> list[tuple[object, object]]:
    """Return every container of ``value`` with every key or index in it."""
    found: list[tuple[object, object]] = []
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            found += [(value, key), *places(value[key])]
    return found


@st.composite
def wrong_json(draw) -> bytes:
    receipt = deepcopy(draw(st.sampled_from(JSON_SAMPLES)))
    for _ in range(draw(st.integers(1, 4))):
        everywhere = places(receipt)
        if not everywhere:
            break
        container, key = draw(st.sampled_from(everywhere))
        match draw(st.integers(0, 5)):
            case 0:
                container[key] = draw(VALUES)
            case 1:
                del container[key]
            case 2:
                other, there = draw(st.sampled_from(everywhere))
                container[key] = deepcopy(other[there])
            case 3:
                for _ in range(draw(st.integers(1, 70))):
                    container[key] = draw(st.sampled_from([[container[key]], {"type": container[key]}]))
            case 4 if isinstance(container, list):
                container += deepcopy(container) * draw(st.integers(1, 30))
            case _:
                container[key] = str(container[key])
    text = json.dumps(receipt, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
    if draw(st.booleans()):
        mark = draw(st.sampled_from(['"total": ', '"amount": ', '"type": ', '"lines": ', '"number": ']))
        text = text.replace(mark, draw(st.sampled_from([f"{mark}1, {mark}", f"{mark}1e-400, ", '"tot\\u0061l": '])), 1)
    return text.encode(draw(st.sampled_from(["utf-8"] * 8 + ["utf-8-sig", "utf-16", "utf-32-le"])), "surrogatepass")


TEXTS = st.one_of(
    st.sampled_from(
        ["", " ", "-1", "1e5", "NaN", "INF", "9" * 40, "0.001", "2026-02-30T00:00:00Z", "UAH", "true", "x" * 2_000]
    ),
    st.text(st.characters(codec="utf-8", min_codepoint=32, exclude_characters="\ufffe\uffff"), max_size=12),
)
TAGS = ["Line", "CHECK", "{urn:receiptd:retail-receipt:1}Amount", "{urn:receiptd:retail-receipt:1}Receipt", "{urn:x}y"]
ENCODINGS = ["utf-8", "utf-8", "utf-16", "windows-1251", "iso-8859-5", "koi8-u", "us-ascii"]


def spoil(draw: st.DrawFn, root: etree._Element) -> None:
    """Do one wrong thing to a tree."""
    elements = list(root.iter(etree.Element))
    one, other = draw(st.sampled_from(elements)), draw(st.sampled_from(elements))
    match draw(st.integers(0, 6)):
        case 0:
            one.text = draw(TEXTS)
        case 1:
            one.set(draw(st.sampled_from(["currency", "taxId", "x", "{urn:x}y", *one.keys()])), draw(TEXTS))
        case 2 if one is not root:
            one.getparent().remove(one)
        case 3:
            other.append(deepcopy(one))
        case 4:
            one.tag = draw(st.sampled_from(TAGS))
        case 5:
            one.extend(
                [deepcopy(one[0]) if len(one) else etree.Element("more") for _ in range(draw(st.integers(1, 30)))]
            )
        case _:
            one.append(draw(st.sampled_from([etree.Comment, etree.ProcessingInstruction]))("x"))


@st.composite
def wrong_xml(draw) -> bytes:
    root = deepcopy(draw(st.sampled_from(XML_SAMPLES)))
    for _ in range(draw(st.integers(1, 4))):
        spoil(draw, root)
    encoding = draw(st.sampled_from(ENCODINGS))
    body = etree.tostring(root, encoding=encoding, xml_declaration=True)
    if draw(st.integers(0, 5)) == 0:
        body = body.replace(encoding.encode(), draw(st.sampled_from(ENCODINGS)).encode(), 1)
    if draw(st.integers(0, 8)) == 0:
        body = body.replace(b"?>", b"?><!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>", 1)
    return body


@settings(max_examples=200, deadline=None)
@given(body=wrong_json())
def test_wrong_json_gets_a_verdict(judges, body):
    judges["json"](body)


@settings(max_examples=200, deadline=None)
@given(body=wrong_xml())
def test_wrong_xml_gets_a_verdict(judges, body):
    judges["xml"](body)
