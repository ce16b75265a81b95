"""What the world outside the daemon saw in one run: plain records, which the checker holds against the invariants.

Times are seconds since the epoch, all taken on one machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

LOST = 0
"""The status of a call whose answer never came: what became of it is unknown."""


class Fate(StrEnum):
    """What must become of a document."""

    COMPLETE = "COMPLETE"
    """Accepted, and confirmed by every registrar."""
    FAILED = "FAILED"
    """Accepted, and rejected by a registrar."""
    REFUSED = "REFUSED"
    """Answered 4xx and registered nowhere."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document that was made for the run. ``number`` and ``digest`` (SHA-256, hex) are unique to it."""

    digest: str
    number: str
    content_type: str
    fate: Fate
    why: str = ""
    """Why it must be refused; empty when it must not."""


@dataclass(frozen=True, slots=True)
class Post:
    """One POST of a document, as its client saw it."""

    client: str
    key: str
    """The Idempotency-Key; empty when none was sent."""
    digest: str
    started: float
    ended: float
    status: int
    receipt_id: str = ""
    retry_after: str = ""
    detail: str = ""
    """The problem's detail, for the report."""

    @property
    def accepted(self) -> bool:
        """Whether the answer promised durability."""
        return self.status in {200, 202}

    @property
    def refused(self) -> bool:
        """Whether the answer said that the document will not be taken (429 only says: not now)."""
        return 400 <= self.status < 500 and self.status != 429


@dataclass(frozen=True, slots=True)
class Read:
    """One status read."""

    client: str
    receipt_id: str
    started: float
    ended: float
    status: int
    state: str = ""
    registrations: Mapping[str, str] = field(default_factory=dict)
    delivery: str = ""
    """Where its webhook stands; empty when none is owed."""

    @property
    def terminal(self) -> bool:
        """Whether it showed a terminal state."""
        return self.state in {"COMPLETE", "FAILED"}

    @property
    def settled(self) -> bool:
        """Whether it showed nothing left to do for any registrar."""
        return self.terminal and all(s in {"REGISTERED", "REJECTED"} for s in self.registrations.values())

    @property
    def at_rest(self) -> bool:
        """Whether it showed nothing left to do at all."""
        return self.settled and self.delivery != "OWED"


@dataclass(frozen=True, slots=True)
class EffectSeen:
    """What one registrar holds under one idempotency key (see the simulator's records)."""

    registrar: str
    key: str
    effects: int
    requests: int
    verdict: str
    number: str = ""
    receipt_ids: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    callbacks_refused: int = 0
    forged_taken: int = 0
    verdict_taken_at: float = 0.0


@dataclass(frozen=True, slots=True)
class HookSeen:
    """What one client's endpoint saw under one webhook-id."""

    client: str
    webhook_id: str
    first_seen: float
    attempts: int
    taken: int
    judged: bool = True
    signatures_bad: int = 0
    types: tuple[str, ...] = ()
    receipt_ids: tuple[str, ...] = ()
    states: tuple[str, ...] = ()


@dataclass(slots=True)
class History:
    """One run."""

    registrars: Mapping[str, str]
    """By registrar that the receipts ask for: what it is sent, ``original`` or ``canonical``."""
    hooked: frozenset[str]
    """The clients that have a webhook endpoint."""
    documents: dict[str, Document] = field(default_factory=dict)
    """By digest."""
    posts: list[Post] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    finals: dict[str, Read] = field(default_factory=dict)
    """By receipt id: the last read of each accepted receipt, once faults had healed and the bound had passed."""
    contents: dict[str, str] = field(default_factory=dict)
    """By receipt id, for a sample: the digest of the document as read back (empty: it could not be read)."""
    listed: dict[str, dict[str, str]] = field(default_factory=dict)
    """By client, by receipt id: the state of every receipt that the service lists."""
    effects: list[EffectSeen] = field(default_factory=list)
    hooks: list[HookSeen] = field(default_factory=list)
