"""XML decoding: encodings, refusals, and a memory that stays flat."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from receiptd.documents import DocumentError
from receiptd.documents import xml_document as module
from receiptd.documents.xml_document import MARKUP_MAX, SIBLINGS_MAX, decode_xml


def refusal(body: bytes, charset: str = "") -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        decode_xml(body, charset)
    return caught.value


def declared(encoding: str, text: str = "Ґедзь") -> str:
    return f'<?xml version="1.0" encoding="{encoding}"?><a>{text}</a>'


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        ("<a>Ґедзь</a>".encode(), ""),
        (declared("UTF-8").encode(), ""),
        ("\ufeff".encode() + declared("windows-1251").encode(), "windows-1251"),
        (declared("windows-1251").encode("cp1251"), ""),
        (declared("WINDOWS-1251").encode("cp1251"), ""),
        (declared("utf-8").encode("cp1251"), "windows-1251"),
        (declared("windows-1251").encode(), "utf-8"),
        (declared("koi8-u").encode("koi8-u"), ""),
        (declared("UTF-16").encode("utf-16"), ""),
        (declared("UTF-16").encode("utf-16-le"), ""),
        (declared("UTF-16").encode("utf-16-be"), ""),
        (b"\xfe\xff" + declared("UTF-16").encode("utf-16-be"), "utf-8"),
        ("<a>Ґедзь</a>".encode("utf-16-be"), "utf-16"),
        ("<a>Ґедзь</a>".encode("utf-16-le"), "utf-16le"),
        (declared("UTF-16").encode(), "utf-8"),
        (declared("UTF-8").encode("utf-16"), ""),
        (declared("UTF-8").encode("utf-16"), "windows-1251"),
        (declared("UTF-8").encode("utf-16-le"), "utf-16"),
        ("\ufeff<a>Ґедзь</a>".encode(), "iso-8859-5"),
        (b"\n" + "<a>Ґедзь</a>".encode(), ""),
        (f'<?xml version="1.0"{" " * 300}encoding="cp1251"?><a>Ґедзь</a>'.encode("cp1251"), ""),
        ("<?xml version='1.0' encoding = 'windows-1251' standalone='yes' ?><a>Ґедзь</a>".encode("cp1251"), ""),
    ],
)
def test_encodings_by_mark_then_charset_then_declaration(body, charset):
    assert decode_xml(body, charset).text == "Ґедзь"


@pytest.mark.parametrize("name", module._ENCODINGS)
def test_every_character_of_every_encoding_of_the_list_arrives(name):
    codes = range(0xA0, 0x100) if "iso" in name or "latin" in name else range(0x80, 0x100)
    text = "Ґ€" if name.startswith("utf") else "".join(bytes([code]).decode(name, "ignore") for code in codes)
    assert decode_xml(f"<a>{text}</a>".encode(name), name).text == (text or None)
    assert decode_xml(declared(name, text).encode(name)).text == (text or None)


@pytest.mark.parametrize(
    ("body", "charset", "where"),
    [
        (b"<a>\n\xff</a>", "", "line 2, byte 4"),
        (b"<a>\xd0</a>", "", "line 1, byte 3"),
        (b"<a>\xed\xa0\x80</a>", "", "line 1, byte 3"),
        (b"<a>\xc0\x80</a>", "", "line 1, byte 3"),
        (b"\xef\xbb\xbf<a>\xe4</a>", "iso-8859-1", "line 1, byte 6"),
        (declared("UTF-8", "ж").encode("cp1251"), "", "line 1, byte 41"),
        (declared("windows-1251", "ж").encode("cp1251"), "utf-8", "line 1, byte 48"),
        (declared("windows-1251", "И").encode(), "", "line 1, byte 49"),
        (b"<a>\n\n12 \x81</a>", "windows-1252", "line 3, byte 8"),
        (b"<a>\x98</a>", "windows-1251", "line 1, byte 3"),
        (b"<a>\xa5</a>", "iso-8859-3", "line 1, byte 3"),
        ("<a>ä</a>".encode(), "us-ascii", "line 1, byte 3"),
        ("<a>ä</a>".encode("utf-16")[:-1], "", "line 1, byte 16"),
        ("<a>\n".encode("utf-16-le") + b"\x00\xd8" + "</a>".encode("utf-16-le"), "", "line 2, byte 8"),
    ],
)
def test_bytes_that_the_encoding_does_not_know_are_named(body, charset, where):
    error = refusal(body, charset)
    assert (error.status, error.code, error.where) == (400, "xml-malformed", where)
    assert "name the encoding that the document is in" in error.detail


def test_windows_text_under_the_name_of_an_iso_encoding_is_no_control_character():
    error = refusal("<a>\n„Tee“ – 3 €</a>".encode("cp1252"), "iso-8859-1")
    assert (error.code, error.where) == ("xml-malformed", "line 2")
    assert "U+0084 is a control character of ISO-8859-1; if the document is in windows-125x" in error.detail
    assert decode_xml(b"<a>\x85</a>", "iso-8859-1").text == "\x85"  # a line end, on mainframes


def test_xml_1_1_is_read_as_far_as_it_is_xml_1_0():
    assert decode_xml(b'<?xml version="1.1"?><a>&#x80;</a>').text == "\x80"
    for character in ("\x7f", "\x80", "\x9f"):
        assert "XML 1.1" in refusal(f"<?xml version='1.1'?><a>{character}</a>".encode()).detail
    assert decode_xml("<a>1.1 \x80</a>".encode()).text == "1.1 \x80"


def test_a_declaration_of_utf_16_in_other_bytes_is_a_contradiction():
    assert "let it say UTF-8" in refusal(declared("UTF-16").encode()).detail


@pytest.mark.parametrize(
    "name", ["utf-7", "cp037", "x-unknown", "shift_jis", "utf-32", "zlib", "idna", "../../etc/passwd"]
)
def test_other_encodings_are_refused(name):
    assert refusal(b"<a/>", name).code == "encoding-unsupported"


def test_utf_7_cannot_hide_a_doctype():
    body = b'<?xml version="1.0" encoding="UTF-7"?>' + "<!DOCTYPE a><a/>".encode("utf-7")
    assert refusal(body).code == "encoding-unsupported"


@pytest.mark.parametrize(
    "prolog",
    [
        "<!DOCTYPE a>",
        "<!-- x --><?pi?><!DOCTYPE a SYSTEM 'file:///etc/passwd'>",
        "<!DOCTYPE a [<!ENTITY % p SYSTEM 'file:///etc/passwd'>%p;]>",
        "<!DOCTYPE a [<!ENTITY x SYSTEM 'http://127.0.0.1:9/'>]>",
        "<!DOCTYPE a [<!ENTITY x 'y'>]>",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-16-le", "cp1251", "koi8-u"])
def test_any_doctype_is_refused(prolog, encoding):
    charset = "" if encoding.startswith("utf-16") else encoding
    error = refusal(f"{prolog}<a>&x;</a>".encode(encoding), charset)
    assert (error.status, error.code) == (400, "doctype-forbidden")


@pytest.mark.parametrize(
    "body",
    [
        b"<a>",
        b"<a><b></a>",
        b"<a/><a/>",
        b"<a>\x00</a>",
        b"<a>&#0;</a>",
        b"<a>&nbsp;</a>",
        b"<p:a/>",
        b'<a b="1" b="2"/>',
        b"<a>\xff</a>",
        b"<a>\xed\xa0\x80</a>",
        b"just text",
        b"<!doctype a><a/>",
        "<a>".encode("utf-16") + b"\x00",
        "<a>".encode("utf-16-le") + b"\x00\xd8" + "</a>".encode("utf-16-le"),
    ],
)
def test_what_is_not_well_formed_is_refused(body):
    error = refusal(body)
    assert (error.status, error.code) == (400, "xml-malformed")


def test_an_empty_document_is_named_so():
    assert refusal(b"  ").code == "document-empty"


def test_a_refusal_names_the_place_and_no_content():
    error = refusal(b"<a>\n<secret-free>4111 1111</a>")
    assert error.where.startswith("line 2")
    assert "4111" not in error.detail
    assert len(refusal(b"<" + b"n" * 5000 + b"></m>").detail) <= 300


def test_text_around_comments_and_cdata_is_one_text():
    assert decode_xml(b"<a>1<!-- x -->2<?y?>.<![CDATA[5]]>0</a>").text == "12.50"


@pytest.mark.parametrize(
    "body",
    [
        b"<a>" * 257 + b"</a>" * 257,
        b"<a>" + b"<b/>" * MARKUP_MAX + b"</a>",
        b"<a " + b" ".join(b'b%d="1"' % i for i in range(MARKUP_MAX + 1)) + b"/>",
        b"<a>" + b"<b/>" * (SIBLINGS_MAX + 1) + b"</a>",
    ],
)
def test_bounds(body):
    assert refusal(body).code == "document-too-complex"


def test_many_elements_under_many_parents_are_taken():
    assert len(decode_xml(b"<a>" + (b"<b>" + b"<c/>" * 90 + b"</b>") * 100 + b"</a>")) == 100


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4 / 1024


def test_names_that_never_come_again_do_not_fill_the_memory():
    """Invariant 13: lxml keeps every name that a thread parsed; without renewal this grows by 60 MiB."""

    def feed(start: int, documents: int) -> None:
        for document in range(start, start + documents):
            names = b"".join(b"<n%011d-%04d/>" % (document, i) for i in range(950))
            decode_xml(b"<r>" + names + b"</r>")

    feed(0, 400)
    before = resident_mib()
    feed(400, 1200)
    assert resident_mib() - before < 20


def test_trees_outlive_the_renewal_of_names(monkeypatch):
    monkeypatch.setattr(module._Parsers, "RENEWED_AFTER_BYTES", 200)
    schema = etree.XMLSchema(
        etree.fromstring(
            '<x:schema xmlns:x="http://www.w3.org/2001/XMLSchema"><x:element name="kept" type="x:string"/></x:schema>'
        )
    )
    find = etree.XPath("string(/kept)")
    kept = decode_xml(b"<kept>text</kept>")
    for i in range(100):
        decode_xml(b"<other%d/>" % i * 1)
    assert (kept.tag, find(kept), schema.validate(kept)) == ("kept", "text", True)
    assert find(decode_xml(b"<kept>again</kept>")) == "again"
