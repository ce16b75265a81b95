"""The ledger on DynamoDB under faults, over partitions, and in what it costs."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace

import pytest
from contract_makers import DAY_S, NOON, completed, create, message, new_receipt, next_version, update
from faulty_proxy import LOST, Refusal, lost_once, once

from receiptd.adapters.aws import ledger as ledger_module
from receiptd.adapters.aws.ledger import AwsLedger
from receiptd.domain.contract import Contract
from receiptd.domain.errors import StorageError
from receiptd.domain.receipt import Delivery, DeliveryState, Finding, ReceiptState
from receiptd.ports import PageQuery


class Sent:
    """Queues that take everything, but for the names that fail; ``fail``: all do."""

    def __init__(self):
        self.messages = []
        self.rows = []
        self.fail = False
        self.failing = set()
        self.look = None

    async def post(self, messages):
        faults = [
            StorageError(f"SQS is away for {m.queue}") if self.fail or m.queue in self.failing else None
            for m in messages
        ]
        self.messages += [m for m, fault in zip(messages, faults, strict=True) if fault is None]
        if self.look is not None:
            self.rows += [await self.look(m) for m in messages]
        return faults


@pytest.fixture
def queue():
    return Sent()


@pytest.fixture
def contracts():
    """Contracts by client id."""
    return {}


@pytest.fixture
async def make_ledger(tables, queue, contracts):
    """Makes the ledger of one more daemon on the same table."""
    made = []

    async def contract(client_id):
        return contracts.get(client_id)

    def make(**facts):
        made.append(AwsLedger(tables.dynamodb, tables.receipts, queue, contract, **facts))
        return made[-1]

    yield make
    for ledger in made:
        await ledger.close()


@pytest.fixture
def ledger(make_ledger):
    return make_ledger()


@pytest.fixture
def item_of(tables):
    async def read(receipt, partition=None):
        key = {"c": {"S": partition or receipt.client_id}, "r": {"S": receipt.receipt_id}}
        return await tables.dynamodb.get(tables.receipts, key, timeout_s=5)

    return read


@pytest.fixture
def scan(tables):
    async def read():
        found, request = [], {}
        while True:
            answer = await tables.dynamodb.scan(tables.receipts, request, timeout_s=5)
            found += answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return found
            request = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    return read


def settled(receipt):
    return completed(receipt, delivery=Delivery(DeliveryState.DELIVERED, 1, NOON, 0.0, 200))


# -- messages first ------------------------------------------------------------------------------------------------


async def test_messages_are_sent_before_the_row_is_there_invariant_11(ledger, queue, item_of):
    receipt = new_receipt()
    queue.look = lambda _: item_of(receipt)
    await ledger.commit([create(receipt, message("recovery", receipt.receipt_id))])
    assert [m.key for m in queue.messages] == [receipt.receipt_id]
    assert queue.rows == [None]
    assert await item_of(receipt) is not None


async def test_a_change_whose_messages_cannot_be_sent_is_not_written_and_others_are_invariant_11(
    ledger, queue, item_of
):
    known, fresh = new_receipt(), new_receipt()
    await ledger.commit([create(known)])
    queue.fail = True
    changed = completed(known)
    results = await ledger.commit([create(fresh, message("recovery", fresh.receipt_id)), update(changed)])
    assert isinstance(results[0], StorageError)
    assert results[1] is changed
    assert await item_of(fresh) is None


async def test_when_no_message_can_be_sent_nothing_is_promised(ledger, queue, item_of):
    queue.fail = True
    receipt = new_receipt()
    with pytest.raises(StorageError, match="SQS is away"):
        await ledger.commit([create(receipt, message("recovery", receipt.receipt_id))])
    assert await item_of(receipt) is None


async def test_a_registrars_queue_that_fails_harms_the_changes_that_owe_it_alone_invariant_12(ledger, queue, item_of):
    known = new_receipt()
    await ledger.commit([create(known)])
    queue.failing = {"registrar.new"}
    parked, fresh = next_version(known), [new_receipt() for _ in range(3)]
    changes = [
        update(parked, message("registrar.new", known.receipt_id)),
        *(create(one, message("recovery", one.receipt_id)) for one in fresh),
    ]
    results = await ledger.commit(changes)
    assert isinstance(results[0], StorageError)
    assert all(result is one for result, one in zip(results[1:], fresh, strict=True))
    assert [m.key for m in queue.messages] == [one.receipt_id for one in fresh]
    assert await ledger.get("shop", known.receipt_id) == known


async def test_a_registrars_queue_that_fails_says_nothing_about_the_store(ledger, queue):
    queue.failing = {"registrar.new"}
    receipts = [new_receipt() for _ in range(2)]
    results = await ledger.commit([create(one, message("registrar.new", one.receipt_id)) for one in receipts])
    assert all(isinstance(result, StorageError) for result in results)
    queue.failing.add("recovery")
    both = [message(name, receipts[0].receipt_id) for name in ("recovery", "registrar.new")]
    with pytest.raises(StorageError, match="recovery"):
        await ledger.commit([create(receipts[0], *both)])


# -- rows that come late -------------------------------------------------------------------------------------------


@pytest.fixture
def late_by(make_ledger, proxy):
    """Makes a ledger whose rows are written so many seconds after their messages were sent."""

    def make(late_s):
        wall = [NOON]

        def pass_by(name, _):
            if name == "BatchExecuteStatement":
                wall[0] += late_s

        proxy.before = pass_by
        return make_ledger(now=lambda: wall[0])

    return make


@pytest.mark.parametrize(("late_s", "times"), [(9.0, 1), (11.0, 2)])
async def test_a_row_that_comes_late_has_its_messages_sent_again_invariant_11(late_by, queue, item_of, late_s, times):
    """They may have come, found nothing twice, and been dropped before the row was there."""
    receipt = new_receipt()
    queue.look = lambda _: item_of(receipt)
    (result,) = await late_by(late_s).commit([create(receipt, message("recovery", receipt.receipt_id))])
    assert result is receipt
    assert [m.key for m in queue.messages] == [receipt.receipt_id] * times
    assert [row is not None for row in queue.rows] == [False, True][:times]


async def test_only_what_was_done_is_sent_again(late_by, make_ledger, queue):
    taken = new_receipt(key="same")
    await make_ledger().commit([create(taken)])
    fresh, other = new_receipt(), new_receipt(key="same", document=b"other")
    changes = [create(one, message("recovery", one.receipt_id)) for one in (other, fresh)]
    assert await late_by(11.0).commit(changes) == [taken, fresh]
    assert [m.key for m in queue.messages] == [other.receipt_id, fresh.receipt_id, fresh.receipt_id]


async def test_a_late_row_whose_message_cannot_be_sent_again_is_no_promise_invariant_11(late_by, queue, item_of):
    ledger, receipt, well = late_by(11.0), new_receipt(), new_receipt()

    async def then_fail(_):
        queue.failing = {"recovery"}

    queue.look = then_fail
    results = await ledger.commit([create(receipt, message("recovery", receipt.receipt_id)), create(well)])
    assert isinstance(results[0], StorageError)
    assert results[1] is well
    queue.failing, queue.look = set(), None
    queue.messages.clear()
    again = new_receipt(key=receipt.submission.idempotency_key)
    assert await ledger.commit([create(again, message("recovery", again.receipt_id))]) == [receipt]
    assert [m.key for m in queue.messages] == [receipt.receipt_id], "its client's repeat brings it back"


# -- commit, then timeout ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 30])
async def test_a_lost_answer_is_found_to_have_taken_effect(ledger, proxy, number):
    """The repeated call is refused by what the first one wrote: that is no conflict."""
    proxy.after = lost_once("BatchExecuteStatement")
    receipts = [new_receipt() for _ in range(number)]
    results = await ledger.commit([create(receipt) for receipt in receipts])
    assert all(result is receipt for result, receipt in zip(results, receipts, strict=True))
    changed = [completed(receipt) for receipt in receipts]
    proxy.after = lost_once("BatchExecuteStatement")
    results = await ledger.commit([update(receipt) for receipt in changed])
    assert all(result is receipt for result, receipt in zip(results, changed, strict=True))
    assert await ledger.get("shop", receipts[0].receipt_id) == changed[0]


async def test_answers_that_are_lost_until_time_is_up_are_resolved_by_reading_back(ledger, proxy, monkeypatch):
    monkeypatch.setattr(ledger_module, "_WRITE_S", 0.5)
    proxy.after = lambda name, _, answer: LOST if name == "BatchExecuteStatement" else answer
    receipt = new_receipt()
    (result,) = await ledger.commit([create(receipt)])
    assert result is receipt


async def test_an_update_that_never_arrived_is_in_doubt_not_done(ledger, proxy, monkeypatch):
    receipt = new_receipt()
    await ledger.commit([create(receipt)])
    monkeypatch.setattr(ledger_module, "_WRITE_S", 0.5)
    proxy.before = lambda name, _: LOST if name == "BatchExecuteStatement" else None
    with pytest.raises(StorageError):
        await ledger.commit([update(completed(receipt))])
    proxy.before = lambda *_: None
    assert await ledger.get("shop", receipt.receipt_id) == receipt


async def test_a_lost_answer_hides_no_conflict(make_ledger, proxy):
    """Another daemon won; that its rival's first answer was lost does not make the rival's write the winner."""
    mine, theirs = make_ledger(), make_ledger()
    receipt = new_receipt()
    await theirs.commit([create(receipt)])
    winner = next_version(receipt, findings=(Finding("theirs", ""),))
    await theirs.commit([update(winner)])
    proxy.after = lost_once("BatchExecuteStatement")
    loser = next_version(receipt, findings=(Finding("mine", ""),))
    assert await mine.commit([update(loser)]) == [winner]


async def test_an_identical_write_of_another_daemon_is_not_taken_for_ones_own(make_ledger, proxy):
    receipt, twin = new_receipt(key="same"), new_receipt(key="same")
    assert twin == receipt
    await make_ledger().commit([create(receipt)])
    proxy.after = lost_once("BatchExecuteStatement")
    (result,) = await make_ledger().commit([create(twin)])
    assert result == twin
    assert result is not twin


async def test_a_conflict_that_cannot_be_read_back_is_a_failure_of_that_change_alone(ledger, proxy, monkeypatch):
    monkeypatch.setattr(ledger_module, "_READ_S", 0.2)
    taken, fresh = new_receipt(key="same"), new_receipt()
    await ledger.commit([create(taken)])
    proxy.before = lambda name, _: Refusal("InternalServerError", 500) if name == "BatchGetItem" else None
    proxy.after = _without_items
    results = await ledger.commit([create(new_receipt(key="same")), create(fresh)])
    assert isinstance(results[0], StorageError)
    assert results[1] is fresh


def _without_items(name, body, answer):
    """Take out of refusals the item that stands there, as some implementations of the service do."""
    for response in answer.get("Responses", ()) if name == "BatchExecuteStatement" else ():
        response.get("Error", {}).pop("Item", None)
    return answer


async def test_an_item_that_a_refusal_brings_along_is_not_read_again(make_ledger, proxy, item_of):
    receipt = new_receipt()
    await make_ledger().commit([create(receipt)])
    standing = await item_of(receipt)

    def with_item(name, body, answer):
        for response in answer.get("Responses", ()) if name == "BatchExecuteStatement" else ():
            if "Error" in response:
                response["Error"]["Item"] = standing
        return answer

    proxy.after = with_item
    assert await make_ledger().commit([create(new_receipt(key=receipt.submission.idempotency_key))]) == [receipt]
    assert proxy.count("BatchGetItem") == 0


# -- one for itself ------------------------------------------------------------------------------------------------


def throttled(client_id):
    return lambda statement: "ProvisionedThroughputExceeded" if {"S": client_id} in statement["Parameters"] else None


async def test_one_clients_throttled_partition_fails_nobody_else_invariant_12(ledger, proxy, item_of):
    loud = [new_receipt(client_id="loud") for _ in range(30)]
    quiet = [new_receipt(client_id="quiet") for _ in range(30)]
    proxy.failing = throttled("loud")
    begun = time.monotonic()
    mixed = [receipt for pair in zip(loud, quiet, strict=True) for receipt in pair]
    results = await ledger.commit([create(receipt) for receipt in mixed])
    assert time.monotonic() - begun < 3
    assert all(isinstance(result, StorageError) for result in results[::2])
    assert all(result is receipt for result, receipt in zip(results[1::2], quiet, strict=True))
    assert await item_of(loud[0]) is None


async def test_a_client_who_is_alone_and_throttled_says_nothing_about_the_store(ledger, proxy):
    proxy.failing = throttled("loud")
    (result,) = await ledger.commit([create(new_receipt(client_id="loud"))])
    assert isinstance(result, StorageError)
    assert "ProvisionedThroughputExceeded" in str(result)


async def test_a_table_that_fails_for_all_raises(ledger, proxy):
    proxy.before = lambda *_: Refusal("AccessDeniedException")
    with pytest.raises(StorageError, match="AccessDenied"):
        await ledger.commit([create(new_receipt()), create(new_receipt())])
    with pytest.raises(StorageError):
        await ledger.get("shop", new_receipt().receipt_id)
    with pytest.raises(StorageError):
        await ledger.page(PageQuery(client_id="shop"))
    with pytest.raises(StorageError):
        await ledger.counts()


async def test_a_call_that_fails_for_a_while_is_done_in_the_end(ledger, proxy):
    for code, status in (("InternalServerError", 500), ("ThrottlingException", 400), ("ServiceUnavailable", 503)):
        proxy.before = once(Refusal(code, status), "BatchExecuteStatement")
        receipt = new_receipt()
        assert (await ledger.commit([create(receipt)]))[0] is receipt


async def test_an_item_that_cannot_be_read_harms_only_itself_invariant_12(ledger, tables, item_of):
    damaged, well = new_receipt(), new_receipt()
    await ledger.commit([create(damaged), create(well)])
    item = await item_of(damaged)
    await tables.dynamodb.put(tables.receipts, {**item, "b": {"B": "AAAA"}}, timeout_s=5)
    results = await ledger.commit([update(completed(well)), create(damaged)])
    assert results[0] == completed(well)
    assert isinstance(results[1], StorageError)
    with pytest.raises(StorageError, match="cannot be read"):
        await ledger.get("shop", damaged.receipt_id)


# -- two daemons ---------------------------------------------------------------------------------------------------


async def test_a_read_sees_what_another_daemon_wrote_invariant_15(make_ledger):
    mine, theirs = make_ledger(), make_ledger()
    receipt = new_receipt()
    await mine.commit([create(receipt)])
    for change in (next_version, next_version, settled):
        receipt = change(receipt)
        await theirs.commit([update(receipt)])
        assert await mine.get("shop", receipt.receipt_id) == receipt
    reopened = next_version(receipt, delivery=Delivery(updated_at=NOON))
    assert await mine.get("shop", receipt.receipt_id) == receipt
    await theirs.commit([update(reopened)])
    assert await mine.get("shop", receipt.receipt_id) == reopened


async def test_what_can_change_no_more_is_not_read_again(ledger, make_ledger, proxy):
    receipt = new_receipt()
    await ledger.commit([create(receipt)])
    final = completed(receipt)
    await ledger.commit([update(final)])
    other = make_ledger()
    await other.get("shop", receipt.receipt_id)
    reads = proxy.count("GetItem")
    for daemon in (ledger, other):
        assert await daemon.get("shop", receipt.receipt_id) == final
        assert await daemon.get("rival", receipt.receipt_id) is None
    assert proxy.count("GetItem") == reads + 2  # the rival's


# -- expiry --------------------------------------------------------------------------------------------------------


async def test_a_row_expires_only_while_nothing_is_owed_invariant_11(ledger, item_of):
    receipt = new_receipt(at=NOON)
    await ledger.commit([create(receipt)])
    assert "x" not in await item_of(receipt)
    owing = completed(receipt, delivery=Delivery(updated_at=NOON))
    await ledger.commit([update(owing)])
    assert "x" not in await item_of(receipt)
    done = next_version(owing, delivery=Delivery(DeliveryState.DELIVERED, 1, NOON, 0.0, 200))
    await ledger.commit([update(done)])
    assert float((await item_of(receipt))["x"]["N"]) == NOON + 35 * DAY_S
    replayed = next_version(done, delivery=Delivery(updated_at=NOON))
    await ledger.commit([update(replayed)])
    assert "x" not in await item_of(receipt)


async def test_what_is_settled_at_once_expires_in_its_time_and_what_settles_late_is_kept_a_while(ledger, item_of):
    refused = replace(new_receipt(at=NOON, state=ReceiptState.FAILED), registrations=())
    await ledger.commit([create(refused)])
    assert float((await item_of(refused))["x"]["N"]) == NOON + 35 * DAY_S
    receipt = new_receipt(at=NOON)
    await ledger.commit([create(receipt)])
    late = replace(completed(receipt), updated_at=NOON + 50 * DAY_S)
    await ledger.commit([update(late)])
    assert float((await item_of(receipt))["x"]["N"]) == NOON + 53 * DAY_S


async def test_each_type_is_kept_as_long_as_it_is_said(make_ledger, item_of):
    ledger = make_ledger(keep_days={"till": 90.0}.get)
    for type_id, expected in (("till", NOON + 90 * DAY_S), ("invoice", None)):
        receipt = replace(new_receipt(at=NOON, type_id=type_id, state=ReceiptState.FAILED), registrations=())
        await ledger.commit([create(receipt)])
        item = await item_of(receipt)
        assert (float(item["x"]["N"]) if "x" in item else None) == expected


# -- large documents -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [290_000, 310_000, 1_500_000])
async def test_a_large_document_comes_back_and_expires_after_its_receipt_invariant_9(make_ledger, scan, length):
    ledger = make_ledger()
    receipt = new_receipt(document=os.urandom(length))
    await ledger.commit([create(receipt), create(new_receipt())])
    assert await ledger.get("shop", receipt.receipt_id) == receipt
    page = await ledger.page(PageQuery(client_id="shop"))
    assert receipt in page.receipts
    assert len(page.receipts) == 2
    assert not any("x" in item for item in await scan())
    assert sum((await ledger.counts()).values()) == 2
    done = settled(receipt)
    await ledger.commit([update(done)])
    await ledger.close()
    assert await make_ledger().get("shop", receipt.receipt_id) == done
    chunks = [item for item in await scan() if "s" not in item]
    assert (len(chunks) > 1) is (length > 300_000)
    assert all(float(chunk["x"]["N"]) == NOON + (35 + 14) * DAY_S for chunk in chunks)


async def test_rivals_with_large_documents_do_not_mix_theirs_invariant_4(make_ledger, scan):
    """The winner's chunks stay as long as its row; the losers' are left over, and go."""
    rivals = [new_receipt(key="same", document=os.urandom(700_000)) for _ in range(4)]
    ledgers = [make_ledger(now=lambda: NOON) for _ in rivals]
    results = await asyncio.gather(
        *(ledger.commit([create(rival)]) for ledger, rival in zip(ledgers, rivals, strict=True))
    )
    for ledger in ledgers:
        await ledger.close()
    winners = [rival for rival, (result,) in zip(rivals, results, strict=True) if result is rival]
    assert len(winners) == 1
    assert all(result == winners[0] for (result,) in results)
    assert await make_ledger().get("shop", winners[0].receipt_id) == winners[0]
    found = await scan()
    (row,) = [item for item in found if "s" in item]
    chunks = [item for item in found if "s" not in item]
    kept = [item for item in chunks if item["r"]["S"].startswith(row["h"]["S"])]
    assert len(chunks) == 4 * len(kept) > 0
    assert {item.get("x", {}).get("N") for item in kept} == {None}
    assert {float(item["x"]["N"]) for item in chunks if item not in kept} == {NOON + 14 * DAY_S}


async def test_a_rival_of_the_same_document_takes_no_chunks_away_invariant_9(make_ledger, scan):
    document = os.urandom(700_000)
    first, second = (new_receipt(key="same", document=document) for _ in range(2))
    ledger = make_ledger()
    await ledger.commit([create(first)])
    assert await ledger.commit([create(second)]) == [first]
    await ledger.close()
    assert not any("x" in item for item in await scan())


def is_chunk(statement):
    return "#" in statement["Parameters"][0]["S"]


async def test_chunks_that_are_slow_hold_back_nobody_elses_row_invariant_12(ledger, proxy, queue):
    """They are throttled until the row of another client is written, in the same group."""
    large, small = new_receipt(client_id="loud", document=os.urandom(700_000)), new_receipt(client_id="quiet")
    rows = []

    def until_the_row_is_there(statement):
        if is_chunk(statement):
            return None if rows else "ThrottlingError"
        rows.append(statement["Parameters"][0]["S"])
        return None

    proxy.failing = until_the_row_is_there
    results = await ledger.commit([create(one, message("recovery", one.receipt_id)) for one in (large, small)])
    assert results[0] is large
    assert results[1] is small
    assert rows == ["quiet", "loud"]
    assert sorted(m.key for m in queue.messages) == sorted(one.receipt_id for one in (large, small))


async def test_all_chunks_of_a_group_are_written_together_and_before_any_message_invariant_11(ledger, proxy, queue):
    larges = [new_receipt(document=os.urandom(310_000)) for _ in range(2)]
    seen = []

    async def look(_):
        seen.append([sum(is_chunk(s) for s in body["Statements"]) for _, body in proxy.requests])

    queue.look = look
    results = await ledger.commit([create(one, message("recovery", one.receipt_id)) for one in larges])
    assert all(result is one for result, one in zip(results, larges, strict=True))
    assert seen[0] == [len(proxy.requests[0][1]["Statements"])] == [4]


async def test_nobody_waits_until_chunks_have_their_end_invariant_12(ledger, proxy, scan):
    """Their updates are throttled until the commit has returned."""
    receipt = new_receipt(document=os.urandom(700_000))
    await ledger.commit([create(receipt)])
    returned = []
    proxy.failing = lambda s: "ThrottlingError" if not returned and len(s["Parameters"]) == 3 else None
    done = settled(receipt)
    begun = time.monotonic()
    (result,) = await ledger.commit([update(done)])
    assert result is done
    assert time.monotonic() - begun < 0.4
    returned.append(True)
    await ledger.close()
    assert all("x" in item for item in await scan())


async def test_a_large_document_whose_chunks_fail_is_not_there(ledger, proxy, item_of):
    large, small = new_receipt(document=os.urandom(700_000)), new_receipt()
    chunk_partition = f"shop#{large.receipt_id}"
    proxy.failing = lambda s: "ThrottlingError" if {"S": chunk_partition} in s["Parameters"] else None
    results = await ledger.commit([create(large), create(small)])
    assert isinstance(results[0], StorageError)
    assert results[1] is small
    assert await item_of(large) is None


# -- partitions ----------------------------------------------------------------------------------------------------


def of_day(number, count):
    return [new_receipt(at=NOON + number * DAY_S + n) for n in range(count)]


async def test_a_large_contract_is_spread_and_a_new_number_loses_nothing(make_ledger, contracts, scan):
    """Days 0 and 1 lie in one partition, day 2 in four, day 3 in two: each receipt is where its day says."""
    days = [of_day(number, 12) for number in range(4)]
    stamp = [receipts[0].receipt_id[:8] for receipts in days]
    ledger = make_ledger()
    await ledger.commit([create(receipt) for receipt in days[0]])
    contracts["shop"] = Contract(client_id="shop", partitions=((stamp[2], 4), (stamp[3], 2)))
    for receipts in days[1:]:
        await ledger.commit([create(receipt) for receipt in receipts])
    places = {item["r"]["S"]: item["c"]["S"] for item in await scan()}
    kinds = [{places[receipt.receipt_id] for receipt in receipts} for receipts in days]
    assert kinds[:2] == [{"shop"}, {"shop"}]
    assert kinds[2] <= {"shop", "shop#1", "shop#2", "shop#3"}
    assert kinds[3] == {"shop", "shop#1"}
    assert len(kinds[2]) > 2
    receipts = [receipt for day in days for receipt in day]
    for receipt in receipts:
        assert await ledger.get("shop", receipt.receipt_id) == receipt
        changed = settled(receipt)
        assert (await ledger.commit([update(changed)]))[0] is changed
    expected = sorted(map(settled, receipts), key=lambda r: r.receipt_id)
    for limit in (1_000, 48, 47, 7):
        assert await everything(ledger, limit=limit) == expected
    assert await everything(ledger, limit=5, state=ReceiptState.COMPLETE) == expected
    read = await everything(ledger, limit=5, start=NOON + 2 * DAY_S, end=NOON + 2 * DAY_S + 6)
    assert {r.submission.accepted_at for r in read} == {NOON + 2 * DAY_S + n for n in range(6)}


async def everything(ledger, **query):
    receipts, after = [], ""
    while True:
        page = await ledger.page(PageQuery(client_id="shop", after=after, **query))
        assert len(page.receipts) <= query["limit"]
        receipts += page.receipts
        after = page.next_after
        if not after:
            return receipts


async def test_a_contract_is_looked_up_once_in_a_while_and_all_of_a_group_at_once(tables, queue):
    asked = []

    async def contract(client_id):
        asked.append(client_id)
        await together.wait()
        return Contract(client_id=client_id)

    ledger = AwsLedger(tables.dynamodb, tables.receipts, queue, contract)
    receipts = [new_receipt(client_id=f"client-{n % 10}") for n in range(30)]
    together = asyncio.Barrier(10)
    results = await ledger.commit([create(receipt) for receipt in receipts])
    assert all(result is receipt for result, receipt in zip(results, receipts, strict=True))
    await ledger.commit([update(completed(receipt)) for receipt in receipts])
    assert sorted(asked) == [f"client-{n}" for n in range(10)]


async def test_a_contract_that_cannot_be_read_fails_its_own_changes_alone(tables, queue):
    async def contract(client_id):
        if client_id == "lost":
            raise StorageError("the contracts cannot be read")

    ledger = AwsLedger(tables.dynamodb, tables.receipts, queue, contract)
    lost, well = new_receipt(client_id="lost"), new_receipt()
    results = await ledger.commit([create(lost, message("recovery", lost.receipt_id)), create(well)])
    assert isinstance(results[0], StorageError)
    assert results[1] is well
    assert queue.messages == []


# -- pages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("partitions", [1, 3])
async def test_a_page_ends_early_rather_than_read_without_end_and_loses_nothing_invariant_13(
    ledger, contracts, monkeypatch, proxy, partitions
):
    monkeypatch.setattr("receiptd.adapters.aws.pages._QUERIES_MAX", 4)

    def small_pages(name, body):
        if name == "Query":
            body["Limit"] = 3

    contracts["shop"] = Contract(client_id="shop", partitions=(("", partitions),))
    receipts = [new_receipt(type_id="rare" if n % 10 == 0 else "till") for n in range(60)]
    await ledger.commit([create(receipt) for receipt in receipts])
    proxy.before = small_pages
    rare = sorted((r for r in receipts if r.submission.type_id == "rare"), key=lambda r: r.receipt_id)
    assert await everything(ledger, limit=4, type_id="rare") == rare
    assert await everything(ledger, limit=50) == sorted(receipts, key=lambda r: r.receipt_id)


async def test_a_page_of_more_than_one_megabyte_is_whole(ledger):
    receipts = [new_receipt(document=os.urandom(40_000)) for _ in range(40)]
    await ledger.commit([create(receipt) for receipt in receipts])
    page = await ledger.page(PageQuery(client_id="shop", limit=100))
    assert list(page.receipts) == sorted(receipts, key=lambda r: r.receipt_id)
    assert page.next_after == ""


async def test_counting_a_table_that_is_too_large_is_refused_invariant_13(ledger, monkeypatch, proxy):
    monkeypatch.setattr(ledger_module, "_COUNT_PAGES_MAX", 3)

    def small_pages(name, body):
        if name == "Scan":
            body["Limit"] = 3

    proxy.before = small_pages
    await ledger.commit([create(new_receipt()) for _ in range(8)])
    assert (await ledger.counts())[ReceiptState.PROCESSING] == 8
    await ledger.commit([create(new_receipt()) for _ in range(8)])
    with pytest.raises(StorageError, match="too many"):
        await ledger.counts()
