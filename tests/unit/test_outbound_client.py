"""The outbound client against real sockets: raw peers for odd replies, aiohttp for interoperation, TLS.

Each test runs on asyncio's own loop and on uvloop, since transports close and time out differently on them.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import inspect
import ipaddress
import random
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from receiptd.adapters.outbound.client import OutboundClient
from receiptd.domain.addresses import CLIENT, OPERATOR, Address, AddressPolicy
from receiptd.domain.errors import DeniedAddressError, OutboundError
from receiptd.ports import HttpCall, HttpReply

CLOSE = b"\0close"
"""After a scripted reply: close the connection. Alone: close it without an answer."""
SILENCE = b"\0silence"
"""After a scripted reply: say nothing more until the client closes."""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEAD = b"HTTP/1.1 200 OK\r\n"


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
    @functools.wraps(test)
    def run(loop_factory, **arguments):
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(asyncio.wait_for(test(**arguments), 10))

    own = inspect.signature(test)
    extra = inspect.Parameter("loop_factory", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = own.replace(parameters=[*own.parameters.values(), extra])  # type: ignore[attr-defined]
    return run


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def listening(
    talk: Talk, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[asyncio.Server]:
    """A server that talks so on each connection; leaving waits until the clients have closed theirs."""
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await talk(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(connected, host, port, ssl=tls) as server:
        yield server
        await asyncio.gather(*connections)


def url_of(server: asyncio.Server) -> str:
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


class Peer:
    """A scripted HTTP server: ``answer(connection, request)``, both counted from 1, gives the bytes to send."""

    def __init__(self, answer: Callable[[int, int], bytes]) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.connections = 0
        self.open = 0
        self.url = ""
        self.port = 0
        self.stop: Callable[[], None] = lambda: None

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = self.connections
        self.open += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((int(x[15:]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length:")), 0)
                self.requests.append(head + await reader.readexactly(length))
                reply = self.answer(connection, len(self.requests))
                writer.write(reply.removesuffix(CLOSE).removesuffix(SILENCE))
                await writer.drain()
                if reply.endswith(CLOSE):
                    return
                if reply.endswith(SILENCE):
                    await reader.read()
                    return
        finally:
            self.open -= 1


@asynccontextmanager
async def peer(answer: Callable[[int, int], bytes] | bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    running = Peer(answer if callable(answer) else lambda _connection, _request: answer)
    async with listening(running.talk, tls) as server:
        running.url, running.stop = url_of(server), server.close
        running.port = server.sockets[0].getsockname()[1]
        yield running


@asynccontextmanager
async def outbound(policy: AddressPolicy = OPERATOR, **options: Any) -> AsyncIterator[OutboundClient]:
    client = OutboundClient(policy, **options)
    try:
        yield client
    finally:
        await client.close()
        assert not client._connections
        assert not client._pool._origins


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(3):
        while not condition():
            await asyncio.sleep(0.005)


def post(url: str, **options: Any) -> HttpCall:
    return HttpCall(method="POST", url=url, **{"body": b'{"a":1}', "timeout_s": 3.0} | options)


# -- the request and the plain reply -----------------------------------------------------------------------------------


@on_both_loops
async def test_request_on_the_wire_and_reply():
    reply = b"HTTP/1.1 202 Accepted\r\nX-A: 1\r\nX-EMPTY:\r\nx-a:  two \r\nContent-Length: 3\r\n\r\n\xff\x00!"
    async with peer(reply) as server, outbound() as client:
        headers = {"Content-Type": "application/json", "Idempotency-Key": "k-1", "X-Latin": "Käse\t1"}
        got = await client.send(post(f"{server.url}/v1/r%20x?a=[1]", headers=headers, body=b"\x00\xffbody"))
        assert (got.status, got.body) == (202, b"\xff\x00!")
        assert got.headers == {"x-a": "two", "x-empty": "", "content-length": "3"}
        assert server.requests == [
            b"POST /v1/r%20x?a=[1] HTTP/1.1\r\nHost: 127.0.0.1:" + str(server.port).encode() + b"\r\n"
            b"Accept-Encoding: identity\r\nContent-Type: application/json\r\nIdempotency-Key: k-1\r\n"
            b"X-Latin: K\xe4se\t1\r\nUser-Agent: receiptd\r\nContent-Length: 6\r\n\r\n\x00\xffbody"
        ]


@on_both_loops
async def test_get_has_no_body_and_a_call_may_name_its_own_agent():
    async with peer(OK) as server, outbound() as client:
        await client.send(HttpCall(method="GET", url=server.url, headers={"user-AGENT": "shop/1"}))
        await client.send(post(server.url, body=b""))
        assert b"content-length" not in server.requests[0].lower()
        assert server.requests[0].startswith(b"GET / HTTP/1.1\r\n")
        assert server.requests[0].lower().count(b"user-agent") == 1
        assert b"Content-Length: 0\r\n" in server.requests[1]


@on_both_loops
async def test_redirects_are_replies():
    """Invariant 14: a redirect leads nowhere that the policy has not judged."""
    reply = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
    async with peer(reply) as server, outbound() as client:
        got = await client.send(post(server.url))
        assert (got.status, got.headers["location"]) == (307, "http://169.254.169.254/")
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "headers",
    [
        *({"X-A": "a\r\nX-B: b"}, {"X-A": "a\nb"}, {"X-A": "a\rb"}, {"X-A": "a\0b"}, {"X-A": "\x7f"}, {"X-A": "\x1f"}),
        *({"X-A": "€"}, {"X-A\r\nX-B": "b"}, {"X A": "b"}, {"X:A": "b"}, {"": "b"}, {"Ä": "b"}, {"X-A\0": "b"}),
        *({"Host": "evil"}, {"content-length": "0"}, {"Transfer-Encoding": "chunked"}, {"Connection": "close"}),
    ],
)
async def test_headers_that_could_split_or_reframe_a_request_are_refused(headers: dict[str, str]):
    async with peer(OK) as server, outbound() as client:
        with pytest.raises(ValueError, match="header"):
            await client.send(post(server.url, headers=headers))
        assert server.connections == 0


@pytest.mark.parametrize("tail", ["/a\r\nX: y", "/a\0", "/a b", "/#f", "\\@evil/", "/é"])
async def test_urls_that_could_split_a_request_are_refused(tail: str):
    async with peer(OK) as server, outbound() as client:
        with pytest.raises(ValueError, match="URL"):
            await client.send(post(server.url + tail))
        with pytest.raises(ValueError, match="URL"):
            await client.send(post(server.url.replace("://", "://user:pw@")))
        with pytest.raises(ValueError, match="method"):
            await client.send(HttpCall(method="GET / HTTP/1.1\r\nX:", url=server.url))
        assert server.connections == 0


# -- replies, odd and broken -------------------------------------------------------------------------------------------

CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
GOOD_REPLIES = {
    "length": ("POST", OK, 200, b"ok", True),
    "chunked": ("POST", CHUNKED + b"2;x=y\r\nok\r\n1\r\n!\r\n0\r\nX-Trailer: t\r\n\r\n", 200, b"ok!", True),
    "until close": ("POST", HEAD + b"\r\nok" + CLOSE, 200, b"ok", False),
    "connection close": ("POST", HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", False),
    "1.0": ("POST", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", False),
    "1.0 kept": ("POST", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", True),
    "204": ("POST", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "304 with length": ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, b"", True),
    "HEAD": ("HEAD", HEAD + b"Content-Length: 999999999\r\n\r\n", 200, b"", False),
    "100": ("POST", b"HTTP/1.1 100 Continue\r\nX-A: 1\r\n\r\n" * 3 + OK, 200, b"ok", True),
    "103 apart": ("POST", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, 200, b"ok", True),
    "no reason": ("POST", b"HTTP/1.1 500\r\nContent-Length: 0\r\n\r\n", 500, b"", True),
    "excess": ("POST", OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", 200, b"ok", False),
    "excess junk": ("POST", OK + b"junk", 200, b"ok", False),
    "excess after 204": ("POST", b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", 204, b"", False),
}


@pytest.mark.parametrize("name", GOOD_REPLIES)
@on_both_loops
async def test_reply_and_reuse(name: str):
    method, wire, status, body, reused = GOOD_REPLIES[name]
    async with peer(wire) as server, outbound() as client:
        for calls in (1, 2):
            got = await client.send(HttpCall(method=method, url=server.url))
            assert (got.status, got.body) == (status, body)
            assert "x-trailer" not in got.headers
            assert "link" not in got.headers
            assert server.connections == (1 if reused else calls)


@on_both_loops
async def test_a_reply_may_come_byte_by_byte():
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in GOOD_REPLIES["chunked"][1]:
            writer.write(bytes((byte,)))
            await asyncio.sleep(0)

    async with listening(drip) as server, outbound() as client:
        assert (await client.send(HttpCall(method="GET", url=url_of(server)))).body == b"ok!"


BROKEN_REPLIES = {
    "length and coding": HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "coding and length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
    "negative length": HEAD + b"Content-Length: -2\r\n\r\nok",
    "list of lengths": HEAD + b"Content-Length: 2, 2\r\n\r\nok",
    "other coding": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "coding until close": HEAD + b"Transfer-Encoding: gzip\r\n\r\nok" + CLOSE,
    "coding in 1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "bad chunk": CHUNKED + b"zz\r\nok\r\n0\r\n\r\n",
    "garbage": b"\x16\x03\x01\x02\x00hello",
    "0.9": b"<html>hello</html>\r\n",
    "named 0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "folded header": HEAD + b"X-A: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "NUL in header": HEAD + b"X-A: a\0b\r\nContent-Length: 2\r\n\r\nok",
    "101": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nok",
    "status 99": b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n",
    "status 999": b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
    "endless interim": b"HTTP/1.1 100 Continue\r\n\r\n" * 9 + OK,
    "head too long": HEAD + b"X-A: " + b"a" * 600_000 + b"\r\nContent-Length: 2\r\n\r\nok",
    "head without end": HEAD + b"X-A: a\r\n" * 5_000,
    "length too long": HEAD + b"Content-Length: 1001\r\n\r\n",
    "chunks too long": CHUNKED + b"1f4\r\n" + b"x" * 500 + b"\r\n1f5\r\n" + b"x" * 501 + b"\r\n",
    "chunk extension too long": CHUNKED + b"1;" + b"x" * 60_000,
    "trailer too long": CHUNKED + b"0\r\n" + b"X-A: a\r\n" * 8_000,
    "until close too long": HEAD + b"\r\n" + b"x" * 1001,
    "truncated head": HEAD + b"Content-Le" + CLOSE,
    "truncated body": HEAD + b"Content-Length: 3\r\n\r\nok" + CLOSE,
    "truncated chunks": CHUNKED + b"2\r\nok\r\n" + CLOSE,
    "no reply": CLOSE,
}


@pytest.mark.parametrize("name", BROKEN_REPLIES)
@on_both_loops
async def test_broken_replies_end_the_connection(name: str):
    """Invariant 13: whatever a peer sends, it is bounded, and no call hangs or takes it for an answer."""

    def answer(connection: int, _request: int) -> bytes:
        if connection > 1:
            return OK
        return wire if wire.endswith(CLOSE) else wire + SILENCE

    wire = BROKEN_REPLIES[name]
    async with peer(answer) as server, outbound(connections_per_origin=1) as client:
        with pytest.raises(OutboundError) as caught:
            await client.send(post(server.url, reply_max_bytes=1000))
        assert "in time" not in str(caught.value)  # refused for what it is, at once
        assert caught.value.sent
        assert caught.value.retryable
        assert (await client.send(post(server.url))).body == b"ok"
        assert (server.connections, len(server.requests)) == (2, 2)


@on_both_loops
async def test_a_reply_of_exactly_the_limit_is_taken():
    async with peer(HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000) as server, outbound() as client:
        assert len((await client.send(post(server.url, reply_max_bytes=1000))).body) == 1000


@on_both_loops
async def test_early_answer_to_a_large_request_is_a_reply_but_ends_the_connection():
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with listening(refuse) as server, outbound() as client:
        assert (await client.send(post(url_of(server), body=b"x" * 30_000_000))).status == 413
        await until(lambda: not client._connections)


# -- connections: reuse, bounds, staleness -----------------------------------------------------------------------------


@on_both_loops
async def test_the_freshest_connection_is_reused_first():
    async with peer(OK) as server, outbound() as client:
        await asyncio.gather(*(client.send(post(server.url)) for _ in range(4)))
        assert server.connections == 4
        slots = client._pool._origins[server.url]
        freshest = slots.resting[-1]
        await client.send(post(server.url))
        assert slots.resting[-1] is freshest
        assert server.connections == 4


@on_both_loops
async def test_bytes_that_nobody_asked_for_end_a_resting_connection():
    """They must not become the answer to the next call."""
    evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)

    async with listening(serve) as server, outbound() as client:
        call = HttpCall(method="GET", url=url_of(server))
        assert (await client.send(call)).body == b"ok"
        writers[0].write(evil)
        await until(lambda: not client._connections)
        assert (await client.send(call)).body == b"ok"
        assert len(writers) == 2


@on_both_loops
async def test_a_kept_connection_that_was_closed_is_replaced_once():
    """Invariant 5: the repeat is the same request, byte for byte, so under the same key."""
    async with peer(lambda _connection, request: CLOSE if request == 2 else OK) as server, outbound() as client:
        for number in (1, 2):
            got = await client.send(post(server.url, headers={"Idempotency-Key": f"k-{number}"}))
            assert got.body == b"ok"
        assert server.connections == 2
        assert len(server.requests) == 3
        assert server.requests[1] == server.requests[2]


@on_both_loops
async def test_the_repeat_is_not_repeated():
    async with peer(lambda _connection, request: CLOSE if request > 1 else OK) as server, outbound() as client:
        await client.send(post(server.url))
        with pytest.raises(OutboundError, match="closed") as caught:
            await client.send(post(server.url))
        assert caught.value.sent
        assert len(server.requests) == 3


@on_both_loops
async def test_a_connection_that_dies_amid_the_reply_is_not_replaced():
    async with peer(lambda _c, request: HEAD + CLOSE if request > 1 else OK) as server, outbound() as client:
        await client.send(post(server.url))
        with pytest.raises(OutboundError) as caught:
            await client.send(post(server.url))
        assert caught.value.sent
        assert len(server.requests) == 2


@on_both_loops
async def test_a_repeat_that_cannot_connect_still_says_sent():
    """Invariant 3: the first attempt may have had its effect."""

    def answer(_connection: int, request: int) -> bytes:
        if request == 1:
            return OK
        server.stop()
        return CLOSE

    async with peer(answer) as server, outbound() as client:
        await client.send(post(server.url))
        with pytest.raises(OutboundError, match="cannot connect") as caught:
            await client.send(post(server.url))
        assert caught.value.sent


@on_both_loops
async def test_a_connection_closed_while_resting_is_not_used():
    async with peer(lambda _c, request: OK if request > 1 else OK + CLOSE) as server, outbound() as client:
        await client.send(post(server.url))
        await until(lambda: not client._connections)
        assert (await client.send(post(server.url))).body == b"ok"
        assert len(server.requests) == 2


@on_both_loops
async def test_connections_of_an_origin_are_bounded_and_waited_for_in_order():
    async with peer(OK) as server, outbound(connections_per_origin=3) as client:
        done: list[int] = []

        async def one(number: int) -> None:
            await client.send(post(server.url))
            done.append(number)

        await asyncio.gather(*(one(number) for number in range(60)))
        assert server.connections == 3
        assert all(abs(place - number) < 6 for place, number in enumerate(done))


@on_both_loops
async def test_one_origin_does_not_hold_up_another():
    """Invariant 12."""
    async with peer(SILENCE) as slow, peer(OK) as quick, outbound(connections_per_origin=1) as client:
        stuck = [asyncio.create_task(client.send(post(slow.url, timeout_s=0.3))) for _ in range(5)]
        await until(lambda: slow.requests)
        assert (await client.send(post(quick.url))).body == b"ok"
        results = await asyncio.gather(*stuck, return_exceptions=True)
        assert [getattr(result, "sent", None) for result in results] == [True, False, False, False, False]


@on_both_loops
async def test_resting_connections_are_bounded_and_end():
    async with peer(OK) as one, peer(OK) as two, outbound(resting_max=2, resting_timeout_s=0.1) as client:
        await client.send(post(one.url))
        await asyncio.gather(*(client.send(post(two.url)) for _ in range(2)))
        await until(lambda: len(client._connections) == 2)
        assert set(client._pool._origins) == {two.url}
        await until(lambda: not client._connections)
        assert not client._pool._origins
        assert (await client.send(post(one.url))).body == b"ok"


# -- time, cancellation, end -------------------------------------------------------------------------------------------


@on_both_loops
async def test_total_time_covers_a_silent_and_a_dripping_peer():
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Content-Length: 1000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.01)

    async with listening(drip) as dripping, peer(SILENCE) as silent, outbound() as client:
        for url in (silent.url, url_of(dripping)):
            started = asyncio.get_running_loop().time()
            with pytest.raises(OutboundError, match="in time") as caught:
                await client.send(HttpCall(method="GET", url=url, timeout_s=0.1))
            assert caught.value.sent
            assert 0.09 < asyncio.get_running_loop().time() - started < 1
            await until(lambda: not client._connections)


@on_both_loops
async def test_each_call_on_a_connection_has_its_own_time():
    """The timer is shared by the calls of a connection: it must neither fire early nor stay set to a longer time."""
    async with peer(lambda _c, request: SILENCE if request == 4 else OK) as server, outbound() as client:
        for timeout_s in (0.1, 5.0, 5.0):
            await client.send(post(server.url, timeout_s=timeout_s))
            await asyncio.sleep(0.08)
        assert server.connections == 1
        with pytest.raises(OutboundError, match="in time"):
            await client.send(post(server.url, timeout_s=0.1))


@on_both_loops
async def test_what_fails_before_sending_says_so():
    async def unresolved(host: str) -> Sequence[Address]:
        raise OSError(f"{host}: no such name")

    async with peer(SILENCE) as server, outbound(resolver=unresolved, connections_per_origin=1) as client:
        refused = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
        refused_port = refused.sockets[0].getsockname()[1]
        refused.close()
        await refused.wait_closed()
        holder = asyncio.create_task(client.send(post(server.url, timeout_s=1.0)))
        await until(lambda: server.requests)
        for url, why in (
            (f"http://127.0.0.1:{refused_port}", "cannot connect"),
            ("http://tax.internal", "does not resolve"),
            (server.url, "came free"),
            (f"https://127.0.0.1:{server.port}", "in time"),  # it never speaks TLS
        ):
            with pytest.raises(OutboundError, match=why) as caught:
                await client.send(post(url + "/secret-path?token=t", timeout_s=0.1))
            assert not caught.value.sent
            assert "secret-path" not in str(caught.value)
            assert "token" not in str(caught.value)
        holder.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holder


@on_both_loops
async def test_a_cancelled_call_closes_its_connection_and_frees_its_slot():
    async with (
        peer(lambda connection, _request: SILENCE if connection == 1 else OK) as server,
        outbound(connections_per_origin=1) as client,
    ):
        first = asyncio.create_task(client.send(post(server.url)))
        await until(lambda: server.requests)
        second = asyncio.create_task(client.send(post(server.url)))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (await second).body == b"ok"
        await until(lambda: server.open == 1)


@on_both_loops
async def test_cancelling_at_any_moment_leaks_nothing():
    choose = random.Random(7)
    async with peer(OK) as server, outbound(connections_per_origin=2) as client:
        for _ in range(40):
            calls = [asyncio.create_task(client.send(post(server.url))) for _ in range(6)]
            for call in calls:
                for _ in range(choose.randrange(4)):
                    await asyncio.sleep(0)
                if choose.random() < 0.5:
                    call.cancel()
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(result, HttpReply | asyncio.CancelledError) for result in results)
        slots = client._pool._origins.get(server.url)
        assert slots is None or (slots.busy, len(slots.waiters)) == (0, 0)
        results = await asyncio.gather(*(client.send(post(server.url)) for _ in range(4)))
        assert {result.body for result in results} == {b"ok"}


@on_both_loops
async def test_close_ends_the_calls_that_wait():
    async with peer(SILENCE) as server:
        client = OutboundClient(OPERATOR, connections_per_origin=1)
        calls = [asyncio.create_task(client.send(post(server.url))) for _ in range(2)]
        await until(lambda: server.requests)
        await client.close()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [result.sent for result in results] == [True, False]
        with pytest.raises(OutboundError, match="closed"):
            await client.send(post(server.url))
        await client.close()


# -- addresses ---------------------------------------------------------------------------------------------------------


def resolving(*answers: Sequence[str], asked: list[str]):
    async def resolve(host: str) -> Sequence[Address]:
        asked.append(host)
        return [ipaddress.ip_address(text) for text in answers[min(len(asked), len(answers)) - 1]]

    return resolve


@on_both_loops
async def test_a_rebinding_resolver_gains_nothing():
    """Invariant 14: asked once a connection, and the connection goes to the address that was judged."""
    asked: list[str] = []
    policy = AddressPolicy(allow_http=True, allow_loopback=True, denied=(ipaddress.ip_network("127.0.0.2"),))
    resolver = resolving(["127.0.0.1"], ["127.0.0.2"], asked=asked)
    async with peer(OK) as allowed, outbound(policy, resolver=resolver) as client:
        forbidden = Peer(lambda _connection, _request: OK)
        async with listening(forbidden.talk, host="127.0.0.2", port=allowed.port):
            url = f"http://hook.example:{allowed.port}/"
            await client.send(post(url))
            await client.send(post(url))
            assert asked == ["hook.example"]
            assert f"\r\nHost: hook.example:{allowed.port}\r\n".encode() in allowed.requests[0]
            # One call too many for the kept connection: it opens another, and so resolves again.
            results = await asyncio.gather(*(client.send(post(url)) for _ in range(2)), return_exceptions=True)
            assert asked == ["hook.example"] * 2
            assert [type(result) for result in results] == [HttpReply, DeniedAddressError]
        assert forbidden.connections == 0


async def test_the_connection_is_pinned_to_the_public_address(monkeypatch: pytest.MonkeyPatch):
    """Invariant 14, with a public first answer: no connection is made to the name, nor to the later answer."""
    asked: list[str] = []
    connected: list[object] = []

    async def record(_factory: object, host: object, *_rest: object, **options: object) -> None:
        connected.append((host, options["server_hostname"]))
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", record)
    async with outbound(CLIENT, resolver=resolving(["8.8.8.8"], ["127.0.0.1"], asked=asked)) as client:
        with pytest.raises(OutboundError, match="cannot connect"):
            await client.send(post("https://hook.example/"))
        with pytest.raises(DeniedAddressError, match="loopback") as caught:
            await client.send(post("https://hook.example/?token=secret"))
    assert connected == [("8.8.8.8", "hook.example")]
    assert len(asked) == 2
    assert not caught.value.sent
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        *(("https://127.0.0.1/", ""), ("https://[::1]/", ""), ("https://[::ffff:127.0.0.1]/", "")),
        *(("https://[64:ff9b::7f00:1]/", ""), ("https://169.254.169.254/latest/meta-data/", "")),
        *(
            ("http://example.com/", ""),
            ("https://localhost/", "127.0.0.1"),
            ("https://hook.example/", "64:ff9b::a00:1"),
        ),
        *(("https://metadata.google.internal/", "169.254.169.254"), ("https://hook.example/", "fe80::1%eth0")),
    ],
)
async def test_the_client_policy_denies(url: str, answer: str):
    asked: list[str] = []
    async with outbound(CLIENT, resolver=resolving([answer], asked=asked)) as client:
        with pytest.raises(DeniedAddressError) as caught:
            await client.send(post(url))
    assert not caught.value.retryable
    assert len(asked) == (1 if answer else 0)


@on_both_loops
async def test_the_next_address_is_tried_when_one_does_not_answer():
    async with peer(OK) as server, outbound(resolver=resolving(["127.0.0.3", "127.0.0.1"], asked=[])) as client:
        assert (await client.send(post(f"http://tax.internal:{server.port}"))).body == b"ok"


# -- interoperation ----------------------------------------------------------------------------------------------------


@on_both_loops
async def test_aiohttp_server():
    async def echo(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.path == "/stream":
            response = web.StreamResponse(headers={"X-Len": str(len(body))})
            await response.prepare(request)
            for start in range(0, len(body), 50_000):
                await response.write(body[start : start + 50_000])
            return response
        return web.Response(status=201, body=body, headers={"X-Method": request.method})

    app = web.Application(client_max_size=10_000_000)
    app.router.add_route("*", "/{tail:.*}", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    body = random.Random(1).randbytes(1_000_000)
    try:
        async with outbound() as client:
            for path in ("/plain", "/stream", "/plain"):
                got = await client.send(post(url + path, body=body, reply_max_bytes=2_000_000))
                assert got.body == body
            for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE"):
                got = await client.send(HttpCall(method=method, url=url))
                assert (got.status, got.headers["x-method"]) == (201, method)
    finally:
        await runner.cleanup()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A server's context with a self-signed certificate for registrar.example and 127.0.0.1, and its file."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("registrar.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, folder / "key.pem")
    return context, path


@on_both_loops
async def test_tls_verifies_the_urls_host_on_the_pinned_address(certificates):
    server_tls, path = certificates
    asked_for: list[str | None] = []
    server_tls.sni_callback = lambda _socket, name, _context: asked_for.append(name)
    trusting = ssl.create_default_context(cafile=str(path))
    resolver = resolving(["127.0.0.1"], asked=[])
    async with peer(OK, server_tls) as server, outbound(tls=trusting, resolver=resolver) as client:
        for _ in range(2):
            got = await client.send(post(f"https://registrar.example:{server.port}/x", body=b"y" * 300_000))
            assert got.body == b"ok"
        assert server.connections == 1
        assert asked_for == ["registrar.example"]
        assert f"\r\nHost: registrar.example:{server.port}\r\n".encode() in server.requests[0]
        assert (await client.send(post(f"https://127.0.0.1:{server.port}/"))).body == b"ok"
        with pytest.raises(OutboundError, match=r"other\.example") as caught:
            await client.send(post(f"https://other.example:{server.port}/"))
        assert not caught.value.sent
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        assert len(server.requests) == 3


@on_both_loops
async def test_tls_refuses_an_unknown_authority_and_a_peer_without_tls(certificates):
    async with peer(OK, certificates[0]) as server, peer(CLOSE) as plain, outbound() as client:
        with pytest.raises(OutboundError, match="CERTIFICATE_VERIFY_FAILED") as caught:
            await client.send(post(f"https://127.0.0.1:{server.port}/"))
        assert not caught.value.sent
        with pytest.raises(OutboundError, match=r"cannot connect|in time") as caught:
            await client.send(post(f"https://127.0.0.1:{plain.port}/", timeout_s=0.5))
        assert not caught.value.sent
        assert server.requests == plain.requests == []


@on_both_loops
async def test_tls_timeouts_cancellation_and_staleness(certificates):
    server_tls, path = certificates
    trusting = ssl.create_default_context(cafile=str(path))
    script = {1: OK, 2: CLOSE, 3: OK, 4: SILENCE, 5: SILENCE, 6: HEAD + b"\r\nok" + CLOSE}
    async with (
        peer(lambda _connection, request: script[request], server_tls) as server,
        outbound(tls=trusting, connections_per_origin=1) as client,
    ):
        url = f"https://127.0.0.1:{server.port}/"
        assert [(await client.send(post(url))).body for _ in range(2)] == [b"ok"] * 2
        assert server.connections == 2
        with pytest.raises(OutboundError, match="in time"):
            await client.send(post(url, timeout_s=0.2))
        call = asyncio.create_task(client.send(post(url)))
        await until(lambda: len(server.requests) == 5)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await client.send(post(url))).body == b"ok"
