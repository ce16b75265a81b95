"""The WorkQueue port on SQS: one standard queue per name, each with a queue for its dead letters.

SQS delays by fifteen minutes at most, so that a message due later is received early: it is sent on with the rest of its
delay, then deleted, and never handed out. A body that is none of ours goes among the dead letters. Sending always comes
before deleting: what is cut short between the two leaves a message twice, never none.

A receive that is cancelled may have received: those messages come back when their visibility ends, like those of a
process that died.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from receiptd.adapters.aws.dead_letters import DeadLetters
from receiptd.adapters.aws.errors import AwsError
from receiptd.adapters.aws.frames import frame, unframe
from receiptd.adapters.aws.queue_urls import QueueUrls
from receiptd.adapters.aws.sqs import BATCH_MAX, DELAY_MAX_S, VISIBILITY_MAX_S, Delivery, Outcome, Outgoing, Sqs
from receiptd.domain.errors import ConfigurationError, StorageError
from receiptd.ports import Clock, Message, QueueDepth, Received

_log = logging.getLogger("receiptd.aws.queue")
_PARALLEL_MAX: Final = 8
_EARLY_S: Final = 1.0
"""Due within this is due: instances' clocks differ, and SQS counts whole seconds."""
_REST_MIN_S: Final = 0.5
"""Less is not worth another poll, which takes whole seconds."""
_EXTENSION_MAX_S: Final = VISIBILITY_MAX_S - 3600  # the limit counts from the receive, which was within the hour
_STALE: Final = frozenset({"InvalidParameterValue", "MessageNotInflight", "ReceiptHandleIsInvalid"})
_OnEach: TypeAlias = Callable[[str, Sequence[str]], Awaitable[Sequence[Outcome]]]


