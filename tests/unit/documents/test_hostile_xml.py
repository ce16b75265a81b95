"""Hostile XML, given to the decoder and to a schema themselves: refused, or judged, in a blink (invariant 13)."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest

from receiptd.documents import DocumentError
from receiptd.documents.schemas.xml_schema import XmlSchema
from receiptd.documents.xml_document import BYTES_MAX, decode_xml

MIB = 1_048_576
BUDGET_S = 0.1
LAUGHS = "<!DOCTYPE l [" + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 20)) + "]><l>&a19;</l>"
EXTERNAL = '<!DOCTYPE l [<!ENTITY x SYSTEM "{}">]><l>&x;</l>'
PARAMETER = '<!DOCTYPE l [<!ENTITY % x SYSTEM "{}">%x;]><l/>'

REFUSED = {
    "50 MB of text": (b"<a>" + b"x" * 50_000_000 + b"</a>", 413, "document-too-large"),
    "50 MB of elements": (b"<a>" + b"<b/>" * 12_500_000 + b"</a>", 413, "document-too-large"),
    "50 MB of UTF-16": (b"\xff\xfe" + b"<\0a\0>\0" * 8_000_000, 413, "document-too-large"),
    "depth of 100,000": (b"<a>" * 100_000 + b"</a>" * 100_000, 400, "document-too-complex"),
    "depth of 5,000": (b"<a>" * 5_000 + b"</a>" * 5_000, 400, "document-too-complex"),
    "depth of 257, prefixed": (b'<p:a xmlns:p="u">' + b"<p:a>" * 256 + b"</p:a>" * 257, 400, "document-too-complex"),
    "a million attributes": (
        b"<a " + b"".join(b'b%d="" ' % i for i in range(170_000)) + b"/>",
        400,
        "document-too-complex",
    ),
    "an attribute 20,000 times": (b"<a" + b' b="1"' * 19_999 + b"/>", 400, "xml-malformed"),
    "30,000 namespaces": (
        b"<a " + b"".join(b'xmlns:n%d="u%d" ' % (i, i) for i in range(30_000)) + b"/>",
        400,
        "document-too-complex",
    ),
    "20,000 siblings": (b"<a>" + b"<b/>" * 19_998 + b"</a>", 400, "document-too-complex"),
    "a name of a MiB": (b"<" + b"n" * MIB + b"/>", 400, "xml-malformed"),
    "an attribute name of a MiB": (b"<a " + b"n" * MIB + b'=""/>', 400, "xml-malformed"),
    "a tag that never ends": (b"<a " + b" " * MIB, 400, "xml-malformed"),
    "an attribute that never ends": (b'<a b="' + b"x" * MIB, 400, "xml-malformed"),
    "a comment that never ends": (b"<a><!--" + b"-x" * (MIB // 2), 400, "xml-malformed"),
    "CDATA that never ends": (b"<a><![CDATA[" + b"]]" * (MIB // 2), 400, "xml-malformed"),
    "an instruction that never ends": (b"<a><?p " + b"?" * MIB, 400, "xml-malformed"),
    "a declaration that never ends": (b"<?xml " + b" " * MIB, 400, "xml-malformed"),
    "an entity of ten digits": (b"<a>&#1234567890;</a>", 400, "xml-malformed"),
    "an entity of a MiB": (b"<a>&#" + b"0" * MIB + b";</a>", 400, "xml-malformed"),
    "undeclared entities": (b"<a>" + b"&b;" * 300_000 + b"</a>", 400, "xml-malformed"),
    "open tags": (b"<" * 20_000, 400, "xml-malformed"),
    "ampersands": (b"<a>" + b"&" * MIB, 400, "xml-malformed"),
    "NUL": (b"<a>\0</a>", 400, "xml-malformed"),
    "NUL by reference": (b"<a>&#0;</a>", 400, "xml-malformed"),
    "a control character by reference": (b"<a>&#8;</a>", 400, "xml-malformed"),
    "NUL after the end": (b"<a/>\0", 400, "xml-malformed"),
    "only NUL": (b"\0" * MIB, 400, "xml-malformed"),
    "nothing": (b"", 400, "document-empty"),
    "a mark only": (b"\xef\xbb\xbf", 400, "xml-malformed"),
    "a UTF-16 mark only": (b"\xff\xfe", 400, "document-empty"),
    "half a UTF-16 character": ("<a/>".encode("utf-16")[:-1], 400, "xml-malformed"),
    "UTF-16 in two byte orders": ("<a>".encode("utf-16-le") + "</a>".encode("utf-16-be"), 400, "xml-malformed"),
    "UTF-8 and windows-1251": ("<a>Ж".encode() + "Ж</a>".encode("cp1251"), 400, "xml-malformed"),
    "UTF-8 after UTF-16": ("<a>".encode("utf-16") + b"</a>", 400, "xml-malformed"),
    "UTF-32": ("<a/>".encode("utf-32"), 400, "encoding-unsupported"),
    "EBCDIC": ("<?xml version='1.0'?><a/>".encode("cp037"), 400, "xml-malformed"),
    "UTF-7": (b'<?xml version="1.0" encoding="utf-7"?>+ADwAIQ-DOCTYPE a+AD4-', 400, "encoding-unsupported"),
    "an unknown encoding": (b'<?xml version="1.0" encoding="x-x"?><a/>', 400, "encoding-unsupported"),
    "an encoding of a MiB": (b'<?xml version="1.0" encoding="' + b"x" * MIB + b'"?><a/>', 400, "xml-malformed"),
    "lower-case doctype": (b"<!doctype a><a/>", 400, "xml-malformed"),
    "a doctype with a space": (b"<! DOCTYPE a><a/>", 400, "xml-malformed"),
    **{
        f"{name} in {encoding}": (text.encode(encoding), 400, "doctype-forbidden")
        for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be")
        for name, text in {
            "laughs": LAUGHS,
            "a file": EXTERNAL.format("file:///etc/passwd"),
            "a URL": EXTERNAL.format("http://127.0.0.1:9/"),
            "a parameter entity": PARAMETER.format("http://127.0.0.1:9/"),
            "a doctype after a comment": "<!-- x --><!DOCTYPE a><a/>",
            "an external subset": '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/"><a/>',
        }.items()
    },
}
TAKEN = {
    "references": b"<r>" + b"&lt;" * 260_000 + b"</r>",
    "19,000 attributes": b"<r " + b"".join(b'b%d="" ' % i for i in range(19_000)) + b"/>",
    "9,000 namespaces": b"<r " + b"".join(b'xmlns:n%d="u%d" ' % (i, i) for i in range(9_000)) + b"/>",
    "9,000 prefixed attributes": b'<r xmlns:p="u" ' + b"".join(b'p:b%d="" ' % i for i in range(9_000)) + b"/>",
    "19,000 faults": b"<r>" + (b"<g>" + b"<x/>" * 990 + b"</g>") * 19 + b"</r>",
    "faults 250 levels deep": b"<r>" + b"<g>" * 250 + b"x" + b"</g>" * 250 + b"</r>",
    "990 faulty values": b"<r><g>" + b"<d>x</d>" * 990 + b"</g></r>",
    "long faulty values": b"<r><g>" + (b"<d>" + b"9" * 1_000 + b"x</d>") * 990 + b"</g></r>",
    "a text of a MiB": b"<r><g><d>" + b"9" * 1_000_000 + b"x</d></g></r>",
    "CDATA": b"<r>" + b"<![CDATA[x]]>" * 19_000 + b"</r>",
    "comments": b"<r>" + b"<!---->" * 19_000 + b"</r>",
    "instructions": b"<r>" + b"<?p?>" * 19_000 + b"</r>",
    "types that do not exist": b'<r xmlns:i="http://www.w3.org/2001/XMLSchema-instance"><g>'
    + b"".join(b'<d i:type="t%d">1</d>' % i for i in range(990))
    + b"</g></r>",
    "a division of 900": b"<r><g>" + b"<a/>" * 900 + b"<x/></g></r>",
    "divisions in each of 300": b"<r>" + (b"<g>" + b"<a/>" * 60 + b"<x/></g>") * 300 + b"</r>",
    "an e-mail of dots": b"<r><g><m>a@" + b"." * 1_000_000 + b"\n</m></g></r>",
    "990 e-mails of dots": b"<r><g>" + (b"<m>a@" + b"." * 900 + b"\n</m>") * 990 + b"</g></r>",
    "keys all alike": b"<r>" + (b"<g>" + b'<d k="1">1</d>' * 900 + b"</g>") * 9 + b"</r>",
}
XSD = """<x:schema xmlns:x="http://www.w3.org/2001/XMLSchema"><x:element name="r"><x:complexType><x:sequence>
<x:element name="g" maxOccurs="unbounded"><x:complexType><x:choice maxOccurs="unbounded">
<x:element name="a" maxOccurs="unbounded"/><x:element name="b" minOccurs="0" maxOccurs="9"/>
<x:element name="d" maxOccurs="unbounded"><x:complexType><x:simpleContent><x:extension base="x:decimal">
  <x:attribute name="k" type="x:int"/></x:extension></x:simpleContent></x:complexType></x:element>
