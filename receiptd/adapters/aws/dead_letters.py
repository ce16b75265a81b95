"""The dead letters of a queue: looked through, redriven and dropped, a sweep of receives at a time.

SQS has no reading without receiving. A sweep holds what it has seen invisible until its end, and then gives back what
is to stay; whoever sweeps at the same time sees fewer. A sweep that dies leaves nothing lost: its letters are seen
again two minutes later.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from receiptd.adapters.aws.errors import AwsError
from receiptd.adapters.aws.frames import unframe
from receiptd.adapters.aws.queue_urls import QueueUrls
from receiptd.adapters.aws.sqs import BATCH_MAX, Delivery, Sqs
from receiptd.domain.errors import StorageError
from receiptd.ports import Message

_log = logging.getLogger("receiptd.aws.queue")
_PARALLEL_MAX: Final = 8
_VISIBILITY_S: Final = 120
_WAIT_S: Final = 1.0
_LETTERS_MAX: Final = 100_000

Post: TypeAlias = Callable[[Sequence[Message]], Awaitable[Sequence[StorageError | None]]]
"""Sends messages; returns for each None, or why it may not be durable."""


@dataclass(frozen=True, slots=True)
class _Letter:
    """A dead letter in hand. One whose body is none of ours has a key made of its id."""

    delivery: Delivery
    message: Message
    ours: bool


_Act: TypeAlias = Callable[[str, Sequence[_Letter]], Awaitable[Sequence[str]]]
"""Takes the queue's URL and letters; returns the handles of those that it has removed."""


class DeadLetters:
    """Sweeps.

    Args:
        sqs: the calls.
        urls: where the queues are.
        post: sends what is redriven.
        timeout_s: the deadline of a call.
    """

    def __init__(self, sqs: Sqs, urls: QueueUrls, post: Post, *, timeout_s: float) -> None:
        self._sqs = sqs
        self._urls = urls
        self._post = post
        self._timeout_s = timeout_s

    async def peek(self, queue: str, limit: int) -> Sequence[Message]:
        """Return up to ``limit`` letters, in no order. Raises StorageError."""
        found: list[Message] = []

        async def look(_url: str, letters: Sequence[_Letter]) -> Sequence[str]:
            found.extend(letter.message for letter in letters)
            return ()

        await self._sweep(queue, None, limit, look)
        return found

    async def redrive(self, queue: str, keys: Sequence[str] | None) -> int:
        """Make letters live again (all, or those of ``keys``); return how many.

        A letter whose body is none of ours stays: it would only come back.

        Raises:
            StorageError: some may live again all the same.
        """

        async def revive(url: str, letters: Sequence[_Letter]) -> Sequence[str]:
            letters = [letter for letter in letters if letter.ours]
            outcomes = await self._post([Message(queue, one.message.key, one.message.body) for one in letters])
            live = [one.delivery.handle for one, fault in zip(letters, outcomes, strict=True) if fault is None]
            await self._sqs.delete(url, live, timeout_s=self._timeout_s)
            for fault in filter(None, outcomes):
                _log.warning("a dead letter was not redriven", extra={"queue": queue, "reason": str(fault)})
                if not live:
                    raise fault
            return live

        return await self._sweep(queue, keys, _LETTERS_MAX, revive)

    async def drop(self, queue: str, keys: Sequence[str] | None) -> int:
        """Remove letters for good (all, or those of ``keys``); return how many. Raises StorageError."""

        async def remove(url: str, letters: Sequence[_Letter]) -> Sequence[str]:
            handles = [letter.delivery.handle for letter in letters]
            outcomes = await self._sqs.delete(url, handles, timeout_s=self._timeout_s)
            return [handle for handle, error in zip(handles, outcomes, strict=True) if error is None]

        return await self._sweep(queue, keys, _LETTERS_MAX, remove)

    async def _sweep(self, queue: str, keys: Sequence[str] | None, limit: int, act: _Act) -> int:
        """Hand up to ``limit`` letters to ``act``, those of ``keys`` only; return how many it has removed."""
        if keys is not None and not keys:
            return 0
        wanted = None if keys is None else frozenset(keys)
        removed = 0
        seen: set[str] = set()
        held: set[str] = set()
        try:
            url = await self._urls.of(queue, dead=True)
            try:
                while len(seen) < limit:
                    deliveries = await self._receive(url, limit - len(seen), first=not seen)
                    held.update(delivery.handle for delivery in deliveries)
                    fresh = [_letter(queue, delivery) for delivery in deliveries if delivery.message_id not in seen]
                    if not fresh:
                        break
                    seen.update(letter.delivery.message_id for letter in fresh)
                    chosen = [letter for letter in fresh if wanted is None or letter.message.key in wanted]
                    done = await act(url, chosen) if chosen else ()
                    removed += len(done)
                    held.difference_update(done)
            finally:
                await self._sqs.change_visibility(url, sorted(held), 0, timeout_s=self._timeout_s)
        except AwsError as error:
            raise self._urls.fault(queue, error, dead=True) from error
        return removed

    async def _receive(self, url: str, limit: int, *, first: bool) -> list[Delivery]:
        """Receive up to ``limit`` letters; none when there are no more.

        Most queues of dead letters hold a few, so the first time asks once. A short poll asks some of the service's
        servers only: none is taken for an answer when the queue counts none either, or a long poll has found none.
        """
        asks = [min(BATCH_MAX, limit - at) for at in range(0, limit, BATCH_MAX)][: 1 if first else _PARALLEL_MAX]
        found = list(itertools.chain(*await asyncio.gather(*(self._poll(url, ask) for ask in asks))))
        if not found and (await self._sqs.counts(url, timeout_s=self._timeout_s)).visible:
            found = await self._poll(url, asks[0], wait_s=_WAIT_S)
        return found

    async def _poll(self, url: str, limit: int, wait_s: float = 0.0) -> list[Delivery]:
        return await self._sqs.receive(url, limit, wait_s=wait_s, timeout_s=self._timeout_s, visibility_s=_VISIBILITY_S)


def _letter(queue: str, delivery: Delivery) -> _Letter:
    message = unframe(queue, delivery.body, dead=True)
    if message is not None:
        return _Letter(delivery, message, ours=True)
    return _Letter(delivery, Message(queue, f"malformed:{delivery.message_id}", delivery.body, dead=True), ours=False)
