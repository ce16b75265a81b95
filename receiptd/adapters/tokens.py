"""Verifies access tokens (JWT, RFC 9068), whoever issues them: an adapter says where the keys come from.

One algorithm is accepted, RS256; the key is looked up by ``kid`` among the issuer's own, and whatever else a token's
header offers (``jwk``, ``jku``, ``x5u``, ``x5c``) is never looked at. Verdicts are kept by token within bounds, and
the expiry is checked at every use. Refusals are not kept, and never quote the token.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from receiptd.domain.errors import TokenError
from receiptd.ports import Clock, Principal

ALGORITHM: Final = "RS256"
TOKEN_MAX_BYTES: Final = 8_192
LEEWAY_S: Final = 10.0
"""How far the issuer's clock may be from ours."""

_VERDICTS_MAX: Final = 10_000
_ACCESS: Final = "access"


class TokenVerifier:
    """Verifies the tokens of one issuer.

    ``find_key`` returns the issuer's key of an id, or None; what else it raises than TokenError is no verdict.
    ``audience`` and ``types`` (of the header's ``typ``) are not asked for when empty: not every issuer sets them.
    ``token_use`` is what a token is taken for that does not say. ``scopes``, when given, says what the issuer's scopes
    are called here; any other one counts for nothing.
    """

    def __init__(
        self,
        clock: Clock,
        find_key: Callable[[str], Awaitable[RSAKey | None]],
        *,
        issuer: str,
        audience: str = "",
        types: frozenset[str] = frozenset(),
        token_use: str = _ACCESS,
        scopes: Mapping[str, str] | None = None,
    ) -> None:
        self._clock = clock
        self._find_key = find_key
        self._issuer = issuer
        self._audience = audience
        self._types = types
        self._token_use = token_use
        self._scopes = scopes
        self._verdicts: dict[str, Principal] = {}

    async def verify(self, token: str) -> Principal:
        """Return whom ``token`` speaks for. Raises TokenError."""
        principal = self._verdicts.get(token)
        if principal is None:
            principal = await self._judge(token)
            self._verdicts[token] = principal
            if len(self._verdicts) > _VERDICTS_MAX:
                del self._verdicts[next(iter(self._verdicts))]
        if self._clock.now() >= principal.expires_at + LEEWAY_S:
            self._verdicts.pop(token, None)
            raise TokenError("the token has expired")
        return principal

    def forget(self) -> None:
        """Judge every token anew: a key has been withdrawn."""
        self._verdicts.clear()

    async def _judge(self, token: str) -> Principal:
        if len(token) > TOKEN_MAX_BYTES:
            raise TokenError("the token is too long")
        key = await self._key_of(token)
        try:
            signed = jws.deserialize_compact(token, key, algorithms=[ALGORITHM])
            claims = orjson.loads(signed.payload)
        except (JoseError, ValueError) as error:
            raise TokenError("the token's signature does not hold") from error
        if not isinstance(claims, dict):
            raise TokenError("the token holds no claims")
        return self._principal(claims)

    async def _key_of(self, token: str) -> RSAKey:
        """Return the key that the token's header names, once the header is one that we accept. Raises TokenError."""
        segment, dot, _ = token.partition(".")
        try:
            header = orjson.loads(base64.b64decode(segment + "=" * (-len(segment) % 4), altchars=b"-_", validate=True))
        except ValueError as error:
            raise TokenError("the token is not a signed JWT") from error
        if not dot or not isinstance(header, dict):
            raise TokenError("the token is not a signed JWT")
        if header.get("alg") != ALGORITHM:
            raise TokenError(f"the token is not signed with {ALGORITHM}")
        if "crit" in header:
            raise TokenError("the token asks for an extension that is not known here")
        if self._types and str(header.get("typ")).lower().removeprefix("application/") not in self._types:
            raise TokenError("the token is not an access token")
        kid = header.get("kid")
        key = await self._find_key(kid) if isinstance(kid, str) else None
        if key is None:
            raise TokenError("the token is signed with a key that is not ours")
        return key

    def _principal(self, claims: dict[str, Any]) -> Principal:
        client_id, scope, expires_at = claims.get("client_id"), claims.get("scope", ""), _time(claims, "exp")
        if claims.get("iss") != self._issuer:
            raise TokenError("the token is of another issuer")
        if self._audience and self._audience not in _audiences(claims.get("aud")):
            raise TokenError("the token is for another audience")
        if claims.get("token_use", self._token_use) != _ACCESS:
            raise TokenError("the token is not an access token")
        if max(_time(claims, "nbf", 0.0), _time(claims, "iat", 0.0)) > self._clock.now() + LEEWAY_S:
            raise TokenError("the token is not valid yet")
        if not isinstance(client_id, str) or not client_id or not isinstance(scope, str):
            raise TokenError("the token names no client")
        scopes = scope.split()
        if self._scopes is not None:
            scopes = [self._scopes[each] for each in scopes if each in self._scopes]
        return Principal(client_id, frozenset(scopes), expires_at)


def _time(claims: dict[str, Any], name: str, default: float | None = None) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenError(f"the token's {name} is not a time")
    return float(value)


def _audiences(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]
