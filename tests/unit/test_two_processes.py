"""Two processes on one ledger: what one of them remembers, the other may have brought further."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from receiptd.adapters.embedded.store import EmbeddedStore
from receiptd.domain import lifecycle as lc
from receiptd.domain.receipt import DeliveryState, ReceiptState, Submission
from receiptd.pipeline.delivery import Delivery
from receiptd.pipeline.lanes import Lane
from receiptd.pipeline.outbox import Outbox
from receiptd.pipeline.recovery import Recovery
from receiptd.pipeline.work import WorkItem
from receiptd.pipeline.writer import Writer
from receiptd.runtime.clock import SystemClock
from receiptd.settings import RecoverySettings, RegistrarSettings, WebhookSettings, WriterSettings

ID = "20260101-" + "0" * 24
ITEM = WorkItem("c", ID, version=1)


@pytest.fixture
async def store(tmp_path):
    opened = await EmbeddedStore.open(tmp_path, SystemClock())
    yield opened
    await opened.close()


@pytest.fixture
async def here(store):
    """A process: its writer, lane, delivery and recovery."""
    clock, outbox = SystemClock(), Outbox(store.queue)
    writer = Writer(store.ledger, clock, WriterSettings(linger_ms=0), RecoverySettings())
    lane = Lane(
        settings=RegistrarSettings(id="tax", url="http://127.0.0.1:1/"),
        client=None,
        writer=writer,
        queue=store.queue,
        outbox=outbox,
        clock=clock,
    )
    delivery = Delivery(
        settings=WebhookSettings(),
        http=None,
        contracts=store.contracts,
        writer=writer,
        queue=store.queue,
        outbox=outbox,
        clock=clock,
    )
    recovery = Recovery(
        settings=RecoverySettings(),
        queue=store.queue,
        writer=writer,
        lanes={"tax": lane},
        delivery=delivery,
        clock=clock,
    )
    task = asyncio.create_task(writer.run())
    yield SimpleNamespace(writer=writer, lane=lane, delivery=delivery, recovery=recovery)
    task.cancel()
    await writer.flush()


@pytest.fixture
async def there(store):
    """The other process's writer."""
    writer = Writer(store.ledger, SystemClock(), WriterSettings(linger_ms=0), RecoverySettings())
    task = asyncio.create_task(writer.run())
    yield writer
    task.cancel()
    await writer.flush()


def fresh():
    now = SystemClock().now()
    facts = Submission(ID, "c", "t", 1, now, "application/json", "d", b"{}", b"{}", "https://c.example/")
    return lc.accept(facts, ("tax",), ())


async def test_what_was_redriven_there_is_taken_up_here_invariant_11(here, there):
    await here.writer.create(fresh())
    await here.writer.apply("c", ID, lc.AttemptFailed("tax", 1.0, "503", None))
    await there.apply("c", ID, lc.Redriven("tax", 2.0))
    await here.recovery._handle(ITEM)
    assert here.lane.depth == 1


async def test_the_webhook_of_what_ended_there_is_taken_up_here_invariant_11(here, there):
    await here.writer.create(fresh())
    await there.apply("c", ID, lc.Confirmed("tax", 1.0))
    assert await here.recovery._handle(ITEM) is not None
    assert here.delivery.depth == 1


async def test_the_message_of_what_settled_there_is_dropped(here, there):
    await here.writer.create(fresh())
    await there.apply("c", ID, lc.Confirmed("tax", 1.0))
    settled = await there.apply("c", ID, lc.Delivered(2.0, 200))
    assert await here.recovery._handle(ITEM) is None
    assert here.writer.settled.covers(ID, settled.version)


async def test_the_retry_of_a_webhook_from_there_is_made_here_invariant_10(here, there):
    await here.writer.create(fresh())
    await there.apply("c", ID, lc.Confirmed("tax", 1.0))
    await there.apply("c", ID, lc.DeliveryFailed(2.0, 500, "", 3.0))
    assert await here.delivery._take_back(ITEM) is None
    assert here.delivery.depth == 1


async def test_what_ended_there_can_be_replayed_here(here, there):
    await here.writer.create(fresh())
    await there.apply("c", ID, lc.Confirmed("tax", 1.0))
    await there.apply("c", ID, lc.Delivered(2.0, 200))
    replayed = await here.writer.apply("c", ID, lc.ReplayAsked(3.0))
    assert (replayed.state, replayed.delivery.state) == (ReceiptState.COMPLETE, DeliveryState.OWED)


async def test_what_is_posted_again_is_answered_as_it_stands(here, there):
    await here.writer.create(fresh())
    await there.apply("c", ID, lc.Confirmed("tax", 1.0))
    again = await here.writer.create(fresh())
    assert again.state is ReceiptState.COMPLETE


async def test_a_change_that_is_on_its_way_here_is_not_lost_to_what_is_read(here, there):
    await here.writer.create(fresh())
    await there.apply("c", ID, lc.AttemptFailed("tax", 1.0, "503", 2.0))
    applied = asyncio.create_task(here.writer.apply("c", ID, lc.Confirmed("tax", 3.0)))
    await asyncio.sleep(0)
    await here.writer.read("c", ID)
    assert (await applied).state is ReceiptState.COMPLETE
