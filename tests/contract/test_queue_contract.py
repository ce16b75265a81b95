"""What every WorkQueue owes (receiptd.ports.WorkQueue)."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest
from contract_makers import message

from receiptd.ports import Message, QueueDepth, Received

SLACK_S = 0.15


async def take(queue, name="jobs", limit=10, wait_s=0.0):
    return list(await queue.receive(name, limit, wait_s))


def keys(received):
    return sorted(each.message.key for each in received)


@pytest.fixture
def lapse(backend):
    """Waits until whatever was received is visible again."""
    return lambda: asyncio.sleep(backend.visibility_s + SLACK_S)


async def test_a_sent_message_is_received_with_its_body(queue):
    await queue.send([Message("jobs", "a", '{"n": "№ 1"}')])
    (received,) = await take(queue)
    assert (received.message.queue, received.message.key, received.message.body) == ("jobs", "a", '{"n": "№ 1"}')
    assert received.receives == 1


async def test_a_sent_message_is_durable_invariant_1(open_backend):
    backend = await open_backend()
    await backend.queue.send([message("jobs", "a")])
    await backend.close()
    assert keys(await take((await open_backend()).queue)) == ["a"]


async def test_posting_says_of_each_message_that_it_is_durable(queue):
    assert list(await queue.post([message("jobs", "a"), message("webhooks", "b")])) == [None, None]
    assert [one.message.key for one in await queue.receive("webhooks", 10, 1.0)] == ["b"]


async def test_queues_do_not_mix(queue):
    await queue.send([message("jobs", "a"), message("recovery", "a"), message("registrar.tax", "b")])
    assert keys(await take(queue, "registrar.tax")) == ["b"]
    assert keys(await take(queue, "recovery")) == ["a"]
    assert keys(await take(queue)) == ["a"]


async def test_no_more_than_the_limit_is_received(queue):
    await queue.send([message("jobs", f"k{n}") for n in range(9)])
    first = await take(queue, limit=4)
    assert len(first) == 4
    rest = await take(queue, limit=10)
    assert keys(first + rest) == [f"k{n}" for n in range(9)]


async def test_an_empty_queue_gives_nothing_once_the_wait_is_over(queue):
    begun = time.monotonic()
    assert await take(queue, wait_s=0.2) == []
    assert 0.15 < time.monotonic() - begun < 1.5


async def test_a_waiting_receiver_gets_what_is_sent(queue):
    receiver = asyncio.create_task(take(queue, wait_s=5.0))
    await asyncio.sleep(0.05)
    begun = time.monotonic()
    await queue.send([message("jobs", "a")])
    assert keys(await receiver) == ["a"]
    assert time.monotonic() - begun < 1.0


async def test_a_message_stays_invisible_until_its_time(queue):
    await queue.send([message("jobs", "later", visible_at=time.time() + 0.4), message("jobs", "now")])
    now = await take(queue)
    assert keys(now) == ["now"]
    await queue.acknowledge("jobs", now)
    begun = time.monotonic()
    assert keys(await take(queue, wait_s=5.0)) == ["later"]
    assert 0.2 < time.monotonic() - begun < 2.0


# -- visibility ----------------------------------------------------------------------------------------------------


async def test_a_received_message_is_invisible_for_the_timeout_then_comes_again(queue, lapse):
    await queue.send([message("jobs", "a")])
    assert keys(await take(queue)) == ["a"]
    assert await take(queue) == []
    await lapse()
    (again,) = await take(queue)
    assert again.message.key == "a"
    assert again.receives == 2


async def test_a_message_is_received_by_one_of_many_at_once(queue):
    await queue.send([message("jobs", f"k{n}") for n in range(6)])
    received = await asyncio.gather(*(take(queue, limit=1) for _ in range(12)))
    assert keys(itertools.chain(*received)) == [f"k{n}" for n in range(6)]


async def test_an_acknowledged_message_does_not_come_again(queue, lapse):
    await queue.send([message("jobs", "a"), message("jobs", "b")])
    received = await take(queue)
    await queue.acknowledge("jobs", [each for each in received if each.message.key == "a"])
    await lapse()
    assert keys(await take(queue)) == ["b"]


async def test_an_acknowledgement_is_durable(open_backend, backend):
    await backend.queue.send([message("recovery", "a")])
    await backend.queue.acknowledge("recovery", await take(backend.queue, "recovery"))
    await backend.close()
    assert await take((await open_backend()).queue, "recovery") == []


async def test_an_extended_message_stays_invisible_as_long(queue, lapse):
    await queue.send([message("jobs", "a")])
    await queue.extend("jobs", await take(queue), 60.0)
    await lapse()
    assert await take(queue) == []


async def test_a_message_given_back_comes_at_once_to_who_waits(queue):
    await queue.send([message("jobs", "a")])
    received = await take(queue)
    waiting = asyncio.create_task(take(queue, wait_s=5.0))
    await asyncio.sleep(0.02)
    begun = time.monotonic()
    await queue.extend("jobs", received, 0.0)
    assert keys(await waiting) == ["a"]
    assert time.monotonic() - begun < 0.2


# -- handles -------------------------------------------------------------------------------------------------------


async def test_the_handle_of_an_earlier_receive_is_stale(queue, lapse):
    await queue.send([message("jobs", "a")])
    first = await take(queue)
    await lapse()
    second = await take(queue)
    await queue.acknowledge("jobs", first)
    await queue.extend("jobs", second, 0.0)
    assert keys(await take(queue, wait_s=1.0)) == ["a"]


async def test_a_message_sent_again_outlives_the_acknowledgement_of_the_former(queue):
    await queue.send([Message("jobs", "a", "first")])
    former = await take(queue)
    await queue.send([Message("jobs", "a", "second")])
    await queue.acknowledge("jobs", former)
    await queue.extend("jobs", former, 60.0)
    bodies = [each.message.body for each in await take(queue, wait_s=1.0)]
    assert "second" in bodies


async def test_an_unknown_handle_is_ignored(queue, lapse):
    await queue.send([message("jobs", "a")])
    (received,) = await take(queue)
    for handle in ("", "0", "-1", "no handle at all", "9" * 400):
        await queue.acknowledge("jobs", [Received(received.message, handle, 1)])
        await queue.extend("jobs", [Received(received.message, handle, 1)], 60.0)
    await queue.acknowledge("jobs", [Received(message("jobs", "unknown"), received.handle, 1)])
    await lapse()
    assert keys(await take(queue)) == ["a"]


async def test_an_acknowledgement_can_be_repeated(queue):
    await queue.send([message("jobs", "a")])
    received = await take(queue)
    await queue.acknowledge("jobs", received)
    await queue.acknowledge("jobs", received)
    assert (await queue.depth("jobs")).ready == 0


# -- dead letters --------------------------------------------------------------------------------------------------


async def bury(backend, key):
    """Receive a message as often as is allowed, without acknowledging it."""
    for n in range(1, backend.receives_max + 1):
        (received,) = await take(backend.queue, wait_s=1.0)
        assert (received.message.key, received.receives) == (key, n)
        await backend.queue.extend("jobs", [received], 0.0)
    assert await take(backend.queue) == []


async def test_a_message_never_acknowledged_joins_the_dead_letters_invariant_12(backend):
    await backend.queue.send([message("jobs", "poison")])
    await bury(backend, "poison")
    (letter,) = await backend.queue.dead_letters("jobs", 10)
    assert (letter.queue, letter.key, letter.body) == ("jobs", "poison", message("jobs", "poison").body)
    assert letter.dead


async def test_poison_does_not_hold_up_the_others_invariant_12(backend):
    await backend.queue.send([message("jobs", "poison")])
    await bury(backend, "poison")
    await backend.queue.send([message("jobs", "good")])
    assert keys(await take(backend.queue, limit=1)) == ["good"]


async def test_a_receive_counts_even_when_the_process_dies_of_it_invariant_12(open_backend):
    backend = await open_backend()
    await backend.queue.send([message("recovery", "poison")])
    for n in range(1, backend.receives_max + 1):
        (received,) = await take(backend.queue, "recovery", wait_s=2.0)
        assert received.receives == n
        await backend.close()
        backend = await open_backend()
    await asyncio.sleep(backend.visibility_s)
    assert await take(backend.queue, "recovery") == []
    assert [letter.key for letter in await backend.queue.dead_letters("recovery", 10)] == ["poison"]


async def test_dead_letters_can_be_sent_and_are_not_received(queue):
    await queue.send([message("jobs", f"d{n}", dead=True) for n in range(3)])
    assert await take(queue) == []
    assert {letter.key for letter in await queue.dead_letters("jobs", 10)} == {"d0", "d1", "d2"}
    assert len(await queue.dead_letters("jobs", 2)) == 2
    assert list(await queue.dead_letters("webhooks", 10)) == []


async def test_redriven_letters_live_again_with_all_their_receives(backend):
    await backend.queue.send([message("jobs", "poison")])
    await bury(backend, "poison")
    assert await backend.queue.redrive("jobs", None) == 1
    assert list(await backend.queue.dead_letters("jobs", 10)) == []
    (received,) = await take(backend.queue, wait_s=1.0)
    assert (received.message.key, received.receives) == ("poison", 1)


async def test_redriving_some_leaves_the_others(queue):
    await queue.send([message("jobs", f"d{n}", dead=True) for n in range(4)])
    await queue.send([message("webhooks", "d1", dead=True)])
    assert await queue.redrive("jobs", ["d1", "d3", "unknown"]) == 2
    assert keys(await take(queue)) == ["d1", "d3"]
    assert {letter.key for letter in await queue.dead_letters("jobs", 10)} == {"d0", "d2"}
    assert len(await queue.dead_letters("webhooks", 10)) == 1
    assert await queue.redrive("jobs", []) == 0


async def test_redriving_wakes_who_waits(queue):
    await queue.send([message("jobs", "a", dead=True)])
    waiting = asyncio.create_task(take(queue, wait_s=5.0))
    await asyncio.sleep(0.02)
    begun = time.monotonic()
    await queue.redrive("jobs", None)
    assert keys(await waiting) == ["a"]
    assert time.monotonic() - begun < 1.0


async def test_dropped_letters_are_gone_for_good(queue):
    await queue.send([message("jobs", f"d{n}", dead=True) for n in range(4)] + [message("jobs", "d1-alive")])
    await queue.send([message("webhooks", "d1", dead=True)])
    assert await queue.drop("jobs", ["d1", "d3", "d1-alive", "unknown"]) == 2
    assert {letter.key for letter in await queue.dead_letters("jobs", 10)} == {"d0", "d2"}
    assert await queue.drop("jobs", []) == 0
    assert await queue.drop("jobs", None) == 2
    assert list(await queue.dead_letters("jobs", 10)) == []
    assert await queue.redrive("jobs", None) == 0
    assert await queue.drop("jobs", None) == 0
    assert keys(await take(queue)) == ["d1-alive"]
    assert len(await queue.dead_letters("webhooks", 10)) == 1


# -- depth ---------------------------------------------------------------------------------------------------------


async def test_depth_tells_ready_delayed_and_dead(queue):
    assert await queue.depth("jobs") == QueueDepth(0, 0, 0)
    await queue.send(
        [message("jobs", f"r{n}") for n in range(5)]
        + [message("jobs", "later", visible_at=time.time() + 60), message("jobs", "dead", dead=True)]
        + [message("webhooks", "other")]
    )
    assert await queue.depth("jobs") == QueueDepth(5, 1, 1)
    received = await take(queue, limit=2)
    assert await queue.depth("jobs") == QueueDepth(3, 3, 1)
    await queue.acknowledge("jobs", received)
    assert await queue.depth("jobs") == QueueDepth(3, 1, 1)
