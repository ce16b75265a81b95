"""The Clients port on the embedded issuer: ids are chosen or made from a name, and a client may have two secrets."""

from __future__ import annotations

import re
import secrets
from typing import Final

from receiptd.adapters.embedded.issuer import EmbeddedIssuer
from receiptd.domain.contract import Access
from receiptd.ports import ClientCredentials

_SLUG_MAX_CHARS: Final = 32


class EmbeddedClients:
    """The clients of the embedded issuer."""

    token_url: Final = ""

    def __init__(self, issuer: EmbeddedIssuer) -> None:
        self._issuer = issuer

    async def add(self, client_id: str, name: str, access: Access) -> ClientCredentials:
        """Make a client with a secret; the issuer looks at its contract for what it grants. Raises StorageError."""
        del access
        if not client_id:
            slug = re.sub(r"[^a-z0-9]+", "-", name.lower())[:_SLUG_MAX_CHARS].strip("-") or "client"
            client_id = f"{slug}-{secrets.token_hex(4)}"
        return ClientCredentials(client_id, await self._issuer.create_secret(client_id))

    async def rotate(self, client_id: str, *, drop_old: bool) -> str:
        """Make a new secret and return it. The one before it holds on, unless ``drop_old``. Raises StorageError."""
        if drop_old:
            await self._issuer.revoke_secrets(client_id)
        return await self._issuer.create_secret(client_id)
