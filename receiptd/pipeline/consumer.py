"""The consumer: takes messages from one durable queue, hands each on, and acknowledges what was handed on.

A message is acknowledged when its receipt is in this process's hands: the receipt's recovery message stands behind it
until the receipt is settled. A handler that fails leaves its message: it comes again, and ends as a dead letter.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from receiptd.domain.errors import StorageError, UnknownReceiptError
from receiptd.pipeline.work import WorkItem
from receiptd.ports import Message, Received, WorkQueue

_log = logging.getLogger("receiptd.consumer")
_RECEIVE_WAIT_S = 20.0
_FULL_PAUSE_S = 0.05
_STORE_PAUSE_S = 1.0

Handler: TypeAlias = Callable[[WorkItem], Awaitable[Message | None]]
"""Takes a work item up; returns a message to be durable before this one is acknowledged, or None."""


async def consume(queue: WorkQueue, name: str, room: Callable[[], int], handle: Handler) -> None:
    """Consume ``name`` for ever, as many messages at a time as ``room`` says; a failing store is tried again."""
    while True:
        limit = room()
        if limit <= 0:
            await asyncio.sleep(_FULL_PAUSE_S)
            continue
        try:
            received = await queue.receive(name, limit, _RECEIVE_WAIT_S)
            await _process(queue, name, received, handle)
        except StorageError as error:
            _log.warning("queue waits for the store", extra={"queue": name, "reason": str(error)})
            await asyncio.sleep(_STORE_PAUSE_S)


async def _process(queue: WorkQueue, name: str, received: Sequence[Received], handle: Handler) -> None:
    done: list[Received] = []
    next_round: list[Message] = []
    for one in received:
        try:
            follows = await handle(WorkItem.parse(one.message))
        except (UnknownReceiptError, ValueError) as error:
            _log.warning("message dropped", extra={"queue": name, "reason": str(error)})
            follows = None
        except StorageError as error:
            # This one row cannot be read or written now: the others of the batch go on without it.
            _log.warning("message left", extra={"queue": name, "receipt": one.message.key, "reason": str(error)})
            continue
        except Exception:  # noqa: BLE001 - invariant 12: a poison message must not take the others with it
            _log.exception("fault over a message", extra={"queue": name, "receipt": one.message.key})
            continue
        done.append(one)
        if follows is not None:
            next_round.append(follows)
    if next_round:
        await queue.send(next_round)
    if done:
        await queue.acknowledge(name, done)
