"""The two back ends beside each other: what a receipt costs the daemon on AWS, and what it costs the embedded one.

The daemon on AWS runs with config/aws.toml against stand-ins of the services in a process of their own (aws_stubs.py).
Slices alternate on one core. What a slice costs a daemon is its CPU time until its own next slice begins: by then the
recovery messages of its receipts have come round and been dropped, so that it bears all that its receipts cause.
Requests and capacity units are those that the stand-ins counted; the daemon's own counts (/metrics) must be the same.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import os
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import uvloop

from lab import aws_stubs, cost_metrics, documents
from lab.children import Child, free_ports
from lab.client import Session, outbound, wait_ready
from lab.figures import quantile
from lab.load import Make, closed_loop, open_loop
from lab.peers import Peers, Tally, Target
from lab.site import ROOT, SAME_ALL_DAY, Client, Site, SiteError
from lab.slices import Slice, measure
from lab.wire import CALLING, SERVING
from receiptd.adapters.aws.contracts import AwsContracts
from receiptd.adapters.aws.dynamodb import DynamoDb
from receiptd.adapters.aws.session import AwsSession
from receiptd.adapters.aws.usage import Usage
from receiptd.adapters.outbound.client import OutboundClient
from receiptd.domain.addresses import OPERATOR
from receiptd.domain.contract import Contract
from receiptd.domain.signatures import new_secret
from receiptd.ports import HttpCall
from receiptd.runtime.clock import SystemClock

IN_FLIGHT: Final = 256
_CLIENT: Final = "bench"
_REGISTRAR: Final = "timeout_s = 5\nconcurrency = 64"
_RECOVERY_S: Final = 1
_SETTLE_S: Final = 2.5
"""Recovery messages come round a second after their receipt, and are taken within another."""
_WARM_UP_S: Final = 1.5
_SHOWN_MAX: Final = 10
_COMMON: Final = {"RECOVERY__DELAY_S": str(_RECOVERY_S), **SAME_ALL_DAY}
_ON_AWS: Final = {
    "HTTP__HOST": "127.0.0.1",
    "AWS__REGION": aws_stubs.REGION,
    "AWS__PREFIX": aws_stubs.PREFIX,
    "SHUTDOWN__READINESS_DELAY_S": "0",
}
_UNDER_WAY_MAX: Final = 10
"""Calls that one side has counted and the other has not: long polls, and that of the contract before the daemon."""
_COUNTERS: Final = ("requests", "sqs_chunks", "write_units", "read_units", "traffic")
_KEYS: Final = {"AWS_ACCESS_KEY_ID": "stub", "AWS_SECRET_ACCESS_KEY": "stub", "AWS_EC2_METADATA_DISABLED": "true"}


@dataclass(frozen=True, slots=True)
class Side:
    """One daemon, ready to be loaded."""

    process: Child
    target: Target
    peers: Peers


@dataclass(slots=True)
class Course:
    """One daemon's slices, and the CPU seconds that it had used when each began and when all was over."""

    side: Side
    slices: list[Slice] = field(default_factory=list)
    marks_s: list[float] = field(default_factory=list)

    def mark(self) -> None:
        """Note the CPU time now."""
        self.marks_s.append(self.side.process.cpu_s())

    @property
    def cpu_us(self) -> list[float]:
        """CPU microseconds for each receipt, by slice."""
        spans = itertools.pairwise(self.marks_s)
        return [(b - a) * 1e6 / max(1, one.tally.completed) for (a, b), one in zip(spans, self.slices, strict=True)]

    def last(self) -> str:
        """Return the last slice for people: without what it leaves to do."""
        return f"{self.side.target.name} {self.slices[-1].cpu_us:.0f} us, {self.slices[-1].rate:.0f}/s"


