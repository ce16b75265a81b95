"""The HTTP server towards peers that keep to the rules, and in its drain. Raw sockets, on both event loops."""

from __future__ import annotations

import asyncio
import logging
import socket
import time

import pytest
from http_wire import Probe, chunked, get, post, request, serving

from receiptd.http.encoding import ResponseEncoder
from receiptd.http.message import Response
from receiptd.http.server import HttpServer, ServerLimits


async def test_a_request_reaches_the_application_whole_and_its_answer_the_peer() -> None:
    async with serving() as served:
        wire = await served.wire()
        answer = await wire.ask(post(b"{}", "/v1/receipts?a=1&b=%20", "X-Odd-Name:   spaced \t ", "Empty:"))
    assert answer.status == 200
    assert answer.names == ["date", "content-type", "content-length"]
    assert answer.json == {
        "method": "POST",
        "path": "/v1/receipts",
        "query": "a=1&b=%20",
        "headers": {"host": "test.example", "content-length": "2", "x-odd-name": "spaced", "empty": ""},
        "body": "{}",
        "peer": "127.0.0.1",
    }
    assert served.application.admitted == [2]


async def test_a_connection_serves_many_requests() -> None:
    async with serving() as served:
        wire = await served.wire()
        for number in range(50):
            assert (await wire.ask(post(b"x" * number, f"/{number}"))).json["path"] == f"/{number}"
            assert (await wire.ask(get(f"/yield?{number}"))).json["query"] == str(number)
        stats = served.server.stats
        assert (stats.connections, stats.requests, stats.refused, stats.faults) == (1, 100, 0, 0)


MESSAGES = [
    get("/a?b"),
    post(b"hello\r\n\r\nworld"),
    chunked(b"hello\r\n\r\nworld\r\n", trailer=b"Checksum: 1\r\nHost: other\r\nContent-Length: 5\r\n"),
    b"\r\n\r\n" + get("/after-empty-lines"),
    request("POST", "/", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "Content-Length: 4") + b"up\r\n",
    request("POST", "/", "Transfer-Encoding: Chunked", "Connection: upgrade", "Upgrade: websocket")
    + b'000A;a="b;c";d\r\n0\r\n\r\nhello\r\n0;last\r\n\r\n',
]


@pytest.mark.parametrize("message", MESSAGES)
async def test_bytes_may_come_one_by_one(message: bytes) -> None:
    async with serving() as served:
        whole, slow = await served.wire(), await served.wire()
        expected = await whole.ask(message)
        for offset in range(len(message)):
            await slow.send(message[offset : offset + 1])
            await asyncio.sleep(0)
        assert (await slow.answer()).json == expected.json
        assert expected.status == 200


async def test_a_split_at_any_offset_changes_nothing() -> None:
    async with serving() as served:
        wire = await served.wire()
        expected = [(await wire.ask(message)).json for message in MESSAGES]
        stream = b"".join(MESSAGES)
        for offset in range(1, len(stream)):
            wire.writer.write(stream[:offset])
            await asyncio.sleep(0.0002)
            wire.writer.write(stream[offset:])
            assert [(await wire.answer()).json for _ in MESSAGES] == expected, offset


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    async with serving() as served:
        wire = await served.wire()
        stream = b""
        for number in range(60):
            path = "/yield" if number % 3 == 0 else "/now"
            stream += chunked(b"c") if number % 7 == 0 else post(b"b", f"{path}?{number}")
        await wire.send(stream)
        answers = [(await wire.answer()).json for _ in range(60)]
        assert [a["query"] for a in answers] == [str(n) if n % 7 else "" for n in range(60)]


