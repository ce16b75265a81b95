"""The least of HTTP/1.1 that a load generator needs, so that it stays far cheaper than what it measures.

Both ends are known: bodies have a Content-Length, connections are kept, and nothing is pipelined. There are no tasks
and no futures; an answer is a call of the function that waits for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

Done = Callable[[int, bytes], None]
"""Takes an answer's status and body; status 0 when the connection was lost before it was complete."""
Serve = Callable[[bytes, bytes], bytes]
"""Takes a request's head and body, returns the whole answer."""

_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length: "


@dataclass(slots=True)
class Traffic:
    """Bytes of HTTP, heads and bodies."""

    sent: int = 0
    received: int = 0


CALLING: Final = Traffic()
"""What this process has sent and received as a client."""
SERVING: Final = Traffic()
"""What it has sent and received as a server."""


def header(head: bytes, lowered: bytes, name: bytes) -> bytes:
    """Return the value of a header, or empty.

    ``lowered`` is the head in lower case; ``name`` is in lower case too, with the line's end before and ": " behind.
    """
    start = lowered.find(name)
    if start < 0:
        return b""
    start += len(name)
    end = head.find(b"\r\n", start)
    return head[start:end] if end >= 0 else head[start:]


def split(data: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Return the first message's head and body, and what follows; None while it is incomplete."""
    end = data.find(_END)
    if end < 0:
        return None
    head = data[:end]
    start = end + len(_END)
    stop = start + int(header(head, head.lower(), _LENGTH) or 0)
    if len(data) < stop:
        return None
    return head, data[start:stop], data[stop:]


class Wire(asyncio.Protocol):
    """One kept connection of a client."""

    def __init__(self, pool: WirePool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._done: Done | None = None
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the pool."""
        self._transport = cast("asyncio.Transport", transport)
        self._pool.ready(self)

    def send(self, request: bytes, done: Done) -> None:
        """Send one request; the connection is busy until ``done`` is called."""
        assert self._transport is not None
        self._done = done
        CALLING.sent += len(request)
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take in an answer."""
        CALLING.received += len(data)
        message = split(self._held + data if self._held else data)
        if message is None:
            self._held += data
            return
        head, body, self._held = message
        done, self._done = self._done, None
        self._pool.ready(self)
        if done is not None:
            done(int(head[9:12]), body)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the pool; a call that waits has lost its answer."""
        del exc
        done, self._done = self._done, None
        self._pool.lost(self)
        if done is not None:
            done(0, b"")

    def close(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()


class WirePool:
    """Kept connections to one loopback port; at most ``limit``, further requests queue."""

    def __init__(self, port: int, limit: int = 1024) -> None:
        self._port = port
        self._limit = limit
        self._idle: list[Wire] = []
        self._all: set[Wire] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._queue: deque[tuple[bytes, Done]] = deque()

    def send(self, request: bytes, done: Done) -> None:
        """Send a request on the connection used last, on a new one, or once one comes free."""
        if self._idle:
            self._idle.pop().send(request, done)
            return
        self._queue.append((request, done))
        if len(self._all) + len(self._opening) < self._limit:
            task = asyncio.create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: Wire(self), "127.0.0.1", self._port)
        except OSError:
            if self._queue and not self._all:
                _, done = self._queue.popleft()
                done(0, b"")

    def ready(self, wire: Wire) -> None:
        """Take a connection back, or give it the next request that waits."""
        self._all.add(wire)
        if self._queue:
            wire.send(*self._queue.popleft())
        else:
            self._idle.append(wire)

    def lost(self, wire: Wire) -> None:
        """Forget a connection."""
        self._all.discard(wire)
        if wire in self._idle:
            self._idle.remove(wire)

    def close(self) -> None:
        """Close every connection."""
        for wire in tuple(self._all):
            wire.close()


class Endpoint(asyncio.Protocol):
    """One connection of a server; ``serve`` answers each request at once."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._transport: asyncio.Transport | None = None
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take in requests and answer them."""
        assert self._transport is not None
        SERVING.received += len(data)
        rest = self._held + data if self._held else data
        while rest and (message := split(rest)) is not None:
            head, body, rest = message
            answer = self._serve(head, body)
            SERVING.sent += len(answer)
            self._transport.write(answer)
        self._held = rest
