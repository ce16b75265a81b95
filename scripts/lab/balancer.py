"""A load balancer for a run with several daemons: each connection goes to the next daemon that takes it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import cast

_HOST = "127.0.0.1"


class Balancer:
    """Listens at ``port`` and hands connections on to ``targets``, in turn; a dead one is passed over."""

    def __init__(self, port: int, targets: Sequence[int]) -> None:
        self._port = port
        self._targets = targets
        self._turn = itertools.count()
        self._sides: set[_Side] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Side(self._sides, self._begin), _HOST, self._port)

    async def close(self) -> None:
        """Stop, and drop every connection."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        for side in tuple(self._sides):
            side.abort()
        await asyncio.sleep(0)  # the transports are closed in the loop's next turn

    def _begin(self, near: _Side) -> None:
        task = asyncio.create_task(self._connect(near))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, near: _Side) -> None:
        loop, first = asyncio.get_running_loop(), next(self._turn)
        for offset in range(len(self._targets)):
            port = self._targets[(first + offset) % len(self._targets)]
            try:
                _, far = await loop.create_connection(lambda: _Side(self._sides), _HOST, port)
            except OSError:  # that one is dead
                continue
            near.join(far)
            return
        near.abort()


class _Side(asyncio.Protocol):
    """One end of a connection; what it reads is written to the other end. ``begin`` looks for that other end."""

    def __init__(self, sides: set[_Side], begin: Callable[[_Side], None] | None = None) -> None:
        self._sides = sides
        self._begin = begin
        self.here: asyncio.Transport | None = None
        """This end's transport."""
        self.there: asyncio.Transport | None = None
        """The other end's, once the two are joined."""
        self._early: list[bytes] = []
        """What came before that."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.here = cast("asyncio.Transport", transport)
        self._sides.add(self)
        if self._begin is not None:
            self._begin(self)

    def join(self, other: _Side) -> None:
        """Begin to hand on, both ways."""
        self.there, other.there = other.here, self.here
        for one, opposite in ((self, other), (other, self)):
            if one.here is None or one.here.is_closing():
                opposite.abort()
            else:
                one.flush()

    def flush(self) -> None:
        """Hand on what came early."""
        assert self.there is not None
        self.there.writelines(self._early)
        self._early.clear()

    def data_received(self, data: bytes) -> None:
        if self.there is None:
            self._early.append(data)
        else:
            self.there.write(data)

    def pause_writing(self) -> None:
        if self.there is not None:
            self.there.pause_reading()

    def resume_writing(self) -> None:
        if self.there is not None:
            self.there.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._sides.discard(self)
        if self.there is not None:
            self.there.close()

    def abort(self) -> None:
        """Drop the connection."""
        if self.here is not None:
            self.here.abort()
