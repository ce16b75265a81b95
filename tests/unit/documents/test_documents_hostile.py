"""Hostile documents, at the largest size that is taken: each is judged in a blink, or refused (invariants 12, 13)."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest
from documents_kit import JSON_TYPE, XML_TYPE, write_type

from receiptd.documents import BUNDLED_ROOT, DocumentError, ReceiptTypes

MIB = 1_048_576
UNBOUNDED_XSD = """<x:schema xmlns:x="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:bon"
    elementFormDefault="qualified"><x:element name="Bon"><x:complexType><x:sequence>
  <x:element name="Line" maxOccurs="unbounded"><x:complexType><x:sequence>
    <x:element name="Sum" type="x:decimal" minOccurs="0" maxOccurs="unbounded"/>
  </x:sequence><x:attribute name="n" type="x:int" use="required"/></x:complexType></x:element>
</x:sequence></x:complexType></x:element></x:schema>"""
STRICT = {
    "properties": {"lines": {"items": {"type": "object", "required": ["name"]}}, "kind": True},
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def types(tmp_path_factory):
    """The bundled types, and two that take a whole MiB and bound nothing themselves."""
    root = tmp_path_factory.mktemp("types")
    rule = {"id": "sum", "that": "sum(receipt.lines.map(l, l.amount)) == receipt.total", "message": "m"}
    write_type(root, JSON_TYPE | {"rules": [rule]}, STRICT)
    write_type(root, XML_TYPE | {"rules": [rule]}, UNBOUNDED_XSD)
    return ReceiptTypes.load([BUNDLED_ROOT, root])


def filled(start: bytes, item: bytes, end: bytes, between: bytes = b"") -> bytes:
    """Return ``start``, as many ``item`` as a MiB takes, ``end``."""
    count = (MIB - len(start) - len(end)) // (len(item) + len(between))
    return start + between.join([item] * count) + end


def numbered(start: bytes, item: bytes, end: bytes, between: bytes = b"", count: int = 1_000_000) -> bytes:
    """Return likewise with items that hold their number."""
    size = len(item % count) + len(between)
    return start + between.join(item % i for i in range(min(count, (MIB - len(start) - len(end)) // size))) + end


SLIP_START, BON_START = b'{"kind":"slip",', b'<Bon xmlns="urn:bon">'
LAUGHS = b"".join(b'<!ENTITY a%d "%s">' % (i, b"&a%d;" % (i - 1) * 10) for i in range(1, 20))
HOSTILE = {
    "json depth of 100,000": (b"[" * 100_000, "document-too-complex"),
    "json depth of 19,000": (b"[" * 19_000 + b"]" * 19_000, "json-too-deep"),
    "json object depth": (b'{"a":' * 19_000, "json-too-deep"),
    "json number of a million digits": (b'{"kind":"slip","total":' + b"9" * 1_000_000 + b"}", "json-malformed"),
    "json fraction of a million digits": (b'{"kind":"slip","total":0.' + b"9" * 1_000_000 + b"}", "json-number"),
    "json exponent": (b'{"kind":"slip","total":1e-99999999999}', "json-number"),
    "json NaN": (b'{"kind":"slip","total":NaN}', "json-malformed"),
    "json Infinity": (b'{"kind":"slip","total":-Infinity}', "json-malformed"),
    "json number past all floats": (b'{"kind":"slip","total":1e999999}', "json-malformed"),
    "json -0": (b'{"kind":"slip","total":-0}', ""),
    "json lone surrogate": (b'{"kind":"slip","no":"\\udfff"}', "json-malformed"),
    "json surrogates in the wrong order": (b'{"kind":"slip","no":"\\ude00\\ud83d"}', "json-malformed"),
    "json surrogate as bytes": (b'{"kind":"slip","no":"\xed\xa0\x80"}', "json-malformed"),
    "json overlong UTF-8": (b'{"kind":"slip","no":"\xc0\xaf"}', "json-malformed"),
    "json NUL": (b'{"kind":"slip","no":"\x00"}', "json-malformed"),
    "json truncated": (b'{"kind":"slip","no":"7"', "json-malformed"),
    "json in UTF-16": ('{"kind":"slip"}'.encode("utf-16"), "encoding-unsupported"),
    "json in UTF-16 without a mark": ('{"kind":"slip"}'.encode("utf-16-le"), "encoding-unsupported"),
    "json in UTF-32": ('{"kind":"slip"}'.encode("utf-32"), "encoding-unsupported"),
    "json in UTF-32 without a mark": ('{"kind":"slip"}'.encode("utf-32-be"), "encoding-unsupported"),
    "json in Latin-1": ('{"kind":"slip","no":"é"}'.encode("latin-1"), "json-malformed"),
    "json in two encodings": ('{"kind":"slip","no":"é'.encode() + 'é"}'.encode("latin-1"), "json-malformed"),
    "json of two documents": (b'{"kind":"slip"}{"kind":"slip"}', "json-malformed"),
    "json of a million documents": (b"1 " * 500_000, "json-malformed"),
    "json and then NUL": (b'{"kind":"slip"}\x00', "json-malformed"),
    "json with two marks": (b"\xef\xbb\xbf" * 2 + b'{"kind":"slip"}', "json-malformed"),
    "json of nothing": (b"", "document-empty"),
    "json of a mark alone": (b"\xef\xbb\xbf", "document-empty"),
    "json in half UTF-8": (b'{"kind":"slip","no":"\xd0"}', "json-malformed"),
    "json of empty objects": (filled(SLIP_START + b'"lines":[', b"{}", b"]}", b","), "document-too-complex"),
    "json of 19,000 faulty lines": (SLIP_START + b'"lines":[' + b"{}," * 19_000 + b"{}]}", ""),
    "json of 500,000 numbers": (filled(SLIP_START + b'"lines":[', b"1", b"]}", b","), "document-too-complex"),
    "json of 49,000 numbers": (SLIP_START + b'"lines":[' + b"1," * 49_000 + b"1]}", ""),
    "json of 49,000 floats, one long": (
        SLIP_START + b'"lines":[' + b"1.5e1," * 49_000 + b"0.12345678901234567]}",
        "",
    ),
    "json of 49,000 numbers that need their digits counted": (
        SLIP_START + b'"no":"\\u0022","lines":[' + b"1.2345678901e+10," * 49_000 + b"1]}",
        "",
    ),
    "json of numbers near zero": (SLIP_START + b'"lines":[' + b"1.00e-310," * 49_000 + b"1]}", "document-too-complex"),
    "json of strings, some to be looked at": (SLIP_START + b'"no":"\\u0022","lines":[' + b'"",' * 49_000 + b'""]}', ""),
    "json of 1,900 faulty lines": (SLIP_START + b'"lines":[' + b"5," * 1_900 + b"5]}", ""),
    "json of keys": (numbered(SLIP_START, b'"k%d":1', b"}", b",", 49_000), ""),
    "json of as many keys as fit": (numbered(SLIP_START, b'"k%d":1', b"}", b","), "document-too-complex"),
    "json of one key, again and again": (filled(SLIP_START, b'"k":1', b"}", b","), "document-too-complex"),
    "json of keys, one twice and escaped": (
        numbered(SLIP_START, b'"k%d":1', b',"\\u006b7":1}', b",", 49_000),
        "json-duplicate-key",
    ),
    "json key twice, 60 levels down": (b'{"a":' * 60 + b'{"b":1,"\\u0062":2}' + b"}" * 60, "json-duplicate-key"),
    "json key twice, its quote escaped": (b'{"kind":"slip","\\"":1,"\\u0022":2}', "json-duplicate-key"),
    "json of keys, one twice": (numbered(SLIP_START, b'"k%d":1', b',"k7":1}', b",", 49_000), "json-duplicate-key"),
    "json of long numbers": (
        filled(SLIP_START + b'"lines":[', b"0.12345678901234567", b"]}", b","),
        "document-too-complex",
    ),
    "json of 5,000 long numbers": (SLIP_START + b'"lines":[' + b"0.12345678901234567," * 4_999 + b"0]}", ""),
    "json of a huge text": (SLIP_START + b'"no":"' + b"x" * 1_000_000 + b'"}', ""),
    "json of a huge key": (SLIP_START + b'"' + b"x" * 1_000_000 + b'":1}', ""),
    "json of spaces": (b" " * MIB, "document-empty"),
    "xml DOCTYPE": (b"<!DOCTYPE Bon><Bon/>", "doctype-forbidden"),
    "xml billion laughs": (b"<!DOCTYPE l [" + LAUGHS + b"]><l>&a19;</l>", "doctype-forbidden"),
    "xml laughs in UTF-16": ((b"<!DOCTYPE l [" + LAUGHS + b"]><l/>").decode().encode("utf-16"), "doctype-forbidden"),
    "xml external entity": (b'<!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/passwd">]><l>&x;</l>', "doctype-forbidden"),
    "xml UTF-7": (b'<?xml version="1.0" encoding="utf-7"?>+ADw-a/+AD4-', "encoding-unsupported"),
    "xml depth of 100,000": (b"<a>" * 100_000, "document-too-complex"),
    "xml depth of 9,000": (b"<a>" * 9_000 + b"</a>" * 9_000, "document-too-complex"),
    "xml of a million attributes": (numbered(b"<Bon ", b'a%d="1"', b"/>", b" "), "document-too-complex"),
    "xml of 19,000 attributes": (numbered(BON_START[:-1], b' a%d=""', b"/>", count=19_000), ""),
    "xml of 9,000 namespaces": (numbered(BON_START[:-1], b' xmlns:a%d="urn:a"', b"/>", count=9_000), ""),
    "xml of 4 byte elements": (filled(b"<Bon>", b"<a/>", b"</Bon>"), "document-too-complex"),
    "xml of 19,000 siblings": (b"<Bon>" + b"<a/>" * 19_000 + b"</Bon>", "document-too-complex"),
    "xml of 1,000 faulty lines": (BON_START + b"<Line/>" * 1_000 + b"</Bon>", ""),
    "xml of 19,000 faulty elements": (BON_START + (b"<Line>" + b"<Sum/>" * 990 + b"</Line>") * 19 + b"</Bon>", ""),
    "xml of comments": (BON_START + b"<!---->" * 19_000 + b"</Bon>", ""),
    "xml of a huge text": (BON_START + b"x" * 1_000_000 + b"</Bon>", ""),
    "xml of a huge number": (BON_START + b'<Line n="1"><Sum>' + b"9" * 1_000_000 + b"</Sum></Line></Bon>", ""),
    "xml of a huge name": (b"<" + b"x" * 1_000_000 + b"/>", "xml-malformed"),
    "xml of references": (filled(BON_START, b"&lt;", b"</Bon>"), ""),
    "xml truncated": (BON_START + b"<Line", "xml-malformed"),
    "xml NUL": (b"<Bon>\x00</Bon>", "xml-malformed"),
    "xml of mixed encodings": ('<Bon no="Ж">'.encode() + "Ж</Bon>".encode("cp1251"), "xml-malformed"),
    "xml of spaces": (b" " * MIB, "document-empty"),
    "larger than any type takes, by far": (b"[" * (50 * MIB), "document-too-large"),
    "xml larger than any type takes, by far": (b"<a>" * (17 * MIB), "document-too-large"),
    "larger than any type takes": (b"<" * (MIB + 1), "document-too-large"),
}


def judge(types: ReceiptTypes, name: str, body: bytes) -> tuple[str, list[str]]:
    """Return the code of the refusal, or none, and the texts that go to the client."""
    try:
        result = types.check(body, "application/xml" if name.startswith("xml") else "application/json")
    except DocumentError as error:
        return error.code, [error.detail, error.where]
    assert not result.valid
    assert len(result.findings) <= 50
    return "", [text for finding in result.findings for text in (finding.message, finding.where)]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_documents_are_judged_in_a_blink(types, name):
    body, code = HOSTILE[name]
    took_s = []
    for _ in range(10):  # of processor time, and the best of ten: the machine may be busy
        started = time.thread_time()
        seen, texts = judge(types, name, body)
        took_s.append(time.thread_time() - started)
    assert seen == code
    assert max(map(len, texts)) <= 300
    assert min(took_s) < 0.1


def test_hostile_documents_leave_no_memory_behind(types):
    """Invariant 13."""

    def judge_all() -> None:
        for name, (body, _) in HOSTILE.items():
            judge(types, name, body)

    judge_all()
    tracemalloc.start()
    try:
        judge_all()
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert left < 2 * MIB


def test_memory_stays_flat_over_hundreds_of_them(types):
    """Invariant 13; what C libraries hold counts too."""
    cheap = {name: body for name, (body, _) in HOSTILE.items() if len(body) < 300_000}

    def judge_cheap(times: int) -> None:
        for name, body in cheap.items():
            for _ in range(times):
                judge(types, name, body)

    judge_cheap(2)
    before_kb = rss_kb()
    judge_cheap(10)
    assert len(cheap) * 10 > 300
    assert rss_kb() - before_kb < 8 * 1024


def rss_kb() -> int:
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])
