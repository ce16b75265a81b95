"""The connections that are kept: bounded per origin, reused last in first out, waited for first in first out.

Slots are what is bounded. A call holds one slot of its origin from ``acquire`` to ``release``, whether or not it has a
connection yet; a resting connection holds one too. So a call that fails or is cancelled at any point gives back
exactly what it took.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextlib import suppress
from dataclasses import dataclass, field

from receiptd.adapters.outbound.connection import Connection
from receiptd.domain.errors import OutboundError


@dataclass(slots=True)
class _Origin:
    """One origin: its resting connections (the last is the freshest), its busy slots, and who waits for one."""

    resting: list[Connection] = field(default_factory=list)
    busy: int = 0
    waiters: deque[asyncio.Future[Connection | None]] = field(default_factory=deque)


class ConnectionPool:
    """Slots and resting connections of every origin.

    Args:
        per_origin: slots of one origin, busy and resting.
        resting_max: resting connections in all; beyond it the one that has rested longest is closed.
        resting_timeout_s: how long a connection may rest.
    """

    def __init__(self, *, per_origin: int, resting_max: int, resting_timeout_s: float) -> None:
        self._per_origin = per_origin
        self._resting_max = resting_max
        self._resting_timeout_s = resting_timeout_s
        self._origins: dict[str, _Origin] = {}
        self._resting: OrderedDict[Connection, None] = OrderedDict()
        self._closed = False

    async def acquire(self, origin: str, deadline: float) -> Connection | None:
        """Take a slot of ``origin``, with the freshest resting connection, or None: the caller may open one.

        Raises:
            OutboundError: no slot came free before ``deadline`` (the loop's time), or the pool is closed.
        """
        if self._closed:
            raise OutboundError(f"{origin}: the client is closed", sent=False)
        slots = self._origins.get(origin)
        if slots is None:
            slots = self._origins[origin] = _Origin()
        if slots.resting:
            connection = slots.resting.pop()
            del self._resting[connection]
            slots.busy += 1
            return connection
        if slots.busy < self._per_origin:
            slots.busy += 1
            return None
        return await self._wait(origin, slots, deadline)

    async def _wait(self, origin: str, slots: _Origin, deadline: float) -> Connection | None:
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        slots.waiters.append(waiter)
        try:
            async with asyncio.timeout_at(deadline):
                return await waiter
        except (asyncio.CancelledError, TimeoutError) as error:
            if waiter.cancelled():
                with suppress(ValueError):  # release may have passed it over already
                    slots.waiters.remove(waiter)
            elif waiter.exception() is None:
                self.release(origin, waiter.result())  # it was given a slot in the instant it gave up
            if isinstance(error, TimeoutError):
                raise OutboundError(f"{origin}: no connection came free in time", sent=False) from error
            raise

    def release(self, origin: str, connection: Connection | None) -> None:
        """Give a slot back, with its connection if there is one; whoever waits longest gets both."""
        if connection is not None and not connection.reusable:
            connection.close()
            connection = None
        slots = self._origins[origin]
        while slots.waiters:
            waiter = slots.waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        slots.busy -= 1
        if connection is not None:
            self._rest(slots, connection)
        self._tidy(origin, slots)

    def _rest(self, slots: _Origin, connection: Connection) -> None:
        connection.rest(self._resting_timeout_s)
        slots.resting.append(connection)
        self._resting[connection] = None
        if len(self._resting) > self._resting_max:
            oldest = next(iter(self._resting))
            self.forget(oldest)
            oldest.close()

    def forget(self, connection: Connection) -> None:
        """Drop a connection that is lost; one that does not rest is its call's to give back."""
        if connection in self._resting:
            del self._resting[connection]
            slots = self._origins[connection.origin]
            slots.resting.remove(connection)
            self._tidy(connection.origin, slots)

    def _tidy(self, origin: str, slots: _Origin) -> None:
        """Keep nothing of an origin that nobody uses: clients may name any number of them."""
        if not slots.busy and not slots.resting:
            self._origins.pop(origin, None)

    def close(self) -> None:
        """Refuse every call that waits, and all to come."""
        self._closed = True
        for origin, slots in self._origins.items():
            for waiter in slots.waiters:
                if not waiter.done():
                    waiter.set_exception(OutboundError(f"{origin}: the client is closed", sent=False))
            slots.waiters.clear()
