"""The rate limit of each client, decided before any work is done (invariant 13).

A token bucket, kept as the one number that says when it will be full again (the form known as GCRA): a new bucket and a
full one are the same, so those that are full, or nearly so, can be forgotten when the table is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from receiptd.http.answers import retry_after
from receiptd.http.problems import ProblemError

_ROUNDING_S = 1e-9
"""Sums of floats are not exact; a billionth of a second is nobody's loss."""
_NEVER_S = 3600.0
"""The interval between calls under a rate of zero."""


class RateLimiter:
    """The buckets of one policy, by key.

    ``monotonic`` gives seconds on a clock that never steps back: with wall-clock time a step would lock clients out.
    """

    def __init__(
        self, policy: str, *, buckets_max: int = 65_536, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._policy = policy
        self._buckets_max = buckets_max
        self._monotonic = monotonic
        self._full_at: dict[str, float] = {}
        self._fields = f'RateLimit-Policy: "{policy}";q=%d;w=%d\r\nRateLimit: "{policy}";r=%d'.encode()

    def __len__(self) -> int:
        """Return how many buckets are kept."""
        return len(self._full_at)

    def take(self, key: str, rate_per_s: float, burst: float) -> bytes:
        """Take a token from the bucket of ``key``, which holds ``burst`` and gains ``rate_per_s`` a second.

        Returns:
            The RateLimit-Policy and RateLimit lines (draft-ietf-httpapi-ratelimit-headers) for the answer.

        Raises:
            ProblemError: the bucket is empty (429 with Retry-After).
        """
        now = self._monotonic()
        interval_s = 1 / rate_per_s if rate_per_s > 0 else _NEVER_S
        burst = max(burst, 1)
        capacity_s = burst * interval_s
        full_at = max(now, self._full_at.get(key, now)) + interval_s
        left_s = now + capacity_s - full_at
        window_s = math.ceil(capacity_s)
        if left_s < -_ROUNDING_S:
            wait_s = max(1, math.ceil(-left_s))
            fields = self._fields % (burst, window_s, 0) + b";t=%d\r\n" % wait_s
            raise ProblemError(
                "rate-limited",
                f"This client may make {rate_per_s:g} {self._policy} calls a second, and {burst:g} at once. "
                f"Try again in {wait_s} s.",
                headers=retry_after(wait_s) + fields,
            )
        if key not in self._full_at and len(self._full_at) >= self._buckets_max:
            self._forget()
        self._full_at[key] = full_at
        return self._fields % (burst, window_s, left_s * rate_per_s + 1e-6) + b"\r\n"

    def _forget(self) -> None:
        """Forget an eighth of the buckets, the fullest ones: what is forgotten is full again."""
        fullest = sorted(self._full_at, key=self._full_at.__getitem__)
        for key in fullest[: max(1, len(fullest) // 8)]:
            del self._full_at[key]
