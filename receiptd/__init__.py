"""receiptd: durable registration of receipts with outside services."""

__version__ = "0.1.0"
