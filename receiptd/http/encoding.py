"""The bytes of a response: one ready-made status line per status, a Date that is formatted once a second."""

from __future__ import annotations

import time
from email.utils import formatdate
from http import HTTPStatus

from receiptd.http.message import Response

CLOSE = b"Connection: close\r\n"
KEEP_ALIVE = b"Connection: keep-alive\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_STATUS_LINES = {status.value: b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}
_NO_CONTENT = frozenset({HTTPStatus.NO_CONTENT.value, HTTPStatus.NOT_MODIFIED.value})


class ResponseEncoder:
    """Encodes responses; holds the Date line of the current second."""

    __slots__ = ("_date", "_second")

    def __init__(self) -> None:
        self._second = 0
        self._date = b""

    def encode(self, response: Response, connection: bytes = b"", *, head_only: bool = False) -> bytes:
        """Return the whole response as one bytes object.

        204 and 304 carry neither a body nor Content-Length (RFC 9110, sections 8.6 and 15.4.5); ``head_only`` (the
        answer to HEAD) keeps the Content-Length that GET would have. ``connection`` is CLOSE, KEEP_ALIVE or nothing.
        """
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._date = b"Date: %s\r\n" % formatdate(second, usegmt=True).encode()
        status = response.status
        start = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        if status in _NO_CONTENT:
            return b"".join((start, self._date, response.headers, connection, b"\r\n"))
        body = response.body
        length = b"Content-Length: %d\r\n\r\n" % len(body)
        return b"".join((start, self._date, response.headers, connection, length, b"" if head_only else body))
