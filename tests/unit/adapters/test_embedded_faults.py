"""A disk that is full, or fails: nothing is promised falsely, nothing stays broken (section 8 of the design)."""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from contract_makers import completed, create, message, new_receipt, update

from receiptd.adapters.embedded.store import FILE_NAME, EmbeddedStore
from receiptd.domain.errors import StorageError
from receiptd.ports import PageQuery

BULK = random.Random(1).randbytes(300_000)
"""A document that does not compress."""


@contextmanager
def files_no_larger_than(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_commit_that_cannot_be_written_is_undone_and_the_next_one_works_invariant_1(store, directory):
    known, lost = new_receipt(), new_receipt(document=BULK)
    await store.ledger.commit([create(known)])
    log_size = (directory / f"{FILE_NAME}-wal").stat().st_size
    with files_no_larger_than(log_size + 20_000):
        results = await asyncio.gather(
            store.ledger.commit([create(lost, message("recovery", lost.receipt_id))]),
            store.ledger.commit([update(completed(known))]),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [StorageError, StorageError], "one transaction, one fate"
        assert await store.ledger.get("shop", lost.receipt_id) is None
        assert await store.ledger.get("shop", known.receipt_id) == known
        assert (await store.ledger.page(PageQuery(client_id="shop"))).receipts == (known,)
        assert await store.queue.receive("recovery", 1, 0.0) == ()
    assert (await store.ledger.commit([create(lost)]))[0] is lost
    assert await store.ledger.get("shop", lost.receipt_id) == lost


async def test_a_full_database_refuses_and_goes_on_when_there_is_room_again(store):
    lost = new_receipt(document=BULK)
    writer = store.database._writer
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StorageError, match="full"):
        await store.ledger.commit([create(lost)])
    assert await store.ledger.get("shop", lost.receipt_id) is None
    assert (await store.ledger.commit([create(lost)]))[0] is lost


async def test_what_failed_stays_away_after_a_restart(store, directory, clock):
    lost = new_receipt(document=BULK)
    with files_no_larger_than(200_000), pytest.raises(StorageError):
        await store.ledger.commit([create(lost)])
    await store.close()
    again = await EmbeddedStore.open(directory, clock)
    assert await again.ledger.get("shop", lost.receipt_id) is None
    await again.close()


async def test_a_failed_commit_of_an_update_leaves_no_trace_in_memory_invariant_15(store):
    receipt = new_receipt(document=BULK)
    await store.ledger.commit([create(receipt)])
    writer = store.database._writer
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages}")
    owed = [message("jobs", f"k{n}") for n in range(2_000)]
    with pytest.raises(StorageError):
        await store.ledger.commit([update(completed(receipt), *owed)])
    assert await store.ledger.get("shop", receipt.receipt_id) == receipt
    assert (await store.queue.depth("jobs")).ready == 0


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler for its fsync shim")
def test_every_commit_waits_for_fsync_and_believes_its_failure_invariant_1(tmp_path):
    here = Path(__file__).parent
    shim = tmp_path / "shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, here / "fsync_shim.c", "-ldl"], check=True)
    (tmp_path / "count").touch()
    environment = {
        **os.environ,
        "LD_PRELOAD": str(shim),
        "SHIM_COUNT": str(tmp_path / "count"),
        "SHIM_FAIL": str(tmp_path / "fail"),
    }
    process = subprocess.run(
        [sys.executable, here / "fsync_process.py", tmp_path / "store"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=environment,
    )
    assert process.returncode == 0, process.stderr
    seen = json.loads(process.stdout)
    assert all(each >= 1 for each in seen["syncs"])
    assert seen["refused"] == 3
    assert not seen["visible"]
    assert seen["mended"]
    assert seen["same id again"]
