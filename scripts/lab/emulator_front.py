"""One endpoint for all of AWS on loopback: DynamoDB goes to DynamoDB Local, everything else to ministack.

ministack is an ASGI application; it runs inside this process, behind the same aiohttp server that forwards DynamoDB's
calls. Nothing is interpreted on the way, so what a client sees is what the emulators answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from importlib import import_module
from typing import Any
from urllib.parse import unquote

import aiohttp
from aiohttp import web

_KEEPALIVE_S = 75.0
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"})

Message = MutableMapping[str, Any]
AsgiApplication = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


def ministack(port: int, *, authorize: bool) -> AsgiApplication:
    """Return ministack's application, set up for the front's ``port``. Call it once a process: it reads variables.

    Args:
        port: what the URLs that it gives out (queues, issuers) name.
        authorize: whether it holds every call against the IAM policies of its caller.
    """
    os.environ.update(
        GATEWAY_PORT=str(port),
        MINISTACK_HOST="127.0.0.1",
        IOT_MTLS_ENABLED="0",  # it would listen on every interface
        SFTP_ENABLED="0",
        AUTH="true" if authorize else "false",
    )
    os.environ.setdefault("LOG_LEVEL", "ERROR")
    application: AsgiApplication = import_module("ministack.app").app  # it reads the variables when it is imported
    return application


class Front:
    """The server. ``dynamodb_port``: where DynamoDB Local listens; None: ministack answers those calls too."""

    def __init__(self, application: AsgiApplication, dynamodb_port: int | None) -> None:
        self._application = application
        self._dynamodb = f"http://127.0.0.1:{dynamodb_port}" if dynamodb_port else ""
        self._session: aiohttp.ClientSession | None = None

    async def serve(self, listener: socket.socket, *, ready: Callable[[], None], stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set."""
        async with (
            _lifespan(self._application),
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            ) as self._session,
        ):
            server = web.Server(
                self._handle, keepalive_timeout=_KEEPALIVE_S, handler_cancellation=True, access_log=None
            )
            listening = await asyncio.get_running_loop().create_server(server, sock=listener)
            ready()
            await stop.wait()
            listening.close()
            await server.shutdown(1.0)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")  # an S3 client sends its body only then
        if self._dynamodb and request.headers.get("X-Amz-Target", "").startswith("DynamoDB"):
            return await self._forward(request)
        return await self._emulate(request)

    async def _forward(self, request: web.BaseRequest) -> web.Response:
        assert self._session is not None
        body = await request.content.read()
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP]
        async with self._session.request(
            request.method, self._dynamodb + request.raw_path, data=body, headers=headers, allow_redirects=False
        ) as reply:
            content = await reply.read()
            kept = [(name, value) for name, value in reply.headers.items() if name.lower() not in _HOP_BY_HOP]
            return web.Response(status=reply.status, body=content, headers=kept)

    async def _emulate(self, request: web.BaseRequest) -> web.StreamResponse:
        body: bytes | None = await request.content.read()
        path, _, query = request.raw_path.partition("?")
        response: web.StreamResponse | None = None

        async def receive() -> Message:
            nonlocal body
            if body is None:
                await asyncio.Event().wait()  # a caller that hangs up ends this whole task
            content, body = body, None
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: Message) -> None:
            nonlocal response
            if message["type"] == "http.response.start":
                response = web.StreamResponse(status=message["status"])
                for name, value in message.get("headers", ()):
                    if name.lower() != b"transfer-encoding":
                        response.headers.add(name.decode("latin-1"), value.decode("latin-1"))
                await response.prepare(request)
            elif message["type"] == "http.response.body":
                assert response is not None
                if content := message.get("body", b""):
                    await response.write(content)
                if not message.get("more_body"):
                    await response.write_eof()

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.raw_headers],
            "client": ("127.0.0.1", 0),
            "server": ("127.0.0.1", 0),
        }
        await self._application(scope, receive, send)
        return response or web.Response(status=500, text="the emulator gave no answer")


@contextlib.asynccontextmanager
async def _lifespan(application: AsgiApplication) -> AsyncIterator[None]:
    """Start the application and end it, as an ASGI server does."""
    events: asyncio.Queue[Message] = asyncio.Queue()
    answers: asyncio.Queue[Message] = asyncio.Queue()
    task = asyncio.ensure_future(application({"type": "lifespan"}, events.get, answers.put))
    await events.put({"type": "lifespan.startup"})
    answer = await answers.get()
    if answer["type"] != "lifespan.startup.complete":
        raise RuntimeError(f"ministack did not start: {answer}")
    try:
        yield
    finally:
        await events.put({"type": "lifespan.shutdown"})
        await answers.get()
        await task
