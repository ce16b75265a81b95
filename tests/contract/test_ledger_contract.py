"""What every Ledger owes (receiptd.ports.Ledger)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from contract_makers import DAY_S, NOON, completed, create, message, new_receipt, next_version, update

from receiptd.domain.receipt import (
    Delivery,
    DeliveryState,
    Finding,
    ReceiptState,
    RegistrationState,
    Severity,
)
from receiptd.ports import Change, PageQuery


async def everything(ledger, **query):
    """Follow the pages to their end; return the receipts and how many pages there were."""
    receipts, after, pages = [], "", 0
    while True:
        page = await ledger.page(PageQuery(client_id="shop", after=after, **query))
        receipts += page.receipts
        pages += 1
        if not page.next_after:
            return receipts, pages
        after = page.next_after


# -- commit --------------------------------------------------------------------------------------------------------


async def test_a_change_that_was_done_has_its_own_receipt_in_its_place(ledger):
    first, second = new_receipt(), new_receipt()
    results = await ledger.commit([create(first), create(second)])
    assert results[0] is first
    assert results[1] is second


async def test_every_fact_of_a_receipt_comes_back(open_backend):
    receipt = new_receipt(
        document=bytes(range(256)) * 9,
        findings=(
            Finding("rule:total", "does not add up", "/total", Severity.WARNING),
            Finding("schema", "«№»", ""),
        ),
    )
    submission = replace(
        receipt.submission,
        canonical='{"number":"№ 1"}'.encode(),
        webhook_url="https://shop.example/hook?a=b",
        trace_id="0af7651916cd43dd8448eb211c80319c",
    )
    registration = replace(
        receipt.registrations[0],
        state=RegistrationState.PARKED,
        attempts=7,
        updated_at=NOON + 0.123456,
        due_at=NOON + 60,
        reference="T-1",
        reason="timed out",
    )
    receipt = replace(
        receipt,
        submission=submission,
        registrations=(registration, receipt.registrations[1]),
        delivery=Delivery(DeliveryState.EXHAUSTED, 9, NOON + 5.5, NOON + 9, 503, "HTTP 503"),
    )
    backend = await open_backend()
    await backend.ledger.commit([create(receipt)])
    await backend.close()
    assert await (await open_backend()).ledger.get("shop", receipt.receipt_id) == receipt


async def test_an_update_replaces_the_version_that_it_expects(ledger):
    receipt = new_receipt()
    await ledger.commit([create(receipt)])
    changed = completed(receipt)
    assert await ledger.commit([update(changed)]) == [changed]
    assert await ledger.get("shop", receipt.receipt_id) == changed


async def test_creating_what_stands_is_left_undone_with_its_messages(backend):
    standing = new_receipt(key="same")
    await backend.ledger.commit([create(standing)])
    other = new_receipt(key="same", document=b"another document")
    (result,) = await backend.ledger.commit([create(other, message("webhooks", other.receipt_id))])
    assert result == standing
    assert await backend.ledger.get("shop", standing.receipt_id) == standing
    assert backend.messages_first or not await backend.queue.receive("webhooks", 10, 0.0)


async def test_even_the_same_change_again_is_told_from_the_one_that_was_done(ledger):
    receipt = new_receipt()
    await ledger.commit([create(receipt)])
    (result,) = await ledger.commit([create(receipt)])
    assert result == receipt
    assert result is not receipt


async def test_an_update_of_another_version_is_left_undone_with_its_messages(backend):
    receipt = new_receipt()
    await backend.ledger.commit([create(receipt)])
    winner, loser = completed(receipt), next_version(receipt, findings=(Finding("late", "too late"),))
    await backend.ledger.commit([update(winner)])
    (result,) = await backend.ledger.commit([update(loser, message("webhooks", receipt.receipt_id))])
    assert result == winner
    assert await backend.ledger.get("shop", receipt.receipt_id) == winner
    assert backend.messages_first or not await backend.queue.receive("webhooks", 10, 0.0)


async def test_an_update_of_an_unknown_receipt_has_none_in_its_place(ledger):
    receipt = new_receipt()
    assert await ledger.commit([update(completed(receipt))]) == [None]
    assert await ledger.get("shop", receipt.receipt_id) is None


async def test_a_conflict_leaves_the_other_changes_of_the_call_alone(ledger):
    standing, fresh, known = new_receipt(key="same"), new_receipt(), new_receipt()
    await ledger.commit([create(standing), create(known)])
    again = new_receipt(key="same", document=b"other")
    changed = completed(known)
    assert await ledger.commit([create(fresh), create(again), update(changed)]) == [fresh, standing, changed]
    assert await ledger.get("shop", fresh.receipt_id) == fresh
    assert await ledger.get("shop", known.receipt_id) == changed


async def test_fifty_creations_at_once_make_one_receipt_invariant_4(ledger):
    rivals = [new_receipt(key="same", document=b"document %d" % n) for n in range(50)]
    results = await asyncio.gather(*(ledger.commit([create(rival)]) for rival in rivals))
    winners = [rival for rival, (result,) in zip(rivals, results, strict=True) if result is rival]
    assert len(winners) == 1
    assert all(result == winners[0] for (result,) in results)
    assert await ledger.get("shop", rivals[0].receipt_id) == winners[0]


async def test_of_updates_at_once_one_is_done(ledger):
    receipt = new_receipt()
    await ledger.commit([create(receipt)])
    rivals = [next_version(receipt, findings=(Finding(f"rival-{n}", ""),)) for n in range(20)]
    results = await asyncio.gather(*(ledger.commit([update(rival)]) for rival in rivals))
    winners = [rival for rival, (result,) in zip(rivals, results, strict=True) if result is rival]
    assert len(winners) == 1
    assert await ledger.get("shop", receipt.receipt_id) == winners[0]


async def test_a_commit_of_nothing_is_done(ledger):
    assert list(await ledger.commit([])) == []


# -- durability ----------------------------------------------------------------------------------------------------


async def test_what_a_commit_returned_from_survives_kill_9_invariant_1(open_backend):
    backend = await open_backend()
    await backend.close()
    script = Path(__file__).with_name("crashing_process.py")
    process = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(script), *backend.crash_arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, **backend.crash_variables},
    )
    assert process.returncode == -9, process.stderr
    told = [line.split() for line in process.stdout.splitlines()]
    assert len(told) == 5

    backend = await open_backend()
    recovery = {r.message.key for r in await backend.queue.receive("recovery", 100, 0.0)}
    webhooks = {r.message.key for r in await backend.queue.receive("webhooks", 100, 0.0)}
    for complete, processing in told:
        assert (await backend.ledger.get("shop", complete)).state is ReceiptState.COMPLETE
        assert (await backend.ledger.get("shop", processing)).state is ReceiptState.PROCESSING
        assert processing in recovery, "invariant 11: nothing stays PROCESSING without its message"
        assert processing in webhooks


async def test_a_receipt_and_its_messages_become_durable_together_invariant_11(open_backend):
    backend = await open_backend()
    receipt = new_receipt()
    await backend.ledger.commit(
        [create(receipt, message("recovery", receipt.receipt_id), message("registrar.tax", receipt.receipt_id))]
    )
    await backend.close()
    backend = await open_backend()
    assert await backend.ledger.get("shop", receipt.receipt_id) == receipt
    for name in ("recovery", "registrar.tax"):
        (received,) = await backend.queue.receive(name, 10, 0.0)
        assert received.message.key == receipt.receipt_id
        assert received.message.body == message(name, receipt.receipt_id).body


async def test_a_dead_message_of_a_change_goes_to_the_dead_letters(backend):
    receipt = new_receipt()
    parked = message("registrar.tax", receipt.receipt_id, visible_at=NOON, dead=True)
    await backend.ledger.commit([create(receipt, parked)])
    assert not await backend.queue.receive("registrar.tax", 10, 0.0)
    (letter,) = await backend.queue.dead_letters("registrar.tax", 10)
    assert (letter.key, letter.body, letter.dead) == (parked.key, parked.body, True)


# -- get -----------------------------------------------------------------------------------------------------------


async def test_a_read_sees_the_last_acknowledged_write_invariant_15(ledger):
    receipt = new_receipt()
    await ledger.commit([create(receipt)])
    for _ in range(20):
        receipt = next_version(receipt)
        await ledger.commit([update(receipt)])
        assert await ledger.get("shop", receipt.receipt_id) == receipt


async def test_a_read_during_a_commit_sees_the_version_before_or_after_invariant_15(ledger):
    receipt = new_receipt()
    commit = asyncio.create_task(ledger.commit([create(receipt)]))
    seen = []
    while not commit.done():
        seen.append(await ledger.get("shop", receipt.receipt_id))
        await asyncio.sleep(0)
    assert all(each in {None, receipt} for each in seen)
    assert await ledger.get("shop", receipt.receipt_id) == receipt


async def test_a_client_does_not_see_anothers_receipt(ledger):
    receipt = new_receipt(client_id="shop")
    await ledger.commit([create(receipt)])
    assert await ledger.get("rival", receipt.receipt_id) is None
    assert (await ledger.page(PageQuery(client_id="rival"))).receipts == ()


async def test_an_unknown_receipt_is_none(ledger):
    assert await ledger.get("shop", new_receipt().receipt_id) is None


async def test_a_large_document_comes_back_byte_for_byte_invariant_9(open_backend):
    backend = await open_backend()
    document = bytes((n * n * 31 + n // 7) % 256 for n in range(700_000))
    receipt = new_receipt(document=document)
    await backend.ledger.commit([create(receipt)])
    await backend.ledger.commit([update(completed(receipt))])
    await backend.close()
    stored = await (await open_backend()).ledger.get("shop", receipt.receipt_id)
    assert stored.submission.document == document


# -- page and counts -----------------------------------------------------------------------------------------------


async def test_pages_are_in_order_of_day_and_id_and_hold_everything_once(ledger):
    receipts = [new_receipt(at=NOON + DAY_S * (n % 3) - n) for n in range(25)]
    await ledger.commit([create(r) for r in receipts])
    read, pages = await everything(ledger, limit=7)
    assert read == sorted(receipts, key=lambda r: r.receipt_id)
    assert pages == 4


async def test_the_last_page_says_so_even_when_it_is_full(ledger):
    receipts = sorted((new_receipt() for _ in range(6)), key=lambda r: r.receipt_id)
    await ledger.commit([create(r) for r in receipts])
    first = await ledger.page(PageQuery(client_id="shop", limit=3))
    assert first.next_after == receipts[2].receipt_id
    second = await ledger.page(PageQuery(client_id="shop", limit=3, after=first.next_after))
    assert list(second.receipts) == receipts[3:]
    assert second.next_after == ""


async def test_an_empty_ledger_has_an_empty_page(ledger):
    page = await ledger.page(PageQuery(client_id="shop"))
    assert (page.receipts, page.next_after) == ((), "")


async def test_a_page_holds_what_was_accepted_from_start_and_before_end(ledger):
    times = [NOON - DAY_S, NOON - 1, NOON, NOON + 1, NOON + DAY_S]
    receipts = {at: new_receipt(at=at) for at in times}
    await ledger.commit([create(r) for r in receipts.values()])
    for start, end, expected in (
        (NOON, NOON + DAY_S, [NOON, NOON + 1]),
        (0.0, NOON, [NOON - DAY_S, NOON - 1]),
        (NOON + 1, 1e12, [NOON + 1, NOON + DAY_S]),
        (NOON, NOON, []),
    ):
        read, _ = await everything(ledger, start=start, end=end)
        assert {r.submission.accepted_at for r in read} == set(expected)


async def test_a_page_can_be_of_a_state_of_a_type_and_of_what_owes_a_webhook(ledger):
    plain, other, owing = new_receipt(), new_receipt(type_id="invoice"), new_receipt()
    await ledger.commit([create(plain), create(other), create(owing)])
    done = completed(owing, delivery=Delivery(DeliveryState.DELIVERED, 1, NOON, 0.0, 200))
    await ledger.commit([update(done)])
    assert (await ledger.page(PageQuery(client_id="shop", state=ReceiptState.COMPLETE))).receipts == (done,)
    assert (await ledger.page(PageQuery(client_id="shop", type_id="invoice"))).receipts == (other,)
    assert (await ledger.page(PageQuery(client_id="shop", with_delivery=True))).receipts == (done,)
    assert (await ledger.page(PageQuery(client_id="shop", type_id="invoice", with_delivery=True))).receipts == ()


async def test_filtered_pages_hold_everything_once(ledger):
    receipts = [new_receipt(type_id="invoice" if n % 3 else "till") for n in range(30)]
    await ledger.commit([create(r) for r in receipts])
    read, pages = await everything(ledger, type_id="invoice", limit=6)
    assert read == sorted((r for r in receipts if r.submission.type_id == "invoice"), key=lambda r: r.receipt_id)
    assert pages == 4


async def test_a_page_sees_the_last_acknowledged_write(ledger):
    receipt = new_receipt()
    await ledger.commit([create(receipt)])
    changed = completed(receipt)
    await ledger.commit([update(changed)])
    assert (await ledger.page(PageQuery(client_id="shop"))).receipts == (changed,)


async def test_counts_are_by_state_and_add_up_invariant_16(ledger):
    receipts = [new_receipt() for _ in range(9)]
    await ledger.commit([create(r) for r in receipts])
    await ledger.commit([update(completed(r)) for r in receipts[:4]])
    await ledger.commit([Change(next_version(receipts[4], state=ReceiptState.FAILED), 1)])
    assert dict(await ledger.counts()) == {
        ReceiptState.PROCESSING: 4,
        ReceiptState.COMPLETE: 4,
        ReceiptState.FAILED: 1,
    }
