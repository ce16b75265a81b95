"""The writer against a ledger that conflicts, fails and waits on command: the port's stand-in, not our own adapter."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from receiptd.domain import lifecycle as lc
from receiptd.domain.errors import StorageError, UnknownReceiptError
from receiptd.domain.receipt import Receipt, ReceiptState, RegistrationState, Submission
from receiptd.pipeline.writer import Writer
from receiptd.ports import Change
from receiptd.runtime.clock import SystemClock
from receiptd.settings import RecoverySettings, WriterSettings


class MemoryLedger:
    """Keeps rows by the port's rules; ``gate`` holds commits back, ``fail`` refuses the next one."""

    def __init__(self) -> None:
        self.rows: dict[str, Receipt] = {}
        self.messages = []
        self.groups: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fail = False
        self.throttled: set[str] = set()
        """Clients whose changes fail alone."""

    async def commit(self, changes: Sequence[Change]) -> list[Receipt | StorageError | None]:
        await self.gate.wait()
        if self.fail:
            self.fail = False
            raise StorageError("disk full")
        self.groups.append(len(changes))
        results = []
        for change in changes:
            if change.receipt.client_id in self.throttled:
                results.append(StorageError("throttled"))
                continue
            standing = self.rows.get(change.receipt.receipt_id)
            if (standing.version if standing else None) == change.expected_version:
                self.rows[change.receipt.receipt_id] = standing = change.receipt
                self.messages += change.messages
            results.append(standing)
        return results

    async def get(self, client_id: str, receipt_id: str) -> Receipt | None:
        receipt = self.rows.get(receipt_id)
        return receipt if receipt and receipt.client_id == client_id else None


def fresh(number: int = 0, body: bytes = b"{}", client: str = "c") -> Receipt:
    facts = Submission(
        f"20260101-{number:024d}",
        client,
        "t",
        1,
        100.0,
        "application/json",
        body.hex(),
        body,
        b"{}",
        "https://c.example/",
    )
    return lc.accept(facts, ("tax", "warehouse"), ())


@pytest.fixture
async def ledger():
    return MemoryLedger()


@pytest.fixture(params=[0, 1])
def linger_ms(request):
    return request.param


@pytest.fixture
async def writer(ledger, linger_ms):
    made = Writer(ledger, SystemClock(), WriterSettings(linger_ms=linger_ms, lazy_linger_ms=20), RecoverySettings())
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()


async def test_an_answer_comes_after_its_commit_invariant_1(writer, ledger):
    ledger.gate.clear()
    answer = asyncio.create_task(writer.create(fresh()))
    await asyncio.sleep(0.02)
    assert not answer.done()
    ledger.gate.set()
    assert (await answer).version == 1
    assert [m.queue for m in ledger.messages] == ["recovery"]


async def test_changes_that_wait_together_commit_together(writer, ledger):
    await asyncio.gather(*(writer.create(fresh(n)) for n in range(50)))
    assert ledger.groups == [50]


async def test_a_second_change_merges_into_the_waiting_one(writer, ledger):
    receipt = await writer.create(fresh())
    first = writer.apply("c", receipt.receipt_id, lc.Confirmed("tax", 101.0))
    second = writer.apply("c", receipt.receipt_id, lc.Confirmed("warehouse", 101.0))
    one, two = await asyncio.gather(first, second)
    assert one is two
    assert (one.version, one.state) == (2, ReceiptState.COMPLETE)


async def test_fifty_creations_of_one_id_are_one_receipt_invariant_4(writer, ledger):
    answers = await asyncio.gather(*(writer.create(fresh()) for _ in range(50)))
    assert len({id(a.submission) for a in answers}) == 1
    assert ledger.groups == [1]


async def test_creating_what_stands_already_returns_it_invariant_4(writer, ledger):
    theirs = replace(fresh(body=b"[]"), version=1)
    ledger.rows[theirs.receipt_id] = theirs
    assert await writer.create(fresh()) is theirs


async def test_a_conflict_applies_the_events_to_what_stands_there(writer, ledger):
    receipt = await writer.create(fresh())
    elsewhere, _ = lc.advance(receipt, lc.Confirmed("warehouse", 101.0))
    ledger.rows[receipt.receipt_id] = replace(elsewhere, version=2)
    after = await writer.apply("c", receipt.receipt_id, lc.Confirmed("tax", 102.0))
    assert (after.version, after.state) == (3, ReceiptState.COMPLETE)


async def test_a_conflict_that_leaves_nothing_to_do_answers_with_what_stands(writer, ledger):
    receipt = await writer.create(fresh())
    elsewhere = receipt
    for name in ("tax", "warehouse"):
        elsewhere, _ = lc.advance(elsewhere, lc.Confirmed(name, 101.0))
    elsewhere, _ = lc.advance(elsewhere, lc.Delivered(102.0, 200))
    ledger.rows[receipt.receipt_id] = theirs = replace(elsewhere, version=4)
    assert await writer.apply("c", receipt.receipt_id, lc.Refused("tax", 103.0, "late")) is theirs


async def test_a_failed_commit_promises_nothing_and_the_next_one_works(writer, ledger):
    ledger.fail = True
    with pytest.raises(StorageError):
        await writer.create(fresh())
    assert (await writer.create(fresh())).version == 1


