"""The chaos trial: load, misbehaving registrars, a daemon that is killed again and again; then the books are checked.

Rounds: a storm of a few seconds, a kill (SIGKILL at a random moment, or at a named crash point), a restart. From the
restart on the weather is calm until everything accepted before the kill has ended; that time, from exec to the last
end as its client sees it, is the recovery. Load goes on all the while. After the last round faults heal, everything
ends, the daemon is killed and started once more, and only then is the history completed: what counts is what a fresh
process knows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import uvloop

from lab import backlog
from lab.audit import complete
from lab.aws_site import AwsSite
from lab.balancer import Balancer
from lab.checker import Verdict, check
from lab.children import Child
from lab.client import Session, outbound, wait_ready
from lab.customers import Customers, Watchers
from lab.figures import quantile
from lab.history import History
from lab.index import Kind
from lab.patience import until
from lab.recorder import Recorder
from lab.site import REGISTRARS, Client, Site, SiteError
from lab.weather import CALM, World, forecast
from receiptd.runtime.crash import AWS_POINTS, POINTS

_PROGRESS_S = 2.0
_RECOVERY_MAX_S = 60.0
_HEAL_MAX_S = 60.0
_ANSWERS_MAX_S = 20.0
_CRASH_WITHIN_S = 6.0
_KEEP = 2_000_000
_AWS_VISIBILITY_S = 5
_BACKENDS = {"embedded": 200.0, "aws": 40.0}
"""The backends, and how many documents a second each is asked to take by default: emulators are slow."""
_DRAIN_RATES = {"embedded": 500.0, "aws": 150.0}
"""How many a second a registrar takes of a backlog by default."""
_SETTINGS = {
    "WEBHOOKS__SCHEDULE_S": json.dumps([0.5, 1, 1, *[2] * 40]),
    "WEBHOOKS__TIMEOUT_S": "2",
    "LOG__RECEIPTS": "false",
}
_AWS_SETTINGS = {"RECOVERY__DELAY_S": "3"}
_REGISTRAR = """
timeout_s = 1
concurrency = 64
[retry]
base_s = 0.1
cap_s = 2
max_attempts = 10000
[breaker]
open_s = 0.5
open_max_s = 2
"""
_CALLBACK_DEADLINE_S = 3.0


@dataclass(slots=True)
class Tally:
    """What the trial itself counts."""

    kills: Counter[str] = field(default_factory=Counter)
    """By where the daemon died."""
    ready_s: list[float] = field(default_factory=list)
    """From exec to readiness, by restart."""
    recoveries_s: list[float] = field(default_factory=list)
    """From exec until everything accepted before the kill had ended, by restart."""
    healed_s: float = 0.0
    """From the end of faults and load until everything was at rest."""
    faults: dict[str, dict[str, int]] = field(default_factory=dict)
    """What the proxy before AWS has seen and done."""
    phase: str = "start"


class Trial:
    """One run."""

    def __init__(self, arguments: argparse.Namespace, site: Site) -> None:
        self._arguments = arguments
        self._site = site
        self._rng = random.Random(arguments.seed)
        self.tally = Tally()
        self._daemons: list[Child] = []
        self._simulator: Child | None = None
        self._aws = isinstance(site, AwsSite)
        self._world = World(site.peers_url, site.proxy_url if isinstance(site, AwsSite) else "")
        self._http = outbound()
        points = sorted(POINTS | AWS_POINTS if self._aws else POINTS)
        self._rng.shuffle(points)
        self._points = cycle(points)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> tuple[Verdict, Recorder]:
        """Do everything; return what the checker says."""
        site, rng = self._site, self._rng
        clients = [
            site.add_client("shop", webhook=True),
            site.add_client("market", webhook=True),
            site.add_client("kiosk", webhook=False),
        ]
        self._world.clients = {client.hook: client.client_id for client in clients}
        self._simulator = site.spawn("simulator", *_simulate(site, self._arguments.seed, clients))
        await wait_ready(site.peers_url, self._simulator, path="/livez")
        balancer = Balancer(site.daemon_port, site.daemon_ports) if len(site.daemon_ports) > 1 else None
        if balancer is not None:
            await balancer.start()
        await self._serve()
        sessions = [Session(site.daemon_url, client, self._http) for client in clients]
        for session in sessions:
            await session.token()
        recorder = Recorder(History(REGISTRARS, frozenset(c.client_id for c in clients if c.has_webhook)))
        customers = Customers(sessions, recorder, rng, self._arguments.rate)
        self._start(customers.run())
        self._start(Watchers(sessions, recorder).run())
        self._start(self._tell(recorder))
        try:
            await self._rounds(recorder)
            await self._heal(customers, recorder)
        finally:
            await customers.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for number in range(len(self._daemons)):
            self._kill(number, "at the end")
        await self._serve()
        await complete(recorder, sessions, self._world, rng)
        if self._aws:
            self.tally.faults = await self._world.aws()
        await self._world.close()
        if balancer is not None:
            await balancer.close()
        return check(recorder.history), recorder

    async def _serve(self) -> None:
        """Start every daemon."""
        self._daemons = [self._site.serve(number=number) for number in range(len(self._site.daemon_ports))]
        for number, daemon in enumerate(self._daemons):
            await wait_ready(self._site.url_of(number), daemon)

    async def _rounds(self, recorder: Recorder) -> None:
        until = time.monotonic() + self._arguments.seconds
        for name, storm in forecast(self._rng, aws=self._aws):
            self.tally.phase = f"storm:{name}"
            await self._world.turn(storm)
            await asyncio.sleep(self._rng.uniform(1.0, 3.0))
            number = self._rng.randrange(len(self._daemons))
            if self._rng.random() < 0.5:
                await self._crash(number, recorder)
            elif self._rng.random() < 0.3:
                await self._restart(range(len(self._daemons)), "at random", recorder)
            else:
                await self._restart([number], "at random", recorder)
            if time.monotonic() > until:
                return

    async def _crash(self, number: int, recorder: Recorder) -> None:
        """Arm the next crash point and let a daemon run into it; one that it does not reach kills all the same."""
        point = f"{next(self._points)}:{self._rng.randint(*self._arguments.passes)}"
        await self._restart([number], "to arm", recorder, crash_at=point)
        self.tally.phase = f"until {point}"
        daemon = self._daemons[number]
        reached = await until(lambda: not daemon.alive, _CRASH_WITHIN_S)
        where = point.partition(":")[0] if reached else "a point not reached"
        await self._restart([number], where, recorder)

    async def _restart(self, numbers: Sequence[int], why: str, recorder: Recorder, *, crash_at: str = "") -> None:
        """Kill daemons (they may be dead already), start them anew, and see what was accepted before to its end."""
        for number in numbers:
            self._kill(number, why)
        before = recorder.unfinished()
        if not crash_at:
            await self._world.turn(CALM)
        await asyncio.sleep(self._rng.choice((0.0, 0.0, 0.3)))
        self.tally.phase = f"recovery ({why})"
        started = time.monotonic()
        for number in numbers:
            self._daemons[number] = self._site.serve(crash_at, number=number)
        if crash_at:
            return
        for number in numbers:
            await wait_ready(self._site.url_of(number), self._daemons[number])
        self.tally.ready_s.append(time.monotonic() - started)
        alive = [self._daemons[number] for number in numbers]
        await until(
            lambda: not all(daemon.alive for daemon in alive) or not recorder.unfinished(before), _RECOVERY_MAX_S
        )
        self.tally.recoveries_s.append(time.monotonic() - started)

    def _kill(self, number: int, why: str) -> None:
        daemon = self._daemons[number]
        if daemon.status not in {None, -signal.SIGKILL}:
            raise DaemonDiedError(daemon)
        daemon.kill()
        self.tally.kills[why] += 1

    async def _heal(self, customers: Customers, recorder: Recorder) -> None:
        """End the faults and the load; wait until every accepted receipt is at rest."""
        self.tally.phase = "heal"
        await self._world.turn(CALM)
        await customers.stop(_ANSWERS_MAX_S)
        begun = time.monotonic()
        await until(lambda: not recorder.outstanding, _HEAL_MAX_S)
        self.tally.healed_s = time.monotonic() - begun

    async def _tell(self, recorder: Recorder) -> None:
        begun = time.monotonic()
        while True:
            await asyncio.sleep(_PROGRESS_S)
            kills = sum(self.tally.kills.values())
            _say(f"{time.monotonic() - begun:4.0f} s  kills={kills} {recorder.summary()}  {self.tally.phase}")

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)

    def stop(self) -> None:
        """End every process of the trial."""
        for child in self._children():
            child.stop(5.0)

    def tails(self) -> str:
        """Return the end of what the processes wrote."""
        return "\n".join(f"--- {child.name}\n{child.tail()}" for child in self._children())

    def _children(self) -> list[Child]:
        return [*self._daemons, *([self._simulator] if self._simulator is not None else [])]


class DaemonDiedError(Exception):
    """The daemon ended by itself, which nothing had asked for."""

    def __init__(self, daemon: Child) -> None:
        super().__init__(f"the daemon ended by itself with status {daemon.status}")


def _simulate(site: Site, seed: int, clients: list[Client]) -> list[str]:
    arguments = ["-m", "receiptd", "simulate", "--port", str(site.peers_port), "--seed", str(seed)]
    arguments += ["--keep", str(_KEEP), "--callback-jitter", "0.05"]
    for client in clients:
        arguments += ["--webhook-secret", f"{client.hook}={client.webhook_secret}"]
    return arguments


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def report(verdict: Verdict, recorder: Recorder, tally: Tally) -> dict[str, Any]:
    """Return the run's result."""
    recoveries = tally.recoveries_s
    return {
        "kills": sum(tally.kills.values()),
        "accepted": verdict.accepted,
        "complete": verdict.complete,
        "failed": verdict.failed,
        "lost": verdict.count(Kind.LOST),
        "duplicate_effects": verdict.count(Kind.DUPLICATE),
        "unexpected": verdict.count(Kind.UNEXPECTED),
        "recovery_p99_s": round(quantile(recoveries, 0.99), 2),
        "balanced": verdict.balanced,
        "recovery_p50_s": round(quantile(recoveries, 0.5), 2),
        "ready_p50_s": round(quantile(tally.ready_s, 0.5), 2),
        "lost_answers": recorder.lost_answers,
        "posts": len(recorder.history.posts),
        "reads": len(recorder.history.reads),
        "healed_s": round(tally.healed_s, 2),
        "kills_at": dict(sorted(tally.kills.items())),
        **({"aws_faults": _by_kind(tally.faults["faults"])} if tally.faults else {}),
    }


