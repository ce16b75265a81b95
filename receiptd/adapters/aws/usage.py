"""Usage: what is paid for, counted. Requests by service and operation, capacity units by table and operation."""

from __future__ import annotations

from collections import Counter, defaultdict


class Usage:
    """Plain counters, read by metrics and benchmarks."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        """Requests sent, retries included, by (service, operation)."""
        self.failures: Counter[tuple[str, str, str]] = Counter()
        """Requests that failed, by (service, operation, code); the code is empty when no answer came."""
        self.read_units: defaultdict[tuple[str, str], float] = defaultdict(float)
        """Consumed read units (halves occur), by (table, operation)."""
        self.write_units: defaultdict[tuple[str, str], float] = defaultdict(float)
        """Consumed write units, by (table, operation)."""
