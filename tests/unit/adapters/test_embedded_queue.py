"""What the embedded queue does beyond its port (receiptd.adapters.embedded.queue)."""

from __future__ import annotations

import asyncio
import time

from contract_makers import message

from receiptd.adapters.embedded.store import EmbeddedStore
from receiptd.ports import Message, QueueDepth


async def test_sending_again_replaces_the_message_and_renews_its_receives(store, clock):
    await store.queue.send([Message("jobs", "a", "first")])
    for _ in range(3):
        (received,) = await store.queue.receive("jobs", 1, 0.0)
        await store.queue.extend("jobs", [received], 0.0)
    await store.queue.send([Message("jobs", "a", "second", clock.now() + 5)])
    assert await store.queue.depth("jobs") == QueueDepth(0, 1, 0)
    clock.time += 6
    (received,) = await store.queue.receive("jobs", 1, 0.0)
    assert (received.message.body, received.receives) == ("second", 1)


async def test_sending_again_revives_a_dead_letter(store):
    await store.queue.send([message("jobs", "a", dead=True)])
    await store.queue.send([message("jobs", "a")])
    assert await store.queue.depth("jobs") == QueueDepth(1, 0, 0)


async def test_the_handle_of_a_message_that_died_is_stale(store, clock):
    await store.queue.send([message("jobs", "a")])
    for _ in range(3):
        received = await store.queue.receive("jobs", 1, 0.0)
        clock.time += 31
    assert await store.queue.receive("jobs", 1, 0.0) == ()
    await store.queue.acknowledge("jobs", received)
    assert await store.queue.depth("jobs") == QueueDepth(0, 0, 1)


async def test_a_new_daemon_takes_up_recovery_and_former_work_at_once_invariant_2(store, directory, clock):
    await store.queue.send(
        [
            message("recovery", "waiting", visible_at=clock.now() + 900),
            message("recovery", "dead", dead=True),
            message("registrar.tax", "waiting", visible_at=clock.now() + 900),
            message("webhooks", "in hand"),
        ]
    )
    await store.queue.receive("webhooks", 1, 0.0)
    await store.close()
    successor = await EmbeddedStore.open(directory, clock)
    assert await successor.queue.depth("recovery") == QueueDepth(1, 0, 1)
    assert await successor.queue.depth("webhooks") == QueueDepth(1, 0, 0)
    assert await successor.queue.depth("registrar.tax") == QueueDepth(0, 1, 0), "a retry keeps its time"
    await successor.close()


async def test_a_command_takes_nothing_over(store, directory, clock):
    await store.queue.send([message("recovery", "a", visible_at=clock.now() + 900)])
    command = await EmbeddedStore.open(directory, clock, daemon=False)
    assert await command.queue.depth("recovery") == QueueDepth(0, 1, 0)
    await command.close()


async def test_a_redrive_by_a_command_is_noticed(store, directory, clock):
    await store.queue.send([message("jobs", "a", dead=True)])
    command = await EmbeddedStore.open(directory, clock, daemon=False)
    waiting = asyncio.create_task(store.queue.receive("jobs", 1, 5.0))
    await asyncio.sleep(0.05)
    begun = time.monotonic()
    assert await command.queue.redrive("jobs", None) == 1
    (received,) = await waiting
    assert received.message.key == "a"
    assert time.monotonic() - begun < 2.0
    await command.close()


async def test_waiting_does_not_keep_asking(store):
    statements = []
    store.database._reader.set_trace_callback(statements.append)
    assert await store.queue.receive("jobs", 1, 0.3) == ()
    assert len(statements) <= 2
    assert store.queue._sleepers == {}


async def test_a_receiver_that_is_cancelled_leaves_nothing_behind(store):
    waiting = asyncio.create_task(store.queue.receive("jobs", 1, 5.0))
    await asyncio.sleep(0.02)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert store.queue._sleepers == {}


async def test_more_poison_than_the_limit_does_not_hide_what_is_good(store, clock):
    await store.queue.send([message("jobs", f"poison-{n}") for n in range(5)])
    for _ in range(3):
        await store.queue.receive("jobs", 10, 0.0)
        clock.time += 31
    await store.queue.send([message("jobs", "good", visible_at=clock.now())])
    (received,) = await store.queue.receive("jobs", 2, 0.0)
    assert received.message.key == "good"
    assert await store.queue.depth("jobs") == QueueDepth(0, 1, 5)


async def test_a_redrive_of_many_is_whole(store):
    await store.queue.send([message("jobs", f"d{n}", dead=True) for n in range(1_203)])
    assert await store.queue.redrive("jobs", None) == 1_203
    assert await store.queue.depth("jobs") == QueueDepth(1_203, 0, 0)
