"""The pipeline benchmark: what one receipt costs the daemon, beside the null pipeline on the same core.

With ``--backend aws`` it is the daemon on AWS beside the embedded one instead: see backends_bench.py.

Slices of a few seconds alternate: the null pipeline in a closed loop, the daemon in a closed loop, the daemon in an
open loop. A shared machine's mood then weighs on all of them alike.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import sys
from collections import Counter
from typing import Any

import uvloop

from lab import backends_bench, documents
from lab.children import Child, free_ports
from lab.client import Session, wait_ready
from lab.peers import Peers, Target
from lab.site import SAME_ALL_DAY, Site
from lab.slices import Meter, Plan, report, table

_CLIENT = "bench"
_REGISTRAR = "timeout_s = 5\nconcurrency = 64"
_SHOWN_MAX = 10
_IN_FLIGHT = 64


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    option = parser.add_argument
    option("--seconds", type=float, default=30.0, help="for all slices together (default: 30)")
    option("--slice", type=float, default=2.0, help="seconds of one slice (default: 2)")
    option("--in-flight", type=int, help="of the closed loop (default: 64; with --backend aws 256)")
    option("--rate", type=float, default=1000.0, help="of the open loop, receipts a second (default: 1000)")
    option("--xml-share", type=float, default=0.0, help="share of XML documents (default: 0)")
    option("--callback-delay", type=float, default=0.0, help="of registrars, in seconds (default: 0)")
    option("--daemon-cpu", type=int, default=0, help="the core of daemon and null pipeline (default: 0)")
    option("--load-cpu", type=int, default=1, help="the core of the load (default: 1)")
    option("--seed", type=int, default=1, help="of documents and arrivals (default: 1)")
    option(
        "--profile",
        metavar="FILE",
        type=os.path.abspath,
        help="run the daemon under cProfile; its figures then mean little",
    )
    option("--backend", choices=("embedded", "aws"), default="embedded", help="of the daemon (default: embedded)")
    aws = parser.add_argument_group("with --backend aws, beside the embedded daemon")
    aws.add_argument("--service-ms", type=float, default=0.0, help="what every answer of AWS takes (default: 0)")
    rates = "of its open slices, receipts a second (default: 100 500)"
    aws.add_argument("--rates", type=float, nargs="*", default=(100.0, 500.0), help=rates)
    aws.add_argument("--open-slice", type=float, default=6.0, help="seconds of each of those (default: 6)")


def measure(arguments: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Return the report and the table of it. Raises SiteError when something did not start."""
    if arguments.backend == "aws":
        result = backends_bench.run(arguments)
        return result, backends_bench.table(result)
    site = Site(settings=SAME_ALL_DAY, registrar=_REGISTRAR)
    try:
        result = uvloop.run(run(arguments, site))
    finally:
        site.remove()
    return result, table(result)


async def run(arguments: argparse.Namespace, site: Site) -> dict[str, Any]:
    """Start everything, measure, stop everything; return the report."""
    client = site.add_client(_CLIENT, webhook=True)
    peers = Peers({name: [secret] for name, secret in site.secrets.items()}, arguments.callback_delay)
    await peers.start(site.peers_port)
    (null_port,) = free_ports(1)
    daemon = _start_daemon(arguments, site)
    null = site.spawn(
        "null",
        *("-m", "lab.null_pipeline", "--port", str(null_port), "--peers", site.peers_url),
        cpu=arguments.daemon_cpu,
    )
    try:
        os.sched_setaffinity(0, {arguments.load_cpu})
        await wait_ready(site.daemon_url, daemon)
        await wait_ready(f"http://127.0.0.1:{null_port}", null, path="/v1/receipts/x/status")
        token = await Session(site.daemon_url, client).token()
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        plan = Plan(
            seconds=arguments.seconds,
            slice_s=arguments.slice,
            in_flight=arguments.in_flight or _IN_FLIGHT,
            rate_per_s=arguments.rate,
            seed=arguments.seed,
        )
        make = documents.maker(random.Random(arguments.seed), xml_share=arguments.xml_share)
        meter = Meter(plan, peers, (daemon, null), make)
        series = await meter.run(Target("daemon", site.daemon_port, token), Target("null", null_port, token))
        problems = [*peers.failures, *series.errors()]
        for problem, times in Counter(problems).most_common(_SHOWN_MAX):
            print(f"error, {times} times: {problem}", file=sys.stderr)
        if problems:
            print(daemon.tail(), file=sys.stderr)
        return report(series, plan, daemon.rss_mb(), len(peers.failures))
    finally:
        daemon.stop()
        null.stop()
        peers.stop()


def _start_daemon(arguments: argparse.Namespace, site: Site) -> Child:
    if not arguments.profile:
        return site.serve(cpu=arguments.daemon_cpu)
    profile = ("-m", "cProfile", "-o", arguments.profile, "-m", "receiptd", "serve")
    return site.spawn("daemon", *profile, cpu=arguments.daemon_cpu)
