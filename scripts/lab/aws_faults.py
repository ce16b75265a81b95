"""How AWS misbehaves before the daemon: rates by operation, drawn from a seeded source, and counted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

ANY = "*"
"""The operation whose rates hold for every call to SQS and DynamoDB without a rate of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Probabilities for the calls of one operation. At most one of ``CALL_FAULTS`` is drawn for a call."""

    throttle: float = 0.0
    """Refused as too many, without effect."""
    error: float = 0.0
    """500 or 503, without effect."""
    error_after_effect: float = 0.0
    """500, but done."""
    hang: float = 0.0
    """Neither done nor answered; the connection is closed after ``hang_s``."""
    hang_after_effect: float = 0.0
    """Done, never answered."""
    reset_after_effect: float = 0.0
    """Done; the connection is closed without an answer."""
    damage: float = 0.0
    """Done; the answer does not agree with its checksum, or is cut off."""

    slow: float = 0.0
    """Answered after up to ``slow_s`` seconds more."""

    entry_throttle: float = 0.0
    """One statement of a batch is refused, one key left unprocessed; without effect."""
    entry_conflict: float = 0.0
    """One statement of a batch met a transaction; without effect."""
    entry_error: float = 0.0
    """One statement or message of a batch failed by the service's own fault; without effect."""
    entry_error_after_effect: float = 0.0
    """The same, but done."""
    entry_stale: float = 0.0
    """One handle of a batch is said to be stale; without effect."""

    duplicate: float = 0.0
    """A received message is handed out once more, under another handle, within ``again_s``."""
    hold: float = 0.0
    """A received message is held back for up to ``again_s``, so that others overtake it."""

    hang_s: float = 30.0
    slow_s: float = 1.0
    again_s: float = 2.0


CALL_FAULTS = (
    "throttle",
    "error",
    "error_after_effect",
    "hang",
    "hang_after_effect",
    "reset_after_effect",
    "damage",
)
_DURATIONS = frozenset({"hang_s", "slow_s", "again_s"})
_NAMES = frozenset(field.name for field in fields(Rates))


class Faults:
    """The rates in force, the draws, and the counts.

    Args:
        seed: of the draws.
    """

    def __init__(self, seed: int) -> None:
        self._rates: dict[str, dict[str, float]] = {}
        self.rng = random.Random(seed)
        self.counts: Counter[tuple[str, str]] = Counter()
        """Faults done, by (fault, operation)."""

    def turn(self, patch: Mapping[str, Mapping[str, float]], *, reset: bool = False) -> None:
        """Lay ``patch`` (rates by operation) over the rates in force, or over none with ``reset``.

        Raises:
            ValueError: an unknown rate, or one that is no probability.
        """
        rates = {} if reset else {operation: dict(own) for operation, own in self._rates.items()}
        for operation, changes in patch.items():
            unknown = set(changes) - _NAMES
            wrong = [name for name, value in changes.items() if value < 0 or (name not in _DURATIONS and value > 1)]
            if unknown or wrong:
                raise ValueError(f"no such rate, or none between 0 and 1: {', '.join(sorted(unknown | set(wrong)))}")
            rates.setdefault(operation, {}).update(changes)
        self._rates = rates

    def of(self, operation: str, *, hot: bool) -> Rates:
        """Return the rates of ``operation``; those of ``ANY`` hold when it is one of the daemon's (``hot``)."""
        shared: Mapping[str, Any] = self._rates.get(ANY, {}) if hot else {}
        return replace(Rates(), **{**shared, **self._rates.get(operation, {})})

    def chance(self, rates: Rates, fault: str, operation: str) -> bool:
        """Draw ``fault``, and count it when it comes."""
        return self.draw(rates, (fault,), operation) == fault

    def draw(self, rates: Rates, faults: tuple[str, ...], operation: str) -> str:
        """Draw at most one of ``faults``; it is counted. Empty: none came."""
        drawn = self.rng.random()
        for fault in faults:
            drawn -= getattr(rates, fault)
            if drawn < 0:
                self.counts[fault, operation] += 1
                return fault
        return ""
