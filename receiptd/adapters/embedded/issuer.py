"""The embedded identity: an OAuth 2.0 issuer (client credentials grant, RFC 6749 section 4.4) and its verifier.

The key pairs are made at first start and kept in the store, in clear: whoever can read that file (its owner only) may
also mint tokens. The newest key signs; older ones verify until the last token that they signed has expired.

Client secrets are 256 random bits, made here. They are kept as a plain SHA-256: there is nothing to guess that a slow
hash would have to protect, and a slow one would let anybody keep the daemon busy at its token endpoint.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import sqlite3
from typing import Any, Final

from joserfc import jwt
from joserfc.jwk import RSAKey

from receiptd.adapters.embedded.contracts import EmbeddedContracts
from receiptd.adapters.embedded.database import Database
from receiptd.adapters.tokens import ALGORITHM, TokenVerifier
from receiptd.domain.contract import Contract
from receiptd.domain.errors import GrantError
from receiptd.ports import Clock, Principal
from receiptd.settings import AuthSettings

AUDIENCE: Final = "receiptd"
READ_SCOPE: Final = "receipts/read"
WRITE_SCOPE: Final = "receipts/write"

_KEY_BITS: Final = 2048
_SECRETS_PER_CLIENT: Final = 2
_UNKNOWN_KEY_RELOAD_S: Final = 5.0
_SIGNING_KEY_RELOAD_S: Final = 60.0


class EmbeddedIssuer:
    """The Identity port, and the token endpoint's business."""

    def __init__(self, database: Database, contracts: EmbeddedContracts, clock: Clock, settings: AuthSettings) -> None:
        self._database = database
        self._contracts = contracts
        self._clock = clock
        self._settings = settings
        self._keys: dict[str, RSAKey] = {}
        """By key id, the newest first."""
        self._loaded_at = 0.0
        self._verifier = TokenVerifier(
            clock, self._find_key, issuer=settings.issuer, audience=AUDIENCE, types=frozenset({"at+jwt"})
        )

    async def start(self) -> None:
        """Read the signing keys, and make the first one where there is none. Raises StorageError."""
        self._load_keys()
        if not self._keys:
            await self.rotate_key()

    async def verify(self, token: str) -> Principal:
        """Return whom ``token`` speaks for. Raises TokenError."""
        return await self._verifier.verify(token)

    async def issue(self, client_id: str, client_secret: str, scope: str = "") -> dict[str, Any]:
        """Return a token response (RFC 6749, section 5.1) for a client that shows its secret.

        Args:
            client_id: the client.
            client_secret: one of its secrets.
            scope: the scopes it asks for, separated by spaces; empty for all that its contract grants.

        Raises:
            GrantError: ``invalid_client`` (unknown, wrong secret, or without an active contract) or ``invalid_scope``.
            StorageError: the store could not be read.
        """
        shown = _hash(client_secret)
        rows = self._database.fetch("SELECT secret_hash FROM client_secrets WHERE client_id = ?", (client_id,))
        if not any([hmac.compare_digest(shown, stored) for (stored,) in rows]):  # noqa: C419 - compares with all
            raise GrantError("the client is unknown or its secret is wrong", error="invalid_client")
        return await self.mint(client_id, scope)

    async def mint(self, client_id: str, scope: str = "") -> dict[str, Any]:
        """Return a token response without asking for a secret: for an operator who has the store's file anyway.

        Raises:
            GrantError: as for ``issue``.
            StorageError: the store could not be read.
        """
        contract = await self._contracts.get(client_id)
        if contract is None or not contract.active:
            raise GrantError("the client has no active contract", error="invalid_client")
        granted = " ".join(_grant(contract, scope))
        kid, key = self._signing_key()
        now, lifetime_s = int(self._clock.now()), self._settings.token_lifetime_s
        claims = {
            "iss": self._settings.issuer,
            "sub": client_id,
            "aud": AUDIENCE,
            "client_id": client_id,
            "scope": granted,
            "iat": now,
            "nbf": now,
            "exp": now + lifetime_s,
            "jti": secrets.token_hex(16),
        }
        header = {"alg": ALGORITHM, "kid": kid, "typ": "at+jwt"}
        token = await asyncio.to_thread(jwt.encode, header, claims, key, [ALGORITHM])
        return {"access_token": token, "token_type": "Bearer", "expires_in": lifetime_s, "scope": granted}

    def jwks(self) -> dict[str, Any]:
        """Return the public keys (RFC 7517, section 5), the newest first."""
        return {
            "keys": [
                {**key.as_dict(private=False), "kid": kid, "use": "sig", "alg": ALGORITHM}
                for kid, key in self._keys.items()
            ]
        }

    async def create_secret(self, client_id: str) -> str:
        """Make a secret for the client and return it, the only time that it is readable.

        The client's former secret stays valid, so that it can change over; any older one ends here. Raises
        StorageError.
        """
        secret = secrets.token_urlsafe(32)
        row = (client_id, _hash(secret), self._clock.now())

        def operate(cursor: sqlite3.Cursor) -> None:
            cursor.execute("INSERT INTO client_secrets (client_id, secret_hash, created_at) VALUES (?, ?, ?)", row)
            cursor.execute(
                """
                DELETE FROM client_secrets WHERE client_id = ?1 AND id NOT IN
                (SELECT id FROM client_secrets WHERE client_id = ?1 ORDER BY id DESC LIMIT ?2)
                """,
                (client_id, _SECRETS_PER_CLIENT),
            )

        await self._database.write(operate)
        return secret

    async def revoke_secrets(self, client_id: str) -> int:
        """Delete the client's secrets; return how many there were. Tokens live on until they expire."""
        delete = "DELETE FROM client_secrets WHERE client_id = ?"
        return await self._database.write(lambda cursor: cursor.execute(delete, (client_id,)).rowcount)

    async def rotate_key(self) -> str:
        """Make a new signing key and return its id; drop keys whose tokens have all expired. Raises StorageError."""
        key = await asyncio.to_thread(RSAKey.generate_key, _KEY_BITS)
        now = self._clock.now()
        row = (key.thumbprint(), now, key.as_pem(private=True))
        ended = now - self._settings.token_lifetime_s - 2 * _SIGNING_KEY_RELOAD_S

        def operate(cursor: sqlite3.Cursor) -> None:
            # A key signs until its successor is made, and a little longer in a daemon that has not noticed yet.
            cursor.execute(
                "DELETE FROM signing_keys WHERE id < (SELECT MAX(id) FROM signing_keys WHERE created_at < ?)", (ended,)
            )
            cursor.execute("INSERT INTO signing_keys (kid, created_at, pem) VALUES (?, ?, ?)", row)

        await self._database.write(operate)
        self._load_keys()
        return key.thumbprint()

    def _signing_key(self) -> tuple[str, RSAKey]:
        if self._clock.now() - self._loaded_at > _SIGNING_KEY_RELOAD_S:
            self._load_keys()
        return next(iter(self._keys.items()))

    async def _find_key(self, kid: str) -> RSAKey | None:
        if kid not in self._keys and self._clock.now() - self._loaded_at > _UNKNOWN_KEY_RELOAD_S:
            self._load_keys()
        return self._keys.get(kid)

    def _load_keys(self) -> None:
        rows = self._database.fetch("SELECT kid, pem FROM signing_keys ORDER BY id DESC")
        self._keys = {kid: self._keys.get(kid) or RSAKey.import_key(pem) for kid, pem in rows}
        self._loaded_at = self._clock.now()


def _grant(contract: Contract, scope: str) -> list[str]:
    """Return what is granted of the scopes asked for. Raises GrantError."""
    allowed = [READ_SCOPE, WRITE_SCOPE] if contract.may_write else [READ_SCOPE]
    asked = scope.split() or allowed
    if not {READ_SCOPE, WRITE_SCOPE}.issuperset(asked):
        raise GrantError(f"the scopes are {READ_SCOPE} and {WRITE_SCOPE}", error="invalid_scope")
    granted = [each for each in allowed if each in asked]
    if not granted:
        raise GrantError("the contract grants none of these scopes", error="invalid_scope")
    return granted


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()