async def test_only_one_request_of_a_connection_is_in_hand_and_the_rest_stays_with_the_peer() -> None:
    async with serving() as served:
        wire = await served.wire()
        flood = get("/wait?1") + get("/now") * 200_000
        sending = asyncio.create_task(wire.send(flood))
        await served.application.started.wait()
        await asyncio.sleep(0.1)
        assert not sending.done()  # the peer is held back
        assert len(served.application.seen) == 1
        assert served.server._state.buffered_bytes < 1_000_000
        served.application.gate.set()
        assert (await wire.answer()).json["query"] == "1"
        assert (await wire.answer()).json["path"] == "/now"
        wire.writer.transport.abort()
        await sending


@pytest.mark.parametrize("size", [1, 65_536, 1_048_576])
async def test_large_bodies_arrive_unchanged(size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"y" * (size % 256)
    async with serving() as served:
        wire = await served.wire()
        for message in (post(body), chunked(body, 5000)):
            assert (await wire.ask(message)).status == 200
            assert served.application.seen[-1].body == body
        assert served.application.admitted == [size, None]


async def test_a_large_answer_reaches_a_slow_but_steady_reader() -> None:
    async with serving(write_timeout_s=1) as served:
        wire = await served.wire()
        await wire.send(get("/bytes?5000000") + get("/after"))
        await asyncio.sleep(0.2)
        assert len((await wire.answer()).body) == 5_000_000
        assert (await wire.answer()).json["path"] == "/after"


async def test_head_has_the_length_but_no_body() -> None:
    async with serving() as served:
        wire = await served.wire()
        await wire.send(request("HEAD", "/bytes?1234"))
        answer = await wire.answer(head_only=True)
        assert answer.headers["content-length"] == "1234"
        served.application.admit_with = lambda _: served.application.refuse(401, "token-missing", "none")
        await wire.send(request("HEAD", "/"))
        assert (await wire.answer(head_only=True)).status == 401
        assert await wire.rest() == b""


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_content_have_no_length(status: int) -> None:
    async with serving() as served:
        wire = await served.wire()
        answer = await wire.ask(get(f"/empty?{status}"))
        assert answer.status == status
        assert answer.names == ["date"]
        assert (await wire.ask(get())).status == 200


async def test_http_1_0_closes_unless_asked_to_stay() -> None:
    async with serving() as served:
        wire = await served.wire()
        stays = await wire.ask(b"GET /a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
        assert stays.headers["connection"] == "keep-alive"
        assert (await wire.ask(b"GET /b HTTP/1.0\r\nExpect: anything\r\n\r\n")).closes
        assert await wire.rest() == b""


@pytest.mark.parametrize("field", ["Connection: close", "Connection: x, CLOSE", "Connection: keep-alive, close"])
async def test_close_is_honoured(field: str) -> None:
    async with serving() as served:
        wire = await served.wire()
        assert (await wire.ask(get("/", field))).closes
        assert await wire.rest() == b""
        await served.empty()


async def test_nothing_behind_the_last_request_is_answered() -> None:
    async with serving() as served:
        wire = await served.wire()
        await wire.send(get("/a", "Connection: close") + get("/b"))
        assert (await wire.answer()).json["path"] == "/a"
        assert await wire.rest() == b""
        wire = await served.wire()
        await wire.send(get("/close") + get("/b"))
        assert (await wire.answer()).closes
        assert await wire.rest() == b""
    assert [seen.path for seen in served.application.seen] == ["/a", "/close"]


async def test_continue_is_sent_once_the_head_is_admitted() -> None:
    async with serving() as served:
        wire = await served.wire()
        head = request("POST", "/", "Content-Length: 3", "Expect: 100-Continue")
        await wire.send(head)
        assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await wire.ask(b"abc")).json["body"] == "abc"
        await wire.send(head + b"abc")  # it did not wait: nothing to tell it
        assert (await wire.answer()).json["body"] == "abc"
        await wire.send(request("GET", "/", "Expect: 100-continue"))  # no body to wait for
        assert (await wire.answer()).status == 200
        served.application.admit_with = lambda _: Response(403, b"no")
        assert (await wire.ask(head)).status == 403


async def test_absolute_and_asterisk_forms() -> None:
    async with serving() as served:
        wire = await served.wire()
        for target, path, query, host in (
            ("http://other.example:8080/p/q?r=1", "/p/q", "r=1", "other.example:8080"),
            ("HTTPS://[::1]?r", "/", "r", "[::1]"),
            ("//double/slash", "//double/slash", "", "test.example"),
        ):
            shown = (await wire.ask(get(target))).json
            assert (shown["path"], shown["query"], shown["headers"]["host"]) == (path, query, host)
        assert (await wire.ask(request("OPTIONS", "*"))).json["path"] == "*"


async def test_lists_are_joined() -> None:
    async with serving() as served:
        wire = await served.wire()
        fields = ["Via: a", "VIA: b", "Accept: x", "Accept: y, z", 'If-None-Match: W/"1"', 'If-None-Match: "2"']
        headers = (await wire.ask(get("/", *fields, "X-Own: 1", "x-own: 2"))).json["headers"]
        assert headers["via"] == "a, b"
        assert headers["accept"] == "x, y, z"
        assert headers["if-none-match"] == 'W/"1", "2"'
        assert headers["x-own"] == "1, 2"


async def test_an_upgrade_is_ignored_and_the_connection_goes_on() -> None:
    async with serving() as served:
        wire = await served.wire()
        offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
        await wire.send(post(b"hello", "/a", *offer) + get("/b", *offer) + get("/c", *offer, "Upgrade: websocket"))
        answers = [await wire.answer() for _ in range(3)]
        assert [(answer.status, answer.json["path"]) for answer in answers] == [(200, "/a"), (200, "/b"), (200, "/c")]
        assert answers[0].json["body"] == "hello"


async def test_a_peer_that_has_ended_its_side_is_still_answered() -> None:
    async with serving() as served:
        wire = await served.wire()
        await wire.send(get("/wait?1") + post(b"b", "/now?2"))
        wire.end()
        await served.application.started.wait()
        served.application.gate.set()
        assert [(await wire.answer()).json["query"] for _ in range(2)] == ["1", "2"]
        assert await wire.rest() == b""


@pytest.mark.parametrize("by_reset", [False, True])
async def test_a_handler_outlives_its_peer_and_counts_until_its_end(by_reset) -> None:
    async with serving(connections_max=1) as served:
        wire = await served.wire()
        await wire.send(get("/wait?1"))
        await served.application.started.wait()
        if by_reset:
            wire.reset()
        await wire.close()
        await asyncio.sleep(0.05)
        assert served.server.stats.connections == 1
        refused = await (await served.wire()).answer()
        assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "overloaded", "1")
        served.application.gate.set()
        await asyncio.sleep(0.05)
        assert served.application.finished == ["1"]
        assert not served.application.cancelled
        assert (await (await served.wire()).ask(get())).status == 200


