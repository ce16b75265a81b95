"""The system's clock, behind the Clock port."""

from __future__ import annotations

import time


class SystemClock:
    """Wall-clock time."""

    def now(self) -> float:
        """Return seconds since the epoch (UTC)."""
        return time.time()
