"""Patterns and content models: what libxml2 might try for ever is written in another way, and means the same."""

from __future__ import annotations

import itertools
import re
import time
from xml.sax.saxutils import quoteattr

import pytest
from lxml import etree

from receiptd.documents.schemas.xml_schema import XmlSchema
from receiptd.documents.schemas.xsd_patterns import harmless
from receiptd.documents.xml_document import decode_xml

XSD = '<x:schema xmlns:x="http://www.w3.org/2001/XMLSchema">{}</x:schema>'
TEXT = (
    '<x:element name="r"><x:simpleType><x:restriction base="x:string"><x:pattern value={}/></x:restriction>'
    "</x:simpleType></x:element>"
)

COSTLY = {  # each with texts that it takes, and a run that it would be divided over
    r".+@.+[.]+.+": (["a@b.c", "@@.@..."], "a@" + "." * 1_000 + "\n"),
    r"(a|aa)+": (["a", "aaa"], "a" * 1_000 + "!"),
    r"(.*)(\d+)(.*)": (["1", "a1b", "٣"], "1" * 1_000 + "\n"),
    r"a*a*a*a*a*b": (["b", "aab"], "a" * 1_000),
    r"(\p{L}{1,10} ?)+": (["Größe zwei", "Жук "], "a" * 1_000 + "!"),
    r"([a-zA-Z0-9_\.\-])+\@(([a-zA-Z0-9\-])+\.)+([a-zA-Z0-9]{2,4})+": (["a.b@c-d.info"], "a@b." + "c" * 1_000 + "!"),
    r"\w+([-+.']\w+)*@\w+([-.]\w+)*\.\w+([-.]\w+)*": (["o'b@c.de"], "a@" + "b." * 500 + "!"),
    r"[\w-\.]+@([\w-]+\.)+[\w-]{2,4}": (["a.b@c.d-e"], "a@" + "b." * 500 + "!"),
    r"[\i-[:]][\c-[:]]*\c": (["ab", "éa-"], "a" * 1_000 + " "),
    r"(\S+ )*\S+": (["a b", "x"], "a " * 500),
    r"(\d+[,.]?)*\d{2}": (["12", "1.234,50"], "1" * 1_000 + "!"),
    r"[!-ÿ]{1}[ -ÿ]{0,}[!-ÿ]{1}|[!-ÿ]{1}": (["a", "a b"], "a" * 1_000 + " "),
    r"[\p{IsBasicLatin}\p{IsLatin-1Supplement}]*é+": (["é", "aé"], "é" * 1_000 + "a"),
}


def textual(pattern: str) -> etree.XMLSchema:
    """Return libxml2's own schema for the element ``r`` with a text of ``pattern``."""
    return etree.XMLSchema(etree.fromstring(XSD.format(TEXT.format(quoteattr(pattern)))))


def accepts(schema: etree.XMLSchema, text: str) -> bool:
    root = etree.Element("r")
    root.text = text
    return schema.validate(root)


def cpu_ms(call) -> float:
    """Return the best of three: the machine may be busy."""
    took = []
    for _ in range(3):
        started = time.thread_time()
        call()
        took.append(time.thread_time() - started)
    return min(took) * 1_000


@pytest.mark.parametrize("pattern", COSTLY)
def test_a_costly_pattern_is_quick_and_takes_the_same_texts(tmp_path, pattern):
    (tmp_path / "schema.xsd").write_text(XSD.format(TEXT.format(quoteattr(pattern))), encoding="utf-8")
    schema = XmlSchema(tmp_path / "schema.xsd", tmp_path)
    texts, run = COSTLY[pattern]
    for text in texts:
        assert schema.findings(decode_xml(f"<r>{text}</r>".encode())) == []
    document = decode_xml(f"<r>{run}</r>".encode())
    found = schema.findings(document)
    assert found[0].message.endswith(f"is not accepted by the pattern '{pattern}'.")
    assert cpu_ms(lambda: schema.findings(document)) < 10


