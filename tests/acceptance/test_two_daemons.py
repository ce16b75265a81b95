"""Two daemons on the same tables and queues: they share the load, and what one leaves behind the other finishes.

A receipt in the hands of a daemon that dies has its recovery message in the queue. It is visible to the other daemon
when the recovery delay is over; had the dead one just received it, when its visibility ends as well. The other daemon
then takes the receipt up at once, or, when a callback may still come, asks when that is overdue.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from contextlib import asynccontextmanager
from urllib.request import urlopen

import pytest
from acceptance_tools import eventually

from lab.aws_site import AwsSite
from lab.balancer import Balancer
from lab.client import Session, content, outbound, wait_ready
from lab.orders import Printer
from lab.weather import World

RECOVERY_DELAY_S = 2
VISIBILITY_S = 2
CALLBACK_DEADLINE_S = 2.0
ROUND_S = 4
"""A round is as far from the one before as the receipt is old."""
FINISHED_WITHIN_S = RECOVERY_DELAY_S + VISIBILITY_S + CALLBACK_DEADLINE_S + ROUND_S
RECEIPTS = 120


@pytest.fixture(scope="module")
def site():
    """A site of two daemons."""
    made = AwsSite(
        settings={"RECOVERY__DELAY_S": str(RECOVERY_DELAY_S), "WEBHOOKS__SCHEDULE_S": "[0.5, 1, 2]"},
        deadline_s=CALLBACK_DEADLINE_S,
        daemons=2,
        visibility_s=VISIBILITY_S,
    )
    yield made
    made.remove()


@asynccontextmanager
async def running(site, **knobs):
    """Run the stand-ins, both daemons and a balancer before them; give the daemons, a session and the world."""
    client = site.add_client("shop", webhook=True)
    simulate = ["simulate", "--port", str(site.peers_port)]
    children = [
        site.spawn("simulator", "-m", "receiptd", *simulate, "--webhook-secret", f"shop={client.webhook_secret}")
    ]
    balancer, http = Balancer(site.daemon_port, site.daemon_ports), outbound(16)
    world = World(site.peers_url, site.proxy_url)
    world.clients = {"shop": client.client_id}
    try:
        await wait_ready(site.peers_url, children[0], path="/livez")
        await balancer.start()
        daemons = [site.serve(number=number) for number in range(2)]
        children += daemons
        for number, daemon in enumerate(daemons):
            await wait_ready(site.url_of(number), daemon)
        await world.turn({"registrars": {"*": knobs}})
        yield daemons, Session(site.daemon_url, client, http), world
    finally:
        await http.close()
        await balancer.close()
        await world.close()
        for child in children:
            child.stop()


async def posted(session, printer, count):
    """Post ``count`` receipts, eight at a time; return the ids of those that were accepted."""
    left, accepted = iter(range(count)), []

    async def post():
        for number in left:
            order = printer.good()
            for _ in range(3):  # a connection to the daemon that died is lost, and the answer with it
                reply = await session.call(
                    "POST",
                    "/v1/receipts",
                    body=order.body,
                    Content_Type=order.document.content_type,
                    Idempotency_Key=f"order-{number}",
                )
                if reply is not None and reply.status in {200, 202}:
                    accepted.append(content(reply)["id"])
                    break

    await asyncio.gather(*(post() for _ in range(8)))
    return accepted


async def incomplete(session, receipt_ids):
    """Return which of the receipts are not seen COMPLETE."""
    gate = asyncio.Semaphore(8)

    async def state(receipt_id):
        async with gate:
            reply = await session.call("GET", f"/v1/receipts/{receipt_id}/status")
            return "" if reply is None else content(reply).get("status", "")

    states = await asyncio.gather(*(state(receipt_id) for receipt_id in receipt_ids))
    return [receipt_id for receipt_id, found in zip(receipt_ids, states, strict=True) if found != "COMPLETE"]


def calls(site, number):
    """Return how many calls to registrars a daemon has made."""
    with urlopen(f"{site.url_of(number)}/metrics", timeout=10) as answer:
        found = re.findall(r"^receiptd_registrar_calls_total\{.*\} ([0-9.]+)$", answer.read().decode(), re.MULTILINE)
    return sum(map(float, found))


async def eventually_complete(session, receipt_ids, timeout_s):
    """Return which receipts are not COMPLETE when ``timeout_s`` seconds have passed."""
    left, deadline = receipt_ids, time.monotonic() + timeout_s
    while left and time.monotonic() < deadline:
        left = await incomplete(session, left)
        await asyncio.sleep(0.05)
    return left


async def test_two_daemons_share_the_load(site):
    """Invariants 2, 5 and 16."""
    async with running(site) as (_, session, world):
        accepted = await posted(session, Printer(random.Random(1)), RECEIPTS)
        assert len(set(accepted)) == RECEIPTS
        assert not await eventually_complete(session, accepted, 10)
        shares = [calls(site, number) for number in range(2)]
        assert min(shares) > 0.2 * sum(shares)
        effects = await world.effects()
        assert len(effects) == 2 * RECEIPTS
        assert {effect.effects for effect in effects} == {1}


async def test_killing_one_loses_nothing_and_the_other_finishes_in_time(site):
    """Invariants 1, 2, 5 and 11: the one that dies has receipts in every state, and never comes back."""
    slow = {"latency_s": 0.3, "jitter_s": 0.3, "callback_delay_s": 0.5}
    async with running(site, **slow) as (daemons, session, world):
        posting = asyncio.create_task(posted(session, Printer(random.Random(3)), RECEIPTS))
        await asyncio.sleep(1.0)
        daemons[0].kill()
        killed_at = time.monotonic()
        accepted = await posting
        assert len(set(accepted)) == RECEIPTS, "every one of them in the end, some of the other daemon"
        left = await eventually_complete(session, accepted, killed_at + FINISHED_WITHIN_S - time.monotonic())
        assert not left, f"{len(left)} of {RECEIPTS} not finished {FINISHED_WITHIN_S} s after the kill"
        effects = await world.effects()
        assert sorted(effect.key for effect in effects) == sorted(2 * accepted)
        assert {effect.effects for effect in effects} == {1}
        hooks = await eventually(lambda: told(world), 10)
        assert {hook.receipt_ids for hook in hooks} == {(receipt_id,) for receipt_id in accepted}
        assert {hook.signatures_bad for hook in hooks} == {0}


async def told(world):
    """Return the webhooks that were taken, once every receipt has its own."""
    hooks = [hook for hook in await world.hooks() if hook.taken]
    return hooks if len(hooks) == RECEIPTS else None
