"""Requests off the wire, without I/O: strict HTTP/1.1 framing (RFC 9112) in bounded memory.

llhttp judges the syntax, in its strict mode; syntax.py refuses what it lets pass. What whole.py does not take - parts,
pipelines, chunks, errors - comes here: llhttp is fed the head alone, and the body is counted, so that no request
takes a byte of the one behind it.
"""

from __future__ import annotations

from typing import Any

import httptools

from receiptd.http.chunked import BLANK_LINE, ChunkedBody, feed_llhttp
from receiptd.http.message import Request
from receiptd.http.state import ServerLimits
from receiptd.http.syntax import (
    RefusedError,
    bad_request,
    body_too_large,
    is_host,
    parse_request_line,
    target_too_long,
)
from receiptd.http.whole import WholeReader

_LENGTH_DIGITS_MAX = 19
_REQUEST_LINE_REST_BYTES = 32
"""The method and the version beside the target, generously."""


class RequestParser:
    """Parses the requests of one connection, one after the other.

    ``feed_head`` until ``request`` is set, ``begin_body``, ``feed_body`` until ``complete``, ``reset``. The feeding
    methods take bytes from a position on and return the position behind what they took. After an error the connection
    is out of step and must be closed.

    Attributes:
        request: the request once its head is complete; it has its body once ``complete``.
        content_length: bytes of the body, None when it is chunked. This and the following ones go with ``request``.
        keep_alive: whether the peer wants the connection to stay.
        http_1_0: whether the peer speaks HTTP/1.0.
        expects_continue: whether the peer waits for 100 (Continue) before it sends the body.
    """

    __slots__ = (
        "_chunks",
        "_head",
        "_limits",
        "_llhttp",
        "_part",
        "_peer",
        "_whole_body",
        "_whole_reader",
        "complete",
        "content_length",
        "expects_continue",
        "http_1_0",
        "keep_alive",
        "request",
    )

    content_length: int | None

    def __init__(self, limits: ServerLimits, peer: str) -> None:
        self._limits = limits
        self._peer = peer
        self._whole_reader = WholeReader()
        self.reset()

    def reset(self) -> None:
        """Make ready for the next request of the connection."""
        self._chunks: ChunkedBody | None = None
        self._head = b""
        self._llhttp: Any = None
        self._part: bytearray | None = None
        self._whole_body: bytes | None = None
        self.complete = False
        self.http_1_0 = False
        self.keep_alive = True
        self.request: Request | None = None

    @property
    def head_bytes(self) -> int:
        """How many bytes of a head have been taken."""
        return len(self._head)

    def feed_head(self, data: bytes, start: int) -> int:
        """Take bytes up to the end of the head, or a whole request; set ``request`` when its head is complete.

        Raises:
            RefusedError: the head is malformed, too large, or not of HTTP/1.0 or 1.1.
        """
        known = self._head
        if known:
            overlap = known[-3:]
            blank_line = BLANK_LINE.search(overlap + data[start:])
            end = start + blank_line.end() - len(overlap) if blank_line else len(data)
        elif start == 0 and self._take_whole(data):
            return len(data)
        else:
            self._llhttp = httptools.HttpRequestParser(None)
            blank_line = BLANK_LINE.search(data, start)
            end = blank_line.end() if blank_line else len(data)
        piece = data[start:end]
        self._head = head = known + piece
        if len(head) > self._limits.head_max_bytes:
            raise self._oversized(head)
        feed_llhttp(self._llhttp, piece)
        if blank_line:
            if head.startswith(b"\r\n"):  # RFC 9112, section 2.2: empty lines before a request line are ignored
                self._head = head = head.lstrip(b"\r\n")
            if head:
                lines = head[:-4].decode("latin-1").split("\r\n")[1:]
                if len(lines) > self._limits.headers_max:
                    raise RefusedError(431, "headers-too-large", "The request has too many header fields.")
                self._interpret(head, parse_fields(lines))
        return end

    def _take_whole(self, data: bytes) -> bool:
        """Take ``data`` if it is exactly one plain request within the limits; otherwise take nothing."""
        whole = self._whole_reader.read(data)
        if whole is None:
            return False
        headers, body = whole
        if len(data) - len(body) > self._limits.head_max_bytes or len(headers) > self._limits.headers_max:
            return False
        self._interpret(data, headers)
        self._whole_body = body
        return True

    def _oversized(self, head: bytes) -> RefusedError:
        if head.find(b"\r\n", 0, self._limits.target_max_bytes + _REQUEST_LINE_REST_BYTES) < 0:
            return target_too_long()
        return RefusedError(431, "headers-too-large", "The head of the request is too large.")

    def _interpret(self, head: bytes, headers: dict[str, str]) -> None:
        """Judge a complete head beyond its syntax, and set what it says; ``head`` may go on behind its first line."""
        method, path, query, authority, self.http_1_0 = parse_request_line(head, self._limits.target_max_bytes)
        host = headers.get("host")
        if host is None:
            if not self.http_1_0:
                raise bad_request("The Host field is missing.")
        elif not is_host(host):
            raise bad_request("The Host field is not a host.")
        if authority:
            headers["host"] = authority  # RFC 9112, section 3.2.2: it replaces the field
        self._read_framing(headers)
        self.request = Request(method, path, query, headers, b"", self._peer)

    def _read_framing(self, headers: dict[str, str]) -> None:
        """Read where the body ends and what becomes of the connection (RFC 9112, sections 6.3 and 9.3)."""
        coding = headers.get("transfer-encoding")
        length = headers.get("content-length")
        if coding is not None:
            # With an upgrade on offer, llhttp would not read the chunks.
            if coding.lower() != "chunked" or length is not None or self.http_1_0 or self._llhttp.should_upgrade():
                raise bad_request("The only transfer coding is chunked, alone, in HTTP/1.1 that is not to change.")
            self.content_length = None
        elif length is None:
            self.content_length = 0
        elif len(length) <= _LENGTH_DIGITS_MAX:
            self.content_length = int(length)
        else:
            raise bad_request("The Content-Length is not a length.")
        connection = headers.get("connection")
        self.keep_alive = not self.http_1_0
        if connection is not None:
            options = {option.strip() for option in connection.lower().split(",")}
            self.keep_alive = "close" not in options and (self.keep_alive or "keep-alive" in options)
        expectation = headers.get("expect")
        self.expects_continue = expectation is not None and not self.http_1_0
        if expectation is not None and self.expects_continue and expectation.lower() != "100-continue":
            raise RefusedError(417, "expectation-failed", "The only expectation that is met is 100-continue.")

    def begin_body(self) -> None:
        """Make ready for the body; ``complete`` at once when it is here or there is none.

        Raises:
            RefusedError: the body is, or will be, too large.
        """
        length = self.content_length
        if length is None:
            self._chunks = ChunkedBody(self._head, self._limits)
        elif length > self._limits.body_max_bytes:
            raise body_too_large()
        elif self._whole_body is not None:
            self._finish(self._whole_body)
        elif length == 0:
            self._finish(b"")

    def feed_body(self, data: bytes, start: int) -> int:
        """Take bytes up to the end of the body; set ``request.body`` and ``complete`` when that is reached.

        Raises:
            RefusedError: the chunks are malformed, or the body is too large.
        """
        length = self.content_length
        if length is None:
            assert self._chunks is not None
            end = self._chunks.feed(data, start)
            if (body := self._chunks.body) is not None:
                self._finish(body)
            return end
        part = self._part
        if part is None:
            part = self._part = bytearray()
        end = min(len(data), start + length - len(part))
        part += memoryview(data)[start:end]
        if len(part) == length:
            self._finish(bytes(part))
        return end

    def _finish(self, body: bytes) -> None:
        assert self.request is not None
        self.request.body = body
        self.complete = True
