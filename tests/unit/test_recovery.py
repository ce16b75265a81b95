"""Recovery against the real store: what it takes up, and what it must leave alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from receiptd.adapters.embedded.store import EmbeddedStore
from receiptd.domain import lifecycle as lc
from receiptd.domain.receipt import Submission
from receiptd.pipeline.recovery import Recovery
from receiptd.pipeline.work import WorkItem
from receiptd.pipeline.writer import Writer
from receiptd.runtime.clock import SystemClock
from receiptd.settings import RecoverySettings, WriterSettings

ITEM = WorkItem("c", "20260101-" + "0" * 24)


class Peer:
    """Stands where a lane and the delivery stand, and remembers what it was handed."""

    def __init__(self):
        self.taken = []
        self.overdue_at = None

    def resume(self, receipt, now):
        self.taken.append(receipt)
        return self.overdue_at


@pytest.fixture
async def parts(tmp_path):
    clock = SystemClock()
    store = await EmbeddedStore.open(tmp_path, clock)
    writer = Writer(store.ledger, clock, WriterSettings(linger_ms=0, lazy_linger_ms=10_000), RecoverySettings())
    lane, delivery = Peer(), Peer()
    recovery = Recovery(
        settings=RecoverySettings(delay_s=30, interval_max_s=900),
        queue=store.queue,
        writer=writer,
        lanes={"tax": lane},
        delivery=delivery,
        clock=clock,
    )
    task = asyncio.create_task(writer.run())
    yield writer, lane, delivery, recovery
    task.cancel()
    await writer.flush()
    await store.close()


def fresh(accepted_at):
    facts = Submission(
        ITEM.receipt_id, "c", "t", 1, accepted_at, "application/json", "d", b"{}", b"{}", "https://c.example/"
    )
    return lc.accept(facts, ("tax",), ())


async def test_no_webhook_goes_out_before_the_end_that_it_tells_of_is_durable_invariant_15(parts):
    writer, _, delivery, recovery = parts
    await writer.create(fresh(SystemClock().now()))
    noted = await writer.note("c", ITEM.receipt_id, lc.Confirmed("tax", 1.0))
    assert noted.terminal, "applied, but its commit waits for the lazy linger"
    await recovery._handle(ITEM)
    assert not delivery.taken
    await writer.flush()
    await recovery._handle(ITEM)
    assert [receipt.state for receipt in delivery.taken] == ["COMPLETE"]


@pytest.mark.parametrize(("age_s", "pause_s"), [(0, 30), (300, 300), (86_400, 900)])
async def test_rounds_are_as_far_apart_as_the_receipt_is_old(parts, age_s, pause_s):
    writer, lane, _, recovery = parts
    now = SystemClock().now()
    await writer.create(fresh(now - age_s))
    message = await recovery._handle(ITEM)
    assert message.visible_at - now == pytest.approx(pause_s, abs=2)
    assert len(lane.taken) == 1


async def test_the_deadline_of_a_callback_is_kept(parts):
    writer, lane, _, recovery = parts
    now = SystemClock().now()
    await writer.create(fresh(now - 86_400))
    lane.overdue_at = now + 12
    message = await recovery._handle(ITEM)
    assert message.visible_at - now == pytest.approx(13, abs=2)


async def test_the_message_of_a_settled_receipt_is_dropped(parts):
    writer, lane, _, recovery = parts
    await writer.create(fresh(SystemClock().now()))
    await writer.apply("c", ITEM.receipt_id, lc.Confirmed("tax", 1.0))
    await writer.apply("c", ITEM.receipt_id, lc.Delivered(2.0, 200))
    assert await recovery._handle(ITEM) is None
    assert not lane.taken


async def test_the_message_of_what_settled_here_is_dropped_without_a_read_unless_a_later_change_owed_it(parts):
    writer, _, delivery, recovery = parts
    await writer.create(fresh(SystemClock().now()))
    await writer.apply("c", ITEM.receipt_id, lc.Confirmed("tax", 1.0))
    settled = await writer.apply("c", ITEM.receipt_id, lc.Delivered(2.0, 200))
    reads = []

    class Unread:
        async def get(self, client_id, receipt_id):
            reads.append(receipt_id)

    writer._ledger, store_ledger = Unread(), writer._ledger
    assert await recovery._handle(replace(ITEM, version=1)) is None
    assert not reads
    await recovery._handle(replace(ITEM, version=settled.version + 1))
    assert reads
    writer._ledger = store_ledger
    reopened = await writer.apply("c", ITEM.receipt_id, lc.ReplayAsked(3.0))
    assert await recovery._handle(replace(ITEM, version=reopened.version)) is not None
    assert delivery.taken == [reopened]


async def test_the_message_of_a_row_that_never_came_to_be_is_dropped(parts):
    *_, recovery = parts
    assert await recovery._handle(ITEM) is None


async def test_a_message_that_came_before_its_row_has_one_more_round_invariant_11(parts):
    writer, lane, _, recovery = parts
    now = SystemClock().now()
    again = await recovery._handle(replace(ITEM, version=1))
    assert again.visible_at - now == pytest.approx(30, abs=2)
    await writer.create(fresh(now))
    assert await recovery._handle(WorkItem.parse(again)) is not None
    assert len(lane.taken) == 1


async def test_a_message_that_came_before_its_replay_has_one_more_round(parts):
    writer, _, delivery, recovery = parts
    await writer.create(fresh(SystemClock().now()))
    await writer.apply("c", ITEM.receipt_id, lc.Confirmed("tax", 1.0))
    settled = await writer.apply("c", ITEM.receipt_id, lc.Delivered(2.0, 200))
    again = await recovery._handle(replace(ITEM, version=settled.version + 1))
    reopened = await writer.apply("c", ITEM.receipt_id, lc.ReplayAsked(3.0))
    assert await recovery._handle(WorkItem.parse(again)) is not None
    assert delivery.taken == [reopened]


async def test_the_message_of_a_change_that_never_came_is_dropped_after_another_round(parts):
    *_, recovery = parts
    again = await recovery._handle(replace(ITEM, version=1))
    assert await recovery._handle(WorkItem.parse(again)) is None


@pytest.mark.parametrize(("age_s", "renewed"), [(3600, 0), (7 * 86_400 - 60, 1), (7 * 86_400 + 60, 0)])
async def test_the_dead_letter_of_what_is_parked_is_renewed_once_a_week(parts, age_s, renewed):
    writer, _, _, recovery = parts
    parked_at = SystemClock().now() - age_s
    await writer.create(fresh(parked_at))
    await writer.apply("c", ITEM.receipt_id, lc.AttemptFailed("tax", parked_at, "503", None))
    await recovery._queue.drop("registrar.tax", None)
    await recovery._handle(ITEM)
    letters = await recovery._queue.dead_letters("registrar.tax", 10)
    assert [letter.key for letter in letters] == [ITEM.receipt_id] * renewed
