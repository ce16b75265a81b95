"""Waiting for a receipt to end: the long polls of ``Prefer: wait``, bounded in number and time."""

from __future__ import annotations

import asyncio

from receiptd.domain.errors import OverloadedError
from receiptd.domain.lifecycle import Effect
from receiptd.domain.receipt import Receipt
from receiptd.ports import Ledger

_LOOK_EVERY_S = 1.0


class Watch:
    """Wakes those who wait when a receipt ends; hears of this process's commits and looks for those of others."""

    def __init__(self, ledger: Ledger, waiters_max: int) -> None:
        self._ledger = ledger
        self._waiters_max = waiters_max
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._count = 0
        self._closed = False

    def committed(self, before: Receipt | None, receipt: Receipt, effects: tuple[Effect, ...]) -> None:
        """Hear of a commit (a writer's listener)."""
        del before, effects
        if receipt.terminal:
            for future in self._waiting.pop(receipt.receipt_id, ()):
                if not future.done():
                    future.set_result(None)

    def close(self) -> None:
        """Answer everybody who waits as their receipt stands now; for the drain."""
        self._closed = True
        for futures in self._waiting.values():
            for future in futures:
                if not future.done():
                    future.set_result(None)

    async def terminal(self, client_id: str, receipt_id: str, timeout_s: float) -> Receipt | None:
        """Return the receipt once it is terminal, or as it stands when ``timeout_s`` is over; None: there is none.

        Raises:
            OverloadedError: too many wait already.
        """
        if self._count >= self._waiters_max:
            raise OverloadedError("too many requests wait for their receipt to end", retry_after_s=1.0)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        self._count += 1
        try:
            while True:
                # Register first, read second: an end between the two is heard.
                future: asyncio.Future[None] = loop.create_future()
                self._waiting.setdefault(receipt_id, []).append(future)
                try:
                    receipt = await self._ledger.get(client_id, receipt_id)
                    left_s = deadline - loop.time()
                    if receipt is None or receipt.terminal or left_s <= 0 or self._closed:
                        return receipt
                    await asyncio.wait([future], timeout=min(left_s, _LOOK_EVERY_S))
                finally:
                    self._forget(receipt_id, future)
        finally:
            self._count -= 1

    def _forget(self, receipt_id: str, future: asyncio.Future[None]) -> None:
        futures = self._waiting.get(receipt_id)
        if futures is not None and future in futures:
            futures.remove(future)
            if not futures:
                del self._waiting[receipt_id]
