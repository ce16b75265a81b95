"""The token endpoint of the embedded issuer: client credentials (RFC 6749, section 4.4).

Its errors have the form of RFC 6749, section 5.2, and not of problem documents: OAuth clients look for those.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote_plus

from receiptd.domain.errors import GrantError
from receiptd.http.answers import json_answer
from receiptd.http.limits import RateLimiter
from receiptd.http.message import Request, Response

_FORM = "application/x-www-form-urlencoded"
_NO_CACHE = b"Pragma: no-cache\r\n"
_CHALLENGE = b'WWW-Authenticate: Basic realm="receiptd", charset="UTF-8"\r\n'
_CLIENT_ID_MAX_CHARS = 256
_RATE_PER_S = 5.0
_BURST = 50
"""Attempts of one client from one address: a token lives for an hour, and a guess costs the guesser time."""


class Issuer(Protocol):
    """Issues access tokens."""

    async def issue(self, client_id: str, client_secret: str, scope: str = "") -> Mapping[str, Any]:
        """Return a token response (RFC 6749, section 5.1). Raises GrantError and StorageError."""
        ...


@dataclass(frozen=True, slots=True)
class _Credentials:
    client_id: str
    secret: str


class Tokens:
    """The call that gives tokens."""

    def __init__(self, issuer: Issuer, limiter: RateLimiter) -> None:
        self._issuer = issuer
        self._limiter = limiter

    async def issue(self, request: Request) -> Response:
        """Give a token for client credentials that come by HTTP Basic or in the body."""
        try:
            form = _form(request)
            credentials = _credentials(request.headers.get("authorization"), form)
            who = f"{request.peer} {credentials.client_id[:_CLIENT_ID_MAX_CHARS]}"
            self._limiter.take(who, _RATE_PER_S, _BURST)
            token = await self._issuer.issue(credentials.client_id, credentials.secret, form.get("scope", ""))
        except GrantError as error:
            return _refusal(error)
        return json_answer(200, token, _NO_CACHE)


def _refusal(error: GrantError) -> Response:
    """Return an error of RFC 6749, section 5.2."""
    status, challenge = (401, _CHALLENGE) if error.error == "invalid_client" else (400, b"")
    return json_answer(status, {"error": error.error, "error_description": f"{error}"}, _NO_CACHE + challenge)


def _form(request: Request) -> dict[str, str]:
    """Read the form of the body; a parameter may come once (RFC 6749, section 3.2)."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != _FORM:
        raise GrantError(f"The body must be a form: Content-Type {_FORM}.", error="invalid_request")
    form: dict[str, str] = {}
    try:
        for name, value in parse_qsl(request.body.decode("ascii"), keep_blank_values=True, errors="strict"):
            if name in form:
                raise GrantError("A parameter comes twice.", error="invalid_request")
            form[name] = value
    except ValueError as error:
        raise GrantError("The form is not percent-encoded UTF-8.", error="invalid_request") from error
    grant_type = form.get("grant_type", "")
    if not grant_type:
        raise GrantError("grant_type is missing; it must be client_credentials.", error="invalid_request")
    if grant_type != "client_credentials":
        raise GrantError("The only grant is client_credentials.", error="unsupported_grant_type")
    return form


def _credentials(authorization: str | None, form: dict[str, str]) -> _Credentials:
    """Read the client's credentials, from one place only (RFC 6749, section 2.3)."""
    if authorization is None:
        if not form.get("client_id") or not form.get("client_secret"):
            raise GrantError("Send client_id and client_secret.", error="invalid_client")
        return _Credentials(form["client_id"], form["client_secret"])
    if "client_secret" in form:
        raise GrantError("Send the credentials in the header or in the body, not in both.", error="invalid_request")
    try:
        credentials = _basic(authorization)
    except ValueError as error:
        raise GrantError("The Authorization header must be HTTP Basic.", error="invalid_client") from error
    if form.get("client_id", credentials.client_id) != credentials.client_id:
        raise GrantError("The client_id is another one than in the header.", error="invalid_request")
    return credentials


def _basic(authorization: str) -> _Credentials:
    """Read HTTP Basic (RFC 7617), both halves form-encoded (RFC 6749, section 2.3.1). Raises ValueError."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise ValueError("another scheme")
    client_id, colon, secret = base64.b64decode(value.strip(" "), validate=True).decode().partition(":")
    if not colon:
        raise ValueError("no colon")
    return _Credentials(unquote_plus(client_id, errors="strict"), unquote_plus(secret, errors="strict"))
