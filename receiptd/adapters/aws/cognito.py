"""The Identity port on a Cognito user pool: its access tokens (client credentials), verified with its published keys.

The keys (RFC 7517) are fetched at start, again every quarter of an hour, and when a token names one that is unknown,
but then no more than twice a minute whatever tokens come. When they cannot be fetched, those at hand stay in force;
whether a token of an unknown key is a good one is then unknown, and the answer is a failure rather than a verdict.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from typing import Any, Final

import orjson
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from receiptd.adapters.tokens import ALGORITHM, TokenVerifier
from receiptd.domain.errors import ConfigurationError, OutboundError, StorageError
from receiptd.domain.values import value
from receiptd.ports import Clock, HttpCall, HttpClient, Principal

_log = logging.getLogger("receiptd.aws.cognito")
_REFRESH_EVERY_S: Final = 900.0
_UNKNOWN_KEY_EVERY_S: Final = 30.0
_FIRST_EVERY_S: Final = 2.0
"""While there is no key at all."""
_FETCH_S: Final = 3.0
_KEYS_MAX: Final = 32
_MODULUS_MIN_CHARS: Final = 342
"""2048 bits (RFC 7518, section 3.3) as base64url."""
_OK: Final = 200  # RFC 9110, section 15.3.1
_OUR_SCOPES: Final = {"read": "receipts/read", "write": "receipts/write"}


@value
class Issuer:
    """Where a user pool's tokens come from."""

    issuer: str
    """The ``iss`` of its tokens."""
    keys_url: str
    token_url: str
    """Where clients get tokens; empty: the pool has no domain."""


async def discover(http: HttpClient, endpoint_url: str, pool_id: str, *, emulated: bool) -> Issuer:
    """Ask the pool for its metadata (OpenID Connect Discovery 1.0, section 4).

    Args:
        http: makes the call.
        endpoint_url: where Cognito is.
        pool_id: the user pool.
        emulated: Cognito is not AWS's own, and may name itself as it likes.

    Raises:
        ConfigurationError: the metadata is not that of the pool.
        StorageError: it cannot be had now.
    """
    base = f"{endpoint_url.rstrip('/')}/{pool_id}"
    found = await _fetch(http, f"{base}/.well-known/openid-configuration")
    issuer = f"https://cognito-idp.{pool_id.partition('_')[0]}.amazonaws.com/{pool_id}"
    if emulated:
        issuer = str(found.get("issuer") or issuer)
    elif found.get("issuer") != issuer:
        raise ConfigurationError(f"user pool {pool_id}: {base} says that it is of another issuer than {issuer}")
    return Issuer(issuer, f"{base}/.well-known/jwks.json", str(found.get("token_endpoint") or ""))


