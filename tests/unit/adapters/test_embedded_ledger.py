"""What the embedded ledger does beyond its port: forgetting recovery, memory, expiry (adapters.embedded.ledger)."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import pytest
from contract_makers import DAY_S, NOON, completed, create, message, new_receipt, next_version, update

from receiptd.adapters.embedded.store import EmbeddedStore
from receiptd.adapters.recent import RecentReceipts
from receiptd.domain.errors import ConfigurationError, StorageError
from receiptd.domain.receipt import Delivery
from receiptd.ports import PageQuery

TODAY = datetime.fromtimestamp(NOON, UTC).date()


async def recovering(store):
    depth = await store.queue.depth("recovery")
    return depth.ready + depth.delayed


# -- recovery messages ---------------------------------------------------------------------------------------------


async def test_a_settled_receipt_takes_its_recovery_message_with_it_invariant_11(store):
    receipt, other = new_receipt(), new_receipt()
    await store.ledger.commit([create(r, message("recovery", r.receipt_id)) for r in (receipt, other)])
    owing = completed(receipt, delivery=Delivery())
    await store.ledger.commit([update(owing)])
    assert await recovering(store) == 2, "a webhook is still owed"
    await store.ledger.commit([update(next_version(owing, delivery=None))])
    assert await recovering(store) == 1


async def test_a_change_that_was_not_done_leaves_the_recovery_message(store):
    receipt = new_receipt()
    await store.ledger.commit([create(receipt, message("recovery", receipt.receipt_id))])
    settled = completed(next_version(receipt))
    assert await store.ledger.commit([update(settled)]) == [receipt]
    assert await recovering(store) == 1


async def test_a_settled_receipt_may_still_owe_what_its_change_says(store):
    receipt = new_receipt()
    await store.ledger.commit([create(receipt, message("recovery", receipt.receipt_id))])
    await store.ledger.commit([update(completed(receipt), message("recovery", receipt.receipt_id))])
    assert await recovering(store) == 1


async def test_a_commit_wakes_who_waits_for_its_message(store):
    waiting = asyncio.create_task(store.queue.receive("registrar.tax", 1, 5.0))
    await asyncio.sleep(0.02)
    receipt = new_receipt()
    begun = time.monotonic()
    await store.ledger.commit([create(receipt, message("registrar.tax", receipt.receipt_id))])
    (received,) = await waiting
    assert received.message.key == receipt.receipt_id
    assert time.monotonic() - begun < 0.5


async def test_a_message_for_later_wakes_nobody(store, clock):
    waiting = asyncio.create_task(store.queue.receive("recovery", 1, 0.3))
    await asyncio.sleep(0.02)
    statements = []
    store.database._reader.set_trace_callback(statements.append)
    receipt = new_receipt()
    later = message("recovery", receipt.receipt_id, visible_at=clock.now() + 60)
    await store.ledger.commit([create(receipt, later)])
    await asyncio.sleep(0.05)
    assert statements == []
    assert await waiting == ()


# -- memory --------------------------------------------------------------------------------------------------------


async def test_what_was_committed_is_read_from_memory(store):
    receipt = new_receipt()
    await store.ledger.commit([create(receipt)])
    assert await store.ledger.get("shop", receipt.receipt_id) is receipt


def test_memory_is_bounded_by_number_and_by_bytes_invariant_13():
    recent = RecentReceipts(number_max=3, bytes_max=10_000)
    receipts = [new_receipt(document=b"x" * 100) for _ in range(5)]
    for receipt in receipts:
        recent.keep(receipt)
    assert [recent.get(r.receipt_id) for r in receipts] == [None, None, *receipts[2:]]
    recent.keep(next_version(receipts[2]))  # the newest now
    recent.keep(receipts[0])
    assert recent.get(receipts[3].receipt_id) is None
    assert recent.get(receipts[2].receipt_id).version == 2
    recent.keep(new_receipt(document=b"x" * 4_950))  # twice that with its canonical form
    assert recent.get(receipts[2].receipt_id) is None
    recent.drop(receipts[2].receipt_id)
    recent.keep(new_receipt(document=b"x" * 6_000))
    assert recent._receipts == {}
    assert recent._bytes == 0


async def test_a_command_reads_what_the_daemon_commits_and_commits_nothing(store, directory, clock):
    receipt = new_receipt()
    await store.ledger.commit([create(receipt)])
    command = await EmbeddedStore.open(directory, clock, daemon=False)
    assert await command.ledger.get("shop", receipt.receipt_id) == receipt
    changed = completed(receipt)
    await store.ledger.commit([update(changed)])
    assert await command.ledger.get("shop", receipt.receipt_id) == changed
    with pytest.raises(ConfigurationError, match="only the daemon"):
        await command.ledger.commit([update(next_version(changed))])
    await command.close()


async def test_a_damaged_row_harms_only_its_receipt_invariant_12(store):
    damaged, sound = new_receipt(), new_receipt(client_id="other")
    await store.ledger.commit([create(damaged), create(sound)])
    for receipt in (damaged, sound):
        store.ledger._recent.drop(receipt.receipt_id)
    await store.database.write(
        lambda cursor: cursor.execute(
            "UPDATE documents SET document = CAST(substr(document, 1, length(document) - 1) || 'x' AS BLOB) "
            "WHERE id = 1"
        )
    )
    with pytest.raises(StorageError, match=damaged.receipt_id):
        await store.ledger.get("shop", damaged.receipt_id)
    assert await store.ledger.get("other", sound.receipt_id) == sound


# -- pages ---------------------------------------------------------------------------------------------------------


async def test_a_page_is_found_by_the_index(store):
    statements = []
    store.database._scanner.set_trace_callback(statements.append)
    await store.ledger.page(PageQuery(client_id="shop", start=NOON, end=NOON + DAY_S))
    plan = [row[3] for row in store.database._scanner.execute(f"EXPLAIN QUERY PLAN {statements[0]}")]
    assert plan == [
        "SEARCH receipts USING INDEX receipts_by_client (client_id=? AND receipt_id>? AND receipt_id<?)",
        "SEARCH documents USING INTEGER PRIMARY KEY (rowid=?)",
    ]


# -- expiry --------------------------------------------------------------------------------------------------------


async def test_expiry_deletes_what_is_settled_and_old(store):
    old = [new_receipt(at=NOON - 40 * DAY_S - n) for n in range(260)]
    owing, today = new_receipt(at=NOON - 40 * DAY_S), new_receipt(at=NOON)
    await store.ledger.commit([create(r) for r in (*old[:130], owing, *old[130:], today)])
    await store.ledger.commit([update(completed(r)) for r in (*old, today)])
    assert await store.expire(TODAY) == 260
    page = await store.ledger.page(PageQuery(client_id="shop", limit=1_000))
    assert {r.receipt_id for r in page.receipts} == {owing.receipt_id, today.receipt_id}
    assert await store.ledger.get("shop", old[-1].receipt_id) is None
    assert store.database.fetch("SELECT COUNT(*) FROM documents") == [(2,)]
    assert await store.expire(TODAY) == 0


async def test_expiry_spares_the_day_itself_and_what_came_back_to_work(store):
    receipt = new_receipt(at=NOON)
    await store.ledger.commit([create(receipt)])
    await store.ledger.commit([update(completed(receipt))])
    assert await store.expire(TODAY) == 0
    ((number,),) = store.database.fetch("SELECT id FROM receipts")
    await store.ledger.commit([update(next_version(completed(receipt), delivery=Delivery()))])
    from receiptd.adapters.embedded.ledger import _delete  # noqa: PLC0415 - a race, seen from inside

    assert await store.database.write(lambda cursor: _delete([number], cursor)) == 0
    assert await store.ledger.get("shop", receipt.receipt_id) is not None
    assert store.database.fetch("SELECT COUNT(*) FROM documents") == [(1,)]


async def test_counts_read_in_parts_are_whole(store, monkeypatch):
    monkeypatch.setattr("receiptd.adapters.embedded.ledger._COUNT_BATCH", 7)
    receipts = [new_receipt() for _ in range(31)]
    await store.ledger.commit([create(r) for r in receipts])
    assert sum((await store.ledger.counts()).values()) == 31
