"""The client's webhook endpoint: a real HTTP server that verifies what comes (Standard Webhooks 1.0)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from aiohttp import web

from receiptd.domain import signatures

PATH = "/hooks"


class Endpoint:
    """Takes webhooks. ``verified`` holds each event once, by receipt id, however often it came."""

    def __init__(self) -> None:
        self.secrets: Sequence[str] = ()
        """What the webhooks must be signed with; nothing verifies before it is set."""
        self.verified: dict[str, dict[str, Any]] = {}
        self.refused = 0
        """Webhooks whose signature did not verify."""
        self.url = ""
        """Where to send webhooks, once started."""
        self.heard: Callable[[dict[str, Any]], None] = lambda _: None
        """Told of every webhook that verifies."""
        self._arrived = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> str:
        """Listen on loopback; return the URL to send webhooks to."""
        application = web.Application()
        application.router.add_post(PATH, self._receive)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        host, bound = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{bound}{PATH}"
        return self.url

    async def stop(self) -> None:
        """Close the server."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def wait_for(self, receipt_ids: set[str], timeout_s: float) -> bool:
        """Wait until a verified webhook of each receipt has come; return whether they did in time."""
        try:
            async with asyncio.timeout(timeout_s):
                while not receipt_ids <= self.verified.keys():
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            return False
        return True

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            signatures.verify(self.secrets, headers, body, time.time())
        except signatures.SignatureError:
            self.refused += 1
            return web.Response(status=401)
        event: dict[str, Any] = orjson.loads(body)
        self.verified[event["data"]["receipt_id"]] = event
        self._arrived.set()
        self.heard(event)
        return web.Response(status=204)