async def test_a_fault_is_answered_500_and_logged_without_the_request(caplog) -> None:
    """Invariant 14."""
    async with serving() as served:
        wire = await served.wire()
        for path in ("/fail", "/inner-cancel", "/nonsense"):
            answer = await wire.ask(post(b"SECRET-BODY", f"{path}?SECRET-QUERY", "Authorization: Bearer SECRET-TOKEN"))
            assert (answer.status, answer.code, answer.closes) == (500, "internal", False)
        served.application.admit_with = lambda request: 1 / len(request.body)  # type: ignore[return-value]
        assert (await wire.ask(get("/SECRET-PATH"))).status == 500
        assert served.server.stats.faults == 4
    assert [record.name for record in caplog.records] == ["receiptd.http"] * 4
    assert "broken on purpose" in caplog.text
    assert "SECRET" not in caplog.text


async def test_a_refused_head_is_answered_although_the_peer_goes_on_sending() -> None:
    async with serving(linger_timeout_s=2) as served:
        served.application.admit_with = lambda _: Response(401, b"no", b"WWW-Authenticate: Bearer\r\n")
        wire = await served.wire()
        await wire.send(request("POST", "/", "Content-Length: 900000") + b"x" * 900_000 + get())
        answer = await wire.answer()
        assert (answer.status, answer.closes, answer.headers["www-authenticate"]) == (401, True, "Bearer")
        assert await wire.rest() == b""
        assert not served.application.seen
        assert served.server.stats.refused == 1


