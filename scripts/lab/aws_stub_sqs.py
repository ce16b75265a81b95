"""SQS, as little of it as the daemon calls, in memory: batches, delays, long polls, visibility, receive counts.

It keeps state as SQS does, in the order of sending. What it leaves out is told in aws_stubs.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Reply: TypeAlias = Callable[[int, dict[str, Any]], None]
"""Takes the answer's HTTP status and content, now or later."""

BATCH_MAX: Final = 10
DELAY_MAX_S: Final = 900
_VISIBILITY_S: Final = 60
_HANDLE_PADDING: Final = "h" * 330
"""Handles are some 400 characters long, and every delete carries them."""


class RefusalError(Exception):
    """The whole call is refused, with the service's code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(slots=True, eq=False)
class _Message:
    identity: str
    body: str
    digest: str
    receives: int = 0
    turn: int = 0
    """Grows whenever the message's time is set anew; what waits for an older turn is void."""


@dataclass(slots=True, eq=False)
class _Waiter:
    reply: Reply
    limit: int
    visibility_s: int
    timer: asyncio.TimerHandle | None = None


class _Queue:
    """One queue."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ids = itertools.count(1)
        self._messages: dict[str, _Message] = {}
        self._visible: deque[_Message] = deque()
        self._later: list[tuple[float, int, int, _Message]] = []
        self._waiters: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def counts(self) -> tuple[int, int, int]:
        """Return how many messages are visible, in flight and delayed."""
        visible = len(self._visible)
        delayed = sum(one.receives == 0 and one.turn == turn for _, _, turn, one in self._later)
        return visible, len(self._messages) - visible - delayed, delayed

    def send(self, body: str, delay_s: int) -> _Message:
        number = next(self._ids)
        message = _Message(f"{number:08x}-0000-4000-8000-000000000000", body, _md5(body))
        self._messages[message.identity] = message
        self._show(message, delay_s)
        return message

    def receive(self, reply: Reply, limit: int, wait_s: float, visibility_s: int | None) -> None:
        waiter = _Waiter(reply, limit, _VISIBILITY_S if visibility_s is None else visibility_s)
        if self._visible or not wait_s:
            self._serve(waiter)
            return
        waiter.timer = self._loop.call_later(wait_s, self._give_up, waiter)
        self._waiters.append(waiter)

    def change(self, handle: str, visible_in_s: int) -> bool:
        message = self._messages.get(handle.partition(".")[0])
        if message is None:
            return False
        self._show(message, visible_in_s)
        return True

    def delete(self, handle: str) -> None:
        message = self._messages.pop(handle.partition(".")[0], None)
        if message is not None:
            message.turn = -1
            if message in self._visible:
                self._visible.remove(message)

    def _show(self, message: _Message, after_s: float) -> None:
        message.turn += 1
        if after_s <= 0:
            self._visible.append(message)
            self._wake()
            return
        at = self._loop.time() + after_s
        heapq.heappush(self._later, (at, next(self._ids), message.turn, message))
        if self._timer is None or at < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(at, self._due)

    def _due(self) -> None:
        now = self._loop.time()
        later = self._later
        while later and later[0][0] <= now:
            _, _, turn, message = heapq.heappop(later)
            if message.turn == turn:
                self._visible.append(message)
        self._timer = self._loop.call_at(later[0][0], self._due) if later else None
        self._wake()

    def _wake(self) -> None:
        while self._visible and self._waiters:
            waiter = self._waiters.popleft()
            assert waiter.timer is not None
            waiter.timer.cancel()
            self._serve(waiter)

    def _give_up(self, waiter: _Waiter) -> None:
        self._waiters.remove(waiter)
        waiter.reply(200, {})

    def _serve(self, waiter: _Waiter) -> None:
        messages = []
        for _ in range(min(waiter.limit, len(self._visible))):
            message = self._visible.popleft()
            message.receives += 1
            self._show(message, waiter.visibility_s)
            messages.append(
                {
                    "MessageId": message.identity,
                    "ReceiptHandle": f"{message.identity}.{message.receives}.{_HANDLE_PADDING}",
                    "MD5OfBody": message.digest,
                    "Body": message.body,
                    "Attributes": {"ApproximateReceiveCount": str(message.receives)},
                }
            )
        waiter.reply(200, {"Messages": messages} if messages else {})


class StubSqs:
    """The service. A queue is there once its name is asked for."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._queues: dict[str, _Queue] = {}

    def call(self, operation: str, request: Mapping[str, Any], reply: Reply) -> None:
        """Do ``operation`` and reply. Raises RefusalError."""
        if operation == "GetQueueUrl":
            name = request["QueueName"]
            reply(200, {"QueueUrl": self._open(name)})
            return
        queue = self._queues.get(request["QueueUrl"])
        if queue is None:
            raise RefusalError("com.amazonaws.sqs#QueueDoesNotExist", "The specified queue does not exist.")
        if operation == "ReceiveMessage":
            limit, wait_s = request.get("MaxNumberOfMessages", 1), request.get("WaitTimeSeconds", 0)
            queue.receive(reply, limit, wait_s, request.get("VisibilityTimeout"))
        elif operation == "GetQueueAttributes":
            names = ("", "NotVisible", "Delayed")
            counts = zip(names, queue.counts(), strict=True)
            reply(200, {"Attributes": {f"ApproximateNumberOfMessages{name}": str(number) for name, number in counts}})
        elif operation in _BATCHES:
            entries = request["Entries"]
            if not 1 <= len(entries) <= BATCH_MAX:
                raise RefusalError("com.amazonaws.sqs#TooManyEntriesInBatchRequest", "A batch has one to ten entries.")
            reply(200, _BATCHES[operation](queue, entries))
        else:
            raise RefusalError("com.amazonaws.sqs#UnsupportedOperation", f"This stub does not know {operation}.")

    def _open(self, name: str) -> str:
        url = f"{self._endpoint}/000000000000/{name}"
        if url not in self._queues:
            self._queues[url] = _Queue()
        return url


def _send(queue: _Queue, entries: list[dict[str, Any]]) -> dict[str, Any]:
    done, failed = [], []
    for entry in entries:
        delay_s = entry.get("DelaySeconds", 0)
        if not 0 <= delay_s <= DELAY_MAX_S:
            failed.append({"Id": entry["Id"], "Code": "InvalidParameterValue", "SenderFault": True})
            continue
        message = queue.send(entry["MessageBody"], delay_s)
        done.append({"Id": entry["Id"], "MessageId": message.identity, "MD5OfMessageBody": message.digest})
    return {"Successful": done, "Failed": failed} if failed else {"Successful": done}


def _delete(queue: _Queue, entries: list[dict[str, Any]]) -> dict[str, Any]:
    for entry in entries:
        queue.delete(entry["ReceiptHandle"])
    return {"Successful": [{"Id": entry["Id"]} for entry in entries]}


def _change(queue: _Queue, entries: list[dict[str, Any]]) -> dict[str, Any]:
    done, failed = [], []
    for entry in entries:
        if queue.change(entry["ReceiptHandle"], entry["VisibilityTimeout"]):
            done.append({"Id": entry["Id"]})
        else:
            failed.append({"Id": entry["Id"], "Code": "MessageNotInflight", "SenderFault": True})
    return {"Successful": done, "Failed": failed} if failed else {"Successful": done}


_BATCHES: Final[dict[str, Callable[[_Queue, list[dict[str, Any]]], dict[str, Any]]]] = {
    "SendMessageBatch": _send,
    "DeleteMessageBatch": _delete,
    "ChangeMessageVisibilityBatch": _change,
}


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
