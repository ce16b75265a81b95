"""More than fits: the daemon says so before it does any work, keeps what it promised, and recovers by itself."""

from __future__ import annotations

import asyncio
import json
import random
import resource
import time
from uuid import uuid4

import pytest
from acceptance_tools import eventually

PLENTY = {"rate_per_s": 1e4, "burst": 100_000}


async def test_a_full_intake_refuses_before_any_work(start_daemon, simulator, document):
    """Invariants 3 and 13: 503 with Retry-After, and nothing of what was refused is stored or registered."""
    daemon = start_daemon(RECEIPTD_HTTP__IN_FLIGHT_MAX="4", RECEIPTD_WRITER__LINGER_MS="100")
    async with daemon.client(await daemon.contract(f"shop-{uuid4().hex[:8]}", **PLENTY)) as client:
        bodies = [document() for _ in range(60)]
        answers = await asyncio.gather(*[client.post(body) for body in bodies])
        assert {status for status, _, _ in answers} == {202, 503}
        asked = zip(bodies, answers, strict=True)
        refused = [(body, headers, answer) for body, (status, headers, answer) in asked if status == 503]
        for _, headers, answer in refused:
            assert answer["code"] == "overloaded"
            assert int(headers["retry-after"]) >= 1
        accepted = {answer["id"] for status, _, answer in answers if status == 202}
        for receipt_id in accepted:
            assert (await client.status(receipt_id, wait_s=20))["status"] == "COMPLETE"
        _, _, page = await client.json("GET", "/v1/receipts?limit=1000")
        assert {one["id"] for one in page["receipts"]} == accepted
        numbers = {json.loads(body)["number"] for body, _, _ in refused}
        assert not [one for one in simulator.effects() if one["number"] in numbers]

        again = await client.post(refused[0][0])  # later, the same request is taken
        assert (again[0], "idempotent-replayed" in again[1]) == (202, False)


async def test_too_many_waits_are_answered_as_things_stand(start_daemon, simulator, document):
    """Invariant 13: a preference may be left aside; a receipt may not."""
    simulator.turn(callback_delay_s=2)
    daemon = start_daemon(RECEIPTD_HTTP__WAITERS_MAX="2")
    async with daemon.client(await daemon.contract("shop")) as client:
        answers = await asyncio.gather(*[client.post(document(), Prefer="wait=20") for _ in range(6)])
        kept = [status for status, headers, _ in answers if "preference-applied" in headers]
        assert sorted(status for status, _, _ in answers) == [200, 200, 202, 202, 202, 202]
        assert kept == [200, 200]
        for _, _, answer in answers:
            assert (await client.status(answer["id"], wait_s=20))["status"] == "COMPLETE"


async def test_a_flood_of_one_client_does_not_stall_another(start_daemon, simulator, document):
    """Invariant 12: one client posts as fast as it can, far beyond its rate; the other's receipts go through."""
    daemon = start_daemon()
    loud = await daemon.contract("loud", rate_per_s=50, burst=50)
    quiet = await daemon.contract("quiet")
    told: set[int] = set()
    async with daemon.client(loud) as flooding, daemon.client(quiet) as client:
        stop = asyncio.Event()

        async def flood() -> None:
            body = document()
            while not stop.is_set():
                told.add((await flooding.post(body + b" " * len(told), Idempotency_Key=uuid4().hex))[0])

        floods = [asyncio.create_task(flood()) for _ in range(16)]
        await eventually(lambda: 429 in told)
        took = []
        for _ in range(10):
            began = time.monotonic()
            status, _, ended = await client.post(document(), Prefer="wait=20")
            took.append(time.monotonic() - began)
            assert (status, ended["status"]) == (200, "COMPLETE")
        stop.set()
        await asyncio.gather(*floods)
    assert told == {202, 429}
    assert sorted(took)[len(took) // 2] < 3


async def test_a_client_whose_receipts_hang_does_not_stall_another(start_daemon, simulator, document):
    """Invariant 12: its endpoint never answers, and it has more webhooks than workers."""
    released = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        daemon = start_daemon(RECEIPTD_WEBHOOKS__CONCURRENCY="8", RECEIPTD_WEBHOOKS__CONCURRENCY_PER_CLIENT="4")
        stuck = await daemon.contract("stuck", webhook_url=url, **PLENTY)
        fine = await daemon.contract("fine")
        async with daemon.client(stuck) as first, daemon.client(fine) as second:
            answers = await asyncio.gather(*[first.post(document()) for _ in range(40)])
            assert {status for status, _, _ in answers} == {202}
            _, _, ended = await second.post(document(), Prefer="wait=20")
            assert ended["status"] == "COMPLETE"
            for _, _, answer in answers:
                assert (await first.status(answer["id"], wait_s=20))["status"] == "COMPLETE"
        released.set()


@pytest.mark.embedded("this backend has no disk of its own")
async def test_a_full_disk_is_a_503_until_there_is_room(start_daemon, simulator, document):
    """Invariants 1 and 3: readiness fails, nothing acknowledged is lost, and service comes back by itself.

    The limit on the size of a file stands in for the disk: a write beyond it fails as it does on a full one.
    """
    daemon = start_daemon(RECEIPTD_RECOVERY__DELAY_S="0.5")
    pid = daemon.process.pid
    client_id = f"shop-{uuid4().hex[:8]}"
    async with daemon.client(await daemon.contract(client_id, **PLENTY)) as client:
        before = [(await client.post(document()))[2]["id"] for _ in range(5)]
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        log_bytes = sum(file.stat().st_size for file in daemon.process.log.parent.glob("daemon.*"))
        assert log_bytes < 1_000_000
        size = max(file.stat().st_size for file in daemon.storage.iterdir())
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (max(size, log_bytes + 500_000), hard))

        padding = bytes(random.Random(0).choices(b" \t\r\n", k=150_000))  # compresses to a quarter at best
        acknowledged, unknown = [], []

        async def full() -> bool:
            body, key = document() + padding, uuid4().hex
            status, headers, answer = await client.post(body, Idempotency_Key=key)
            if status == 202:
                acknowledged.append(answer["id"])
                return False
            assert (status, answer["code"]) == (503, "storage-unavailable")
            assert int(headers["retry-after"]) >= 1
            unknown.append((body, key))
            return True

        await eventually(full, timeout_s=30)
        status, _, ready = await client.json("GET", "/readyz")
        assert (status, ready["checks"]["store"]) == (503, "failing")
        assert (await client.json("GET", "/livez"))[0] == 200

        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))

        async def taken() -> bool:
            body, key = unknown[0]
            status, _, answer = await client.post(body, Idempotency_Key=key)
            if status == 202:
                acknowledged.append(answer["id"])
            return status == 202

        async def is_ready() -> bool:
            return (await client.json("GET", "/readyz"))[0] == 200

        await eventually(taken)
        await eventually(is_ready)
        for receipt_id in before + acknowledged:
            assert (await client.status(receipt_id, wait_s=25))["status"] == "COMPLETE"
    assert {one["effects"] for one in simulator.effects() if one["key"] in {*before, *acknowledged}} == {1}
