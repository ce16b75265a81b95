"""Requests off the wire, without I/O: strict HTTP/1.1 framing (RFC 9112) in bounded memory.

llhttp judges the syntax of heads, in its strict mode; syntax.py refuses what it lets pass. There are two ways in.
Most reads are one request from the first byte to the last: llhttp is fed these at once, an eighth of the server's
time less. Anything else - parts, pipelines, chunks, errors - takes the careful way, which feeds llhttp the head alone
and delimits the body itself, so that no request takes a byte of the one behind it.
"""

from __future__ import annotations

import re
from typing import Any

import httptools

from receiptd.http.chunked import ChunkedBody
from receiptd.http.message import Request
from receiptd.http.state import ServerLimits
from receiptd.http.syntax import (
    NAMES,
    RefusedError,
    bad_request,
    body_too_large,
    is_host,
    join_field,
    parse_request_line,
    target_too_long,
)

_BLANK_LINE = re.compile(rb"\r\n\r\n")  # on a head of 1 kB a third faster than bytes.find
_LENGTH_DIGITS_MAX = 19
_REQUEST_LINE_REST_BYTES = 32
"""The method and the version beside the target, generously."""


class RequestParser:
    """Parses the requests of one connection, one after the other.

    ``feed_head`` until ``request`` is set, ``begin_body``, ``feed_body`` until ``complete``, ``reset``; ``close`` at
    the end. The feeding methods take bytes from a position on and return the position behind what they took. After an
    error the connection is out of step and must be closed.

    Attributes:
        request: the request once its head is complete; it has its body once ``complete``.
        content_length: bytes of the body, None when it is chunked. This and the following ones go with ``request``.
        keep_alive: whether the peer wants the connection to stay.
        http_1_0: whether the peer speaks HTTP/1.0.
        expects_continue: whether the peer waits for 100 (Continue) before it sends the body.
    """

    __slots__ = (
        "_begun",
        "_body",
        "_chunks",
        "_ended",
        "_head",
        "_head_llhttp",
        "_headers",
        "_limits",
        "_part",
        "_peer",
        "_refusal",
        "_repeats",
        "_whole",
        "_whole_llhttp",
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
        self._whole_llhttp: Any = httptools.HttpRequestParser(self)
        self.reset()

    def reset(self) -> None:
        """Make ready for the next request of the connection."""
        self._begun = self._ended = 0
        self._body = b""
        self._chunks: ChunkedBody | None = None
        self._head = b""
        self._head_llhttp: Any = None
        self._headers: dict[str, str] = {}
        self._part: bytearray | None = None
        self._refusal: RefusedError | None = None
        self._repeats = 0
        self._whole = False
        self.complete = False
        self.http_1_0 = False
        self.keep_alive = True
        self.request: Request | None = None

    def close(self) -> None:
        """Let go of llhttp, which knows this parser in turn: both are then freed without the garbage collector."""
        self.reset()
        self._whole_llhttp = None

    @property
    def head_bytes(self) -> int:
        """How many bytes of a head have been taken."""
        return len(self._head)

    def feed_head(self, data: bytes, start: int) -> int:
        """Take bytes up to the end of the head, or the whole request; set ``request`` when its head is complete.

        Raises:
            RefusedError: the head is malformed, too large, or not of HTTP/1.0 or 1.1.
        """
        known = self._head
        if known:
            overlap = known[-3:]
            blank_line = _BLANK_LINE.search(overlap + data[start:])
            end = start + blank_line.end() - len(overlap) if blank_line else len(data)
        elif start == 0 and self._take_whole(data):
            return len(data)
        else:
            while data.startswith(b"\r\n", start):  # RFC 9112, section 2.2: empty lines before a request are ignored
                start += 2
            self._head_llhttp = httptools.HttpRequestParser(self)
            blank_line = _BLANK_LINE.search(data, start)
            end = blank_line.end() if blank_line else len(data)
        piece = data[start:end]
        self._head = head = known + piece
        if len(head) > self._limits.head_max_bytes:
            raise self._oversized(head)
        self._check_syntax(piece)
        if self._ended and not blank_line:
            raise bad_request("Only HTTP/1.1 and HTTP/1.0 are served.")  # HTTP/0.9 has other line ends
        if blank_line:
            head = head.removeprefix(b"\r\n")  # an empty line that came in two parts
            self._head = head if head != b"\r\n" else b""
            if self._head:
                self._interpret(head)
        return end

    def _check_syntax(self, piece: bytes) -> None:
        """Feed llhttp a piece of a head, whose fields then come to ``on_header``."""
        try:
            self._head_llhttp.feed_data(piece)
        except httptools.HttpParserUpgrade:
            # Raised at the end of a head that offers another protocol. The offer is ignored (RFC 9110, section 7.8);
            # llhttp's change of mode has no effect, as it is fed no more.
            pass
        except httptools.HttpParserError:
            # The parser's own error is dropped, and with it whatever it may quote.
            raise self._refusal or bad_request("The request is not well-formed HTTP/1.1.") from None

    def _take_whole(self, data: bytes) -> bool:
        """Take ``data`` if it is exactly one request without chunks; otherwise take nothing."""
        try:
            self._whole_llhttp.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            pass
        else:
            if (
                self._begun == self._ended == 1
                and "transfer-encoding" not in self._headers
                and len(data) - len(self._body) <= self._limits.head_max_bytes
                and not data.startswith(b"\r\n")
            ):
                self._interpret(data)
                self._whole = True
                return True
        self._whole_llhttp = httptools.HttpRequestParser(self)
        self.reset()
        return False

    def on_message_begin(self) -> None:
        """Count the requests that begin (called by llhttp, like all ``on_`` methods)."""
        self._begun += 1

    def on_message_complete(self) -> None:
        """Count the requests that end."""
        self._ended += 1

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one field."""
        key = NAMES.get(name) or name.lower().decode()
        text = value.rstrip().decode("latin-1")
        headers = self._headers
        if key in headers:
            self._repeats += 1
            try:
                text = join_field(key, headers[key], text)
            except RefusedError as error:
                self._refusal = error
                raise
        headers[key] = text

    def on_body(self, data: bytes) -> None:
        """Take the body of a whole request; a second one, or a second chunk, makes it no such request."""
        self._body = data

    def _oversized(self, head: bytes) -> RefusedError:
        if head.find(b"\r\n", 0, self._limits.target_max_bytes + _REQUEST_LINE_REST_BYTES) < 0:
            return target_too_long()
        return RefusedError(431, "headers-too-large", "The head of the request is too large.")

    def _interpret(self, head: bytes) -> None:
        """Judge a complete head beyond its syntax, and set what it says."""
        limits, headers = self._limits, self._headers
        if len(headers) + self._repeats > limits.headers_max:
            raise RefusedError(431, "headers-too-large", "The request has too many header fields.")
        method, path, query, authority, self.http_1_0 = parse_request_line(head, limits.target_max_bytes)
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
            if coding.lower() != "chunked" or length is not None or self.http_1_0:
                raise bad_request("The only transfer coding is chunked, on its own, in HTTP/1.1.")
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
            self._chunks = ChunkedBody(self._limits)
        elif length > self._limits.body_max_bytes:
            raise body_too_large()
        elif self._whole or length == 0:
            self._finish(self._body)

    def feed_body(self, data: bytes, start: int) -> int:
        """Take bytes up to the end of the body; set ``request.body`` and ``complete`` when that is reached.

        Raises:
            RefusedError: the chunks are malformed, or the body is too large.
        """
        length = self.content_length
        if length is None:
            assert self._chunks is not None
            end = self._chunks.feed(data, start)
            if self._chunks.complete:
                self._finish(bytes(self._chunks.body))
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
