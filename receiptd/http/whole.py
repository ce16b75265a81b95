"""The quick way in: data that is one plain request from its first byte to its last, as most reads are.

llhttp calls methods of a dict and of a list here, no Python function, and is fed once: this takes half the time of
the careful way in parsing.py. What it takes is exactly what that would make of the same data.
"""

from __future__ import annotations

from types import SimpleNamespace

import httptools

from receiptd.http.syntax import NAMES


class WholeReader:
    """Reads whole requests; holds the llhttp of one connection, and nothing of a request between two of them."""

    __slots__ = ("_fields", "_llhttp", "_pieces")

    def __init__(self) -> None:
        self._fields: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []
        self._restart()

    def _restart(self) -> None:
        self._fields.clear()
        self._pieces.clear()
        self._llhttp = httptools.HttpRequestParser(
            SimpleNamespace(
                on_message_begin=self._fields.clear,
                on_header=self._fields.setdefault,
                on_body=self._pieces.append,
            )
        )

    def read(self, data: bytes) -> tuple[dict[str, str], bytes] | None:
        """Return header fields and body of the request that ``data`` is, or None when it must be parsed with care.

        Not None says: the head is well-formed, no field comes twice, the body is not coded and has the length that the
        head says, and nothing follows it.
        """
        fields, pieces = self._fields, self._pieces
        try:
            self._llhttp.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._restart()
            return None
        body = pieces.pop() if pieces else b""
        head_bytes = len(data) - len(body)
        headers = {
            NAMES.get(name) or name.lower().decode(): value.rstrip().decode("latin-1") for name, value in fields.items()
        }
        # A repeated field is kept once, the beginning of a second request clears the fields, and an empty line too
        # many is no field: each of them leaves more lines than fields.
        if (
            data.startswith(b"\r\n\r\n", head_bytes - 4)
            and data.count(b"\n", 0, head_bytes) - 2 == len(fields) == len(headers)
            and headers.get("content-length", "0") == str(len(body))
            and "transfer-encoding" not in headers
        ):
            return headers, body
        self._restart()
        return None
