"""SQS's calls: batches of ten with an outcome for each entry, long polls, and what little else the queues need.

Bodies are held against the checksums that the service gives of them. An entry that the service failed by its own fault
is sent again within the deadline; the sender's fault stays one.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from receiptd.adapters.aws.errors import AwsError
from receiptd.adapters.aws.wire import Wire

BATCH_MAX: Final = 10
"""Entries in one batch, and messages in one receive (the service's limit)."""
DELAY_MAX_S: Final = 900
"""The longest that the service delays a message."""
WAIT_MAX_S: Final = 20
"""The longest that the service waits for a message."""
VISIBILITY_MAX_S: Final = 43_200
"""The longest that a received message may stay invisible, counted from its receive."""

_COUNTS: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
_BATCH_MAX_BYTES: Final = 256 * 1024
_PARALLEL_MAX: Final = 16
_PAUSE_S: Final = 0.05
_PAUSE_MAX_S: Final = 1.0
_log = logging.getLogger("receiptd.aws.sqs")

Outcome: TypeAlias = AwsError | None
"""What became of one entry: None when it was done. An AwsError that is ``unknown`` may have taken effect."""
_Entry: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send, visible after ``delay_s`` seconds (at most ``DELAY_MAX_S``)."""

    body: str
    delay_s: int = 0


@dataclass(frozen=True, slots=True)
class Delivery:
    """A received message."""

    message_id: str
    handle: str
    body: str
    receives: int
    """How often it was received, this time included."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many messages a queue has, approximately: visible, received and not yet deleted, delayed."""

    visible: int
    in_flight: int
    delayed: int


class Sqs:
    """The calls. Batches are sent in parallel, at most 16 at once; receives are not counted among them."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._slots = asyncio.Semaphore(_PARALLEL_MAX)

    async def queue_url(self, name: str, *, timeout_s: float) -> str:
        """Return the URL of the queue ``name``. Raises AwsError (``QueueDoesNotExist``)."""
        answer = await self._wire.call("GetQueueUrl", {"QueueName": name}, timeout_s=timeout_s)
        with _legible("GetQueueUrl"):
            return str(answer["QueueUrl"])

    async def counts(self, url: str, *, timeout_s: float) -> Counts:
        """Return how many messages the queue has. Raises AwsError."""
        request = {"QueueUrl": url, "AttributeNames": _COUNTS}
        answer = await self._wire.call("GetQueueAttributes", request, timeout_s=timeout_s)
        with _legible("GetQueueAttributes"):
            return Counts(*(int(answer["Attributes"][name]) for name in _COUNTS))

    async def send(self, url: str, messages: Sequence[Outgoing], *, timeout_s: float) -> list[Outcome]:
        """Send messages; return the outcome of each. Raises nothing."""
        entries: list[_Entry] = [{"MessageBody": message.body, "DelaySeconds": message.delay_s} for message in messages]
        digests = [_md5(message.body) for message in messages]
        return await self._batches("SendMessageBatch", url, entries, timeout_s, digests)

    async def delete(self, url: str, handles: Sequence[str], *, timeout_s: float) -> list[Outcome]:
        """Delete received messages; return the outcome of each. Raises nothing."""
        entries: list[_Entry] = [{"ReceiptHandle": handle} for handle in handles]
        return await self._batches("DeleteMessageBatch", url, entries, timeout_s)

    async def change_visibility(
        self, url: str, handles: Sequence[str], visible_in_s: int, *, timeout_s: float
    ) -> list[Outcome]:
        """Make received messages visible ``visible_in_s`` from now; return the outcome of each. Raises nothing."""
        entries: list[_Entry] = [{"ReceiptHandle": handle, "VisibilityTimeout": visible_in_s} for handle in handles]
        return await self._batches("ChangeMessageVisibilityBatch", url, entries, timeout_s)

    async def receive(
        self, url: str, limit: int, *, wait_s: float, timeout_s: float, visibility_s: int | None = None
    ) -> list[Delivery]:
        """Receive up to ``limit`` messages (at most ``BATCH_MAX``), waiting up to ``wait_s`` for the first.

        Args:
            url: the queue's.
            limit: how many at most.
            wait_s: rounded up to whole seconds, and at most ``WAIT_MAX_S``.
            timeout_s: the deadline of the call beyond that wait.
            visibility_s: how long they are invisible; None: as long as the queue says.

        Raises:
            AwsError: nothing was received, as far as one can know.
        """
        waits_s = min(math.ceil(wait_s), WAIT_MAX_S)
        request: dict[str, Any] = {
            "QueueUrl": url,
            "MaxNumberOfMessages": min(limit, BATCH_MAX),
            "WaitTimeSeconds": waits_s,
            "MessageSystemAttributeNames": ["ApproximateReceiveCount"],
        }
        if visibility_s is not None:
            request["VisibilityTimeout"] = visibility_s
        answer = await self._wire.call("ReceiveMessage", request, timeout_s=waits_s + timeout_s, waits_s=waits_s)
        with _legible("ReceiveMessage"):
            deliveries = [_delivery(message) for message in answer.get("Messages") or ()]
        return [delivery for delivery in deliveries if delivery is not None]

    async def _batches(
        self, operation: str, url: str, entries: Sequence[_Entry], timeout_s: float, digests: Sequence[str] = ()
    ) -> list[Outcome]:
        """Do ``entries`` in batches side by side, each until every entry has its outcome or the time is up."""
        for index, entry in enumerate(entries):
            entry["Id"] = str(index)
        deadline = asyncio.get_running_loop().time() + timeout_s
        work = _Work(operation, url, deadline, digests, [AwsError("", f"{operation}: not sent")] * len(entries))
        batches = _split(entries)
        if len(batches) == 1:
            await self._batch(work, batches[0])
        else:
            await asyncio.gather(*(self._batch(work, batch) for batch in batches))
        return work.outcomes

    async def _batch(self, work: _Work, batch: list[_Entry]) -> None:
        loop = asyncio.get_running_loop()
        attempt = 0
        while batch:
            attempt += 1
            request = {"QueueUrl": work.url, "Entries": batch}
            try:
                async with self._slots:
                    answer = await self._wire.call(work.operation, request, timeout_s=work.deadline - loop.time())
                with _legible(work.operation):
                    work.take(batch, answer)
            except AwsError as error:
                for entry in batch:
                    work.outcomes[int(entry["Id"])] = error
                return
            batch = [entry for entry in batch if work.again(entry)]
            pause_s = random.uniform(0, min(_PAUSE_S * 2**attempt, _PAUSE_MAX_S))  # noqa: S311 - jitter
            if not batch or loop.time() + pause_s >= work.deadline:
                return
            await asyncio.sleep(pause_s)


@dataclass(frozen=True, slots=True)
class _Work:
    """One operation on any number of entries, whose Ids are their places in ``outcomes``."""

    operation: str
    url: str
    deadline: float
    digests: Sequence[str]
    outcomes: list[Outcome]

    def take(self, batch: Sequence[_Entry], answer: Mapping[str, Any]) -> None:
        """Note what ``answer`` says of each entry of ``batch``."""
        done = {entry["Id"]: entry for entry in answer.get("Successful") or ()}
        failed = {entry["Id"]: entry for entry in answer.get("Failed") or ()}
        for entry in batch:
            identity = entry["Id"]
            outcome: Outcome = None
            if identity in failed:
                outcome = _failure(self.operation, failed[identity])
            elif identity not in done:
                outcome = AwsError("", f"{self.operation}: the answer says nothing of an entry", unknown=True)
            elif self.digests and done[identity].get("MD5OfMessageBody") != self.digests[int(identity)]:
                outcome = AwsError("", f"{self.operation}: a body was damaged on the way", unknown=True)
            self.outcomes[int(identity)] = outcome

    def again(self, entry: _Entry) -> bool:
        """Whether the entry is worth another try."""
        outcome = self.outcomes[int(entry["Id"])]
        return outcome is not None and outcome.passing


def _split(entries: Sequence[_Entry]) -> list[list[_Entry]]:
    """Split into batches that keep to the service's limits of number and size."""
    batches: list[list[_Entry]] = []
    size = 0
    for entry in entries:
        # A character is at most four bytes; ours are short, so that the estimate splits nothing that need not be.
        entry_size = 4 * len(entry.get("MessageBody", ""))
        if not batches or len(batches[-1]) == BATCH_MAX or size + entry_size > _BATCH_MAX_BYTES:
            batches.append([])
            size = 0
        batches[-1].append(entry)
        size += entry_size
    return batches


def _failure(operation: str, failed: Mapping[str, Any]) -> AwsError:
    ours = bool(failed.get("SenderFault"))
    message = f"{operation}: {str(failed.get('Message', ''))[:300]}"
    return AwsError(str(failed.get("Code", "")), message, status=400 if ours else 500, unknown=not ours)


def _delivery(message: Mapping[str, Any]) -> Delivery | None:
    body = message["Body"]
    if message["MD5OfBody"] != _md5(body):
        _log.warning("a message was damaged on the way; it comes again", extra={"id": message["MessageId"]})
        return None
    receives = int(message["Attributes"]["ApproximateReceiveCount"])
    return Delivery(message["MessageId"], message["ReceiptHandle"], body, receives)


@contextmanager
def _legible(operation: str) -> Iterator[None]:
    """Take an answer of another shape than the operation's for none."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise AwsError("", f"{operation} was answered with something else", unknown=True) from error


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
