"""What the tests of the HTTP server share: an application that shows what it got, and a peer that speaks raw bytes."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from receiptd.http.message import Request, Response
from receiptd.http.server import HttpServer, ServerLimits

QUICK = {"sweep_interval_s": 0.02, "linger_timeout_s": 0.3}


class Probe:
    """Echoes requests as JSON; some paths do more. Its problem documents are JSON with the code."""

    def __init__(self) -> None:
        self.seen: list[Request] = []
        self.admitted: list[int | None] = []
        self.admit_with: Callable[[Request], Response | None] = lambda _: None
        self.gate = asyncio.Event()
        self.started = asyncio.Event()
        self.finished: list[str] = []
        self.cancelled: list[str] = []

    def admit(self, request: Request, content_length: int | None) -> Response | None:
        self.admitted.append(content_length)
        return self.admit_with(request)

    async def handle(self, request: Request) -> Response:
        self.seen.append(request)
        self.started.set()
        match request.path:
            case "/wait":
                try:
                    await self.gate.wait()
                except asyncio.CancelledError:
                    self.cancelled.append(request.query)
                    raise
            case "/yield":
                async with asyncio.timeout(5):  # needs a task around it
                    await asyncio.sleep(0.01)
            case "/fail":
                raise RuntimeError("broken on purpose")
            case "/inner-cancel":
                raise asyncio.CancelledError
            case "/nonsense":
                return Response(200, body=None)  # type: ignore[arg-type]
            case "/empty":
                return Response(int(request.query))
            case "/close":
                return Response(200, b"bye", close=True)
            case "/bytes":
                return Response(200, b"x" * int(request.query))
        self.finished.append(request.query)
        shown = {
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "headers": request.headers,
            "body": request.body.decode("latin-1"),
            "peer": request.peer,
        }
        return Response(200, json.dumps(shown).encode(), b"Content-Type: application/json\r\n")

    def refuse(self, status: int, code: str, detail: str) -> Response:
        body = json.dumps({"status": status, "code": code, "detail": detail}).encode()
        return Response(status, body, b"Content-Type: application/problem+json\r\n")


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    names: list[str] = field(default_factory=list)

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.json["code"]

    @property
    def closes(self) -> bool:
        return self.headers.get("connection") == "close"


class Wire:
    """A peer on a raw socket. Every read has a time limit, so that a silent server fails the test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        with suppress(ConnectionError, RuntimeError):  # what the server said before it closed is still to be read
            self.writer.write(data)
            await self.writer.drain()

    def end(self) -> None:
        with suppress(OSError):
            self.writer.write_eof()

    async def answer(self, *, head_only: bool = False, within_s: float = 5.0) -> Answer:
        async with asyncio.timeout(within_s):
            head = await self.reader.readuntil(b"\r\n\r\n")
            start, *lines = head[:-4].decode().split("\r\n")
            version, status, _ = start.split(" ", 2)
            assert version == "HTTP/1.1"
            fields = [line.split(": ", 1) for line in lines]
            headers = {name.lower(): value for name, value in fields}
            length = 0 if head_only else int(headers.get("content-length", 0))
            body = await self.reader.readexactly(length)
        return Answer(int(status), headers, body, [name.lower() for name, _ in fields])

    async def ask(self, data: bytes) -> Answer:
        await self.send(data)
        return await self.answer()

    async def rest(self, within_s: float = 5.0) -> bytes:
        """Everything up to the server's close (a reset counts as one)."""
        received = b""
        async with asyncio.timeout(within_s):
            with suppress(ConnectionError):
                while piece := await self.reader.read(65_536):
                    received += piece
        return received

    def reset(self) -> None:
        """Leave with a reset in place of a proper end."""
        at_once = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@dataclass
class Served:
    application: Probe
    server: HttpServer
    wires: list[Wire] = field(default_factory=list)

    async def wire(self) -> Wire:
        wire = Wire(*await asyncio.open_connection("127.0.0.1", self.server.port, limit=1 << 25))
        self.wires.append(wire)
        return wire

    async def empty(self) -> bool:
        """Whether every connection is forgotten within a second, with its room in the shared buffer."""
        state = self.server._state
        assert state is not None
        for _ in range(200):
            if not state.connections and not self.server.stats.connections and not state.buffered_bytes:
                return True
            await asyncio.sleep(0.005)
        return False


@asynccontextmanager
async def serving(application: Probe | None = None, **limits) -> AsyncIterator[Served]:
    """Serve on loopback; drain at the end, and find nothing left."""
    server = HttpServer(application or Probe(), ServerLimits(**{**QUICK, **limits}))
    served = Served(server._application, server)
    await server.start("127.0.0.1", 0)
    try:
        yield served
    finally:
        served.application.gate.set()
        for wire in served.wires:
            await wire.close()
        await server.drain(2)
    assert await served.empty()


def get(target: str = "/", *fields: str, version: str = "1.1") -> bytes:
    return request("GET", target, *fields, version=version)


def post(body: bytes, target: str = "/", *fields: str) -> bytes:
    return request("POST", target, f"Content-Length: {len(body)}", *fields) + body


def request(method: str, target: str, *fields: str, version: str = "1.1") -> bytes:
    lines = [f"{method} {target} HTTP/{version}", "Host: test.example", *fields]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunked(body: bytes, size: int = 7, trailer: bytes = b"") -> bytes:
    head = request("POST", "/", "Transfer-Encoding: chunked")
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailer + b"\r\n"
