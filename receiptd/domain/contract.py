"""A contract: what one client may do, and where its webhooks go."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

PARTITIONS_MAX = 64
_NOTICE_S = 600.0
"""Contracts are cached for at most half a minute; clocks are closer than the rest."""


class Access(StrEnum):
    """What the contract grants; the token's scopes can only narrow it."""

    READ = "read"
    READ_WRITE = "read-write"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The terms for one client.

    ``webhook_secrets`` are base64 without the ``whsec_`` prefix, newest first; every one of them signs (rotation,
    Standard Webhooks 1.0). ``webhook_origins`` are origins (``https://host:port``) that a request's Webhook-Url may
    name beside the one of ``webhook_url``.
    """

    client_id: str
    name: str = ""
    access: Access = Access.READ_WRITE
    active: bool = True
    rate_per_s: float = 200.0
    burst: int = 400
    webhook_url: str = ""
    webhook_origins: tuple[str, ...] = ()
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    receipt_types: tuple[str, ...] = ()
    """The types that the client may post; empty for all."""

    partitions: tuple[tuple[str, int], ...] = ()
    """Over how many partitions a partitioned ledger spreads the client's receipts, as (UTC day as YYYYMMDD, number from
    that day on), by day. Where a receipt is follows from the day in its id, so a new number is for days to come."""

    def partitions_on(self, day: str) -> int:
        """Return the number of partitions for the receipts of ``day`` (YYYYMMDD)."""
        number = 1
        for since, then in self.partitions:
            if since <= day:
                number = then
        return number

    @property
    def partitions_max(self) -> int:
        """In how many partitions there may be receipts."""
        return max((number for _, number in self.partitions), default=1)

    def with_partitions(self, number: int, now: float) -> Contract:
        """Return the contract with ``number`` partitions from the next UTC day that is not about to begin.

        Every process must know of it before the day's first receipt.
        """
        day = f"{datetime.fromtimestamp(now + _NOTICE_S, UTC) + timedelta(days=1):%Y%m%d}"
        kept = tuple((since, then) for since, then in self.partitions if since < day)
        return replace(self, partitions=(*kept, (day, number)))

    @property
    def may_write(self) -> bool:
        """Whether receipts may be posted under this contract."""
        return self.active and self.access is Access.READ_WRITE