<x:element name="m"><x:simpleType><x:restriction base="x:string"><x:pattern value=".+@.+[.]+.+"/></x:restriction>
</x:simpleType></x:element></x:choice></x:complexType></x:element></x:sequence></x:complexType>
<x:unique name="u"><x:selector xpath="g/d"/><x:field xpath="@k"/></x:unique></x:element></x:schema>"""


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    folder = tmp_path_factory.mktemp("type")
    (folder / "schema.xsd").write_text(XSD)
    return XmlSchema(folder / "schema.xsd", folder)


def quickest_s(call) -> float:
    """Return the best of five, of processor time: the machine may be busy."""
    took = []
    for _ in range(5):
        started = time.thread_time()
        call()
        took.append(time.thread_time() - started)
        if took[-1] < BUDGET_S:
            break
    return min(took)


def refusal(body: bytes) -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        decode_xml(body)
    return caught.value


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_hostile_is_refused_in_a_blink(name):
    body, status, code = REFUSED[name]
    error = refusal(body)
    assert (error.status, error.code) == (status, code)
    assert max(len(error.detail), len(error.where)) <= 300
    assert quickest_s(lambda: refusal(body)) < BUDGET_S


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_costly_is_judged_in_a_blink(schema, name):
    body = TAKEN[name]
    assert len(body) <= BYTES_MAX
    found = schema.findings(decode_xml(body))
    assert 0 < len(found) <= 50
    assert max(len(finding.message) for finding in found) <= 1_000
    assert max(len(finding.where) for finding in found) <= 320
    assert quickest_s(lambda: schema.findings(decode_xml(body))) < BUDGET_S


def test_nothing_stays_behind(schema):
    def judge_all() -> None:
        for body, _, _ in REFUSED.values():
            refusal(body)
        for body in TAKEN.values():
            schema.findings(decode_xml(body))

    def resident_mib() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4 / 1024

    judge_all()
    before = resident_mib()
    tracemalloc.start()
    try:
        judge_all()
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    judge_all()
    assert left < MIB
    assert resident_mib() - before < 30
