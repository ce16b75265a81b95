"""Chunked bodies (RFC 9112, section 7.1), decoded by llhttp in bounded memory, and the way to feed llhttp."""

from __future__ import annotations

import re
from typing import Any

import httptools

from receiptd.http.state import ServerLimits
from receiptd.http.syntax import RefusedError, bad_request, body_too_large

BLANK_LINE = re.compile(rb"\r\n\r\n")  # on a head of 1 kB a third faster than bytes.find


class ChunkedBody:
    """Decodes one chunked body. Trailers are ignored, as RFC 9110, section 6.5.1, lets a recipient do.

    llhttp does not tell where a message ended, but a chunked one always ends with a blank line: fed up to one blank
    line after the other, it never gets a byte of the next request.
    """

    __slots__ = ("_chunks", "_llhttp", "_raw_left_bytes", "_tail")

    def __init__(self, head: bytes, limits: ServerLimits) -> None:
        # Chunk headers, extensions and trailers are paid from this, so that they cannot go on for ever.
        self._raw_left_bytes = 2 * limits.body_max_bytes + limits.head_max_bytes
        self._tail = b""
        self._chunks = _Chunks(limits.body_max_bytes)
        self._llhttp = httptools.HttpRequestParser(self._chunks)
        feed_llhttp(self._llhttp, head)

    @property
    def body(self) -> bytes | None:
        """The body, or None while it is incomplete."""
        return bytes(self._chunks.body) if self._chunks.complete else None

    def feed(self, data: bytes, start: int) -> int:
        """Take bytes up to the end of the body; return the position behind them.

        Raises:
            RefusedError: the chunks are malformed or too many, or the body is too large.
        """
        chunks, tail = self._chunks, self._tail
        straddling = BLANK_LINE.search(tail + data[start : start + 3])
        end = start + straddling.end() - len(tail) if straddling else start
        position = start
        while position < len(data) and not chunks.complete:
            if end <= position:
                blank_line = BLANK_LINE.search(data, position)
                end = blank_line.end() if blank_line else len(data)
            self._raw_left_bytes -= end - position
            if self._raw_left_bytes < 0:
                raise body_too_large()
            try:
                feed_llhttp(self._llhttp, data[position:end])
            except RefusedError as error:
                raise chunks.refusal or error from None
            position = end
        self._tail = (tail + data[start:position])[-3:]
        return position


class _Chunks:
    """What llhttp calls. It does not know llhttp in turn, so that a body is freed with its request, not by the GC."""

    __slots__ = ("body", "body_max_bytes", "complete", "refusal")

    def __init__(self, body_max_bytes: int) -> None:
        self.body_max_bytes = body_max_bytes
        self.body = bytearray()
        self.complete = False
        self.refusal: RefusedError | None = None

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        if len(self.body) + len(data) > self.body_max_bytes:
            self.refusal = body_too_large()
            raise self.refusal
        self.body += data

    def on_message_complete(self) -> None:
        """Note the end of the body."""
        self.complete = True


def feed_llhttp(llhttp: Any, piece: bytes) -> None:
    """Feed llhttp, and translate what it raises.

    Raises:
        RefusedError: the piece is malformed.
    """
    try:
        llhttp.feed_data(piece)
    except httptools.HttpParserUpgrade:
        # Raised at the end of a head that offers another protocol. The offer is ignored (RFC 9110, section 7.8);
        # llhttp's change of mode has no effect, as it never sees a counted body, and a chunked one is refused.
        pass
    except httptools.HttpParserError:
        # The parser's own error is dropped, and with it whatever it may quote.
        raise bad_request("The request is not well-formed HTTP/1.1.") from None
