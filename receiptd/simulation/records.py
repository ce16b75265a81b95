"""What the stand-ins saw: one record per registration and one per webhook, the oldest forgotten beyond a bound."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

Verdict = Literal["registered", "rejected"]
_IDS_MAX = 8


@dataclass(slots=True)
class Effect:
    """What one registrar holds under one idempotency key. Times are seconds since the epoch."""

    serial: int
    registrar: str
    key: str
    reference: str
    number: str
    """The document's own number (``number`` of a JSON document), or empty."""
    verdict: Verdict
    first_seen: float
    verdict_at: float
    last_seen: float = 0.0
    effects: int = 0
    """How often the receipt was registered: 1 from a registrar that deduplicates."""
    requests: int = 0
    receipt_ids: list[str] = field(default_factory=list)
    """The distinct Receipt-Id headers."""
    digests: list[str] = field(default_factory=list)
    """The distinct SHA-256 of the bodies."""
    callbacks_taken: int = 0
    callbacks_refused: int = 0
    """Truly signed callbacks that were answered 400, 401, 404 or 410."""
    forged_taken: int = 0
    verdict_taken_at: float = 0.0
    """When the first 2xx for the verdict (or the answer that carried it) came; 0: not yet."""
    contradicted: bool = False

    def saw(self, receipt_id: str, body_digest: str, now: float) -> None:
        """Count one more request."""
        self.requests += 1
        self.last_seen = now
        _note(self.receipt_ids, receipt_id)
        _note(self.digests, body_digest)

    def as_json(self) -> dict[str, Any]:
        """Return the record for ``GET /_effects``."""
        return {name: getattr(self, name) for name in Effect.__slots__}


@dataclass(slots=True)
class Hook:
    """What one client's endpoint saw under one webhook-id. Times are seconds since the epoch."""

    serial: int
    client: str
    webhook_id: str
    first_seen: float
    last_seen: float = 0.0
    attempts: int = 0
    taken: int = 0
    """Attempts that were answered 2xx."""
    taken_at: float = 0.0
    last_status: int = 0
    signatures_bad: int = 0
    """Attempts whose signature or timestamp did not verify."""
    judged: bool = False
    """Whether a secret was known to verify with."""
    types: list[str] = field(default_factory=list)
    """The distinct event types that came under this id."""
    receipt_ids: list[str] = field(default_factory=list)
    states: list[str] = field(default_factory=list)

    def saw(self, event: dict[str, Any], now: float) -> None:
        """Count one more attempt."""
        self.attempts += 1
        self.last_seen = now
        data = event.get("data")
        data = data if isinstance(data, dict) else {}
        _note(self.types, str(event.get("type", ""))[:100])
        _note(self.receipt_ids, str(data.get("receipt_id", ""))[:100])
        _note(self.states, str(data.get("state", ""))[:100])

    def as_json(self) -> dict[str, Any]:
        """Return the record for ``GET /_hooks``."""
        return {name: getattr(self, name) for name in Hook.__slots__}


class _Serial(Protocol):
    serial: int


R = TypeVar("R", bound=_Serial)


class Book(Generic[R]):
    """Records by key, numbered from 1 in the order of their first sight; at most ``keep`` of them."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._records: OrderedDict[tuple[str, str], R] = OrderedDict()
        self.serial = 0
        """The number of the newest record."""
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._records)

    def find(self, owner: str, key: str) -> R | None:
        """Return the record of ``key``, or None."""
        return self._records.get((owner, key))

    def add(self, owner: str, key: str, record: R) -> R:
        """Keep a record numbered ``serial + 1``; the oldest is forgotten when there are too many."""
        self.serial = record.serial
        self._records[owner, key] = record
        if len(self._records) > self._keep:
            self._records.popitem(last=False)
            self.forgotten += 1
        return record

    def after(self, serial: int, limit: int) -> Iterator[R]:
        """Yield up to ``limit`` records numbered above ``serial``, in order."""
        skip = max(0, serial - self.forgotten)
        for place, record in enumerate(self._records.values()):
            if place < skip:
                continue
            if limit <= 0:
                return
            limit -= 1
            yield record


def _note(seen: list[str], value: str) -> None:
    if value not in seen and len(seen) < _IDS_MAX:
        seen.append(value)
