"""The reply to one call, put together from bytes: what is HTTP/1.1, where it ends, and how long it may be.

Stricter than a browser: whatever could be read in two ways is refused, since a wrong end of one reply would be the
start of the next (RFC 9112, sections 6 and 11.2). The C parser refuses malformed lines and conflicting lengths.
"""

from __future__ import annotations

from typing import Final

import httptools

from receiptd.ports import HttpReply

_HEAD_MAX_BYTES: Final = 32_768  # checked after each read
_INTERIM_MAX: Final = 8
_CHUNKING_FACTOR: Final = 8  # a body in chunks of one byte takes six times its size
_SWITCHING_PROTOCOLS: Final = 101
_STATUS_MIN, _STATUS_FINAL, _STATUS_MAX = 100, 200, 599
_BODILESS: Final = frozenset({204, 304})  # RFC 9112, section 6.3


class ReplyReader:
    """Reads the replies of one connection, one after the other.

    Attributes:
        complete: the reply has ended where its framing said, or, without a length, where the peer closed.
        fault: why there can be no reply, or empty.
        clean: another reply may follow on this connection.
        received: bytes of this reply so far.
    """

    __slots__ = (
        "_body",
        "_head_done",
        "_head_only",
        "_headers",
        "_interim",
        "_max_bytes",
        "_parser",
        "_size",
        "_status",
        "_until_close",
        "clean",
        "complete",
        "fault",
        "received",
    )

    def __init__(self) -> None:
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self.clean = True
        self.start(head_only=False, max_bytes=0)

    def start(self, *, head_only: bool, max_bytes: int) -> None:
        """Expect a reply with a body of at most ``max_bytes``, or without one (``head_only``: the answer to HEAD)."""
        self._head_only = head_only
        self._max_bytes = max_bytes
        self._head_done = self._until_close = self.complete = False
        self._interim = self._status = self._size = self.received = 0
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self.fault = ""

    def feed(self, data: bytes) -> None:
        """Take in what came; look at ``complete`` and ``fault`` then."""
        if self._parser is None:
            return
        self.received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.clean = False
            self.fault = self.fault or f"the reply is not HTTP/1.1: {error}"
        body_max_bytes = _CHUNKING_FACTOR * self._max_bytes if self._head_done else 0
        if self.received > _HEAD_MAX_BYTES + body_max_bytes:
            self.fault = self.fault or "the reply is longer than its parts may be"

    def end(self) -> None:
        """The peer has closed in good order, which ends a body that has no length."""
        self.clean = False
        self.complete = self._until_close and not self.fault

    def take(self) -> HttpReply:
        """Return the complete reply."""
        return HttpReply(self._status, self._headers, b"".join(self._body))

    def close(self) -> None:
        """Let go of the parser: it and the reader hold each other."""
        self.clean = False
        self._parser = None

    # -- httptools callbacks; none raises, since the parser would wrap it --------------------------------------------

    def on_message_begin(self) -> None:
        """A message starts: the reply, an interim one before it, or one that nobody asked for."""
        if self.complete:
            self.clean = False
        else:
            self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header of the reply; trailers are passed over (RFC 9110, section 6.5.1)."""
        if not self._head_done:
            self._headers[name.decode("latin-1").lower()] = value.rstrip(b" \t").decode("latin-1")

    def on_headers_complete(self) -> None:
        """The head has ended: judge its status and its framing."""
        if self.complete or self._parser is None:
            return
        status = self._parser.get_status_code()
        version = self._parser.get_http_version()
        if version not in {"1.1", "1.0"} or not _STATUS_MIN <= status <= _STATUS_MAX or status == _SWITCHING_PROTOCOLS:
            self.fault = f"the reply is of an unexpected kind: HTTP/{version} {status}"
        elif status < _STATUS_FINAL:
            self._interim += 1
            if self._interim > _INTERIM_MAX:
                self.fault = "too many interim replies"
        else:
            self._status = status
            self._head_done = True
            self._judge_framing(version)

    def _judge_framing(self, version: str) -> None:
        """Find out how the body ends (RFC 9112, section 6.3)."""
        coding = self._headers.get("transfer-encoding")
        length = self._headers.get("content-length")
        if self._head_only:
            self.complete = True
            self.clean = False  # the parser now expects the body that HEAD leaves out
        elif coding is not None:
            if coding.lower() != "chunked" or version != "1.1":
                self.fault = "the reply's transfer coding is not plain chunked"
        elif self._status in _BODILESS:
            return
        elif length is None:
            self._until_close = True
        elif int(length) > self._max_bytes:
            self.fault = f"the reply is longer than {self._max_bytes} bytes"

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        if self.complete or self.fault:
            return
        self._size += len(data)
        if self._size > self._max_bytes:
            self.fault = f"the reply is longer than {self._max_bytes} bytes"
        else:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """The message has ended where its framing said."""
        if self._head_done and not self.complete and not self.fault and self._parser is not None:
            self.complete = True
            self.clean = self._parser.should_keep_alive()