@dataclass(slots=True)
class Counted:
    """What slices consumed of AWS, and of the network and the log, summed up."""

    receipts: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    sqs_chunks: Counter[str] = field(default_factory=Counter)
    write_units: Counter[str] = field(default_factory=Counter)
    read_units: Counter[str] = field(default_factory=Counter)
    item_bytes: int = 0
    traffic: Counter[str] = field(default_factory=Counter)
    """Bytes of HTTP: what the daemon was asked and answered, what it called out and was told; and what it logged."""

    def add(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        """Add what was counted between two readings of the stand-ins."""
        for name in _COUNTERS:
            own: Counter[str] = getattr(self, name)
            for key, number in after[name].items():
                own[key] += number - before[name].get(key, 0)
        self.item_bytes += after["item_bytes"] - before["item_bytes"]

    def report(self) -> dict[str, Any]:
        """Return it for each receipt."""
        each = 1 / max(1, self.receipts)

        def shares(counter: Counter[str], prefix: str = "") -> dict[str, float]:
            return {
                key.removeprefix(prefix): round(number * each, 4)
                for key, number in sorted(counter.items())
                if key.startswith(prefix) and number
            }

        return {
            "receipts": self.receipts,
            "sqs_requests_per_receipt": round(self.sqs_chunks.total() * each, 4),
            "write_units_per_receipt": round(self.write_units.total() * each, 4),
            "read_units_per_receipt": round(self.read_units.total() * each, 4),
            "sqs_requests": shares(self.sqs_chunks),
            "dynamodb_requests": shares(self.requests, "dynamodb."),
            "write_units": shares(self.write_units),
            "read_units": shares(self.read_units),
            "item_bytes": round(self.item_bytes * each),
            **{name: round(number * each) for name, number in self.traffic.items()},
        }


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the report. Raises SiteError when something did not start."""
    (port,) = free_ports(1)
    os.environ.update(_KEYS)
    endpoint = f"http://127.0.0.1:{port}"
    embedded = Site(settings=_COMMON, registrar=_REGISTRAR)
    aws = Site(settings={**_COMMON, **_ON_AWS, "AWS__ENDPOINT_URL": endpoint}, registrar=_REGISTRAR)
    try:
        return uvloop.run(_run(arguments, embedded, aws, endpoint))
    finally:
        embedded.remove()
        aws.remove()


async def _run(arguments: argparse.Namespace, embedded: Site, aws: Site, endpoint: str) -> dict[str, Any]:
    os.sched_setaffinity(0, {arguments.load_cpu})
    stubs = aws.spawn("stubs", "-m", "lab.aws_stubs", endpoint.rpartition(":")[2], str(arguments.service_ms),
                      cpu=arguments.load_cpu)  # fmt: skip
    sides: list[Side] = []
    try:
        await wait_ready(endpoint, stubs, path="/_stubs/usage")
        sides.append(await _embedded(arguments, embedded))
        sides.append(await _aws(arguments, aws, endpoint))
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        bench = _Bench(arguments, sides[0], sides[1], endpoint)
        result = await bench.run()
        for problem, times in Counter(bench.problems).most_common(_SHOWN_MAX):
            print(f"error, {times} times: {problem}", file=sys.stderr)
        if bench.problems:
            print(*(side.process.tail() for side in sides), sep="\n", file=sys.stderr)
        return result
    finally:
        for side in sides:
            side.process.stop()
            side.peers.stop()
        stubs.kill()


async def _embedded(arguments: argparse.Namespace, site: Site) -> Side:
    client = site.add_client(_CLIENT, webhook=True)
    peers = await _peers(site)
    daemon = site.serve(cpu=arguments.daemon_cpu)
    await wait_ready(site.daemon_url, daemon)
    token = await Session(site.daemon_url, client).token()
    return Side(daemon, Target("embedded", site.daemon_port, token), peers)


async def _aws(arguments: argparse.Namespace, site: Site, endpoint: str) -> Side:
    await add_contract(endpoint, f"{site.peers_url}/hooks/{_CLIENT}")
    peers = await _peers(site)
    command = ["-m", "receiptd", "serve", "--config", str(ROOT / "config" / "aws.toml")]
    if arguments.profile:
        command = ["-m", "cProfile", "-o", arguments.profile, *command]
    daemon = site.spawn("daemon", *command, cpu=arguments.daemon_cpu)
    await wait_ready(site.daemon_url, daemon)
    token = await Session(endpoint, Client(_CLIENT, "any", "", has_webhook=True)).token()
    return Side(daemon, Target("aws", site.daemon_port, token), peers)


async def add_contract(endpoint: str, webhook_url: str) -> None:
    """Put the client's contract into the stand-in's table, through the daemon's own adapter."""
    http = OutboundClient(OPERATOR)
    session = AwsSession(http, Usage(), region=aws_stubs.REGION, endpoint_url=endpoint)
    dynamodb = DynamoDb(await session.wire("dynamodb"), Usage())
    contract = Contract(
        client_id=_CLIENT,
        rate_per_s=100_000,
        burst=100_000,
        webhook_url=webhook_url,
        webhook_secrets=(new_secret(),),
        partitions=(("", 8),),
    )
    await AwsContracts(dynamodb, f"{aws_stubs.PREFIX}-contracts", SystemClock()).put(contract)
    await http.close()


async def _peers(site: Site) -> Peers:
    peers = Peers({name: [secret] for name, secret in site.secrets.items()})
    await peers.start(site.peers_port)
    return peers


class _Bench:
    """Runs the slices."""

    def __init__(self, arguments: argparse.Namespace, embedded: Side, aws: Side, endpoint: str) -> None:
        self._arguments = arguments
        self._embedded = embedded
        self._aws = aws
        self._usage_call = HttpCall("GET", f"{endpoint}/_stubs/usage")
        self._http = outbound(1)
        self._rng = random.Random(arguments.seed)
        self._make: Make = documents.maker(random.Random(arguments.seed), xml_share=arguments.xml_share)
        self.problems: list[str] = []

    async def run(self) -> dict[str, Any]:
        """Warm up, alternate until the time is used up, then offer the open rates; return the report."""
        arguments = self._arguments
        for side in (self._embedded, self._aws):
            await self._closed(side, _WARM_UP_S)
        await asyncio.sleep(_SETTLE_S)
        saturated = Counted()
        async with self._counting(saturated):
            embedded, aws = await self._alternate(saturated)
        loads = {}
        for rate in arguments.rates:
            counted = Counted()
            one = await self._open(rate, counted)
            loads[f"{rate:g}"] = {**_latency(one), **counted.report()}
        await self._check_metrics()
        await self._http.close()
        self.problems += [*self._embedded.peers.failures, *self._aws.peers.failures]
        median = statistics.median
        return {
            "aws_over_embedded": round(median(b / a for a, b in zip(embedded.cpu_us, aws.cpu_us, strict=True)), 3),
            "aws_over_embedded_least": round(min(aws.cpu_us) / min(embedded.cpu_us), 3),
            "cpu_us_per_receipt": round(median(aws.cpu_us), 1),
            "embedded_cpu_us_per_receipt": round(median(embedded.cpu_us), 1),
            "receipts_per_s": round(median(one.rate for one in aws.slices)),
            "embedded_receipts_per_s": round(median(one.rate for one in embedded.slices)),
            "load_cpu_us_per_receipt": round(median(one.load_cpu_us for one in aws.slices), 1),
            **saturated.report(),
            "loads": loads,
            "service_ms": arguments.service_ms,
            "rss_mb": round(self._aws.process.rss_mb(), 1),
            "slices": len(aws.slices),
            "slice_s": arguments.slice,
            "in_flight": self._in_flight,
            "errors": len(self.problems),
        }

    @property
    def _in_flight(self) -> int:
        return int(self._arguments.in_flight or IN_FLIGHT)

    async def _alternate(self, counted: Counted) -> tuple[Course, Course]:
        arguments = self._arguments
        embedded, aws = Course(self._embedded), Course(self._aws)
        until = time.monotonic() + arguments.seconds
        while True:
            began = time.monotonic()
            for course in (embedded, aws):
                course.mark()
                course.slices.append(await self._closed(course.side, arguments.slice))
            counted.receipts += aws.slices[-1].tally.completed
            print(f"round {len(aws.slices)}: {embedded.last()} | {aws.last()}", file=sys.stderr, flush=True)
            if 2 * time.monotonic() - began > until:
                break
        await asyncio.sleep(_SETTLE_S)
        embedded.mark()
        aws.mark()
        return embedded, aws

    async def _closed(self, side: Side, seconds: float) -> Slice:
        def load() -> Awaitable[Tally]:
            return closed_loop(side.peers, side.target, self._make, in_flight=self._in_flight, seconds=seconds)

        return self._noted(await measure(side.process, seconds, load))

    async def _open(self, rate_per_s: float, counted: Counted) -> Slice:
        side, seconds = self._aws, self._arguments.open_slice

        def load() -> Awaitable[Tally]:
            return open_loop(side.peers, side.target, self._make, rate_per_s=rate_per_s, seconds=seconds, rng=self._rng)

        traffic = self._traffic()
        async with self._counting(counted):
            one = self._noted(await measure(side.process, seconds, load, settle_s=_SETTLE_S))
        counted.traffic += self._traffic() - traffic
        counted.receipts += one.tally.completed
        return one

    def _noted(self, one: Slice) -> Slice:
        self.problems += one.tally.errors
        return one

    @asynccontextmanager
    async def _counting(self, counted: Counted) -> AsyncIterator[None]:
        usage = await self._usage()
        yield
        counted.add(usage, await self._usage())

    async def _check_metrics(self) -> None:
        """Hold what the daemon has counted against what the stand-ins have: all but the calls under way."""
        url = f"http://127.0.0.1:{self._aws.target.port}/metrics"
        metrics = (await self._http.send(HttpCall("GET", url, reply_max_bytes=1_000_000))).body.decode()
        usage = await self._usage()
        units = Counter(usage["write_units"]) + Counter(usage["read_units"])
        for name, theirs in (("aws_requests", usage["requests"]), ("aws_capacity_units", units)):
            ours = cost_metrics.total(metrics, f"receiptd_{name}_total")
            if abs(ours - sum(theirs.values())) > _UNDER_WAY_MAX:
                self.problems.append(f"{name}: the daemon has counted {ours:g}, the stand-ins {sum(theirs.values()):g}")

    def _traffic(self) -> Counter[str]:
        return Counter(
            asked_bytes=CALLING.sent,
            answered_bytes=CALLING.received,
            called_bytes=SERVING.received,
            told_bytes=SERVING.sent,
            log_bytes=self._aws.process.log.stat().st_size,
        )

    async def _usage(self) -> dict[str, Any]:
        reply = await self._http.send(self._usage_call)
        if reply.status != 200:
            raise SiteError(f"the stand-ins do not count: {reply.status}")
        answer: dict[str, Any] = orjson.loads(reply.body)
        return answer


def _latency(one: Slice) -> dict[str, Any]:
    tally = one.tally
    return {
        "completed_per_s": round(one.rate),
        "cpu_us_per_receipt": round(one.cpu_us, 1),
        "post_p50_ms": round(quantile(tally.post_s, 0.5) * 1000, 1),
        "post_p99_ms": round(quantile(tally.post_s, 0.99) * 1000, 1),
        "complete_p99_ms": round(quantile(tally.complete_s, 0.99) * 1000, 1),
    }


def table(result: dict[str, Any]) -> str:
    """Return the report for people."""
    rows = [
        (side, f"{result[f'{own}cpu_us_per_receipt']} us of CPU a receipt, {result[f'{own}receipts_per_s']}/s")
        for side, own in (("embedded", "embedded_"), ("aws", ""))
    ]
    rows.append(("  aws / embedded", f"{result['aws_over_embedded']}"))
    for rate, load in (
        (f"{result['in_flight']} in flight", result),
        *((f"{r}/s", x) for r, x in result["loads"].items()),
    ):
        requests = ", ".join(f"{name} {number:g}" for name, number in load["sqs_requests"].items())
        rows += [
            (f"aws, {rate}", f"{load['receipts']} receipts, {load['cpu_us_per_receipt']} us each"),
            ("  SQS requests a receipt", f"{load['sqs_requests_per_receipt']}: {requests}"),
            ("  write units, read units", f"{load['write_units_per_receipt']}, {load['read_units_per_receipt']}"),
        ]
        if "post_p50_ms" in load:
            rows.append(("  POST", f"p50 {load['post_p50_ms']} ms, p99 {load['post_p99_ms']} ms"))
    rows.append(("errors", f"{result['errors']}"))
    return "\n".join(f"{name:28} {value}" for name, value in rows)
