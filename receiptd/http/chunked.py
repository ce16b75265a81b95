"""Chunked bodies (RFC 9112, section 7.1), decoded strictly, in bounded memory and linear time.

llhttp is not used here: httptools does not say where a message ended, so bytes of the next request would be lost.
"""

from __future__ import annotations

import re

from receiptd.http.state import ServerLimits
from receiptd.http.syntax import bad_request, body_too_large

_CRLF = b"\r\n"
_LINE_MAX_BYTES = 4096
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t\x20-\x7e\x80-\xff]+)?\r\n")
_TRAILER_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n")


class ChunkedBody:
    """Decodes one chunked body. Extensions and trailers are ignored, as RFC 9112, section 7.1, lets a recipient do.

    Attributes:
        body: what has been decoded.
        complete: whether that is all.
    """

    __slots__ = ("_body_max_bytes", "_chunk_left_bytes", "_in_trailer", "_line", "_raw_left_bytes", "body", "complete")

    def __init__(self, limits: ServerLimits) -> None:
        self.body = bytearray()
        self.complete = False
        self._body_max_bytes = limits.body_max_bytes
        # Sizes, extensions and trailers are paid from this too, so that they cannot go on for ever.
        self._raw_left_bytes = 2 * limits.body_max_bytes + limits.head_max_bytes
        self._chunk_left_bytes = 0  # with the CRLF behind the chunk
        self._in_trailer = False
        self._line = b""  # a line whose end is still to come

    def feed(self, data: bytes, start: int) -> int:
        """Take bytes up to the end of the body; return the position behind them.

        Raises:
            RefusedError: the chunks are malformed or too many, or the body is or will be too large.
        """
        position = start
        while position < len(data) and not self.complete:
            position = self._take_chunk(data, position) if self._chunk_left_bytes else self._take_line(data, position)
        self._raw_left_bytes -= position - start
        if self._raw_left_bytes < 0:
            raise body_too_large()
        return position

    def _take_chunk(self, data: bytes, start: int) -> int:
        end = min(len(data), start + max(0, self._chunk_left_bytes - len(_CRLF)))
        self.body += data[start:end]
        left = self._chunk_left_bytes - (end - start)
        if left <= len(_CRLF):
            closing = data[end : end + left]
            if not _CRLF.startswith(closing, len(_CRLF) - left):
                raise bad_request("A chunk is not as long as it says.")
            end += len(closing)
            left -= len(closing)
        self._chunk_left_bytes = left
        return end

    def _take_line(self, data: bytes, start: int) -> int:
        found = data.find(b"\n", start)
        end = found + 1 if found >= 0 else len(data)
        line = self._line + data[start:end]
        if len(line) > _LINE_MAX_BYTES:
            raise body_too_large()
        self._line = line if found < 0 else b""
        if found >= 0 and self._in_trailer:
            self._read_trailer(line)
        elif found >= 0:
            self._read_size(line)
        return end

    def _read_size(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise bad_request("A chunk does not begin with its size.")
        size = int(match[1], 16)
        if len(self.body) + size > self._body_max_bytes:
            raise body_too_large()
        if size:
            self._chunk_left_bytes = size + len(_CRLF)
        else:
            self._in_trailer = True

    def _read_trailer(self, line: bytes) -> None:
        if line == _CRLF:
            self.complete = True
        elif _TRAILER_LINE.fullmatch(line) is None:
            raise bad_request("A trailer is malformed.")