def _by_kind(counts: Mapping[str, int]) -> dict[str, int]:
    """Add the proxy's counts up by fault, whatever the operation."""
    kinds: Counter[str] = Counter()
    for name, count in counts.items():
        kinds[name.partition(" ")[0]] += count
    return dict(kinds)


def _explain(verdict: Verdict) -> None:
    groups = Counter((v.kind.value, v.invariant) for v in verdict.violations)
    for (kind, invariant), count in sorted(groups.items()):
        _say(f"{kind}, invariant {invariant}: {count}")
        shown = [v for v in verdict.violations if (v.kind.value, v.invariant) == (kind, invariant)][:20]
        for violation in shown:
            _say(f"  {violation.subject}  {violation.text}")


async def _main(arguments: argparse.Namespace, site: Site) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, task.cancel)
    if arguments.backlog:
        return await _backlog(arguments, site)
    trial = Trial(arguments, site)
    try:
        verdict, recorder = await trial.run()
    except (SiteError, DaemonDiedError) as error:
        _say(f"{trial.tails()}\n{error}")
        return 1
    finally:
        trial.stop()
    result = report(verdict, recorder, trial.tally)
    if not verdict.clean:
        _explain(verdict)
        _say(trial.tails())
    if not arguments.json:
        for name, value in result.items():
            print(f"{name:18} {value}")
    print(json.dumps(result))
    return 0 if verdict.clean and verdict.accepted else 1  # where nothing was accepted, nothing was shown


