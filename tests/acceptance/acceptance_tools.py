"""What the acceptance tests share beside their fixtures: patience, sockets without an HTTP client, a registrar."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from aiohttp import web

T = TypeVar("T")


async def eventually(probe: Callable[[], T | Awaitable[T]], timeout_s: float = 15.0) -> T:
    """Ask ``probe`` until its answer is true, and return that; it fails with the last answer when time is up."""
    deadline = time.monotonic() + timeout_s
    while True:
        found: Any = probe()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"still {found!r} after {timeout_s:g} s"
        await asyncio.sleep(0.05)


async def exchange(url: str, sent: bytes, timeout_s: float = 15.0) -> bytes:
    """Send bytes to the server at ``url`` as they are; return all that it answers until it closes."""
    parts = urlsplit(url)
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            writer.write(sent)
            answer = bytearray()
            while part := await _read(reader):
                answer += part
            return bytes(answer)
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(65_536)
    except ConnectionResetError:  # a server that refuses may close before it has read everything
        return b""


class Customs:
    """A registrar of our own that answers 202 and keeps the callback addresses, for callbacks made by hand."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[web.Request] = asyncio.Queue()
        self.status, self.answer = 202, {"reference": "c-1"}
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        application = web.Application()
        application.router.add_post("/receipts", self._take)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/receipts"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        await request.read()
        self.calls.put_nowait(request)
        return web.json_response(self.answer, status=self.status)
