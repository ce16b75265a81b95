"""What every connection of one server shares: its limits, its counters, and the registry of open connections."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from receiptd.http.encoding import ResponseEncoder
from receiptd.http.message import Application


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What one server grants its peers; everything that a peer can make grow or wait has its bound here."""

    body_max_bytes: int = 1_048_576
    head_max_bytes: int = 16_384
    target_max_bytes: int = 8_192
    headers_max: int = 100
    connections_max: int = 10_000
    """Counts a connection until its peer has gone and its handler has ended."""
    buffered_max_bytes: int = 67_108_864
    """Received bytes of unanswered requests, over all connections; a request that would exceed it gets 503."""
    head_timeout_s: float = 10.0
    """From the connection, or from the first byte of a later request, to the end of the head."""
    body_timeout_s: float = 30.0
    idle_timeout_s: float = 75.0
    """Longer than the 60 s after which an ALB drops an idle connection, so that the balancer closes first."""
    write_timeout_s: float = 30.0
    """How long a peer may leave an answer unread, plus what its size takes at ``write_rate_min_bytes_s``."""
    write_rate_min_bytes_s: int = 32_768
    linger_timeout_s: float = 2.0
    """How long a closed connection is still read, so that the peer sees the answer and not a reset."""
    linger_max_bytes: int = 8_388_608
    sweep_interval_s: float = 1.0
    """How often the timeouts are looked at; each of them is late by at most this."""


@dataclass(slots=True)
class ServerStats:
    """Counters since the start, for metrics to read; ``connections`` is a gauge of those open now."""

    connections: int = 0
    requests: int = 0
    """Requests handed to the application's ``handle``."""
    refused: int = 0
    """Answers of the server itself or of ``admit``: the request never reached ``handle``."""
    faults: int = 0
    """Exceptions that escaped the application."""


class Registered(Protocol):
    """A connection, as the server that sweeps and drains it sees it."""

    deadline: float
    """Event loop time after which ``expire`` is due."""

    def expire(self) -> None:
        """End whatever has waited too long."""

    def drain(self) -> None:
        """Close at once when idle; otherwise after the answer that is under way."""

    def abort(self) -> asyncio.Task[None] | None:
        """Drop the connection, cancel its handler and return that handler's task while it runs."""


@dataclass(slots=True, eq=False)
class ServerState:
    """The shared state of one server; used from its event loop's thread only."""

    application: Application
    limits: ServerLimits
    loop: asyncio.AbstractEventLoop
    encoder: ResponseEncoder = field(default_factory=ResponseEncoder)
    stats: ServerStats = field(default_factory=ServerStats)
    connections: set[Registered] = field(default_factory=set)
    buffered_bytes: int = 0
    draining: bool = False
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while the registry is empty and the server drains."""

    def register(self, connection: Registered) -> None:
        """Count a connection in."""
        self.connections.add(connection)
        self.stats.connections += 1

    def forget(self, connection: Registered) -> None:
        """Count a connection out, once."""
        if connection in self.connections:
            self.connections.remove(connection)
            self.stats.connections -= 1
            if self.draining and not self.connections:
                self.empty.set()
