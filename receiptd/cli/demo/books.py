"""The books of a demo: what was posted, how each ended, and whether it all adds up (invariant 16)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from receiptd.domain.receipt import ReceiptState

Expected = Literal["COMPLETE", "FAILED", "refused", "replayed"]
_ACCEPTED: Final = frozenset({200, 202})
_ENDED: Final = frozenset({ReceiptState.COMPLETE.value, ReceiptState.FAILED.value})


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """What is posted, and how it should end. ``key`` is the idempotency key."""

    title: str
    body: bytes
    content_type: str
    key: str
    expected: Expected = "COMPLETE"


@dataclass(slots=True)
class Outcome:
    """How one posting went. ``answered`` is the POST's status, 0 while there is none."""

    posting: Posting
    answered: int = 0
    answer: dict[str, Any] = field(default_factory=dict)
    replayed: bool = False
    receipt: dict[str, Any] | None = None
    """The receipt's status as last read; None: unknown, or not asked for."""

    @property
    def accepted(self) -> bool:
        """Whether it began a receipt."""
        return self.answered in _ACCEPTED and not self.replayed

    @property
    def refused(self) -> bool:
        """Whether it was answered 4xx: nothing will be registered (invariant 3)."""
        return 400 <= self.answered < 500  # noqa: PLR2004 - the class of statuses

    @property
    def receipt_id(self) -> str:
        """The id that an accepted posting was given."""
        return str(self.answer.get("id", "")) if self.answered in _ACCEPTED else ""

    @property
    def state(self) -> str:
        """The receipt's state as last read, or empty."""
        return str(self.receipt["status"]) if self.receipt else ""

    @property
    def ended(self) -> bool:
        """Whether nothing more is to come of it, but for its webhook."""
        return self.refused or self.replayed or self.state in _ENDED

    @property
    def as_expected(self) -> bool:
        """Whether it ended as it should."""
        if self.replayed or self.refused:
            return self.posting.expected == ("replayed" if self.replayed else "refused")
        return self.posting.expected == self.state

    @property
    def findings(self) -> list[dict[str, Any]]:
        """What was wrong with it."""
        found: list[dict[str, Any]] = (self.receipt or self.answer).get("findings") or []
        return found


def books(outcomes: Sequence[Outcome], verified: Collection[str]) -> dict[str, int]:
    """Count. ``verified`` are the ids of the receipts whose webhook came and verified; replays are counted apart."""
    accepted = [outcome for outcome in outcomes if outcome.accepted]
    states = [outcome.state for outcome in accepted]
    return {
        "posted": sum(not outcome.replayed for outcome in outcomes),
        "accepted": len(accepted),
        "complete": states.count(ReceiptState.COMPLETE.value),
        "failed": states.count(ReceiptState.FAILED.value),
        "rejected": sum(outcome.refused for outcome in outcomes),
        "processing": states.count(ReceiptState.PROCESSING.value),
        "lost": states.count(""),
        "webhooks_verified": len({o.receipt_id for o in accepted if o.ended} & set(verified)),
        "webhooks_unexpected": len(set(verified) - {o.receipt_id for o in accepted}),
        "replayed": sum(outcome.replayed for outcome in outcomes),
        "unexpected": sum(not outcome.as_expected for outcome in outcomes),
    }


def balanced(totals: dict[str, int]) -> bool:
    """Say whether nothing is missing, nothing is left over, and everything ended as it should."""
    return (
        totals["posted"] == totals["accepted"] + totals["rejected"]
        and totals["accepted"] == totals["complete"] + totals["failed"]
        and totals["webhooks_verified"] == totals["complete"] + totals["failed"]
        and not (totals["processing"] or totals["lost"] or totals["unexpected"] or totals["webhooks_unexpected"])
    )
