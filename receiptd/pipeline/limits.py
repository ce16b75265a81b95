"""The circuit breaker and the token bucket of a lane: pure; they are given the time of a monotonic clock."""

from __future__ import annotations

from enum import StrEnum

from receiptd.settings import BreakerSettings


class BreakerState(StrEnum):
    """CLOSED lets calls through, OPEN none, HALF_OPEN one probe at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class CircuitBreaker:
    """Opens after failures in a row; probes by itself after a pause that doubles while the probes fail.

    Times are seconds of a clock that never goes back. A call let through carries the number of its era, and results of
    an era that is over do not count: sixty calls that were on their way when it opened are not sixty probes.
    """

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._failures = 0
        self._successes = 0
        self._pause_s = settings.open_s
        self._probing = False
        self._era = 1
        self.state = BreakerState.CLOSED
        self.retry_at = 0.0
        """When an open breaker lets its next probe through."""

    def would_allow(self, now: float) -> bool:
        """Say whether ``allow`` would let a call through at ``now``, without taking the probe's place."""
        if self.state is BreakerState.CLOSED:
            return True
        if self.state is BreakerState.OPEN:
            return now >= self.retry_at
        return not self._probing

    def allow(self, now: float) -> int:
        """Let a call through and return its era, or 0. Its end must be told by one of the three calls below."""
        if self.state is not BreakerState.CLOSED:
            if not self.would_allow(now):
                return 0
            self.state = BreakerState.HALF_OPEN
            self._probing = True
        return self._era

    def succeeded(self, era: int) -> None:
        """Record that the peer answered, whatever its verdict."""
        if era != self._era:
            return
        self._failures = 0
        if self.state is BreakerState.CLOSED:
            return
        self._probing = False
        self._successes += 1
        if self._successes >= self._settings.successes:
            self.state = BreakerState.CLOSED
            self._successes = 0
            self._pause_s = self._settings.open_s

    def failed(self, era: int, now: float) -> None:
        """Record that the call failed for a reason that lies with the peer."""
        if era != self._era:
            return
        self._failures += 1
        if self.state is BreakerState.CLOSED and self._failures < self._settings.failures:
            return
        if self.state is BreakerState.HALF_OPEN:
            self._pause_s = min(self._pause_s * 2, self._settings.open_max_s)
        self._probing = False
        self._successes = 0
        self._era += 1
        self.state = BreakerState.OPEN
        self.retry_at = now + self._pause_s

    def given_up(self, era: int) -> None:
        """Record that the call was not made to its end for a reason of our own."""
        if era == self._era:
            self._probing = False


class TokenBucket:
    """A rate limit with a burst of one second's worth. ``rate_per_s`` 0 means no limit."""

    def __init__(self, rate_per_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = max(1.0, rate_per_s)
        self._tokens = self._burst
        self._at = 0.0

    def reserve(self, now: float) -> float:
        """Take a token, ahead of time if need be; return seconds to wait before using it."""
        if not self._rate_per_s:
            return 0.0
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate_per_s)
        self._at = now
        self._tokens -= 1.0
        return max(0.0, -self._tokens / self._rate_per_s)
