"""Shared reads: one call for many, none for what is about to be written; and never an old answer (invariant 15)."""

import asyncio
from collections import Counter
from types import SimpleNamespace

import pytest

from lab import aws_stubs
from lab.children import free_ports
from receiptd.adapters.aws.dynamodb import DynamoDb
from receiptd.adapters.aws.errors import AwsError
from receiptd.adapters.aws.ledger import AwsLedger, LedgerForClients
from receiptd.adapters.aws.reads import SharedReads
from receiptd.adapters.aws.signing import Keys
from receiptd.adapters.aws.usage import Usage
from receiptd.adapters.aws.wire import Wire
from receiptd.adapters.outbound.client import OutboundClient
from receiptd.domain.addresses import OPERATOR
from receiptd.domain.errors import StorageError
from receiptd.domain.receipt import Delivery, Receipt, ReceiptState, Registration, Submission
from receiptd.ports import Change

_LINGER_S = 0.1
_NOW = 1_795_000_000.0


class _Keys:
    async def keys(self, refused=None):
        return Keys("stub", "stub")


class _NoQueue:
    async def post(self, messages):
        return [None] * len(messages)


async def _no_contract(client_id):
    return None


@pytest.fixture
async def aws():
    (port,) = free_ports(1)
    server, _ = await aws_stubs.listen(port, 0.02)
    http, usage = OutboundClient(OPERATOR), Usage()

    def ledger():
        wire = Wire(
            "dynamodb",
            "DynamoDB_20120810",
            endpoint_url=f"http://127.0.0.1:{port}",
            region="us-east-1",
            credentials=_Keys(),
            http=http,
            usage=usage,
        )
        dynamodb = DynamoDb(wire, usage)
        return AwsLedger(dynamodb, "receiptd-receipts", _NoQueue(), _no_contract, read_linger_s=_LINGER_S)

    yield SimpleNamespace(usage=usage, ours=ledger(), other=ledger(), server=server)
    await http.close()
    server.close()


def _receipt(number=0, version=1, state=ReceiptState.PROCESSING):
    submission = Submission(
        receipt_id=f"20261118-{number:024x}",
        client_id="shop",
        type_id="retail-receipt",
        type_version=1,
        content_type="application/json",
        document=b"{}",
        digest="00" * 32,
        accepted_at=_NOW,
        canonical=b"",
        idempotency_key="k",
        trace_id="0" * 32,
        webhook_url="https://shop.example/hooks",
    )
    registrations = (Registration("tax", updated_at=_NOW),)
    return Receipt(submission, state, registrations, (), Delivery(updated_at=_NOW), _NOW, version)


def _reads(usage):
    return Counter({name: count for (_, name), count in usage.requests.items() if "Get" in name})


async def _seed(ledger, count):
    receipts = [_receipt(number) for number in range(count)]
    assert await ledger.commit([Change(one, None) for one in receipts]) == receipts
    return receipts


async def test_reads_that_come_together_are_one_call(aws):
    receipts = await _seed(aws.ours, 120)
    reader = LedgerForClients(aws.other)
    ids = [*(one.receipt_id for one in receipts), receipts[0].receipt_id, "20261118-" + "f" * 24]
    found = await asyncio.gather(*(reader.get("shop", each) for each in ids))
    assert [one and one.receipt_id for one in found] == [*ids[:-1], None]
    assert _reads(aws.usage) == {"BatchGetItem": 2}


async def test_invariant_15_what_another_process_has_written_is_read(aws):
    (before,) = await _seed(aws.ours, 1)
    after = _receipt(0, 2, ReceiptState.COMPLETE)
    assert await aws.other.commit([Change(after, 1)]) == [after]
    assert await LedgerForClients(aws.ours).get("shop", before.receipt_id) == after


async def test_a_write_that_begins_while_a_read_waits_answers_it(aws):
    (before,) = await _seed(aws.ours, 1)
    reading = asyncio.create_task(LedgerForClients(aws.ours).get("shop", before.receipt_id))
    await asyncio.sleep(0.01)
    after = _receipt(0, 2)
    assert await aws.ours.commit([Change(after, 1)]) == [after]
    assert await reading is after
    assert not _reads(aws.usage)


async def test_invariant_15_a_write_that_is_refused_answers_with_what_stands_there(aws):
    (before,) = await _seed(aws.ours, 1)
    theirs = _receipt(0, 2, ReceiptState.COMPLETE)
    assert await aws.other.commit([Change(theirs, 1)]) == [theirs]
    reading = asyncio.create_task(LedgerForClients(aws.ours).get("shop", before.receipt_id))
    await asyncio.sleep(0.01)
    assert await aws.ours.commit([Change(_receipt(0, 2), 1)]) == [theirs]
    assert await reading == theirs


