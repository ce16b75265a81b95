"""The outbox: messages that no change carries (parking), sent in batches by one task.

What it holds is only a better place to wait: the receipt's recovery message exists already. So when the store fails,
or too much is parked at once, messages are dropped and recovery brings the receipts back instead.
"""

from __future__ import annotations

import asyncio
import logging

from receiptd.domain.errors import StorageError
from receiptd.ports import Message, WorkQueue

_log = logging.getLogger("receiptd.outbox")
_BATCH_MAX = 500
_HELD_MAX = 20_000


class Outbox:
    """Collects messages without waiting and sends them soon."""

    def __init__(self, queue: WorkQueue) -> None:
        self._queue = queue
        self._messages: list[Message] = []
        self._wake = asyncio.Event()
        self.dropped = 0
        """Messages left to recovery."""

    def put(self, message: Message) -> None:
        """Send ``message`` soon."""
        if len(self._messages) >= _HELD_MAX:
            self.dropped += 1
            return
        self._messages.append(message)
        self._wake.set()

    async def run(self) -> None:
        """Send for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.flush()

    async def flush(self) -> None:
        """Send what is held now."""
        while self._messages:
            batch, self._messages = self._messages[:_BATCH_MAX], self._messages[_BATCH_MAX:]
            try:
                await self._queue.send(batch)
            except StorageError as error:
                self.dropped += len(batch)
                _log.warning("parking left to recovery", extra={"messages": len(batch), "reason": str(error)})
