from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from receiptd.pipeline.fair_queue import FairQueue


@given(st.lists(st.sampled_from("abc"), max_size=60), st.integers(1, 4), st.integers(1, 6), st.integers(0, 2**32))
def test_every_item_is_worked_once_in_its_owners_order_within_the_share(owners, share, workers, seed):
    random = Random(seed)

    async def scenario():
        queue: FairQueue[tuple[str, int]] = FairQueue(share)
        worked, in_hand = [], Counter()

        async def work():
            while True:
                owner, number = await queue.get()
                in_hand[owner] += 1
                assert in_hand[owner] <= share
                worked.append((owner, number))
                try:
                    for _ in range(random.randint(0, 3)):
                        await asyncio.sleep(0)
                finally:
                    in_hand[owner] -= 1
                    queue.done(owner)

        tasks = [asyncio.create_task(work()) for _ in range(workers)]
        expected = [(owner, number) for number, owner in enumerate(owners)]
        for owner, number in expected:
            queue.put(owner, (owner, number))
            await asyncio.sleep(0)
            if random.random() < 0.1:
                tasks.pop(0).cancel()
                tasks.append(asyncio.create_task(work()))
        for _ in range(20 + 10 * len(owners)):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() for task in tasks), "a worker failed"
        return worked, expected

    worked, expected = asyncio.run(scenario())
    for owner in "abc":
        mine = [item for item in worked if item[0] == owner]
        assert mine == sorted(mine)
        assert len(mine) == len(set(mine))
    assert set(worked) == set(expected)


async def test_a_loud_owner_delays_a_quiet_one_by_one_turn_invariant_12():
    queue: FairQueue[str] = FairQueue(share=10)
    for number in range(1000):
        queue.put("loud", f"loud-{number}")
    queue.put("quiet", "quiet-0")
    assert [await queue.get() for _ in range(3)] == ["loud-0", "quiet-0", "loud-1"]


async def test_an_owner_with_its_share_in_hand_waits_and_others_go_on_invariant_12():
    queue: FairQueue[int] = FairQueue(share=1)
    queue.put("slow", 1)
    queue.put("slow", 2)
    assert await queue.get() == 1
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put("other", 3)
    assert await waiting == 3
    queue.done("slow")
    assert await queue.get() == 2