async def _backlog(arguments: argparse.Namespace, site: Site) -> int:
    try:
        findings = await backlog.trial(site, arguments)
    except SiteError as error:
        _say(str(error))
        return 1
    for problem in findings.problems:
        _say(problem)
    print(json.dumps(findings.as_json()))
    return 1 if findings.problems else 0


def _site(arguments: argparse.Namespace) -> Site:
    if arguments.backlog:
        registrar = backlog.REGISTRAR.format(rate=arguments.drain_rate, open_max=backlog.OPEN_MAX_S)
        kind = Site if arguments.backend == "embedded" else AwsSite
        return kind(settings={"LOG__RECEIPTS": "false"}, registrar=registrar)
    if arguments.backend == "embedded":
        return Site(settings=_SETTINGS, registrar=_REGISTRAR, deadline_s=_CALLBACK_DEADLINE_S)
    return AwsSite(
        settings={**_SETTINGS, **_AWS_SETTINGS},
        registrar=_REGISTRAR,
        deadline_s=_CALLBACK_DEADLINE_S,
        daemons=arguments.daemons,
        visibility_s=_AWS_VISIBILITY_S,
        seed=arguments.seed,
    )


def main() -> None:
    """Run a trial; exit status 0 only when no invariant was violated."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of rounds, before everything heals (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="of load, weather and kills (default: 1)")
    parser.add_argument("--backend", choices=sorted(_BACKENDS), default="embedded", help="(default: embedded)")
    parser.add_argument("--daemons", type=int, default=1, help="sharing the tables of --backend aws (default: 1)")
    parser.add_argument("--rate", type=float, default=0.0, help=f"documents a second (default: {_BACKENDS})")
    parser.add_argument(
        "--backlog", type=int, default=0, metavar="N", help="no kills: park N receipts by an outage, and let them drain"
    )
    parser.add_argument("--drain-rate", type=float, default=0.0, help=f"of that, a second (default: {_DRAIN_RATES})")
    parser.add_argument("--keep", action="store_true", help="keep the directory with store and logs")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    arguments = parser.parse_args()
    if arguments.daemons != 1 and arguments.backend != "aws":
        parser.error("--daemons needs --backend aws: the embedded store has one daemon")
    arguments.rate = arguments.rate or _BACKENDS[arguments.backend]
    arguments.drain_rate = arguments.drain_rate or _DRAIN_RATES[arguments.backend]
    arguments.passes = (20, 200) if arguments.backend == "embedded" else (1, 20)
    site = _site(arguments)
    _say(f"site: {site.folder}")
    try:
        status = uvloop.run(_main(arguments, site))
    except (asyncio.CancelledError, KeyboardInterrupt):
        status = 130
    finally:
        if arguments.keep:
            site.close()
        else:
            site.remove()
    sys.exit(status)


if __name__ == "__main__":
    main()
