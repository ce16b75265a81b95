"""The inbound HTTP/1.1 server: the listener, the sweep that enforces timeouts, and the drain."""

from __future__ import annotations

import asyncio
import logging
import socket

from receiptd.http.message import Application
from receiptd.http.protocol import Connection
from receiptd.http.state import ServerLimits, ServerState, ServerStats

__all__ = ["HttpServer", "ServerLimits", "ServerStats"]

logger = logging.getLogger("receiptd.http")

_BACKLOG = 1024
_ABORT_GRACE_S = 1.0


class HttpServer:
    """Serves one application on one listening socket; start it once, drain it once."""

    def __init__(self, application: Application, limits: ServerLimits | None = None) -> None:
        self._application = application
        self._limits = limits or ServerLimits()
        self.stats = ServerStats()
        self._state: ServerState | None = None
        self._listener: asyncio.Server | None = None
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The port that is listened on; 0 before the start, and for a socket that has none."""
        return self._port

    async def start(
        self, host: str = "127.0.0.1", port: int = 0, *, sock: socket.socket | None = None, reuse_port: bool = False
    ) -> None:
        """Listen on ``host`` and ``port`` (0: any free one), or on ``sock``, which is bound already.

        Raises:
            OSError: the address cannot be listened on.
        """
        assert self._listener is None
        loop = asyncio.get_running_loop()
        state = self._state = ServerState(self._application, self._limits, loop, stats=self.stats)

        def connect() -> Connection:
            return Connection(state)

        if sock is not None:
            self._listener = await loop.create_server(connect, sock=sock, backlog=_BACKLOG)
        else:
            self._listener = await loop.create_server(connect, host, port, backlog=_BACKLOG, reuse_port=reuse_port)
        address = self._listener.sockets[0].getsockname()
        self._port = address[1] if isinstance(address, tuple) else 0
        self._sweep_timer = loop.call_later(self._limits.sweep_interval_s, self._sweep)

    async def drain(self, timeout_s: float) -> None:
        """Stop accepting, answer what has begun, close the rest; after ``timeout_s`` seconds drop what is left.

        Returns when no connection and no handler is left. A second call does no harm, and waits as well.
        """
        state, listener = self._state, self._listener
        if state is None or listener is None:
            return
        listener.close()
        state.draining = True
        for connection in tuple(state.connections):
            connection.drain()
        if not await self._ended(timeout_s):
            handlers = [task for connection in tuple(state.connections) if (task := connection.abort()) is not None]
            logger.warning("The drain timed out: %d connections dropped.", len(state.connections))
            if not await self._ended(_ABORT_GRACE_S):
                logger.error("Handlers that do not end when cancelled: %d.", sum(not task.done() for task in handlers))
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()

    async def _ended(self, timeout_s: float) -> bool:
        """Wait until no connection and no handler is left; return False when that takes too long."""
        state = self._state
        assert state is not None
        if not state.connections:
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await state.empty.wait()
        except TimeoutError:
            return False
        return True

    def _sweep(self) -> None:
        """End whatever has waited too long: one timer for all, where one for each request would cost a microsecond."""
        state = self._state
        assert state is not None
        self._sweep_timer = state.loop.call_later(self._limits.sweep_interval_s, self._sweep)
        now = state.loop.time()
        for connection in [connection for connection in state.connections if connection.deadline < now]:
            try:
                connection.expire()
            except Exception:
                connection.abort()  # so that the next sweep comes to the others
                raise
