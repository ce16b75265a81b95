"""Slices of load, measured: what a receipt costs the daemon, and what it costs the null pipeline."""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.children import Child
from lab.figures import quantile
from lab.load import Make, closed_loop, open_loop
from lab.peers import Peers, Tally, Target

_SETTLE_S = 0.3
_WARM_UP_S = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure. Times are in seconds."""

    seconds: float
    slice_s: float
    in_flight: int
    rate_per_s: float
    seed: int


@dataclass(frozen=True, slots=True)
class Slice:
    """One slice's outcome. Its CPU counts until everything that it began has ended."""

    tally: Tally
    seconds: float
    cpu_s: float
    load_cpu_s: float
    """What the load generator itself used: to be far less, or it is what is measured."""

    @property
    def rate(self) -> float:
        """Receipts completed a second, while the load lasted."""
        return self.tally.completed_in_time / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU microseconds for each receipt."""
        return self.cpu_s * 1e6 / max(1, self.tally.completed)

    @property
    def load_cpu_us(self) -> float:
        """The load generator's own CPU microseconds for each receipt."""
        return self.load_cpu_s * 1e6 / max(1, self.tally.completed)


@dataclass(slots=True)
class Series:
    """The slices so far, by what was measured; the first three lists are of one length."""

    null: list[Slice] = field(default_factory=list)
    closed: list[Slice] = field(default_factory=list)
    open: list[Slice] = field(default_factory=list)

    def errors(self) -> list[str]:
        """Return everything that went wrong."""
        return [error for part in (self.null, self.closed, self.open) for one in part for error in one.tally.errors]


class Meter:
    """Runs slices against a daemon and a null pipeline that are up."""

    def __init__(self, plan: Plan, peers: Peers, children: tuple[Child, Child], make: Make) -> None:
        self._plan = plan
        self._peers = peers
        self._children = children
        self._make = make
        self._rng = random.Random(plan.seed)

    async def run(self, daemon: Target, null: Target) -> Series:
        """Warm both up, then alternate until the time is used up; each kind gets one slice at least."""
        plan, series = self._plan, Series()
        daemon_process, null_process = self._children
        for target, process in ((null, null_process), (daemon, daemon_process)):
            await self._closed(target, process, _WARM_UP_S)
        until = time.monotonic() + plan.seconds
        round_s = 3 * (plan.slice_s + _SETTLE_S)
        for number in itertools.count(1):
            series.null.append(await self._closed(null, null_process, plan.slice_s))
            series.closed.append(await self._closed(daemon, daemon_process, plan.slice_s))
            series.open.append(await self._open(daemon, daemon_process, plan.slice_s))
            _progress(number, series)
            if time.monotonic() + round_s > until:
                break
        return series

    async def _closed(self, target: Target, process: Child, seconds: float) -> Slice:
        def load() -> Awaitable[Tally]:
            return closed_loop(self._peers, target, self._make, in_flight=self._plan.in_flight, seconds=seconds)

        return await measure(process, seconds, load)

    async def _open(self, target: Target, process: Child, seconds: float) -> Slice:
        def load() -> Awaitable[Tally]:
            rate_per_s = self._plan.rate_per_s
            return open_loop(self._peers, target, self._make, rate_per_s=rate_per_s, seconds=seconds, rng=self._rng)

        return await measure(process, seconds, load)


async def measure(
    process: Child, seconds: float, load: Callable[[], Awaitable[Tally]], *, settle_s: float = _SETTLE_S
) -> Slice:
    """Run ``load`` for ``seconds``, and let the process finish what it began for ``settle_s`` more."""
    before_s, load_before_s = process.cpu_s(), time.process_time()
    tally = await load()
    await asyncio.sleep(settle_s)
    return Slice(tally, seconds, process.cpu_s() - before_s, time.process_time() - load_before_s)


def report(series: Series, plan: Plan, rss_mb: float, failures: int) -> dict[str, Any]:
    """Sum the slices up: medians, except where a name says otherwise. ``ratio`` is of neighbouring slices."""
    median, opened = statistics.median, series.open
    return {
        "receipts_per_s": round(median(one.rate for one in series.closed)),
        "cpu_us_per_receipt": round(median(one.cpu_us for one in series.closed), 1),
        "null_cpu_us_per_receipt": round(median(one.cpu_us for one in series.null), 1),
        "ratio": round(median(c.cpu_us / n.cpu_us for c, n in zip(series.closed, series.null, strict=True)), 3),
        "open_loop": {
            "offered_per_s": plan.rate_per_s,
            "completed_per_s": round(median(one.rate for one in opened)),
            "post_p50_ms": round(median(_ms(one.tally.post_s, 0.5) for one in opened), 2),
            "post_p99_ms": round(median(_ms(one.tally.post_s, 0.99) for one in opened), 2),
            "complete_p99_ms": round(median(_ms(one.tally.complete_s, 0.99) for one in opened), 2),
            "errors": sum(len(one.tally.errors) for one in opened),
            "complete_p50_ms": round(median(_ms(one.tally.complete_s, 0.5) for one in opened), 2),
            "post_p99_worst_slice_ms": round(max(_ms(one.tally.post_s, 0.99) for one in opened), 2),
            "cpu_us_per_receipt": round(median(one.cpu_us for one in opened), 1),
        },
        "rss_mb": round(rss_mb, 1),
        "load_cpu_us_per_receipt": round(median(one.load_cpu_us for one in series.closed), 1),
        "null_receipts_per_s": round(median(one.rate for one in series.null)),
        "errors": len(series.errors()) + failures,
        "slices": len(series.closed),
        "slice_s": plan.slice_s,
        "in_flight": plan.in_flight,
    }


def table(result: dict[str, Any]) -> str:
    """Return the report for people."""
    opened = result["open_loop"]
    rows = [
        (
            f"closed loop, {result['in_flight']} in flight",
            f"{result['receipts_per_s']}/s, {result['cpu_us_per_receipt']} us of CPU a receipt",
        ),
        ("  null pipeline", f"{result['null_receipts_per_s']}/s, {result['null_cpu_us_per_receipt']} us"),
        ("  daemon / null", f"{result['ratio']}"),
        ("  load generator", f"{result['load_cpu_us_per_receipt']} us on the other core"),
        (
            f"open loop, {opened['offered_per_s']:g}/s",
            f"{opened['completed_per_s']}/s, {opened['cpu_us_per_receipt']} us, {opened['errors']} errors",
        ),
        ("  POST", f"p50 {opened['post_p50_ms']} ms, p99 {opened['post_p99_ms']} ms"),
        ("  to the webhook", f"p50 {opened['complete_p50_ms']} ms, p99 {opened['complete_p99_ms']} ms"),
        ("memory", f"{result['rss_mb']} MB resident"),
        ("errors", f"{result['errors']}"),
    ]
    return "\n".join(f"{name:28} {value}" for name, value in rows)


def _progress(number: int, series: Series) -> None:
    null, closed, opened = series.null[-1], series.closed[-1], series.open[-1]
    print(
        f"round {number}: null {null.cpu_us:.0f} us, {null.rate:.0f}/s | closed {closed.cpu_us:.0f} us, "
        f"{closed.rate:.0f}/s, ratio {closed.cpu_us / null.cpu_us:.2f} | open {opened.cpu_us:.0f} us, "
        f"{opened.rate:.0f}/s, POST p99 {_ms(opened.tally.post_s, 0.99):.1f} ms",
        file=sys.stderr,
        flush=True,
    )


def _ms(values: Sequence[float], share: float) -> float:
    return quantile(values, share) * 1000
