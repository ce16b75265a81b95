"""XML: from bytes to a tree, in any of the encodings that receipts come in, or a refusal.

The bytes decide nothing that libxml2 could be tricked with: the encoding is chosen here, from a closed list, and a
DOCTYPE is refused before the parser sees it (even with entities unresolved it would read an external subset).
"""

from __future__ import annotations

import ctypes
import re
import threading
from functools import lru_cache
from typing import TypeAlias

from lxml import etree

from receiptd.documents.errors import DocumentError

Element: TypeAlias = "etree._Element"  # noqa: SLF001 - the class has no public name

BYTES_MAX = 2 * 1024 * 1024
"""Bytes of one document, whatever its type would take."""
MARKUP_MAX = 20_000
"""``<`` and ``=`` in one document: libxml2's diagnosis costs up to 5 us for each."""
SIBLINGS_MAX = 1_000
"""Elements under one parent: libxml2's diagnosis counts a faulty element's elder siblings, each time."""

_SIBLING_MIN_BYTES = 4  # <a/>
_MANY_SIBLINGS = etree.XPath(f"boolean(//*[*[{SIBLINGS_MAX + 1}]])")
_RESOURCE_LIMIT = 114  # xmlParserErrors.XML_ERR_RESOURCE_LIMIT
_DECLARATION_MAX_BYTES = 400
_DECLARED = re.compile(rb"<\?xml[^>]*?\sencoding\s*=\s*[\"']([A-Za-z0-9._:-]{1,40})[\"']")
_XML_1_1 = re.compile(rb"(?:\xef\xbb\xbf)?<\?xml\s+version\s*=\s*[\"']1\.1")
_CONTROLS = re.compile(rb"\x7f|\xc2[\x80-\x84\x86-\x9f]")
_BOMS_16 = (b"\xff\xfe", b"\xfe\xff")
_UTF_32 = (b"\xff\xfe\0\0", b"\0\0\xfe\xff", b"<\0\0\0", b"\0\0\0<")

_ISO_PARTS = (*range(1, 12), *range(13, 17))
_ENCODINGS = {
    **dict.fromkeys(("utf-8", "utf8"), "UTF-8"),
    **dict.fromkeys(("us-ascii", "ascii"), "US-ASCII"),
    **{name: f"windows-{page}" for page in range(1250, 1259) for name in (f"windows-{page}", f"cp{page}")},
    **{f"{iso}-{part}": f"ISO-8859-{part}" for part in _ISO_PARTS for iso in ("iso-8859", "iso8859")},
    **dict.fromkeys(("latin1", "latin-1"), "ISO-8859-1"),
    **{name: name.upper() for name in ("koi8-r", "koi8-u", "utf-16", "utf-16le", "utf-16be")},
}
"""The encodings that are taken, by lower-case name."""


def decode_xml(body: bytes, charset: str = "") -> Element:
    """Return the root of ``body``'s tree, without comments and processing instructions.

    A byte order mark wins over ``charset`` (the media type's), which wins over the declaration (RFC 7303, section
    3). The text ``<!DOCTYPE`` is refused anywhere, in comments and CDATA too.

    Raises:
        DocumentError: 413, over 2 MiB; 400, not well-formed, an encoding that is not taken or not kept to, a DOCTYPE,
            or past a bound: 256 levels, 20,000 ``<`` or ``=``, 1,000 elements under one parent.
    """
    if len(body) > BYTES_MAX:
        raise DocumentError(413, "document-too-large", f"the document is larger than {BYTES_MAX} bytes")
    encoding = _encoding_of(body, charset)
    text = body if encoding == "UTF-8" else _transcode(body, encoding)
    if b"!" in text and b"<!DOCTYPE" in text:  # the first is the quicker, and most documents end it there
        raise DocumentError(400, "doctype-forbidden", "a document with <!DOCTYPE is refused; send it without one")
    if (encoding.startswith("ISO-8859-") or b"1.1" in text[:40]) and (match := _CONTROLS.search(text)):
        _refuse_control(text, match.start(), encoding)
    size = len(text)
    if size > MARKUP_MAX and (text.count(b"<") > MARKUP_MAX or text.count(b"=") > MARKUP_MAX):
        raise _too_complex(f"more than {MARKUP_MAX} tags or attributes")
    try:
        root = etree.fromstring(text, _parsers.get(size))
    except etree.XMLSyntaxError as error:
        raise _malformed(text, error) from None
    if size > SIBLINGS_MAX * _SIBLING_MIN_BYTES and _MANY_SIBLINGS(root):
        raise _too_complex(f"more than {SIBLINGS_MAX} elements under one parent")
    return root


def _encoding_of(body: bytes, charset: str) -> str:
    if body.startswith(b"\xef\xbb\xbf"):
        return "UTF-8"
    if body.startswith(_UTF_32):
        charset = "utf-32"  # which is not taken, and must not be read as UTF-16
    elif body.startswith(_BOMS_16):
        return "UTF-16"
    if charset:
        return _encoding(charset)
    if body.startswith(b"<?xml"):
        return _declared(body[: body.find(b"?>", 0, _DECLARATION_MAX_BYTES) + 1])
    if body.startswith((b"<\0", b"\0<")):  # XML 1.0, appendix F
        return "UTF-16BE" if body.startswith(b"\0") else "UTF-16LE"
    return "UTF-8"