class CognitoIdentity:
    """Verifies the pool's access tokens.

    Args:
        http: fetches the keys.
        clock: the time by which tokens expire.
        issuer: the pool's metadata.
        server: the resource server's identifier, which its scopes begin with.
        unknown_key_every_s: how often a token with an unknown key may have the keys fetched.
        refresh_every_s: how often they are fetched anyway.
    """

    def __init__(
        self,
        http: HttpClient,
        clock: Clock,
        issuer: Issuer,
        server: str,
        *,
        unknown_key_every_s: float = _UNKNOWN_KEY_EVERY_S,
        refresh_every_s: float = _REFRESH_EVERY_S,
    ) -> None:
        self._http = http
        self._url = issuer.keys_url
        self._unknown_key_every_s = unknown_key_every_s
        self._refresh_every_s = refresh_every_s
        self._keys: dict[str, RSAKey] = {}
        self._asked_at = -math.inf
        self._failed = False
        self._asking: asyncio.Task[None] | None = None
        self._verifier = TokenVerifier(
            clock,
            self._find,
            issuer=issuer.issuer,
            token_use="",
            scopes={f"{server}/{scope}": ours for scope, ours in _OUR_SCOPES.items()},
        )

    async def verify(self, token: str) -> Principal:
        """Return whom ``token`` speaks for.

        Raises:
            TokenError: it is not a good one.
            StorageError: that cannot be known now, for its key is unknown and the pool's cannot be fetched.
        """
        return await self._verifier.verify(token)

    @property
    def health(self) -> str:
        """``ok``; ``stale`` when the keys at hand could not be renewed; ``failing`` when there are none."""
        if not self._keys:
            return "failing"
        return "stale" if self._failed else "ok"

    async def run(self) -> None:
        """Keep the keys fresh, for ever."""
        while True:
            await self.refresh()
            pause_s = self._unknown_key_every_s if self._failed else self._refresh_every_s
            await asyncio.sleep(random.uniform(0.9, 1.0) * (pause_s if self._keys else _FIRST_EVERY_S))  # noqa: S311 - jitter

    async def refresh(self) -> None:
        """Fetch the keys; who asks while they are being fetched waits for the same answer."""
        if self._asking is None:
            self._asked_at = asyncio.get_running_loop().time()
            self._asking = asyncio.create_task(self._renew())
        await asyncio.shield(self._asking)

    async def close(self) -> None:
        """Give up a fetch that is on its way."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    async def _find(self, kid: str) -> RSAKey | None:
        if kid not in self._keys and (self._asking is not None or self._may_ask):
            await self.refresh()
        key = self._keys.get(kid)
        if key is None and self._failed:
            raise StorageError("the keys of the token's issuer cannot be fetched now")
        return key

    @property
    def _may_ask(self) -> bool:
        every_s = self._unknown_key_every_s if self._keys else min(_FIRST_EVERY_S, self._unknown_key_every_s)
        return asyncio.get_running_loop().time() >= self._asked_at + every_s

    async def _renew(self) -> None:
        try:
            keys = _usable(await _fetch(self._http, self._url))
        except StorageError as error:
            self._failed = True
            _log.warning("the keys could not be renewed", extra={"url": self._url, "reason": str(error)})
            return
        finally:
            self._asking = None
        self._failed = False
        withdrawn = self._keys.keys() - keys.keys()
        self._keys = keys
        if withdrawn:
            self._verifier.forget()
            _log.info("keys withdrawn", extra={"kids": sorted(withdrawn)})


async def _fetch(http: HttpClient, url: str) -> dict[str, Any]:
    """Return the JSON object at ``url``. Raises StorageError."""
    try:
        reply = await http.send(HttpCall("GET", url, {"Accept": "application/json"}, timeout_s=_FETCH_S))
        answer = orjson.loads(reply.body) if reply.status == _OK else None
    except (OutboundError, ValueError) as error:
        raise StorageError(f"{url}: {error}") from error
    if not isinstance(answer, dict):
        raise StorageError(f"{url}: was answered {reply.status}, with nothing that can be used")
    return answer


def _usable(key_set: dict[str, Any]) -> dict[str, RSAKey]:
    """Return the signing keys of a set by their ids; others (RFC 7517, section 5) are passed over.

    Raises:
        StorageError: there is none.
    """
    keys: dict[str, RSAKey] = {}
    found = key_set.get("keys")
    for each in found[:_KEYS_MAX] if isinstance(found, list) else ():
        if not isinstance(each, dict) or each.get("kty") != "RSA" or not isinstance(each.get("kid"), str):
            continue
        if each.get("use", "sig") != "sig" or each.get("alg", ALGORITHM) != ALGORITHM:
            continue
        if len(str(each.get("n"))) < _MODULUS_MIN_CHARS:
            continue
        try:
            keys[each["kid"]] = RSAKey.import_key({name: each[name] for name in ("kty", "n", "e") if name in each})
        except (JoseError, ValueError):
            continue
    if not keys:
        raise StorageError("the set holds no key that can be used")
    return keys
