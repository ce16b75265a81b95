"""The backlog trial: a registrar is down while receipts come in by the thousand, and then it is back.

While its circuit is open nothing asks in a hot loop; when it is back, the backlog drains at the registrar's rate and
no faster, and receipts that are posted meanwhile do not wait behind it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lab.audit import listed
from lab.aws_site import AwsSite
from lab.children import Child
from lab.client import Session, content, outbound, wait_ready
from lab.figures import quantile
from lab.orders import Printer
from lab.site import Site, SiteError
from lab.weather import CALM, World
from receiptd.domain.lifecycle import registrar_queue
from receiptd.ports import HttpCall

DOWN = "tax"
"""The registrar that is down."""
_OTHER = "warehouse"
OPEN_MAX_S = 2.0
"""The longest pause between two probes of its circuit."""
REGISTRAR = """
timeout_s = 2
concurrency = 32
rate_per_s = {rate}
[retry]
base_s = 0.25
cap_s = 60
max_attempts = 10000
[breaker]
open_s = 0.5
open_max_s = {open_max}
"""
_POSTERS = 16
_SAMPLE_S = 1.0
_LIVE_EVERY_S = 0.2
_CALLS = re.compile(r'^receiptd_registrar_calls_total{.*registrar="(.+)".*} ([0-9.e+]+)$', re.MULTILINE)
_POST_S = 30.0
_FOLLOW_MAX_S = 120.0
_PATIENCE_S = 60.0
_POLL_S = 0.25
_CLOSED_AFTER = 20
"""Calls that a circuit lets through when it has closed."""
_METRICS_MAX = 4 * 1024 * 1024


@dataclass(slots=True)
class Findings:
    """What the trial measured."""

    backlog: int
    rate_per_s: float
    """The registrar's rate limit."""
    posted_s: float = 0.0
    open_s: float = 0.0
    """How long it was watched while the circuit was open."""
    calls_while_open: int = 0
    receives_while_open: int | None = None
    """From the registrar's queue, on AWS."""
    parked: int | None = None
    """Messages in that queue at the end of the outage, on AWS."""
    cpu_while_open: float = 0.0
    """Of one core."""
    drained_s: float = 0.0
    """From the registrar's return until every receipt was COMPLETE."""
    calls_max_per_s: float = 0.0
    """At the registrar, in the busiest second of the drain."""
    live: int = 0
    live_p50_s: float = 0.0
    live_p99_s: float = 0.0
    """From POST until COMPLETE, of receipts posted during the drain."""
    lost: int = 0
    problems: list[str] = field(default_factory=list)

    def judge(self) -> None:
        """Say what is out of bounds."""
        probes = 2 * self.open_s / OPEN_MAX_S + 4
        bounds: Mapping[str, tuple[float | None, float]] = {
            "calls_while_open": (self.calls_while_open, probes),
            "receives_while_open": (self.receives_while_open, 2 * probes),
            "parked": (self.parked, 1.2 * self.backlog + 200),
            "cpu_while_open": (self.cpu_while_open, 0.5),
            "calls_max_per_s": (self.calls_max_per_s, 2.2 * self.rate_per_s),  # the bucket holds a second's worth
            # An emulator's queues grow slower the longer they are: a tenth of the drain is no stall either.
            "live_p99_s": (self.live_p99_s, max(5.0, self.backlog / self.rate_per_s / 10)),
            "lost": (self.lost, 0),
        }
        for name, (value, bound) in bounds.items():
            if value is not None and value > bound:
                self.problems.append(f"{name} is {value:g}; it must be at most {bound:g}")

    def as_json(self) -> dict[str, Any]:
        """Return the findings for a machine."""
        return {
            name: round(value, 2) if isinstance(value, float) else value
            for name, value in asdict(self).items()
            if value is not None
        }


