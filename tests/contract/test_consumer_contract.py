"""Messages in work on each backend: kept from others for as long as the work lasts, and no longer than is bearable."""

from __future__ import annotations

import asyncio

import pytest

from receiptd.pipeline.consumer import Keeping, consume
from receiptd.pipeline.work import WorkItem

QUEUE = "jobs"


@pytest.fixture
async def start(backend):
    """Start a consumer: ``start(handle, max_s=...)``; it ends with the test."""
    tasks = []

    def start(handle, *, max_s=60.0):
        # A shared machine may stand still for longer than a short visibility.
        keeping = Keeping(every_s=backend.visibility_s / 8, for_s=4 * backend.visibility_s, max_s=max_s)
        tasks.append(asyncio.create_task(consume(backend.queue, QUEUE, lambda: 20, handle, keeping)))

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def eventually(condition, timeout_s=10.0):
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)


async def test_messages_stay_with_whoever_works_on_them_longer_than_their_visibility(backend, start):
    names = [f"r-{n}" for n in range(20)]
    await backend.queue.send([WorkItem("c", name).message(QUEUE, 0.0) for name in names])
    begun, ended = [], []

    async def slow(item):
        begun.append(item.receipt_id)
        await asyncio.sleep(backend.visibility_s * 1.3)  # two rounds of sixteen side by side: beyond the visibility
        ended.append(item.receipt_id)

    start(slow)
    start(slow)
    await eventually(lambda: len(ended) >= len(names))
    await asyncio.sleep(backend.visibility_s * 1.5)
    assert sorted(begun) == sorted(names), "nobody else took one up"
    assert (await backend.queue.depth(QUEUE)).ready == 0


async def test_work_that_never_ends_is_given_up_to_others_in_the_end_invariant_11(backend, start):
    await backend.queue.send([WorkItem("c", "r").message(QUEUE, 0.0)])
    begun = []

    async def hang(item):
        begun.append(item)
        await asyncio.Event().wait()

    start(hang, max_s=backend.visibility_s)
    await eventually(lambda: begun)
    start(hang, max_s=backend.visibility_s)
    await eventually(lambda: len(begun) == 2)