async def test_drain_closes_idle_connections_and_answers_what_has_begun() -> None:
    async with serving() as served:
        fresh, idle, handled, sending = [await served.wire() for _ in range(4)]
        assert (await idle.ask(get())).status == 200
        await handled.send(get("/wait?1") + get("/never"))
        await served.application.started.wait()
        await sending.send(post(b"hello")[:-3])
        await asyncio.sleep(0.05)
        draining = asyncio.create_task(served.server.drain(3))
        again = asyncio.create_task(served.server.drain(3))
        assert await fresh.rest(0.5) == b""
        assert await idle.rest(0.5) == b""
        with pytest.raises(ConnectionError):
            await served.wire()
        finishing = await sending.ask(b"llo")
        assert (finishing.json["body"], finishing.closes) == ("hello", True)
        assert not draining.done()
        served.application.gate.set()
        last = await handled.answer()
        assert (last.json["query"], last.closes) == ("1", True)
        assert await handled.rest() == b""
        for wire in (handled, sending):
            await wire.close()
        await asyncio.gather(draining, again)
        await served.server.drain(0)
    assert [seen.path for seen in served.application.seen] == ["/", "/wait", "/"]
    assert not served.application.cancelled


async def test_drain_cancels_what_does_not_end_in_time(caplog) -> None:
    async with serving() as served:
        wire = await served.wire()
        await wire.send(get("/wait?1"))
        await served.application.started.wait()
        started = time.monotonic()
        await served.server.drain(0.1)
        assert 0.05 < time.monotonic() - started < 1
        assert served.application.cancelled == ["1"]
        assert await wire.rest() == b""
        assert await served.empty()
    assert "drain timed out" in caplog.text


async def test_a_server_that_never_started_drains() -> None:
    await HttpServer(Probe()).drain(1)


async def test_a_given_socket_is_listened_on() -> None:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    server = HttpServer(Probe(), ServerLimits())
    await server.start(sock=bound)
    assert server.port == bound.getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(get("/", "Connection: close"))
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()
    await server.drain(1)


async def test_two_servers_share_a_port_when_told_to() -> None:
    first, second = HttpServer(Probe()), HttpServer(Probe())
    await first.start("127.0.0.1", 0, reuse_port=True)
    await second.start("127.0.0.1", first.port, reuse_port=True)
    assert first.port == second.port
    await first.drain(1)
    await second.drain(1)


async def test_a_reset_inside_anything_leaves_nothing_behind(caplog) -> None:
    async with serving() as served:
        for message in (b"", get()[:-3], post(b"hello")[:-2], get("/yield"), get("/bytes?3000000"), b"garbage\r\n"):
            wire = await served.wire()
            await wire.send(message)
            await asyncio.sleep(0.02)
            wire.reset()
        assert await served.empty()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_the_date_is_formatted_once_a_second(monkeypatch) -> None:
    now = 1_700_000_000.9
    monkeypatch.setattr("receiptd.http.encoding.time.time", lambda: now)
    encoder = ResponseEncoder()
    first = encoder.encode(Response(200))
    assert b"\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\n" in first
    assert encoder.encode(Response(200)) == first
    now += 1
    assert b"\r\nDate: Tue, 14 Nov 2023 22:13:21 GMT\r\n" in encoder.encode(Response(299))
    assert encoder.encode(Response(299)).startswith(b"HTTP/1.1 299 \r\n")
