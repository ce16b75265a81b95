"""The receipts that were committed or read last, kept in memory within bounds of number and bytes."""

from __future__ import annotations

from typing import Final

from receiptd.domain.receipt import Receipt

_NUMBER_MAX: Final = 4_096
_BYTES_MAX: Final = 32 * 1024 * 1024


class RecentReceipts:
    """A cache from receipt id to receipt; what was put in longest ago is forgotten first."""

    def __init__(self, number_max: int = _NUMBER_MAX, bytes_max: int = _BYTES_MAX) -> None:
        self._number_max = number_max
        self._bytes_max = bytes_max
        self._receipts: dict[str, Receipt] = {}
        self._bytes = 0

    def get(self, receipt_id: str) -> Receipt | None:
        """Return the receipt if it is here."""
        return self._receipts.get(receipt_id)

    def keep(self, receipt: Receipt) -> None:
        """Put a receipt in, in place of its former version."""
        receipt_id = receipt.receipt_id
        former = self._receipts.pop(receipt_id, None)  # so that it goes to the end
        self._receipts[receipt_id] = receipt
        if former is None:  # otherwise it weighs what it did: what was submitted never changes
            self._bytes += _weight(receipt)
        while self._bytes > self._bytes_max or len(self._receipts) > self._number_max:
            self.drop(next(iter(self._receipts)))

    def drop(self, receipt_id: str) -> None:
        """Forget a receipt."""
        receipt = self._receipts.pop(receipt_id, None)
        if receipt is not None:
            self._bytes -= _weight(receipt)


def _weight(receipt: Receipt) -> int:
    return len(receipt.submission.document) + len(receipt.submission.canonical)
