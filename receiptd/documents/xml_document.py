"""XML: from bytes to a tree, in any of the encodings that receipts come in, or a refusal.

The bytes decide nothing that libxml2 could be tricked with: the encoding is chosen here, from a closed list, and a
DOCTYPE is refused before the parser sees it (even with entities unresolved it would read an external subset).
"""

from __future__ import annotations

import ctypes
import re
from typing import TypeAlias

from lxml import etree

from receiptd.documents.errors import DocumentError

Element: TypeAlias = "etree._Element"  # noqa: SLF001 - the class has no public name

MARKUP_MAX = 20_000
"""``<`` and ``=`` in one document: libxml2's diagnosis costs up to 5 us for each."""
SIBLINGS_MAX = 1_000
"""Elements under one parent: libxml2's diagnosis counts a faulty element's elder siblings, each time."""

_FEW_ELEMENTS = 1_000
_MANY_SIBLINGS = etree.XPath(f"boolean(//*[*[{SIBLINGS_MAX + 1}]])")
_RESOURCE_LIMIT = 114  # xmlParserErrors.XML_ERR_RESOURCE_LIMIT
_DECLARED = re.compile(rb"\s*<\?xml[^>]{1,200}?\sencoding\s*=\s*[\"']([A-Za-z0-9._:-]{1,40})[\"']")

_ENCODINGS = {
    **dict.fromkeys(("utf-8", "utf8", "us-ascii", "ascii"), "UTF-8"),
    **{name: f"windows-{page}" for page in range(1250, 1259) for name in (f"windows-{page}", f"cp{page}")},
    **{f"iso-8859-{part}": f"ISO-8859-{part}" for part in (*range(1, 12), *range(13, 17))},
    "latin1": "ISO-8859-1",
    "koi8-r": "KOI8-R",
    "koi8-u": "KOI8-U",
    "utf-16": "UTF-16",
    "utf-16le": "UTF-16LE",
    "utf-16be": "UTF-16BE",
}
"""Encodings by lower-case name. In each but UTF-16, which is transcoded, an ASCII byte means that character only."""


def decode_xml(body: bytes, charset: str = "") -> Element:
    """Return the root of ``body``'s tree, without comments and processing instructions.

    A byte order mark wins over ``charset`` (the media type's), which wins over the declaration (RFC 7303, section
    3). The bytes ``<!DOCTYPE`` are refused anywhere, in comments and CDATA too.

    Raises:
        DocumentError: 400, not well-formed, an encoding that is not taken, a DOCTYPE, or past a bound: 256 levels,
            20,000 ``<`` or ``=``, 1,000 elements under one parent.
    """
    encoding, text = _transcode(body, charset)
    if b"<!DOCTYPE" in text:
        raise DocumentError(400, "doctype-forbidden", "a document with <!DOCTYPE is refused; send it without one")
    markup = text.count(b"<")
    if markup > MARKUP_MAX or text.count(b"=") > MARKUP_MAX:
        raise _too_complex(f"more than {MARKUP_MAX} tags or attributes")
    try:
        root = etree.fromstring(text, _parsers.get(encoding, len(text)))
    except etree.XMLSyntaxError as error:
        raise _malformed(body, error) from None
    if markup > _FEW_ELEMENTS and _MANY_SIBLINGS(root):
        raise _too_complex(f"more than {SIBLINGS_MAX} elements under one parent")
    return root


def _transcode(body: bytes, charset: str) -> tuple[str, bytes]:
    """Return the encoding's name for libxml2 and the text in it: ``body`` itself, unless it is UTF-16."""
    if body.startswith(b"\xef\xbb\xbf"):
        return "UTF-8", body[3:]
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        name = "UTF-16"
    elif charset:
        name = charset
    elif body.startswith((b"<\x00", b"\x00<")):  # XML 1.0, appendix F
        name = "UTF-16BE" if body.startswith(b"\x00") else "UTF-16LE"
    else:
        declared = _DECLARED.match(body)
        name = declared[1].decode() if declared else "UTF-8"
        if name.upper().startswith("UTF-16"):
            name = "UTF-8"  # a declaration that reads byte by byte is not in UTF-16, whatever it says
    encoding = _ENCODINGS.get(name.lower())
    if encoding is None:
        raise DocumentError(
            400,
            "encoding-unsupported",
            f"the encoding {name!r} is not taken; send UTF-8, UTF-16, windows-125x, ISO-8859-x, KOI8-R or KOI8-U",
        )
    if not encoding.startswith("UTF-16"):
        return encoding, body
    if encoding == "UTF-16" and not body.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "UTF-16LE" if body.startswith(b"<\x00") else "UTF-16BE"  # RFC 2781, section 4.3
    try:
        return "UTF-8", body.decode(encoding).encode()
    except UnicodeDecodeError as error:
        raise DocumentError(400, "xml-malformed", f"not {encoding}: {error.reason}", f"byte {error.start}") from None


class _Parsers:
    """The parsers by encoding, renewed together with the table of names that they share.

    lxml keeps every element, attribute, prefix and namespace name that a thread ever parsed in one table for that
    thread, and frees none of them: documents with names of their own would fill the memory for good. So the table is
    dropped after so many bytes of XML, and lxml begins another; trees and schemas that live keep theirs by reference.
    """

    RENEWED_AFTER_BYTES = 4 * 1024 * 1024

    def __init__(self) -> None:
        self._by_encoding: dict[str, etree.XMLParser] = {}
        self._bytes = 0

    def get(self, encoding: str, size: int) -> etree.XMLParser:
        """Return the parser for ``encoding``, which overrides what the document declares, to read ``size`` bytes."""
        self._bytes += size
        if self._bytes > self.RENEWED_AFTER_BYTES:
            self._bytes = size
            self._by_encoding.clear()
            _thread_state().pop("_ParserDictionaryContext", None)
        parser = self._by_encoding.get(encoding)
        if parser is None:
            parser = self._by_encoding[encoding] = etree.XMLParser(
                encoding=encoding,
                resolve_entities=False,
                no_network=True,
                load_dtd=False,
                dtd_validation=False,
                huge_tree=False,
                remove_comments=True,  # so that the text on both sides of one is one text
                remove_pis=True,
                collect_ids=False,
            )
        return parser


def _thread_state() -> dict[str, object]:
    """Return the interpreter's dictionary for this thread (PyThreadState_GetDict), where lxml keeps its table."""
    get = ctypes.pythonapi.PyThreadState_GetDict
    get.restype = ctypes.c_void_p  # a borrowed reference, which py_object as a result type would release
    state: dict[str, object] = ctypes.cast(get(), ctypes.py_object).value
    return state


_parsers = _Parsers()


def _too_complex(why: str) -> DocumentError:
    return DocumentError(400, "document-too-complex", f"the document has {why}; split it")


def _malformed(body: bytes, error: etree.XMLSyntaxError) -> DocumentError:
    if not body.strip():
        return DocumentError(400, "document-empty", "the document is empty")
    line, column = error.position
    where = f"line {line}, column {column}"
    # libxml2's text names elements and attributes; lxml appends the place to it.
    message = (error.msg or "not well-formed").partition(", line ")[0].strip()
    if getattr(error, "code", 0) == _RESOURCE_LIMIT:
        return DocumentError(400, "document-too-complex", f"a limit of the parser is reached: {message}", where)
    return DocumentError(400, "xml-malformed", message, where)
