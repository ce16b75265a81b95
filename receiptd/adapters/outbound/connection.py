"""One HTTP/1.1 connection: one call at a time, within its time, with a clean end or a final one.

A connection may serve again only after a reply that ended where its framing said, on a connection that both sides keep
open, with all of the request written and no byte beyond (RFC 9112, section 9.3). Everything else ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

from receiptd.adapters.outbound.reply import ReplyReader
from receiptd.domain.errors import OutboundError
from receiptd.ports import HttpReply

_TIMER_SLACK_S: Final = 0.001


class StaleConnectionError(Exception):
    """A connection that had served before was closed before any byte of this reply came."""


class Connection(asyncio.Protocol):
    """A connection to ``origin``. It belongs to one call, or rests in the pool.

    Attributes:
        origin: whom it leads to, for the pool and for messages.
        lost: done when the connection is no more.
    """

    __slots__ = (
        "_deadline",
        "_loop",
        "_on_lost",
        "_open",
        "_reader",
        "_served",
        "_timer",
        "_timer_at",
        "_transport",
        "_waiter",
        "lost",
        "origin",
    )

    def __init__(self, origin: str, on_lost: Callable[[Connection], None]) -> None:
        self.origin = origin
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self._reader = ReplyReader()
        self._transport: asyncio.Transport | None = None
        self._open = False
        self._served = False
        self._waiter: asyncio.Future[HttpReply] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._deadline = 0.0

    # -- what the client asks --------------------------------------------------------------------------------------

    @property
    def reusable(self) -> bool:
        """Whether another call may use the connection."""
        return self._open and self._reader.clean and self._waiter is None

    async def exchange(self, request: bytes, *, head_only: bool, reply_max_bytes: int, deadline: float) -> HttpReply:
        """Write ``request`` in one go and return the reply. ``deadline`` is in the loop's time.

        A caller that is cancelled must close the connection, since its reply is still to come.

        Raises:
            StaleConnectionError: it had served before, and the peer has closed it before or instead of answering.
            OutboundError: no complete reply came.
        """
        if not self._open or self._transport is None:
            if self._served:
                raise StaleConnectionError
            raise OutboundError(f"{self.origin}: closed as soon as it was open", sent=False)
        self._reader.start(head_only=head_only, max_bytes=reply_max_bytes)
        waiter: asyncio.Future[HttpReply] = self._loop.create_future()
        self._waiter = waiter
        self._watch(deadline)
        self._transport.write(request)
        return await waiter

    def rest(self, timeout_s: float) -> None:
        """Wait for the next call, and close when none has come within ``timeout_s``."""
        self._watch(self._loop.time() + timeout_s)

    def close(self) -> None:
        """End the connection at once. A call that waits for its reply learns of it."""
        self._open = False
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.Protocol ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is ready, with TLS done."""
        self._transport = cast("asyncio.Transport", transport)
        self._open = True

    def data_received(self, data: bytes) -> None:
        """Take in bytes of the reply."""
        if self._waiter is None:
            self.close()  # nobody asked for these: they must not become the answer to a later call
            return
        reader = self._reader
        reader.feed(data)
        if reader.complete:
            self._finish()
        elif reader.fault:
            self._fail(OutboundError(f"{self.origin}: {reader.fault}", sent=True))

    def eof_received(self) -> None:
        """The peer has closed its side: that ends a body without length; the transport then closes ours."""
        self._open = False
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._open = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._end(exc)
        self._reader.close()
        self._transport = None
        self.lost.set_result(None)
        self._on_lost(self)

    # -- endings ---------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Hand the complete reply over."""
        waiter, self._waiter = self._waiter, None
        self._served = True
        if self._transport is None or self._transport.get_write_buffer_size():
            self._reader.clean = False  # answered before it had the whole request
        if waiter is not None and not waiter.done():
            waiter.set_result(self._reader.take())

    def _fail(self, error: Exception) -> None:
        """There will be no reply."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        self.close()

    def _end(self, exc: Exception | None) -> None:
        """The peer has closed, or the connection broke (``exc``), with a call waiting or not."""
        if self._waiter is None:
            return
        if exc is None:
            self._reader.end()
        if self._reader.complete:
            self._finish()
        elif self._served and not self._reader.received:
            self._fail(StaleConnectionError())
        else:
            self._fail(OutboundError(f"{self.origin}: closed before the reply was complete", sent=True))

    # -- time ------------------------------------------------------------------------------------------------------

    def _watch(self, deadline: float) -> None:
        """Act at ``deadline``. One timer serves all calls: it is moved only when it would be late.

        A timer that fires early finds a later deadline and sleeps on, so that a call costs no timer of its own.
        """
        self._deadline = deadline
        if self._timer is None or self._timer_at > deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = deadline
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._deadline - self._loop.time() > _TIMER_SLACK_S:
            self._watch(self._deadline)
        elif self._waiter is not None:
            self._fail(OutboundError(f"{self.origin}: no complete reply in time", sent=True))
        else:
            self.close()