@pytest.mark.parametrize(
    "pattern",
    [
        # one way to read them
        "[A-Z]{3}", "[a-z]+", "a*b*", "[0-9]{1,13}(\\.[0-9]{2,8})?", "[^@]+@[^\\.]+\\..+",
        "([A-Z][a-z]*\\s?)+",
        # not understood
        "(", "a**", "a{,3}", "[b-a]*a*", "[^a-]*a*", "[\\P{L}]*a*", "[a[b]]*a*", "\\u0041*a*", "]*",
        "\\p{IsThai}*.*", "[a-",
        # too large
        "(x{1,300}){1,300}", "a*" * 1_500, "\\p{L}*\\p{N}*\\p{P}*\\p{S}*\\p{Z}*.*", "(a|b)*a" + "(a|b)" * 12,
    ],
)  # fmt: skip
def test_what_is_harmless_not_understood_or_too_large_stays(pattern):
    assert harmless(pattern) == pattern


@pytest.mark.parametrize(
    "pattern",
    [
        "(a|ab)*(b|c)*", "(a{1,}|b{1,})*c", "(a{0,3}b?)*c", "((a|b)*a(a|b)){1,3}", "(ab{2,}|a{0,3}b)*", "[^a]*[^b]*",
        "(a|)*b*b", "(a|b*)*ab*", "a{0}b*b", "((a{1,3}){1,3}b)*c?", ".*[a-c-[b]].*", "(\\.|[.-])*-",
        "[\\^\\]a]*[\\]-b]*a", "(a?){3}a*b",
    ],
)  # fmt: skip
def test_the_language_stays_the_same(pattern):
    written = harmless(pattern)
    assert written != pattern
    schema = textual(written)
    meant = re.compile(pattern.replace("[a-c-[b]]", "[ac]").replace("[\\]-b]", "[\\]b]"))
    for length in range(6):
        for text in map("".join, itertools.product("abc-]", repeat=length)):
            assert accepts(schema, text) is bool(meant.fullmatch(text)), text


CONTENT = '<x:element name="r"><x:complexType>{}</x:complexType></x:element>'
A, B = '<x:element name="a" {}/>', '<x:element name="b" {}/>'
ANY, OPTIONAL = 'maxOccurs="unbounded"', 'minOccurs="0" maxOccurs="unbounded"'
FEW, SOME = 'minOccurs="0" maxOccurs="2"', 'minOccurs="2" maxOccurs="3"'


@pytest.mark.parametrize(
    "content",
    [
        f"<x:choice {ANY}>{A.format(ANY)}{B.format(ANY)}</x:choice>",
        f"<x:choice {ANY}>{A.format(OPTIONAL)}{B.format('')}</x:choice>",
        f"<x:choice {ANY}>{A.format(FEW)}{B.format(SOME)}</x:choice>",
        f"<x:sequence {ANY}>{A.format(OPTIONAL)}{B.format(FEW)}</x:sequence>",
        f"<x:sequence {ANY}>{A.format(ANY)}{B.format('')}</x:sequence>",
        f"<x:sequence {ANY}>{A.format(ANY)}</x:sequence>",
        (
            f"<x:sequence>{B.format('')}<x:choice {OPTIONAL}>{A.format(ANY)}"
            f"<x:sequence {ANY}>{B.format('')}{A.format('')}</x:sequence></x:choice></x:sequence>"
        ),
    ],
)
def test_content_models_mean_the_same_and_are_quick(tmp_path, content):
    text = XSD.format(CONTENT.format(content))
    (tmp_path / "schema.xsd").write_text(text)
    schema, plain = XmlSchema(tmp_path / "schema.xsd", tmp_path), etree.XMLSchema(etree.fromstring(text))
    for length in range(7):
        for names in itertools.product("ab", repeat=length):
            document = decode_xml(f"<r>{''.join(f'<{name}/>' for name in names)}</r>".encode())
            assert (schema.findings(document) == []) is plain.validate(document), names
    for run in ("<a/>" * 900, "<a/><b/>" * 450):
        document = decode_xml(f"<r>{run}<c/></r>".encode())
        assert schema.findings(document) != []
        assert cpu_ms(lambda document=document: schema.findings(document)) < 20