class AwsQueue:
    """The queues.

    Args:
        sqs: the calls.
        clock: the time by which messages are due.
        name_of: from a queue's name here (``registrar.tax``) to its name in SQS.
        dead_name_of: the same, to the queue of its dead letters.
        timeout_s: the deadline of a call, its retries included.
        pace_s: how long a consumer that waits is held back after a receive that did not give all that it may. A long
            poll ends at the first message; after a pause the next one gives a full batch, for a tenth of the requests.
    """

    def __init__(
        self,
        sqs: Sqs,
        clock: Clock,
        name_of: Callable[[str], str],
        dead_name_of: Callable[[str], str],
        *,
        timeout_s: float = 5.0,
        pace_s: float = 0.0,
    ) -> None:
        self._sqs = sqs
        self._clock = clock
        self._timeout_s = timeout_s
        self._pace_s = pace_s
        self._urls = QueueUrls(sqs, name_of, dead_name_of, timeout_s=timeout_s)
        self._letters = DeadLetters(sqs, self._urls, self.post, timeout_s=timeout_s)
        self._paused_until: dict[str, float] = {}

    async def send(self, messages: Sequence[Message]) -> None:
        """Make the messages durable. Raises StorageError: some may be durable all the same."""
        for fault in filter(None, await self.post(messages)):
            raise fault

    async def post(self, messages: Sequence[Message]) -> list[StorageError | None]:
        """Send the messages; return for each None, or why it may not be durable."""
        groups: defaultdict[tuple[str, bool], list[int]] = defaultdict(list)
        for index, message in enumerate(messages):
            groups[message.queue, message.dead].append(index)
        faults: list[StorageError | None] = [None] * len(messages)
        await asyncio.gather(
            *(self._post(queue, dead, messages, indexes, faults) for (queue, dead), indexes in groups.items())
        )
        return faults

    async def _post(
        self,
        queue: str,
        dead: bool,  # noqa: FBT001 - half of a group's key
        messages: Sequence[Message],
        indexes: Sequence[int],
        faults: list[StorageError | None],
    ) -> None:
        now = self._clock.now()
        group = [messages[index] for index in indexes]
        outgoing = [Outgoing(frame(one), 0 if dead else _delay_s(one.visible_at - now)) for one in group]
        try:
            url = await self._urls.of(queue, dead=dead)
        except ConfigurationError as error:  # a registrar's that is no longer configured
            for index in indexes:
                faults[index] = StorageError(str(error))
            return
        except AwsError as error:
            outcomes: Sequence[Outcome] = [error] * len(indexes)
        else:
            outcomes = await self._sqs.send(url, outgoing, timeout_s=self._timeout_s)
        for index, outcome in zip(indexes, outcomes, strict=True):
            if outcome is not None:
                faults[index] = self._urls.fault(queue, outcome, dead=dead)

    async def find(self, queue: str) -> None:
        """See that ``queue`` is there, with that of its dead letters. Raises StorageError."""
        for dead in (False, True):
            try:
                await self._urls.of(queue, dead=dead)
            except AwsError as error:
                raise self._urls.fault(queue, error, dead=dead) from error

    async def receive(self, queue: str, limit: int, wait_s: float) -> Sequence[Received]:
        """Return up to ``limit`` due messages; wait up to ``wait_s`` seconds for the first. Empty when none.

        Raises:
            StorageError: nothing was received, as far as one can know.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        pause_s = min(self._paused_until.pop(queue, 0.0) - loop.time(), wait_s)
        if pause_s > 0:
            await asyncio.sleep(pause_s)
        while True:
            try:
                url = await self._urls.of(queue)
                deliveries = await self._take(url, limit, max(deadline - loop.time(), 0.0))
            except AwsError as error:
                raise self._urls.fault(queue, error) from error
            received = await self._sort(queue, url, deliveries)
            if received or deadline - loop.time() < _REST_MIN_S:
                break
        if 0 < len(deliveries) < limit:
            self._paused_until[queue] = loop.time() + self._pace_s
        return received

    async def acknowledge(self, queue: str, received: Sequence[Received]) -> None:
        """Remove the messages. Unknown or stale handles are ignored.

        Raises:
            StorageError: none could be removed. When only some could not, those come again.
        """
        await self._on_each(
            queue, received, lambda url, handles: self._sqs.delete(url, handles, timeout_s=self._timeout_s)
        )

    async def extend(self, queue: str, received: Sequence[Received], visible_in_s: float) -> None:
        """Keep the messages invisible for ``visible_in_s`` seconds from now (0: give them back at once).

        For eleven hours at most: SQS keeps a message invisible for twelve hours after its receive, and no longer.

        Raises:
            StorageError: it could be done for none of them.
        """
        seconds = min(math.ceil(visible_in_s), _EXTENSION_MAX_S)
        await self._on_each(
            queue,
            received,
            lambda url, handles: self._sqs.change_visibility(url, handles, seconds, timeout_s=self._timeout_s),
        )

    async def depth(self, queue: str) -> QueueDepth:
        """Return how much waits in ``queue`` (approximate: SQS lags by up to a minute). Raises StorageError."""
        try:
            live_url, dead_url = await asyncio.gather(self._urls.of(queue), self._urls.of(queue, dead=True))
            live, dead = await asyncio.gather(
                self._sqs.counts(live_url, timeout_s=self._timeout_s),
                self._sqs.counts(dead_url, timeout_s=self._timeout_s),
            )
        except AwsError as error:
            raise self._urls.fault(queue, error) from error
        return QueueDepth(live.visible, live.delayed + live.in_flight, dead.visible + dead.delayed + dead.in_flight)

    async def dead_letters(self, queue: str, limit: int) -> Sequence[Message]:
        """Return up to ``limit`` dead letters of ``queue``, in no order. Raises StorageError."""
        return await self._letters.peek(queue, limit)

    async def redrive(self, queue: str, keys: Sequence[str] | None) -> int:
        """Make dead letters live again (all, or those of ``keys``); return how many. Raises StorageError."""
        return await self._letters.redrive(queue, keys)

    async def drop(self, queue: str, keys: Sequence[str] | None) -> int:
        """Remove dead letters for good (all, or those of ``keys``); return how many. Raises StorageError."""
        return await self._letters.drop(queue, keys)

    async def _take(self, url: str, limit: int, wait_s: float) -> list[Delivery]:
        """Receive; when the first call came back full, with ever more side by side while they come back filled."""
        deliveries = await self._sqs.receive(url, limit, wait_s=wait_s, timeout_s=self._timeout_s)
        full, parallel = len(deliveries) == BATCH_MAX, 1
        while full and len(deliveries) < limit:
            rest, parallel = limit - len(deliveries), min(2 * parallel, _PARALLEL_MAX)
            asks = [min(BATCH_MAX, rest - at) for at in range(0, rest, BATCH_MAX)][:parallel]
            more = list(itertools.chain(*await asyncio.gather(*(self._take_more(url, ask) for ask in asks))))
            deliveries += more
            full = len(more) > sum(asks) / 2
        return deliveries

    async def _take_more(self, url: str, limit: int) -> list[Delivery]:
        try:
            return await self._sqs.receive(url, limit, wait_s=0, timeout_s=self._timeout_s)
        except AwsError as error:  # what the others have received is not to be lost over it
            _log.warning("a receive failed beside others", extra={"url": url, "reason": str(error)})
            return []

    async def _sort(self, queue: str, url: str, deliveries: Sequence[Delivery]) -> list[Received]:
        """Return what is due; send on what is not, and bury what is none of ours."""
        now = self._clock.now()
        received: list[Received] = []
        early: dict[str, Outgoing] = {}
        foreign: dict[str, Outgoing] = {}
        for delivery in deliveries:
            message = unframe(queue, delivery.body)
            if message is None:
                _log.error("a message is none of ours", extra={"queue": queue, "id": delivery.message_id})
                foreign[delivery.handle] = Outgoing(delivery.body)
            elif message.visible_at - now > _EARLY_S:
                early[delivery.handle] = Outgoing(delivery.body, _delay_s(message.visible_at - now))
            else:
                received.append(Received(message, f"{message.key} {delivery.handle}", delivery.receives))
        if early:
            await self._move(queue, url, early, dead=False)
        if foreign:
            await self._move(queue, url, foreign, dead=True)
        return received

    async def _move(self, queue: str, url: str, messages: dict[str, Outgoing], *, dead: bool) -> None:
        """Send received messages, by handle, to their queue again or among its dead letters; what fails comes again."""
        try:
            target = await self._urls.of(queue, dead=dead)
            outcomes = await self._sqs.send(target, list(messages.values()), timeout_s=self._timeout_s)
        except AwsError as error:
            outcomes = [error] * len(messages)
        sent = [handle for handle, outcome in zip(messages, outcomes, strict=True) if outcome is None]
        for failure in filter(None, outcomes):
            _log.warning("a message was not sent on", extra={"queue": queue, "reason": str(failure)})
        await self._sqs.delete(url, sent, timeout_s=self._timeout_s)

    async def _on_each(self, queue: str, received: Sequence[Received], call: _OnEach) -> None:
        handles = [handle for each in received if (handle := _handle(each))]
        if not handles:
            return
        try:
            outcomes = await call(await self._urls.of(queue), handles)
        except AwsError as error:
            raise self._urls.fault(queue, error) from error
        failures = [outcome for outcome in outcomes if outcome is not None and outcome.code not in _STALE]
        if len(failures) == len(handles):
            raise self._urls.fault(queue, failures[0])
        for failure in failures:
            _log.warning("a message was left as it is", extra={"queue": queue, "reason": str(failure)})


def _handle(received: Received) -> str:
    """Return SQS's handle; empty when it is not of this message."""
    key, _, handle = received.handle.rpartition(" ")
    return handle if key == received.message.key else ""


def _delay_s(seconds: float) -> int:
    return min(max(math.ceil(seconds), 0), DELAY_MAX_S)
