"""The checker: holds a history against the invariants, and names every violation with the receipt it concerns.

It trusts nothing that the daemon says of itself: what was accepted is what clients were answered, what was registered
is what registrars hold.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from lab.history import History
from lab.index import Index, Kind, Violation
from lab.rules import RULES


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checker found."""

    accepted: int
    complete: int
    failed: int
    violations: tuple[Violation, ...]

    def count(self, kind: Kind) -> int:
        """Return how many violations of ``kind`` there are."""
        return sum(1 for violation in self.violations if violation.kind is kind)

    @property
    def balanced(self) -> bool:
        """Whether the books balance (invariant 16)."""
        return self.count(Kind.UNBALANCED) == 0

    @property
    def clean(self) -> bool:
        """Whether nothing at all was violated."""
        return not self.violations


def check(history: History) -> Verdict:
    """Return what the invariants say of ``history``."""
    index = Index.of(history)
    violations = tuple([violation for rule in RULES for violation in rule(history, index)])
    finals = (history.finals.get(receipt_id) for receipt_id in index.accepted)
    states = Counter(final.state for final in finals if final is not None)
    return Verdict(len(index.accepted), states["COMPLETE"], states["FAILED"], violations)
