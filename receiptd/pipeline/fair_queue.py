"""A queue in which owners take turns, so that a loud client's backlog delays nobody but itself (invariant 12)."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items of many owners for a fixed number of workers.

    Owners that have items and fewer than ``share`` of them in hand take turns; each owner's items keep their order.
    Whoever puts is trusted to bound the whole.
    """

    def __init__(self, share: int) -> None:
        self._share = share
        self._items: dict[str, deque[T]] = {}
        self._in_hand: dict[str, int] = {}
        self._turns: deque[str] = deque()
        """The owners that have items and room, each once."""
        self._idle: deque[asyncio.Future[None]] = deque()

    def put(self, owner: str, item: T) -> None:
        """Add an item."""
        items = self._items.get(owner)
        if items is not None:
            items.append(item)
            return
        self._items[owner] = deque((item,))
        if self._in_hand.get(owner, 0) < self._share:
            self._give_turn(owner)

    async def get(self) -> T:
        """Wait for the next item and take it in hand; ``done`` gives its owner the room back."""
        while not self._turns:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake()  # pass on the wake-up that this task can no longer use
                raise
        owner = self._turns.popleft()
        items = self._items[owner]
        item = items.popleft()
        in_hand = self._in_hand[owner] = self._in_hand.get(owner, 0) + 1
        if not items:
            del self._items[owner]
        elif in_hand < self._share:
            self._give_turn(owner)
        return item

    def done(self, owner: str) -> None:
        """Say that an item of ``owner`` is no longer in hand."""
        in_hand = self._in_hand.pop(owner)
        if in_hand > 1:
            self._in_hand[owner] = in_hand - 1
        if in_hand == self._share and owner in self._items:
            self._give_turn(owner)

    def _give_turn(self, owner: str) -> None:
        self._turns.append(owner)
        self._wake()

    def _wake(self) -> None:
        while self._idle:
            waiter = self._idle.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
