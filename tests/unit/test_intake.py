"""Intake on the real embedded store, with a clock of the test's own: keys across midnight, and the bound of work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from receiptd.adapters.embedded.store import EmbeddedStore
from receiptd.documents import BUNDLED_ROOT, DocumentError, ReceiptTypes
from receiptd.domain.errors import IdempotencyMismatchError, OverloadedError
from receiptd.domain.identifiers import day_of
from receiptd.domain.receipt import ReceiptState
from receiptd.pipeline.checking import Checking
from receiptd.pipeline.intake import Intake, Posting
from receiptd.pipeline.writer import Writer
from receiptd.settings import HttpSettings, RecoverySettings, WriterSettings

NOON = 1_780_000_000.0 // 86_400 * 86_400 + 43_200
MIDNIGHT = NOON + 43_200
SAMPLES = BUNDLED_ROOT / "retail-receipt" / "samples"
POSTING = Posting("shop", (SAMPLES / "valid" / "grocery.json").read_bytes(), "application/json", idempotency_key="k")


class SetClock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = NOON

    def now(self) -> float:
        return self.at


class Node:
    """Writer and intake of one process, on a store."""

    def __init__(self, store: EmbeddedStore, clock: SetClock, **settings: Any) -> None:
        self.writer = Writer(store.ledger, clock, WriterSettings(linger_ms=0), RecoverySettings())
        self.checking = Checking(lambda: TYPES)
        self.intake = Intake(HttpSettings(**settings), self.checking, self.writer, clock)
        self._task = asyncio.create_task(self.writer.run())

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.writer.flush()


TYPES = ReceiptTypes.load([BUNDLED_ROOT])


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Of a store that all tests share, each with clients of its own: making a store makes a signing key."""
    return tmp_path_factory.mktemp("intake")


@pytest.fixture
async def store(directory, clock) -> AsyncIterator[EmbeddedStore]:
    opened = await EmbeddedStore.open(directory, clock)
    yield opened
    await opened.close()


@pytest.fixture
async def node(store, clock) -> AsyncIterator[Node]:
    running = Node(store, clock)
    yield running
    await running.stop()


@pytest.fixture
def posting(request) -> Posting:
    return replace(POSTING, client_id=request.node.name)


@pytest.mark.parametrize("seconds_before", [0.001, 60, 86_399])
async def test_a_retry_after_midnight_finds_the_receipt_of_the_day_before(node, clock, posting, seconds_before):
    """Invariant 4, across midnight."""
    clock.at = MIDNIGHT - seconds_before
    first = await node.intake.submit(posting)
    clock.at = MIDNIGHT + 1
    again = await node.intake.submit(posting)
    assert not first.replayed
    assert again.replayed
    assert again.receipt.receipt_id == first.receipt.receipt_id
    assert day_of(again.receipt.receipt_id) == datetime.fromtimestamp(NOON, UTC).date()
    with pytest.raises(IdempotencyMismatchError):
        await node.intake.submit(replace(posting, body=posting.body + b"\n"))


@pytest.mark.parametrize(
    ("settings", "hours", "same"),
    [({}, 5.9, True), ({}, 6.1, False), ({"key_overlap_hours": 0}, 0.1, False), ({"key_overlap_hours": 8}, 7.9, True)],
)
async def test_a_key_holds_some_hours_into_the_next_day(store, clock, posting, *, settings, hours, same):
    node = Node(store, clock, **settings)
    clock.at = MIDNIGHT - 1
    first = await node.intake.submit(replace(posting, idempotency_key=str(hours)))
    clock.at = MIDNIGHT + hours * 3600
    again = await node.intake.submit(replace(posting, idempotency_key=str(hours)))
    await node.stop()
    assert (again.receipt.receipt_id == first.receipt.receipt_id) is same


