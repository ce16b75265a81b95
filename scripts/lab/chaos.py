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
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import uvloop

from lab.audit import complete
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
from receiptd.runtime.crash import POINTS

_PROGRESS_S = 2.0
_RECOVERY_MAX_S = 60.0
_HEAL_MAX_S = 60.0
_ANSWERS_MAX_S = 20.0
_CRASH_WITHIN_S = 6.0
_KEEP = 2_000_000
_SETTINGS = {
    "WEBHOOKS__SCHEDULE_S": json.dumps([0.5, 1, 1, *[2] * 40]),
    "WEBHOOKS__TIMEOUT_S": "2",
    "LOG__RECEIPTS": "false",
}
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
    phase: str = "start"


class Trial:
    """One run."""

    def __init__(self, arguments: argparse.Namespace, site: Site) -> None:
        self._arguments = arguments
        self._site = site
        self._rng = random.Random(arguments.seed)
        self.tally = Tally()
        self._daemon: Child | None = None
        self._simulator: Child | None = None
        self._world = World(site.peers_url)
        self._http = outbound()
        points = sorted(POINTS)
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
        self._simulator = site.spawn("simulator", *_simulate(site, self._arguments.seed, clients))
        await wait_ready(site.peers_url, self._simulator, path="/livez")
        self._daemon = site.serve()
        await wait_ready(site.daemon_url, self._daemon)
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
        self._kill("at the end")
        self._daemon = site.serve()
        await wait_ready(site.daemon_url, self._daemon)
        await complete(recorder, sessions, self._world, rng)
        await self._world.close()
        return check(recorder.history), recorder

    async def _rounds(self, recorder: Recorder) -> None:
        until = time.monotonic() + self._arguments.seconds
        for name, storm in forecast(self._rng):
            self.tally.phase = f"storm:{name}"
            await self._world.turn(storm)
            await asyncio.sleep(self._rng.uniform(1.0, 3.0))
            if self._rng.random() < 0.5:
                await self._crash(recorder)
            else:
                await self._restart("at random", recorder)
            if time.monotonic() > until:
                return

    async def _crash(self, recorder: Recorder) -> None:
        """Arm the next crash point and let the daemon run into it; one that it does not reach kills all the same."""
        point = f"{next(self._points)}:{self._rng.randint(20, 200)}"
        await self._restart("to arm", recorder, crash_at=point)
        self.tally.phase = f"until {point}"
        daemon = self._daemon
        assert daemon is not None
        reached = await until(lambda: not daemon.alive, _CRASH_WITHIN_S)
        where = point.partition(":")[0] if reached else "a point not reached"
        await self._restart(where, recorder)

    async def _restart(self, why: str, recorder: Recorder, *, crash_at: str = "") -> None:
        """Kill the daemon (it may be dead already), start it anew, and see everything accepted before to its end."""
        self._kill(why)
        before = recorder.unfinished()
        if not crash_at:
            await self._world.turn(CALM)
        await asyncio.sleep(self._rng.choice((0.0, 0.0, 0.3)))
        self.tally.phase = f"recovery ({why})"
        started = time.monotonic()
        self._daemon = daemon = self._site.serve(crash_at)
        if crash_at:
            return
        await wait_ready(self._site.daemon_url, daemon)
        self.tally.ready_s.append(time.monotonic() - started)
        await until(lambda: not daemon.alive or not recorder.unfinished(before), _RECOVERY_MAX_S)
        self.tally.recoveries_s.append(time.monotonic() - started)

    def _kill(self, why: str) -> None:
        assert self._daemon is not None
        if self._daemon.status not in {None, -signal.SIGKILL}:
            raise DaemonDiedError(self._daemon)
        self._daemon.kill()
        self.tally.kills[why] += 1

    async def _heal(self, customers: Customers, recorder: Recorder) -> None:
        """End the faults and the load; wait until every accepted receipt is at rest."""
        self.tally.phase = "heal"
        await self._world.turn(CALM)
        await customers.stop(_ANSWERS_MAX_S)
        await until(lambda: not recorder.outstanding, _HEAL_MAX_S)

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
        for child in (self._daemon, self._simulator):
            if child is not None:
                child.stop(5.0)

    def tails(self) -> str:
        """Return the end of what the processes wrote."""
        return "\n".join(f"--- {c.name}\n{c.tail()}" for c in (self._daemon, self._simulator) if c is not None)


class DaemonDiedError(Exception):
    """The daemon ended by itself, which nothing had asked for."""

    def __init__(self, daemon: Child) -> None:
        super().__init__(f"the daemon ended by itself with status {daemon.status}")


def _simulate(site: Site, seed: int, clients: list[Client]) -> list[str]:
    arguments = ["-m", "receiptd", "simulate", "--port", str(site.peers_port), "--seed", str(seed)]
    arguments += ["--keep", str(_KEEP), "--callback-jitter", "0.05"]
    for client in clients:
        arguments += ["--webhook-secret", f"{client.client_id}={client.webhook_secret}"]
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
        "kills_at": dict(sorted(tally.kills.items())),
    }


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
    return 0 if verdict.clean else 1


def main() -> None:
    """Run a trial; exit status 0 only when no invariant was violated."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of rounds, before everything heals (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="of load, weather and kills (default: 1)")
    parser.add_argument("--rate", type=float, default=200.0, help="documents a second (default: 200)")
    parser.add_argument("--keep", action="store_true", help="keep the directory with store and logs")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    arguments = parser.parse_args()
    site = Site(settings=_SETTINGS, registrar=_REGISTRAR, deadline_s=_CALLBACK_DEADLINE_S)
    _say(f"site: {site.folder}")
    try:
        status = uvloop.run(_main(arguments, site))
    except (asyncio.CancelledError, KeyboardInterrupt):
        status = 130
    finally:
        if not arguments.keep:
            site.remove()
    sys.exit(status)


if __name__ == "__main__":
    main()
