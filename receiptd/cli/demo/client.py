"""A client of the service, over HTTP and with a real token: what a shop's program does."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from receiptd.domain.errors import ReceiptdError

_TIMEOUT_S = 60.0


class Client:
    """Speaks for one contract. Use it as an asynchronous context manager."""

    def __init__(self, url: str, client_id: str, client_secret: str, token_url: str = "") -> None:
        self.url = url
        self.token_url = token_url or f"{url}/oauth2/token"
        self.client_id = client_id
        self.token = ""
        self._client_secret = client_secret
        self._session = aiohttp.ClientSession(
            url, timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S), auto_decompress=False
        )

    async def __aenter__(self) -> Self:
        """Get a token."""
        try:
            await self.renew()
        except BaseException:
            await self._session.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._session.close()

    async def renew(self, scope: str = "") -> None:
        """Get a token by the client credentials grant (RFC 6749, section 4.4). Raises ReceiptdError."""
        form = {"grant_type": "client_credentials", **({"scope": scope} if scope else {})}
        basic = {"Authorization": aiohttp.encode_basic_auth(self.client_id, self._client_secret)}
        async with self._session.post(self.token_url, data=form, headers=basic) as answer:
            content = await answer.json(content_type=None)
            if answer.status != 200:  # noqa: PLR2004 - OK
                raise ReceiptdError(f"no token: {answer.status} {content}")
        self.token = content["access_token"]

    async def request(
        self, method: str, path: str, *, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request with the token; return status, headers (names in lower case) and body."""
        given = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        async with self._session.request(method, path, data=body, headers=given, allow_redirects=False) as answer:
            content = await answer.read()
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, content

    async def json(
        self, method: str, path: str, *, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], Any]:
        """Like ``request``, with the body decoded from JSON."""
        status, given, content = await self.request(method, path, body=body, headers=headers)
        return status, given, orjson.loads(content) if content else None

    async def post(
        self, body: bytes, content_type: str = "application/json", **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        """Post a receipt. ``headers`` are further ones, written like ``idempotency_key="k"``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.json("POST", "/v1/receipts", body=body, headers={"Content-Type": content_type, **named})

    async def status(self, receipt_id: str, wait_s: int = 0) -> dict[str, Any] | None:
        """Return where a receipt stands, once it has ended or ``wait_s`` seconds have passed; None when unknown."""
        prefer = {"Prefer": f"wait={wait_s}"} if wait_s else {}
        status, _, content = await self.json("GET", f"/v1/receipts/{receipt_id}/status", headers=prefer)
        if status == 404:  # noqa: PLR2004 - not found
            return None
        if status != 200:  # noqa: PLR2004 - OK
            raise ReceiptdError(f"the status of {receipt_id} was answered {status}: {content}")
        found: dict[str, Any] = content
        return found
