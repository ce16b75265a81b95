"""A client of the daemon's HTTP face, as a run needs one: a token, and calls whose failures are plain values."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import urlencode

import orjson

from lab.children import Child
from lab.site import Client, SiteError, basic
from receiptd.adapters.outbound.client import OutboundClient
from receiptd.domain.addresses import AddressPolicy
from receiptd.domain.errors import OutboundError
from receiptd.ports import HttpCall, HttpReply

_READY_S = 30.0
_POLL_S = 0.02
_REPLY_MAX_BYTES = 64 * 1024 * 1024
_ANYWHERE = AddressPolicy(allow_any=True, allow_http=True)


def outbound(connections: int = 512) -> OutboundClient:
    """Return an HTTP client for the run's own calls."""
    return OutboundClient(_ANYWHERE, connections_per_origin=connections, user_agent="lab", connect_timeout_s=2.0)


async def wait_ready(url: str, child: Child, *, path: str = "/readyz", timeout_s: float = _READY_S) -> None:
    """Wait until ``path`` is answered 200. Raises SiteError when ``child`` ends, or time is up."""
    http = outbound(1)
    deadline = time.monotonic() + timeout_s
    try:
        while time.monotonic() < deadline:
            if not child.alive:
                raise SiteError(f"{child.name} ended with status {child.status}:\n{child.tail()}")
            try:
                reply = await http.send(HttpCall(method="GET", url=url + path, timeout_s=2.0))
            except OutboundError:
                pass
            else:
                if reply.status == 200:
                    return
            await asyncio.sleep(_POLL_S)
    finally:
        await http.close()
    raise SiteError(f"{child.name} was not ready within {timeout_s:g} s:\n{child.tail()}")


class Session:
    """One client's calls, with its token."""

    def __init__(self, url: str, client: Client, http: OutboundClient | None = None) -> None:
        self.client = client
        self._url = url
        self._http = http or outbound()
        self._token = ""

    async def token(self) -> str:
        """Return a token, got once by client credentials (RFC 6749, section 4.4). Raises SiteError."""
        if not self._token:
            headers = {
                "Authorization": basic(self.client),
                "Content-Type": "application/x-www-form-urlencoded",
            }
            body = urlencode({"grant_type": "client_credentials"}).encode()
            url = self.client.token_url or f"{self._url}/oauth2/token"
            reply = await self._http.send(HttpCall(method="POST", url=url, headers=headers, body=body))
            if reply.status != 200:
                raise SiteError(f"no token: {reply.status} {reply.body.decode(errors='replace')}")
            self._token = str(orjson.loads(reply.body)["access_token"])
        return self._token

    async def call(
        self, method: str, path: str, *, body: bytes = b"", timeout_s: float = 10.0, **headers: str
    ) -> HttpReply | None:
        """Make a call; None when its answer is lost. ``Content_Type=…`` becomes the header ``Content-Type``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named["Authorization"] = f"Bearer {self._token or await self.token()}"
        call = HttpCall(
            method=method,
            url=self._url + path,
            headers=named,
            body=body,
            timeout_s=timeout_s,
            reply_max_bytes=_REPLY_MAX_BYTES,
        )
        try:
            return await self._http.send(call)
        except OutboundError:
            return None


def content(reply: HttpReply) -> dict[str, Any]:
    """Return a reply's JSON object; empty when it is none."""
    try:
        decoded = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return {}
    return decoded if isinstance(decoded, dict) else {}
