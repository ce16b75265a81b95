"""A contract: what one client may do, and where its webhooks go."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


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

    @property
    def may_write(self) -> bool:
        """Whether receipts may be posted under this contract."""
        return self.active and self.access is Access.READ_WRITE
