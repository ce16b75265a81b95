"""Live receipts: what the writer knows of receipts that are not settled, within bounds of number and bytes."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Final

from receiptd.domain.lifecycle import Effect, Event
from receiptd.domain.receipt import Receipt

_EVICT_LOOK: Final = 16
"""How many of the oldest receipts are looked at when memory is short: a bounded step, repeated with each release."""


@dataclass(slots=True)
class Pending:
    """What one commit holds of one receipt."""

    events: list[Event] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    waiters: list[asyncio.Future[Receipt]] = field(default_factory=list)


@dataclass(slots=True)
class Live:
    """A receipt that the writer knows: as committed, as it will be, and what is on the way between the two."""

    base: Receipt | None
    head: Receipt
    pending: Pending | None = None
    flying: Pending | None = None
    weight: int = 0
    """Bytes that it holds while it is remembered; 0 when it is not."""

    @property
    def idle(self) -> bool:
        """Whether nothing is on the way between ``base`` and ``head``."""
        return self.pending is None and self.flying is None


class LiveReceipts:
    """Remembers receipts by their ids, the longest known first; beyond its bounds it forgets idle ones."""

    def __init__(self, receipts_max: int, bytes_max: int) -> None:
        """``bytes_max`` counts documents and canonical receipts."""
        self._receipts_max = receipts_max
        self._bytes_max = bytes_max
        self._receipts: dict[str, Live] = {}
        self._bytes = 0

    def get(self, receipt_id: str) -> Live | None:
        """Return what is known of a receipt."""
        return self._receipts.get(receipt_id)

    def remember(self, live: Live) -> None:
        """Remember a receipt, if it is not remembered yet."""
        if not live.weight:
            submission = live.head.submission
            live.weight = 1 + len(submission.document) + len(submission.canonical)
            self._receipts[submission.receipt_id] = live
            self._bytes += live.weight

    def forget(self, receipt_id: str) -> None:
        """Forget a receipt."""
        live = self._receipts.pop(receipt_id, None)
        if live is not None:
            self._bytes -= live.weight
            live.weight = 0

    def release(self, live: Live) -> None:
        """Forget a receipt that is settled, and idle ones while memory is short."""
        if live.head.settled and live.idle:
            self.forget(live.head.receipt_id)
        elif len(self._receipts) > self._receipts_max or self._bytes > self._bytes_max:
            for one in list(itertools.islice(self._receipts.values(), _EVICT_LOOK)):
                if one.idle:
                    self.forget(one.head.receipt_id)
