"""The consumer on the real embedded queue."""

from __future__ import annotations

import asyncio

import pytest

from receiptd.adapters.embedded.store import EmbeddedStore
from receiptd.domain.errors import StorageError, UnknownReceiptError
from receiptd.pipeline.consumer import Keeping, consume
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


async def test_a_slow_row_does_not_hold_up_the_others_of_its_batch_invariant_12(queue):
    await queue.send([WorkItem("c", f"r-{n}").message("q", 0.0) for n in range(50)])
    seen = set()
    answered = asyncio.Event()

    async def handle(item):
        if item.receipt_id == "r-0":
            await answered.wait()
        seen.add(item.receipt_id)

    task = asyncio.create_task(consume(queue, "q", lambda: 100, handle))
    try:
        async with asyncio.timeout(5):
            while len(seen) < 49:
                await asyncio.sleep(0.01)
            assert "r-0" not in seen
            answered.set()
            while (depth := await queue.depth("q")).delayed:
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert (depth.ready, depth.delayed, depth.dead) == (0, 0, 0)


async def test_never_more_than_sixteen_messages_are_handled_side_by_side_invariant_13(queue):
    await queue.send([WorkItem("c", f"r-{n}").message("q", 0.0) for n in range(80)])
    at_once = peak = done = 0

    async def handle(item):
        nonlocal at_once, peak, done
        at_once += 1
        peak = max(peak, at_once)
        await asyncio.sleep(0.005)
        at_once -= 1
        done += 1

    await consumed(queue, handle, until=lambda: done == 80)
    assert peak == 16


async def test_a_store_that_cannot_keep_messages_does_not_end_their_work(queue, caplog, monkeypatch):
    await queue.send([WorkItem("c", "r").message("q", 0.0)])
    tries = []
    done = []

    async def fail(name, received, visible_in_s):
        tries.append(len(received))
        raise StorageError("throttled") if len(tries) == 1 else RuntimeError("a fault")

    async def handle(item):
        while len(tries) < 2:
            await asyncio.sleep(0.01)
        done.append(item)

    monkeypatch.setattr(queue, "extend", fail)
    task = asyncio.create_task(consume(queue, "q", lambda: 100, handle, Keeping(every_s=0.02, for_s=60, max_s=10)))
    async with asyncio.timeout(5):
        while (depth := await queue.depth("q")).delayed or not done:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(done) == 1
    assert depth.ready == 0
    assert {"messages in work are not kept", "fault in keeping messages"} <= {one.message for one in caplog.records}


async def test_what_the_store_would_not_have_comes_ever_later(queue, monkeypatch):
    await queue.send([WorkItem("c", "r").message("q", 0.0)])
    waits = []
    extend = queue.extend

    async def note(name, received, visible_in_s):
        waits.append(visible_in_s)
        await extend(name, received, 0.0)

    async def handle(item):
        raise StorageError("the store is away")

    monkeypatch.setattr(queue, "extend", note)
    await consumed(queue, handle, until=lambda: len(waits) > 11)
    assert waits[:12] == [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]


async def test_a_next_round_that_cannot_be_sent_leaves_its_own_message_only_invariant_12(queue, monkeypatch):
    await queue.send([WorkItem("c", name).message("q", 0.0) for name in ("r-0", "r-1", "r-2")])
    later = SystemClock().now() + 3600
    seen = []

    async def post(messages):
        return [StorageError("throttled") if one.key == "r-1" else None for one in messages]

    async def handle(item):
        seen.append(item.receipt_id)
        return item.message("q", later)

    monkeypatch.setattr(queue, "post", post)
    await consumed(queue, handle, until=lambda: len(seen) == 3)
    depth = await queue.depth("q")
    assert (depth.ready, depth.delayed) == (0, 1), "r-1; those of the others would be the ones that were sent"
