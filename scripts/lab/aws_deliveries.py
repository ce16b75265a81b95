"""Deliveries of SQS as they may come: twice, under another handle, before their visibility ends; and out of order."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from lab.aws_faults import Faults, Rates

_MARK = "~again"
_OPERATION = "ReceiveMessage"

Content: TypeAlias = Mapping[str, Any]


def true_handle(handle: str) -> str:
    """Return the handle under which the emulator knows a message."""
    return handle.partition(_MARK)[0]


class Deliveries:
    """Messages that are to be handed out again, or later, by queue."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._waiting: defaultdict[str, list[tuple[float, int, Content]]] = defaultdict(list)
        self._serial = itertools.count(1)

    def due(self, request: Content) -> list[Content]:
        """Take what is to be handed out now in answer to ``request``."""
        waiting, limit = self._waiting[request["QueueUrl"]], int(request.get("MaxNumberOfMessages", 1))
        now = asyncio.get_running_loop().time()
        ready: list[Content] = []
        while waiting and waiting[0][0] <= now and len(ready) < limit:
            ready.append(heapq.heappop(waiting)[2])
        return ready

    def shortened(self, request: Content) -> Content:
        """Return ``request`` with a wait that ends when the next message here is to be handed out."""
        waiting = self._waiting[request["QueueUrl"]]
        wait_s = int(request.get("WaitTimeSeconds", 0))
        if waiting:
            wait_s = min(wait_s, math.ceil(max(waiting[0][0] - asyncio.get_running_loop().time(), 0.0)))
        return {**request, "WaitTimeSeconds": wait_s}

    def pass_on(self, request: Content, messages: Sequence[Content], rates: Rates) -> list[Content]:
        """Return which of the received ``messages`` are handed out now, and with which from before."""
        url, draw = request["QueueUrl"], self._faults.chance
        passed: list[Content] = []
        for message in messages:
            if draw(rates, "hold", _OPERATION):
                self._put(url, message, rates)
                continue
            passed.append(message)
            if draw(rates, "duplicate", _OPERATION):
                handle = f"{message['ReceiptHandle']}{_MARK}{next(self._serial)}"
                self._put(url, {**message, "ReceiptHandle": handle}, rates)
        room = int(request.get("MaxNumberOfMessages", 1)) - len(passed)
        passed += self.due({**request, "MaxNumberOfMessages": room})
        self._faults.rng.shuffle(passed)
        return passed

    def release(self) -> None:
        """Hand out everything at the next occasion."""
        for waiting in self._waiting.values():
            waiting[:] = [(0.0, serial, message) for _, serial, message in waiting]

    def _put(self, url: str, message: Content, rates: Rates) -> None:
        at = asyncio.get_running_loop().time() + self._faults.rng.random() * rates.again_s
        heapq.heappush(self._waiting[url], (at, next(self._serial), message))
