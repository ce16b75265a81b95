"""The benchmark's two shapes of load: a closed loop that saturates, and an open loop that arrives whatever happens."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from lab.patience import until
from lab.peers import Journey, Peers, Tally, Target

_DRAIN_S = 60.0
_TICK_S = 0.001

Make = Callable[[], tuple[str, bytes, str]]
"""Makes the next document: its key, its bytes, its content type."""


async def closed_loop(peers: Peers, target: Target, make: Make, *, in_flight: int, seconds: float) -> Tally:
    """Keep ``in_flight`` receipts under way for ``seconds``, then let them finish."""
    loop = asyncio.get_running_loop()
    tally = Tally()
    until = loop.time() + seconds

    def begin() -> None:
        now = loop.time()
        if now < until:
            Journey(peers, target, tally, now, begin, read_again=tally.offered % 2 == 0).start(*make())

    for _ in range(in_flight):
        begin()
    await asyncio.sleep(seconds)
    tally.completed_in_time = tally.completed
    await _drain(peers, tally)
    return tally


async def open_loop(
    peers: Peers, target: Target, make: Make, *, rate_per_s: float, seconds: float, rng: random.Random
) -> Tally:
    """Post ``rate_per_s`` receipts a second, as independent clients do (Poisson), for ``seconds``; let them finish."""
    loop = asyncio.get_running_loop()
    tally = Tally()
    start = loop.time()
    due = start + rng.expovariate(rate_per_s)
    while due < start + seconds:
        now = loop.time()
        while due <= now:
            Journey(peers, target, tally, due, _nothing, read_again=tally.offered % 2 == 0).start(*make())
            due += rng.expovariate(rate_per_s)
        await asyncio.sleep(max(due - loop.time(), _TICK_S))
    await asyncio.sleep(max(0.0, start + seconds - loop.time()))
    tally.completed_in_time = tally.completed
    await _drain(peers, tally)
    return tally


def _nothing() -> None:
    """An open loop does not care when a receipt ends."""


async def _drain(peers: Peers, tally: Tally) -> None:
    """Wait until every receipt has ended; what has not by then is an error."""
    if not await until(lambda: tally.ended >= tally.offered, _DRAIN_S):
        missing = tally.offered - tally.ended
        tally.errors.append(f"{missing} receipts did not end within {_DRAIN_S:g} s; say {list(peers.waiting)[:3]}")
        peers.waiting.clear()