async def test_a_failed_commit_fails_those_who_wait_behind_it(writer, ledger):
    receipt = await writer.create(fresh())
    ledger.gate.clear()
    first = asyncio.create_task(writer.apply("c", receipt.receipt_id, lc.Confirmed("tax", 101.0)))
    await asyncio.sleep(0.02)
    second = asyncio.create_task(writer.apply("c", receipt.receipt_id, lc.Confirmed("warehouse", 101.0)))
    await asyncio.sleep(0)
    ledger.fail = True
    ledger.gate.set()
    outcomes = await asyncio.gather(first, second, return_exceptions=True)
    assert all(isinstance(outcome, StorageError) for outcome in outcomes)
    after = await writer.apply("c", receipt.receipt_id, lc.Confirmed("tax", 101.0))
    assert after.registrations[0].state is RegistrationState.REGISTERED


async def test_a_change_that_fails_alone_fails_nobody_else_invariant_12(writer, ledger):
    ledger.throttled = {"loud"}
    creations = [writer.create(fresh(n, client="loud" if n % 2 else "c")) for n in range(6)]
    outcomes = await asyncio.gather(*creations, return_exceptions=True)
    assert [isinstance(outcome, StorageError) for outcome in outcomes] == [False, True] * 3
    assert ledger.groups == [6]
    assert len(ledger.rows) == 3
    ledger.throttled = set()
    assert (await writer.create(fresh(1, client="loud"))).version == 1


async def test_an_event_whose_change_failed_alone_is_forgotten_and_can_be_applied_again(writer, ledger):
    receipt = await writer.create(fresh())
    ledger.throttled = {"c"}
    with pytest.raises(StorageError):
        await writer.apply("c", receipt.receipt_id, lc.Confirmed("tax", 101.0))
    assert await writer.current("c", receipt.receipt_id) == receipt
    ledger.throttled = set()
    after = await writer.apply("c", receipt.receipt_id, lc.Confirmed("tax", 101.0))
    assert after.registrations[0].state is RegistrationState.REGISTERED


@pytest.mark.parametrize(
    ("clients", "throttled", "doubted"),
    [
        (["loud"], {"loud"}, False),  # one client's trouble is its own, even when nobody else is about
        (["loud", "loud", "loud", "c"], {"loud"}, False),
        (["a", "b", "c", "d"], {"a", "b"}, False),
        (["a", "b", "c", "d"], {"a", "b", "c"}, True),
    ],
)
async def test_the_store_is_in_doubt_once_most_of_a_commit_over_several_clients_failed(
    writer, ledger, clients, throttled, doubted
):
    ledger.throttled = throttled
    creations = [writer.create(fresh(n, client=client)) for n, client in enumerate(clients)]
    await asyncio.gather(*creations, return_exceptions=True)
    assert (writer.failed_at > 0) is doubted


async def test_a_commit_that_failed_as_a_whole_puts_the_store_in_doubt(writer, ledger):
    ledger.fail = True
    with pytest.raises(StorageError):
        await writer.create(fresh())
    assert writer.failed_at > 0


async def test_a_duplicate_verdict_waits_for_the_commit_of_the_first_invariant_8(writer, ledger):
    receipt = await writer.create(fresh())
    ledger.gate.clear()
    first = asyncio.create_task(writer.apply("c", receipt.receipt_id, lc.Confirmed("tax", 101.0)))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(writer.apply("c", receipt.receipt_id, lc.Confirmed("tax", 102.0)))
    await asyncio.sleep(0.02)
    assert not second.done()
    ledger.gate.set()
    assert await second == await first


async def test_an_event_during_a_commit_goes_into_the_next(writer, ledger):
    ledger.gate.clear()
    created = asyncio.create_task(writer.create(fresh()))
    await asyncio.sleep(0.01)
    noted = await writer.note("c", fresh().receipt_id, lc.Submitted("tax", 101.0, 131.0))
    assert noted.registrations[0].state is RegistrationState.SUBMITTED
    ledger.gate.set()
    assert (await created).registrations[0].state is RegistrationState.PENDING
    await asyncio.sleep(0.05)
    assert ledger.rows[noted.receipt_id].version == 2


async def test_what_comes_during_a_commit_waits_its_own_linger_for_company(ledger):
    writer = Writer(ledger, SystemClock(), WriterSettings(linger_ms=60), RecoverySettings())
    task = asyncio.create_task(writer.run())
    ledger.gate.clear()
    created = [asyncio.create_task(writer.create(fresh(0)))]
    await asyncio.sleep(0.09)  # the first group is on its way
    created.append(asyncio.create_task(writer.create(fresh(1))))
    await asyncio.sleep(0.005)
    ledger.gate.set()
    await asyncio.sleep(0.02)
    created.append(asyncio.create_task(writer.create(fresh(2))))
    await asyncio.gather(*created)
    assert ledger.groups == [1, 2]
    task.cancel()


async def test_another_clients_receipt_is_unknown(writer):
    receipt = await writer.create(fresh())
    with pytest.raises(UnknownReceiptError):
        await writer.apply("somebody-else", receipt.receipt_id, lc.ReplayAsked(1.0))


async def test_listeners_hear_of_a_change_only_once_it_is_durable(writer, ledger):
    heard = []
    writer.listen(lambda before, after, effects: heard.append((before, after.version, effects, dict(ledger.rows))))
    receipt = await writer.create(fresh())
    before, version, effects, rows = heard[0]
    assert (before, version, rows[receipt.receipt_id]) == (None, 1, receipt)
    assert effects[1:] == (lc.Submit("tax"), lc.Submit("warehouse"))


async def test_flush_commits_lazy_changes_too():
    ledger = MemoryLedger()
    writer = Writer(ledger, SystemClock(), WriterSettings(linger_ms=1000, lazy_linger_ms=1000), RecoverySettings())
    created = asyncio.create_task(writer.create(fresh()))
    await asyncio.sleep(0)
    await writer.flush()
    assert (await created).version == 1
