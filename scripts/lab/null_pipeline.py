"""The yardstick: the HTTP traffic of one receipt through aiohttp on uvloop, with no logic and no storage.

It takes the POST, makes two registrations, takes their two callbacks, sends one webhook, and answers status reads: what
a careful program on the usual libraries pays for HTTP alone.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
from collections.abc import Coroutine
from typing import Any

import aiohttp
import uvloop
from aiohttp import web
from yarl import URL

_REGISTRARS = ("tax", "warehouse")
_STATUS_BODY = (
    b'{"id":"20260101-000000000000000000000000","status":"PROCESSING","type":"retail-receipt","accepted_at":'
    b'"2026-01-01T00:00:00.000Z","updated_at":"2026-01-01T00:00:00.000Z","registrations":[{"registrar":"tax","state":'
    b'"SUBMITTED","attempts":0,"reference":"tax-00000001","reason":"","updated_at":"2026-01-01T00:00:00.000Z"},'
    b'{"registrar":"warehouse","state":"SUBMITTED","attempts":0,"reference":"warehouse-00000001","reason":"",'
    b'"updated_at":"2026-01-01T00:00:00.000Z"}],"findings":[],"webhook":null}'
)
_EVENT = (
    b'{"type":"receipt.complete","timestamp":"2026-01-01T00:00:00.000Z","data":{"receipt_id":"%b","type":'
    b'"retail-receipt","state":"COMPLETE","accepted_at":"2026-01-01T00:00:00.000Z","registrations":[{"registrar":'
    b'"tax","state":"REGISTERED","reference":"tax-00000001"},{"registrar":"warehouse","state":"REGISTERED",'
    b'"reference":"warehouse-00000001"}],"findings":[]}}'
)
_SIGNATURE = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="


class NullPipeline:
    """Does what the traffic needs, and nothing else."""

    def __init__(self, session: aiohttp.ClientSession, port: int, peers: str) -> None:
        self._session = session
        self._callback = f"http://127.0.0.1:{port}/v1/callbacks"
        self._registrars = {name: URL(f"{peers}/{name}/receipts") for name in _REGISTRARS}
        self._hooks = URL(f"{peers}/hooks/bench")
        self._open: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def post(self, request: web.Request) -> web.Response:
        """Take a receipt in, and register it."""
        body = await request.read()
        receipt_id = request.headers["Idempotency-Key"]
        self._open[receipt_id] = len(_REGISTRARS)
        for registrar in _REGISTRARS:
            self._spawn(self._register(registrar, receipt_id, body))
        headers = {"Location": f"/v1/receipts/{receipt_id}/status", "Retry-After": "1", "Cache-Control": "no-store"}
        answer = b'{"id":"%b","status":"PROCESSING","type":"retail-receipt"}' % receipt_id.encode()
        return web.Response(status=202, body=answer, headers=headers, content_type="application/json")

    async def callback(self, request: web.Request) -> web.Response:
        """Take a verdict; the last one sends the webhook."""
        await request.read()
        receipt_id = request.match_info["token"]
        self._open[receipt_id] -= 1
        if not self._open[receipt_id]:
            del self._open[receipt_id]
            self._spawn(self._deliver(receipt_id))
        return web.Response(body=b'{"result":"applied"}', content_type="application/json")

    async def status(self, request: web.Request) -> web.Response:
        """Answer a status read."""
        headers = {"ETag": f'"{request.match_info["id"]}.3"', "Cache-Control": "private, no-cache"}
        return web.Response(body=_STATUS_BODY, headers=headers, content_type="application/json")

    async def _register(self, registrar: str, receipt_id: str, body: bytes) -> None:
        headers = {
            "Content-Type": "application/json",
            "Authorization": "Bearer development-only",
            "Idempotency-Key": receipt_id,
            "Receipt-Id": receipt_id,
            "Receipt-Type": "retail-receipt",
            "Callback-Url": f"{self._callback}/{registrar}/{receipt_id}",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        }
        async with self._session.post(self._registrars[registrar], data=body, headers=headers) as reply:
            await reply.read()

    async def _deliver(self, receipt_id: str) -> None:
        headers = {
            "Content-Type": "application/json",
            "webhook-id": f"msg_{receipt_id}",
            "webhook-timestamp": "1767225600",
            "webhook-signature": _SIGNATURE,
        }
        async with self._session.post(self._hooks, data=_EVENT % receipt_id.encode(), headers=headers) as reply:
            await reply.read()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _serve(port: int, peers: str) -> None:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
    ) as session:
        pipeline = NullPipeline(session, port, peers)
        application = web.Application()
        application.router.add_post("/v1/receipts", pipeline.post)
        application.router.add_post("/v1/callbacks/{registrar}/{token}", pipeline.callback)
        application.router.add_get("/v1/receipts/{id}/status", pipeline.status)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        await asyncio.Event().wait()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--peers", required=True, help="Where the registrars and the webhook endpoint are.")
    arguments = parser.parse_args()
    uvloop.run(_serve(arguments.port, arguments.peers))


if __name__ == "__main__":
    main()
