"""Who calls, and what they may do: bearer token, then contract, then rate limit, in that order and before any work.

The token says who it is and narrows; the contract grants, and revoking it works within the age of its cache. Nobody
learns here whether another client's receipt exists: that question is answered 404 by the handlers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from receiptd.domain.contract import Contract
from receiptd.domain.errors import TokenError
from receiptd.http.limits import RateLimiter
from receiptd.http.message import Handler, Request, Response
from receiptd.http.problems import ProblemError
from receiptd.ports import Contracts, Identity

READ = "receipts/read"
WRITE = "receipts/write"

ClientHandler: TypeAlias = Callable[[Request, Contract], Awaitable[Response]]
"""Answers a request of a client under its contract, with a Response of its own (it gains further headers)."""

_CHALLENGE = b'WWW-Authenticate: Bearer realm="receiptd"'
_READS_PER_WRITE = 5
"""Reads have a bucket of their own, this much larger: a client polls and pages more often than it posts."""


def token_missing() -> ProblemError:
    """Return the 401 for a request without credentials: a bare challenge, no error code (RFC 6750, section 3.1)."""
    return ProblemError(
        "token-missing",
        "Send the header Authorization: Bearer <token>, with an access token of your client.",
        headers=_CHALLENGE + b"\r\n",
    )


class Gate:
    """Lets clients' requests through to their handlers, or refuses them."""

    def __init__(self, identity: Identity, contracts: Contracts, writes: RateLimiter, reads: RateLimiter) -> None:
        self._identity = identity
        self._contracts = contracts
        self._writes = writes
        self._reads = reads

    def guard(self, scope: str, handler: ClientHandler) -> Handler:
        """Return ``handler`` behind the gate: its caller holds ``scope``, has a contract, and keeps to its rate."""
        factor = 1 if scope == WRITE else _READS_PER_WRITE
        limiter = self._writes if scope == WRITE else self._reads

        async def guarded(request: Request) -> Response:
            contract = await self._authorize(request.headers.get("authorization"), scope)
            fields = limiter.take(contract.client_id, contract.rate_per_s * factor, contract.burst * factor)
            response = await handler(request, contract)
            response.headers += fields
            return response

        return guarded

    async def _authorize(self, authorization: str | None, scope: str) -> Contract:
        """Return the caller's contract. Raises ProblemError (401 or 403)."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            raise token_missing()
        try:
            principal = await self._identity.verify(token.strip(" "))
        except TokenError as error:
            raise ProblemError(
                "invalid-token",
                "The access token is malformed, expired or not meant for this service. Get a new one.",
                headers=_CHALLENGE + b', error="invalid_token"\r\n',
            ) from error
        contract = await self._contracts.get(principal.client_id)
        if contract is None or not contract.active:
            raise ProblemError("contract-inactive", "This client has no active contract. Ask the operator for one.")
        if scope not in principal.scopes:
            raise ProblemError(
                "insufficient-scope",
                f"The call needs the scope {scope}. Get a token that has it.",
                headers=_insufficient_scope(scope),
            )
        if scope == WRITE and not contract.may_write:
            raise ProblemError(
                "contract-read-only",
                "This client's contract grants reading only. Ask the operator to change it.",
                headers=_insufficient_scope(scope),
            )
        return contract


def _insufficient_scope(scope: str) -> bytes:
    return _CHALLENGE + f', error="insufficient_scope", scope="{scope}"\r\n'.encode()