async def test_a_replay_is_answered_though_the_types_have_changed_since(node, posting):
    """Invariant 4: what was taken stays taken when its type is no longer there."""
    first = await node.intake.submit(posting)
    node.checking.types = ReceiptTypes.load([])
    again = await node.intake.submit(posting)
    assert (again.replayed, again.receipt.receipt_id) == (True, first.receipt.receipt_id)
    with pytest.raises(DocumentError):
        await node.intake.submit(replace(posting, body=posting.body + b" "))


async def test_a_retry_after_midnight_and_a_restart_finds_it_too(store, clock, posting):
    """Invariant 4: nothing of it is kept in memory only."""
    clock.at = MIDNIGHT - 0.5
    before = Node(store, clock)
    first = await before.intake.submit(replace(posting, idempotency_key=""))
    await before.stop()

    clock.at = MIDNIGHT + 0.5
    after = Node(store, clock)
    again = await after.intake.submit(replace(posting, idempotency_key=""))
    await after.stop()
    assert (again.replayed, again.receipt.receipt_id) == (True, first.receipt.receipt_id)


async def test_posts_around_midnight_under_one_key_are_one_receipt(node, clock, posting):
    """Invariant 4: fifty at once, the day changing between them."""
    clock.at = MIDNIGHT - 0.001
    early = [asyncio.create_task(node.intake.submit(posting)) for _ in range(25)]
    await asyncio.sleep(0)  # they have their ids; nothing is durable yet
    clock.at = MIDNIGHT
    late = [asyncio.create_task(node.intake.submit(posting)) for _ in range(25)]
    answers = await asyncio.gather(*early, *late)
    assert len({answer.receipt.receipt_id for answer in answers}) == 1
    assert sum(not answer.replayed for answer in answers) == 1


async def test_a_key_is_free_again_two_days_later(node, clock, posting):
    first = await node.intake.submit(posting)
    clock.at += 2 * 86_400
    again = await node.intake.submit(posting)
    assert not again.replayed
    assert again.receipt.receipt_id != first.receipt.receipt_id


async def test_a_clock_that_steps_back_over_midnight_makes_no_third_receipt(node, clock, posting):
    clock.at = MIDNIGHT + 1
    late = await node.intake.submit(posting)
    clock.at = MIDNIGHT - 1
    early = await node.intake.submit(posting)
    clock.at = MIDNIGHT + 2
    again = await node.intake.submit(posting)
    assert again.replayed
    assert again.receipt.receipt_id in {late.receipt.receipt_id, early.receipt.receipt_id}


async def test_what_stands_is_on_the_disk_before_the_answer(node, store, posting):
    """Invariant 1: another connection to the file sees it as soon as submit returns."""
    accepted = await node.intake.submit(posting)
    standing = await store.ledger.get(posting.client_id, accepted.receipt.receipt_id)
    assert standing is not None
    assert standing.submission.document == posting.body
    assert standing.state is ReceiptState.PROCESSING


async def test_an_invalid_document_is_stored_once_with_its_findings(node, posting):
    wrong = replace(posting, body=(SAMPLES / "invalid" / "total-mismatch.json").read_bytes())
    first, again = await node.intake.submit(wrong), await node.intake.submit(wrong)
    assert first.receipt.state is ReceiptState.FAILED
    assert first.receipt.findings
    assert (again.replayed, again.receipt.findings) == (True, first.receipt.findings)


async def test_a_document_that_cannot_be_read_leaves_its_key_free(node, posting):
    with pytest.raises(DocumentError):
        await node.intake.submit(replace(posting, body=b"{"))
    assert not (await node.intake.submit(posting)).replayed


async def test_beyond_its_bound_intake_refuses_before_any_work(store, clock, posting):
    """Invariant 13: a document that would be refused anyway is not even looked at."""
    node = Node(store, clock, in_flight_max=2)
    both = [asyncio.create_task(node.intake.submit(replace(posting, idempotency_key=f"{n}"))) for n in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError) as refused:
        await node.intake.submit(replace(posting, body=b"{"))
    assert refused.value.retry_after_s > 0
    await asyncio.gather(*both)
    assert node.intake.in_flight == 0
    assert not (await node.intake.submit(posting)).replayed
    await node.stop()
