"""Media types: from a Content-Type (or, without one, the first bytes) to a format and a charset."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from receiptd.documents.errors import DocumentError

_CONTENT_TYPE_MAX_CHARS = 256
_SPACE = b" \t\r\n"
_PARAMETER = re.compile(r""";[ \t]*([a-z0-9!#$%&'*+.^_`|~-]+)=(?:"((?:[^"\\]|\\.)*)"|([^;"\s]+))""", re.ASCII)
"""RFC 9110, section 5.6.6; no charset's name needs the escapes that a quoted string may have."""


class Format(StrEnum):
    """The formats that a document may have."""

    JSON = "json"
    XML = "xml"


@dataclass(frozen=True, slots=True)
class Media:
    """What a Content-Type says. ``essence`` (RFC 9110, section 8.3.1) and ``charset`` are in lower case, or empty."""

    essence: str
    format: Format
    charset: str = ""


def media_of(content_type: str, body: bytes) -> Media:
    """Return the media of ``body``: by its Content-Type, or by its first bytes when there is none.

    Raises:
        DocumentError: 415, neither names a format that is taken.
    """
    return _parse(content_type) if content_type else _sniff(body)


@lru_cache(maxsize=256)
def _parse(content_type: str) -> Media:
    essence, separator, parameters = content_type[:_CONTENT_TYPE_MAX_CHARS].lower().partition(";")
    essence = essence.strip()
    charset = ""
    for name, quoted, token in _PARAMETER.findall(separator + parameters):
        if name == "charset" and not charset:
            charset = quoted or token
    # RFC 6839, section 3: a structured syntax suffix names the format.
    if essence == "application/json" or essence.endswith("+json"):
        return Media(essence, Format.JSON, charset)
    if essence in {"application/xml", "text/xml"} or essence.endswith("+xml"):
        return Media(essence, Format.XML, charset)
    raise DocumentError(
        415,
        "media-type-unsupported",
        f"the media type {essence!r} is not taken; send application/json, application/xml or a +json or +xml type",
    )


def _sniff(body: bytes) -> Media:
    start = body[:64].removeprefix(b"\xef\xbb\xbf").lstrip(_SPACE)[:1]
    if start in {b"{", b"["}:
        return Media("", Format.JSON)
    if start == b"<" or body.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00<")):
        return Media("", Format.XML)
    raise DocumentError(
        415,
        "media-type-missing",
        "the document has no Content-Type and begins like neither JSON nor XML; name it application/json or "
        "application/xml",
    )
