"""The embedded ledger against a dictionary: whatever is committed together or apart, both say the same."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from receiptd.adapters.embedded.database import Database
from receiptd.adapters.embedded.ledger import EmbeddedLedger
from receiptd.adapters.embedded.queue import EmbeddedQueue
from receiptd.domain.identifiers import day_of, receipt_id
from receiptd.domain.receipt import Receipt, ReceiptState, Submission
from receiptd.ports import Change, Message, PageQuery
from receiptd.runtime.clock import SystemClock

NOON = 1_773_489_600.0
IDS = [receipt_id(day_of("20260314-"), "shop", str(n)) for n in range(4)]

# One change: which receipt, the version it expects (None: absent), how it ends, whether it owes a message.
changes = st.tuples(st.integers(0, 3), st.none() | st.integers(1, 3), st.sampled_from(ReceiptState), st.booleans())
calls = st.lists(changes, min_size=1, max_size=4, unique_by=lambda change: change[0])
# Calls that are in flight together, then a restart or none.
rounds = st.lists(st.tuples(st.lists(calls, min_size=1, max_size=4), st.booleans()), min_size=1, max_size=6)


def change_of(number, expected, state, owes, at):
    submission = Submission(IDS[number], "shop", "till", 1, NOON, "text/plain", "", IDS[number].encode(), b"")
    receipt = Receipt(submission, state, updated_at=at, version=(expected or 0) + 1)
    return Change(receipt, expected, (Message("recovery", IDS[number], str(at)),) if owes else ())


def apply(receipts, messages, change):
    """Do to the model what a ledger owes; return what then stands in the change's place."""
    receipt, standing = change.receipt, receipts.get(change.receipt.receipt_id)
    if (standing.version if standing else None) != change.expected_version:
        return standing
    receipts[receipt.receipt_id] = receipt
    if standing and receipt.settled:
        messages.pop(receipt.receipt_id, None)
    messages.update({message.key: message.body for message in change.messages})
    return receipt


async def run(path, script):
    receipts, messages, times = {}, {}, itertools.count(NOON)

    async def open_ledger():
        database = await Database.open(path, daemon=True)
        return database, EmbeddedLedger(database, EmbeddedQueue(database, SystemClock()), daemon=True)

    database, ledger = await open_ledger()
    try:
        for together, restart in script:
            batches = [[change_of(*each, next(times)) for each in call] for call in together]
            expected = [[apply(receipts, messages, change) for change in batch] for batch in batches]
            results = await asyncio.gather(*(ledger.commit(batch) for batch in batches))
            assert [list(result) for result in results] == expected
            for batch, result, stands in zip(batches, results, expected, strict=True):
                done = [change.receipt is each for change, each in zip(batch, stands, strict=True)]
                assert [change.receipt is each for change, each in zip(batch, result, strict=True)] == done
            if restart:
                await database.close()
                database, ledger = await open_ledger()
            assert [await ledger.get("shop", each) for each in IDS] == [receipts.get(each) for each in IDS]
            page = await ledger.page(PageQuery(client_id="shop"))
            assert list(page.receipts) == [receipts[each] for each in sorted(receipts)]
            assert dict(database.fetch("SELECT key, body FROM messages")) == messages
    finally:
        await database.close()


@settings(max_examples=40, deadline=None)
@given(rounds)
def test_a_ledger_is_a_dictionary_with_conditions_invariants_4_11_15(script):
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(run(Path(directory) / "receiptd.db", script))