class Backlog:
    """One run at ``site``, whose registrars have the settings ``REGISTRAR``.

    Args:
        site: a site.
        receipts: how many are parked.
        rate_per_s: the registrars' rate limit.
        outage_s: how long the circuit is watched while it is open, after the last of them was posted.
    """

    def __init__(self, site: Site, *, receipts: int, rate_per_s: float, outage_s: float) -> None:
        self._site = site
        self._outage_s = outage_s
        self._world = World(site.peers_url, site.proxy_url if isinstance(site, AwsSite) else "")
        self._http = outbound()
        self._printer = Printer(random.Random(1))
        self._children: list[Child] = []
        self._sessions: list[Session] = []
        self._accepted: set[str] = set()
        self.findings = Findings(receipts, rate_per_s)

    async def run(self) -> Findings:
        """Do everything. Raises SiteError."""
        site = self._site
        clients = [site.add_client(name, webhook=False) for name in ("shop", "kiosk")]
        simulate = ["-m", "receiptd", "simulate", "--port", str(site.peers_port), "--keep", "1000000"]
        simulator = site.spawn("simulator", *simulate)
        self._children.append(simulator)
        await wait_ready(site.peers_url, simulator, path="/livez")
        daemon = site.serve()
        self._children.append(daemon)
        await wait_ready(site.daemon_url, daemon)
        self._sessions = [Session(site.daemon_url, client, self._http) for client in clients]
        await self._world.turn({"registrars": {DOWN: {"down": True}}})
        await self._fill()
        await self._watch(daemon)
        await self._drain()
        await self._world.close()
        await self._http.close()
        self.findings.judge()
        return self.findings

    def stop(self) -> None:
        """End the processes."""
        for child in self._children:
            child.stop(5.0)

    async def _fill(self) -> None:
        """Post the backlog, all by one client."""
        begun = time.monotonic()
        left = iter(range(self.findings.backlog))

        async def post() -> None:
            for _ in left:
                self._accepted.add(await self._post(self._sessions[0]))

        await asyncio.gather(*(post() for _ in range(_POSTERS)))
        self.findings.posted_s = time.monotonic() - begun

    async def _post(self, session: Session) -> str:
        """Post one receipt until it is accepted; return its id. Raises SiteError."""
        order, deadline = self._printer.good(), time.monotonic() + _POST_S
        while time.monotonic() < deadline:
            reply = await session.call(
                "POST", "/v1/receipts", body=order.body, timeout_s=_POST_S, Content_Type=order.document.content_type
            )
            if reply is not None and reply.status == 202:
                return str(content(reply)["id"])
            if reply is not None and reply.status not in {429, 503}:
                break
            await asyncio.sleep(0.2)
        raise SiteError(f"not accepted: {'no answer' if reply is None else (reply.status, reply.body[:300])}")

    async def _watch(self, daemon: Child) -> None:
        """Let the other registrar end its work and the circuit's pauses reach their longest; then count for a while."""
        findings = self.findings

        async def left_elsewhere() -> int:
            return max(findings.backlog - await self._calls(_OTHER), 0)

        await _wait(left_elsewhere, 0, time.monotonic() + _PATIENCE_S + 2 * findings.backlog / findings.rate_per_s)
        await asyncio.sleep(2 * OPEN_MAX_S)
        begun, calls, cpu_s = time.monotonic(), await self._calls(), daemon.cpu_s()
        receives = await self._receives()
        await asyncio.sleep(self._outage_s)
        findings.open_s = time.monotonic() - begun
        findings.calls_while_open = await self._calls() - calls
        findings.cpu_while_open = (daemon.cpu_s() - cpu_s) / findings.open_s
        if isinstance(self._site, AwsSite):
            findings.receives_while_open = await self._receives() - receives
            queue = registrar_queue(DOWN)
            findings.parked = self._site.depths([queue])[queue]

    async def _drain(self) -> None:
        """Let the registrar come back; post on, and see everything to its end."""
        await self._world.turn(CALM)
        begun, before = time.monotonic(), await self._calls()
        deadline = begun + _PATIENCE_S + 4 * self.findings.backlog / self.findings.rate_per_s

        async def left_to_call() -> int:
            return max(0, self.findings.backlog - (await self._calls() - before))

        ended = asyncio.Event()
        sampler = asyncio.create_task(self._sample(ended))
        # What is posted before the circuit closes joins the backlog.
        await _wait(left_to_call, self.findings.backlog - _CLOSED_AFTER, deadline)
        live = asyncio.create_task(self._live(ended))
        await _wait(left_to_call, 0, deadline)
        left = await _wait(self._incomplete, 0, deadline)
        findings = self.findings
        findings.drained_s, findings.lost = time.monotonic() - begun, left
        ended.set()
        findings.calls_max_per_s, latencies = await sampler, await live
        findings.live = len(latencies)
        findings.live_p50_s, findings.live_p99_s = quantile(latencies, 0.5), quantile(latencies, 0.99)

    async def _live(self, ended: asyncio.Event) -> list[float]:
        """Post receipts of either client, one after the other begun, until ``ended``; return how long each took."""
        tasks = []
        for number in itertools.count():
            tasks.append(asyncio.create_task(self._follow(self._sessions[number % 2])))
            await _pause(ended, _LIVE_EVERY_S)
            if ended.is_set():
                return await asyncio.gather(*tasks)
        raise AssertionError("there is no last number")

    async def _follow(self, session: Session) -> float:
        """Post one receipt and wait until it is COMPLETE; return the seconds."""
        begun = time.monotonic()
        receipt_id = await self._post(session)
        while time.monotonic() - begun < _FOLLOW_MAX_S:
            reply = await session.call("GET", f"/v1/receipts/{receipt_id}/status", timeout_s=30.0, Prefer="wait=10")
            if reply is not None and reply.status == 200 and content(reply)["status"] == "COMPLETE":
                break
        return time.monotonic() - begun

    async def _sample(self, ended: asyncio.Event) -> float:
        """Return the highest rate of calls to the registrar, in any second until ``ended``."""
        highest, at, calls = 0.0, time.monotonic(), await self._calls()
        while not ended.is_set():
            await _pause(ended, _SAMPLE_S)
            now, count = time.monotonic(), await self._calls()
            if now - at >= _SAMPLE_S / 2:
                highest = max(highest, (count - calls) / (now - at))
            at, calls = now, count
        return highest

    async def _incomplete(self) -> int:
        """Return how many receipts of the backlog are not COMPLETE."""
        states = await listed(self._sessions[0])
        return sum(states.get(receipt_id) != "COMPLETE" for receipt_id in self._accepted)

    async def _calls(self, registrar: str = DOWN) -> int:
        """Return how many calls a registrar has had."""
        reply = await self._http.send(HttpCall("GET", f"{self._site.daemon_url}/metrics", reply_max_bytes=_METRICS_MAX))
        return int(sum(float(count) for name, count in _CALLS.findall(reply.body.decode()) if name == registrar))

    async def _receives(self) -> int:
        """Return how many receives the registrar's queue has had; 0 where nobody counts them."""
        if not isinstance(self._site, AwsSite):
            return 0
        return sum(
            count for queue, count in (await self._world.aws())["receives"].items() if queue.endswith(f"-{DOWN}")
        )


async def _wait(probe: Callable[[], Awaitable[int]], bound: int, deadline: float) -> int:
    """Wait until ``probe`` gives ``bound`` or less, or time is up; return what it gave."""
    while (found := await probe()) > bound:
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(_POLL_S)
    return found


async def _pause(ended: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await ended.wait()


async def trial(site: Site, arguments: argparse.Namespace) -> Findings:
    """Run one as the command line asks. Raises SiteError."""
    backlog = Backlog(site, receipts=arguments.backlog, rate_per_s=arguments.drain_rate, outage_s=arguments.seconds)
    try:
        return await backlog.run()
    finally:
        backlog.stop()
