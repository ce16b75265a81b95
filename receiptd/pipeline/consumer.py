"""The consumer: takes messages from one durable queue, hands each on, and acknowledges what was handed on.

A message is acknowledged when its receipt is in this process's hands: the receipt's recovery message stands behind it
until the receipt is settled. A handler that fails leaves its message: it comes again, and ends as a dead letter; where
the store failed it comes ever later, so that it outlives a day without a store. While a batch is in work longer than
usual (a slow store), its messages are kept invisible, so that nobody else takes up the same work; not for ever, because
a handler that hangs must not keep a message from those that could handle it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from receiptd.domain.errors import StorageError, UnknownReceiptError
from receiptd.pipeline.work import WorkItem
from receiptd.ports import Message, Received, WorkQueue
from receiptd.runtime import crash

_log = logging.getLogger("receiptd.consumer")
_RECEIVE_WAIT_S: Final = 20.0
_FULL_PAUSE_S: Final = 0.05
_STORE_PAUSE_S: Final = 1.0
_PUT_OFF_MAX_S: Final = 900.0
_PARALLEL_MAX: Final = 16
"""Messages of a batch that are handled side by side: most need one read, and a store may be milliseconds away."""

Handler: TypeAlias = Callable[[WorkItem], Awaitable[Message | None]]
"""Takes a work item up; returns a message to be durable before this one is acknowledged, or None."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """How messages in work are kept from others: every ``every_s`` seconds for another ``for_s``, up to ``max_s``.

    ``every_s`` is well under the visibility timeout of the queues, ``for_s`` is that timeout again.
    """

    every_s: float = 20.0
    for_s: float = 60.0
    max_s: float = 600.0


_KEEPING: Final = Keeping()


async def consume(
    queue: WorkQueue, name: str, room: Callable[[], int], handle: Handler, keeping: Keeping = _KEEPING
) -> None:
    """Consume ``name`` for ever, as many messages at a time as ``room`` says; a failing store is tried again."""
    while True:
        limit = room()
        if limit <= 0:
            await asyncio.sleep(_FULL_PAUSE_S)
            continue
        try:
            received = await queue.receive(name, limit, _RECEIVE_WAIT_S)
            if received:
                await _Batch(queue, name, received, handle, keeping).work()
        except StorageError as error:
            _log.warning("queue waits for the store", extra={"queue": name, "reason": str(error)})
            await asyncio.sleep(_STORE_PAUSE_S)


class _Batch:
    """Messages that were received together, until they are acknowledged or left."""

    def __init__(
        self, queue: WorkQueue, name: str, received: Sequence[Received], handle: Handler, keeping: Keeping
    ) -> None:
        self._queue = queue
        self._name = name
        self._handle = handle
        self._keeping = keeping
        self._waiting = iter(enumerate(received))
        self._count = len(received)
        self._kept = dict(enumerate(received))
        """What is in work or waits for it, and what is done but not acknowledged yet."""
        self._left: list[Received] = []
        """What the store would not have now."""
        self._next_round: dict[int, Message] = {}

    async def work(self) -> None:
        """Handle every message; make durable what follows, then acknowledge. Raises StorageError."""
        keeper = asyncio.create_task(self._keep())
        try:
            await asyncio.gather(*(self._take() for _ in range(min(self._count, _PARALLEL_MAX))))
            if self._next_round:
                await self._send_next_round()
            crash.point("before-acknowledge")
            if self._kept:
                await self._queue.acknowledge(self._name, list(self._kept.values()))
            await self._put_off()
        finally:
            keeper.cancel()

    async def _take(self) -> None:
        """Handle one message after the other while any waits."""
        for number, one in self._waiting:
            try:
                follows = await self._handle(WorkItem.parse(one.message))
            except (UnknownReceiptError, ValueError) as error:
                _log.warning("message dropped", extra={"queue": self._name, "reason": str(error)})
            except StorageError as error:
                # This one row cannot be read or written now: the others of the batch go on without it.
                self._leave(number, error)
            except Exception:  # noqa: BLE001 - invariant 12: a poison message must not take the others with it
                _log.exception("fault over a message", extra={"queue": self._name, "receipt": one.message.key})
                del self._kept[number]
            else:
                if follows is not None:
                    self._next_round[number] = follows

    async def _send_next_round(self) -> None:
        """Make durable what follows. Where that failed the message is left, and no other: it would come twice."""
        faults = await self._queue.post(list(self._next_round.values()))
        for number, fault in zip(self._next_round, faults, strict=True):
            if fault is not None:
                self._leave(number, fault)

    def _leave(self, number: int, error: StorageError) -> None:
        one = self._kept.pop(number)
        self._left.append(one)
        _log.warning("message left", extra={"queue": self._name, "receipt": one.message.key, "reason": str(error)})

    async def _put_off(self) -> None:
        """Let what was left come again ever later: a store that is away for hours is no reason for dead letters."""
        waits: defaultdict[float, list[Received]] = defaultdict(list)
        for one in self._left:
            waits[min(2.0 ** min(one.receives, 10), _PUT_OFF_MAX_S)].append(one)
        for wait_s, received in waits.items():
            await self._queue.extend(self._name, received, wait_s)

    async def _keep(self) -> None:
        """Keep the messages invisible to others until cancelled, or for as long as is bearable."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._keeping.max_s
        while loop.time() < until:
            await asyncio.sleep(self._keeping.every_s)
            try:
                await self._queue.extend(self._name, list(self._kept.values()), self._keeping.for_s)
            except StorageError as error:  # at worst somebody else does the same work
                _log.warning("messages in work are not kept", extra={"queue": self._name, "reason": str(error)})
            except Exception:  # noqa: BLE001 - the root of this task, logged as a fault; the work itself goes on
                _log.exception("fault in keeping messages", extra={"queue": self._name})
        _log.error("messages are in work for too long", extra={"queue": self._name, "messages": len(self._kept)})
