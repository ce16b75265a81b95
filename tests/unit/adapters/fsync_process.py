"""Commits receipts under the shim of fsync_shim.c and writes what it saw, as JSON: ``fsync_process.py DIRECTORY``."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "contract"))

from contract_makers import create, new_receipt

from receiptd.adapters.embedded.store import EmbeddedStore
from receiptd.domain.errors import StorageError
from receiptd.runtime.clock import SystemClock

COUNT, FAIL = Path(os.environ["SHIM_COUNT"]), Path(os.environ["SHIM_FAIL"])


def syncs_so_far():
    return COUNT.stat().st_size


def fail_syncs(*, yes):
    if yes:
        FAIL.touch()
    else:
        FAIL.unlink()


async def commits_with_their_syncs(ledger):
    syncs = []
    for n in range(5):
        before = syncs_so_far()
        await ledger.commit([create(new_receipt(key=f"n{n}"))])
        syncs.append(syncs_so_far() - before)
    return syncs


async def commits_refused(ledger, receipt):
    refused = 0
    for _ in range(3):
        try:
            await ledger.commit([create(receipt)])
        except StorageError:
            refused += 1
    return refused


async def main(directory):
    store = await EmbeddedStore.open(Path(directory), SystemClock())
    good, lost = new_receipt(key="good"), new_receipt(key="lost")
    seen = {"syncs": await commits_with_their_syncs(store.ledger)}
    fail_syncs(yes=True)
    seen["refused"] = await commits_refused(store.ledger, lost)
    seen["visible"] = await store.ledger.get("shop", lost.receipt_id) is not None
    fail_syncs(yes=False)
    seen["mended"] = (await store.ledger.commit([create(good)]))[0] is good
    seen["same id again"] = (await store.ledger.commit([create(lost)]))[0] is lost
    await store.close()
    return seen


sys.stdout.write(json.dumps(asyncio.run(main(sys.argv[1]))))
