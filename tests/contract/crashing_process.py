"""A process that commits receipts, says so, and is killed at once: ``crashing_process.py BACKEND PLACE``.

Each line it writes names receipts whose commit had returned. It dies by SIGKILL with one more commit on its way.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from conftest import BACKENDS
from contract_makers import completed, create, message, new_receipt, update

COMMITS = 5


async def main(name, place):
    backend = await BACKENDS[name](Path(place))
    receipts = [new_receipt(key=f"crash-{n}") for n in range(2 * COMMITS)]
    for n in range(COMMITS):
        pair = receipts[2 * n : 2 * n + 2]
        await backend.ledger.commit([create(r, message("recovery", r.receipt_id, visible_at=0.0)) for r in pair])
        await backend.ledger.commit([update(completed(pair[0]))])
        await backend.queue.send([message("webhooks", pair[1].receipt_id)])
        sys.stdout.write(" ".join(r.receipt_id for r in pair) + "\n")
        sys.stdout.flush()
    task = asyncio.create_task(backend.ledger.commit([create(new_receipt(key="last"))]))
    await asyncio.sleep(0)
    assert not task.done()
    os.kill(os.getpid(), signal.SIGKILL)


asyncio.run(main(*sys.argv[1:]))
