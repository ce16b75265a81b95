"""The receipts that this process has seen settled: whoever brings them up again need not read them.

A settled receipt changes by a replay of its webhook only, in any process, and the change that reopens it owes a message
of its own. So a message owed by version v is of no more use once the receipt was settled at version v or later: what
came after that has its own message. That holds whatever other processes do, and needs no read.
"""

from __future__ import annotations

from typing import Final

from receiptd.domain.receipt import Receipt

_GENERATION_MAX: Final = 65_536


class SettledVersions:
    """A bounded memory from receipt id to the version at which it was settled; the oldest are forgotten first."""

    def __init__(self, generation_max: int = _GENERATION_MAX) -> None:
        """Make it. It holds between one and two generations of ``generation_max`` receipts (0.2 kB each)."""
        self._generation_max = generation_max
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}

    def note(self, receipt: Receipt) -> None:
        """Remember a receipt that is durable and settled."""
        if len(self._young) >= self._generation_max:
            self._old, self._young = self._young, {}
        self._young[receipt.submission.receipt_id] = receipt.version

    def covers(self, receipt_id: str, version: int) -> bool:
        """Say whether a message owed by ``version`` (0: by an unknown one) of a receipt is done with."""
        settled = self._young.get(receipt_id) or self._old.get(receipt_id, 0)
        return 0 < version <= settled
