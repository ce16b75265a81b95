"""Media types: what a Content-Type says, and what the first bytes say without one."""

from __future__ import annotations

import pytest

from receiptd.documents import DocumentError
from receiptd.documents.media import Format, Media, media_of


@pytest.mark.parametrize(
    ("content_type", "media"),
    [
        ("application/json", Media("application/json", Format.JSON)),
        ("Application/JSON ; Charset=UTF-8", Media("application/json", Format.JSON, "utf-8")),
        ("application/vnd.x+json", Media("application/vnd.x+json", Format.JSON)),
        ('text/xml;charset="windows-1251"', Media("text/xml", Format.XML, "windows-1251")),
        ("application/vnd.x.y+xml; version=1; charset=koi8-u", Media("application/vnd.x.y+xml", Format.XML, "koi8-u")),
        ('application/xml; profile="a; charset=utf-16"', Media("application/xml", Format.XML)),
        ('application/xml; profile="a\\"; charset=utf-16"; charset=x', Media("application/xml", Format.XML, "x")),
        ("application/xml; charset=a; charset=b", Media("application/xml", Format.XML, "a")),
        ("application/xml; charset=", Media("application/xml", Format.XML)),
        ("application/xml;", Media("application/xml", Format.XML)),
    ],
)
def test_a_content_type_names_format_and_charset(content_type, media):
    assert media_of(content_type, b"") == media


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/json2", "json", ";", "application/x-www-form-urlencoded", "*/*", "+"]
)
def test_other_content_types_are_refused_with_415(content_type):
    with pytest.raises(DocumentError) as caught:
        media_of(content_type, b"{}")
    assert (caught.value.status, caught.value.code) == (415, "media-type-unsupported")


@pytest.mark.parametrize(
    ("body", "format_"),
    [
        (b"{}", Format.JSON),
        (b"\xef\xbb\xbf \r\n[1]", Format.JSON),
        (b" <a/>", Format.XML),
        ("<a/>".encode("utf-16"), Format.XML),
        ("<a/>".encode("utf-16-be"), Format.XML),
    ],
)
def test_without_a_content_type_the_first_bytes_tell(body, format_):
    assert media_of("", body).format is format_


@pytest.mark.parametrize("body", [b"", b"total=1", b" " * 100 + b"{}"])
def test_first_bytes_that_tell_nothing_are_refused_with_415(body):
    with pytest.raises(DocumentError) as caught:
        media_of("", body)
    assert (caught.value.status, caught.value.code) == (415, "media-type-missing")