async def test_invariant_15_a_write_that_was_on_its_way_before_the_read_does_not_answer_it(aws):
    (before,) = await _seed(aws.ours, 1)
    writing = asyncio.create_task(aws.ours.commit([Change(_receipt(0, 2), 1)]))
    await asyncio.sleep(0.01)  # it has taken effect, and its answer is under way
    theirs = _receipt(0, 3, ReceiptState.COMPLETE)
    assert await aws.other.commit([Change(theirs, 2)]) == [theirs]
    assert await LedgerForClients(aws.ours).get("shop", before.receipt_id) == theirs
    await writing


async def test_a_read_waits_for_the_next_group_while_one_is_on_its_way(aws):
    receipts = await _seed(aws.ours, 2)
    reader = LedgerForClients(aws.ours)
    writing = asyncio.create_task(aws.ours.commit([Change(_receipt(0, 2), 1)]))
    await asyncio.sleep(0.005)
    reading = asyncio.create_task(reader.get("shop", receipts[1].receipt_id))
    await writing
    after = _receipt(1, 2)
    await aws.ours.commit([Change(after, 1)])
    assert await reading is after
    assert not _reads(aws.usage)


async def test_one_who_gives_up_takes_nobody_with_him(aws):
    (standing,) = await _seed(aws.ours, 1)
    reader = LedgerForClients(aws.other)
    tasks = [asyncio.create_task(reader.get("shop", standing.receipt_id)) for _ in range(2)]
    await asyncio.sleep(0.01)
    tasks[0].cancel()
    assert await tasks[1] == standing


async def test_a_store_that_cannot_be_reached_fails_every_read(aws):
    receipts = await _seed(aws.ours, 2)
    aws.server.close()
    aws.other._shared._dynamodb._wire._url = "http://127.0.0.1:9/"
    reader = LedgerForClients(aws.other)
    found = await asyncio.gather(*(reader.get("shop", one.receipt_id) for one in receipts), return_exceptions=True)
    assert all(isinstance(one, StorageError) for one in found)


# -- one for itself ----------------------------------------------------------------------------------------------------


class _Table:
    """Has what it is asked for: ids that begin with ``large`` in chunks, ``absent`` not at all."""

    async def get_some(self, table, keys, *, timeout_s):
        return [
            {**key, "n": {"N": "2"}} if key["r"]["S"].startswith("large") else key
            for key in keys
            if key["r"]["S"] != "absent"
        ], ()


def _together(decode, *ids, table=None):
    shared = SharedReads(table or _Table(), "receipts", decode, 0.01)
    return [asyncio.create_task(shared.get("shop", "shop", each)) for each in ids]


async def test_a_large_document_that_is_slow_holds_back_no_other_reader_invariant_12():
    others_are_done = asyncio.Event()

    async def decode(client_id, found):
        (receipt_id,) = (item["r"]["S"] for item in found)
        if receipt_id == "large-1":
            await others_are_done.wait()
        return [receipt_id]

    slow, *others = _together(decode, "large-1", "large-2", "absent", "small")
    async with asyncio.timeout(5):
        assert await asyncio.gather(*others) == ["large-2", None, "small"]
    others_are_done.set()
    assert await slow == "large-1"


@pytest.mark.parametrize("poison", ["small-1", "large-1"])
async def test_a_fault_over_one_receipt_fails_its_own_reader_alone_invariant_12(poison, caplog):
    async def decode(client_id, found):
        (receipt_id,) = (item["r"]["S"] for item in found)
        if receipt_id == poison:
            raise RuntimeError("a fault of ours")
        return [receipt_id]

    ids = ["small-1", "large-1", "small-2", "large-2"]
    async with asyncio.timeout(5):
        found = await asyncio.gather(*_together(decode, *ids), return_exceptions=True)
    assert [one for one in found if isinstance(one, str)] == [each for each in ids if each != poison]
    assert isinstance(found[ids.index(poison)], StorageError)
    assert "a fault of ours" in caplog.text


async def test_whatever_happens_every_reader_is_answered(caplog):
    class Broken:
        async def get_some(self, table, keys, *, timeout_s):
            return [{"strange": {"S": "item"}}], ()

        async def get(self, table, key, *, timeout_s):
            raise RuntimeError("a fault of ours")

    for ids in (("a", "b"), ("a",)):
        async with asyncio.timeout(5):
            found = await asyncio.gather(*_together(None, *ids, table=Broken()), return_exceptions=True)
        assert all(isinstance(one, StorageError) for one in found)
    assert "a fault of ours" in caplog.text


async def test_a_call_that_fails_fails_all_of_its_readers():
    class Away:
        async def get_some(self, table, keys, *, timeout_s):
            raise AwsError("AccessDeniedException", "no", status=400)

    found = await asyncio.gather(*_together(None, "a", "b", table=Away()), return_exceptions=True)
    assert all("AccessDenied" in str(one) for one in found)
