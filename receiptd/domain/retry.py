"""When to try again: capped exponential backoff with jitter, and fixed schedules."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Capped exponential backoff with full jitter over the upper half, so that retries spread and never hammer.

    ``max_attempts`` counts calls in all; the delay before call n+1 is between half and the whole of
    ``min(cap_s, base_s * 2 ** (n - 1))``.
    """

    base_s: float = 0.5
    cap_s: float = 300.0
    max_attempts: int = 30

    def delay_s(self, attempts: int, jitter: float | None = None) -> float | None:
        """Return seconds to wait after ``attempts`` failed calls (1 or more), or None when they are used up.

        ``jitter`` in [0, 1) fixes the random part, for tests.
        """
        if attempts >= self.max_attempts:
            return None
        ceiling = min(self.cap_s, self.base_s * 2.0 ** min(attempts - 1, 62))
        return ceiling * (0.5 + 0.5 * (random.random() if jitter is None else jitter))  # noqa: S311 - not a secret


@dataclass(frozen=True, slots=True)
class Schedule:
    """A fixed list of delays in seconds, each spread by up to a tenth."""

    delays_s: tuple[float, ...]

    def delay_s(self, attempts: int, jitter: float | None = None) -> float | None:
        """Return seconds to wait after ``attempts`` failed calls (1 or more), or None when they are used up."""
        if attempts > len(self.delays_s):
            return None
        return self.delays_s[attempts - 1] * (1.0 + 0.1 * (random.random() if jitter is None else jitter))  # noqa: S311
