"""The consumer on the real embedded queue."""

from __future__ import annotations

import asyncio

import pytest

from receiptd.adapters.embedded.store import EmbeddedStore
from receiptd.domain.errors import StorageError, UnknownReceiptError
from receiptd.pipeline.consumer import consume
from receiptd.pipeline.work import WorkItem
from receiptd.runtime.clock import SystemClock


@pytest.fixture
async def queue(tmp_path):
    store = await EmbeddedStore.open(tmp_path, SystemClock())
    yield store.queue
    await store.close()


async def consumed(queue, handle, *, until):
    task = asyncio.create_task(consume(queue, "q", lambda: 100, handle))
    async with asyncio.timeout(5):
        while not until():
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("error", [StorageError("the row is damaged"), RuntimeError("a fault")])
async def test_a_message_that_fails_stays_and_takes_no_other_along_invariants_11_12(queue, error):
    names = [f"r-{n}" for n in range(5)]
    await queue.send([WorkItem("c", name).message("q", 0.0) for name in names])
    seen = []

    async def handle(item):
        seen.append(item.receipt_id)
        if item.receipt_id == "r-2":
            raise error

    await consumed(queue, handle, until=lambda: len(seen) == 5)
    depth = await queue.depth("q")
    assert (depth.ready, depth.delayed, depth.dead) == (0, 1, 0), "the one that failed waits for its next turn"


async def test_what_names_no_receipt_is_dropped(queue):
    await queue.send([WorkItem("c", "r").message("q", 0.0)])
    seen = []

    async def handle(item):
        seen.append(item)
        raise UnknownReceiptError("no such receipt")

    await consumed(queue, handle, until=lambda: seen)
    assert (await queue.depth("q")).delayed == 0


async def test_the_next_round_is_durable_before_this_one_is_acknowledged_invariant_11(queue):
    await queue.send([WorkItem("c", "r").message("q", 0.0)])
    later = SystemClock().now() + 3600

    async def handle(item):
        return item.message("q", later)

    await consumed(queue, handle, until=lambda: True)
    await asyncio.sleep(0.05)
    depth = await queue.depth("q")
    assert depth.ready + depth.delayed == 1