@lru_cache(maxsize=64)
def _declared(declaration: bytes) -> str:
    """Return the encoding that an XML declaration names; what comes without its end names none."""
    match = _DECLARED.match(declaration)
    encoding = _encoding(match[1].decode()) if match else "UTF-8"
    if encoding.startswith("UTF-16"):  # XML 1.0, section 4.3.3: a fatal error
        raise DocumentError(
            400, "xml-malformed", "the document says that it is in UTF-16, and is not; let it say UTF-8", "line 1"
        )
    return encoding


def _encoding(name: str) -> str:
    encoding = _ENCODINGS.get(name.lower())
    if encoding is None:
        raise DocumentError(
            400,
            "encoding-unsupported",
            f"the encoding {name!r} is not taken; send UTF-8, UTF-16, windows-125x, ISO-8859-x, KOI8-R or KOI8-U",
        )
    return encoding


def _transcode(body: bytes, encoding: str) -> bytes:
    """Return ``body`` in UTF-8: Python's decoders are strict, name the faulty byte, and are quicker than libxml2's."""
    if encoding == "UTF-16" and not body.startswith(_BOMS_16):
        encoding = "UTF-16LE" if body.startswith(b"<\0") else "UTF-16BE"  # RFC 2781, section 4.3
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        raise _undecodable(body, encoding, error.start) from None
    return text.encode()


def _refuse_control(text: bytes, start: int, encoding: str) -> None:
    """Refuse the control character at ``start``: XML 1.1 forbids it (section 2.2), and nobody writes it in ISO-8859.

    There it is windows-125x under a wrong name: that has letters, quotes and dashes in those places.
    """
    if encoding.startswith("ISO-8859-"):
        why = f"a control character of {encoding}; if the document is in windows-125x, let it say so"
    elif _XML_1_1.match(text):
        why = "a control character, which XML 1.1 takes as a reference only"
    else:
        return
    line = text.count(b"\n", 0, start) + 1
    character = ord(text[start : start + 2].decode(errors="replace")[0])
    raise DocumentError(400, "xml-malformed", f"U+{character:04X} is {why}", f"line {line}")


class _Parsers(threading.local):
    """Each thread's parser, renewed together with the thread's table of names.

    lxml keeps every element, attribute, prefix and namespace name that a thread ever parsed in one table for that
    thread, and frees none of them: documents with names of their own would fill the memory for good. So the table is
    dropped after so many bytes of XML, and lxml begins another; trees and schemas that live keep theirs by reference.
    """

    RENEWED_AFTER_BYTES = 4 * 1024 * 1024

    _parser: etree.XMLParser

    def __init__(self) -> None:
        self._bytes = self.RENEWED_AFTER_BYTES

    def get(self, size: int) -> etree.XMLParser:
        """Return the thread's parser, to read ``size`` bytes of UTF-8, whatever encoding they declare."""
        self._bytes += size
        if self._bytes >= self.RENEWED_AFTER_BYTES:
            self._bytes = size
            _thread_state().pop("_ParserDictionaryContext", None)
            self._parser = etree.XMLParser(
                encoding="UTF-8",
                resolve_entities=False,
                no_network=True,
                load_dtd=False,
                dtd_validation=False,
                huge_tree=False,
                remove_comments=True,  # so that the text on both sides of one is one text
                remove_pis=True,
                collect_ids=False,
            )
        return self._parser


def _thread_state() -> dict[str, object]:
    """Return the interpreter's dictionary for this thread (PyThreadState_GetDict), where lxml keeps its table."""
    get = ctypes.pythonapi.PyThreadState_GetDict
    get.restype = ctypes.c_void_p  # a borrowed reference, which py_object as a result type would release
    state: dict[str, object] = ctypes.cast(get(), ctypes.py_object).value
    return state


_parsers = _Parsers()


def _too_complex(why: str) -> DocumentError:
    return DocumentError(400, "document-too-complex", f"the document has {why}; split it")


def _undecodable(body: bytes, encoding: str, start: int) -> DocumentError:
    line = body[:start].decode(encoding, "replace").count("\n") + 1
    detail = f"the byte 0x{body[start]:02x} is no {encoding} there; name the encoding that the document is in"
    return DocumentError(400, "xml-malformed", detail, f"line {line}, byte {start}")


def _malformed(text: bytes, error: etree.XMLSyntaxError) -> DocumentError:
    if not text.strip():
        return DocumentError(400, "document-empty", "the document is empty")
    try:
        text.decode()
    except UnicodeDecodeError as undecodable:
        return _undecodable(text, "UTF-8", undecodable.start)
    line, column = error.position
    where = f"line {line}, column {column}"
    # libxml2's text names elements and attributes; lxml appends the place to it.
    message = (error.msg or "not well-formed").partition(", line ")[0].strip()
    if getattr(error, "code", 0) == _RESOURCE_LIMIT:
        return DocumentError(400, "document-too-complex", f"a limit of the parser is reached: {message}", where)
    return DocumentError(400, "xml-malformed", message, where)
