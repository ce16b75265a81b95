"""The HTTP server towards peers that break the rules, or that keep to them and mean ill."""

from __future__ import annotations

import asyncio
import json
import re
import time
from itertools import pairwise

import pytest
from http_wire import Probe, chunked, get, post, request, serving
from hypothesis import given, settings
from hypothesis import strategies as st

from receiptd.http.parsing import RequestParser
from receiptd.http.state import ServerLimits
from receiptd.http.syntax import RefusedError

MARK = "q7zmark"
HOST = b"Host: test.example\r\n"


def head(*lines: bytes) -> bytes:
    return b"\r\n".join(lines) + b"\r\n\r\n"


def with_field(field: bytes) -> bytes:
    return b"GET /q7zmark HTTP/1.1\r\n" + HOST + field + b"\r\n\r\n"


def with_chunks(chunks: bytes, *fields: str) -> bytes:
    return request("POST", "/q7zmark", "Transfer-Encoding: chunked", *fields) + chunks


MALFORMED = {
    # the request line
    "no version": head(b"GET /q7zmark", b"Host: a"),
    "HTTP/0.9 in full": head(b"GET /q7zmark HTTP/0.9", b"Host: a"),
    "HTTP/0.9 with a space in a field": head(b"GET /q7zmark", b"X: HTTP/1.1", b"Host: a b"),
    "HTTP/2.0": head(b"GET /q7zmark HTTP/2.0", b"Host: a"),
    "HTTP/1.2": head(b"GET /q7zmark HTTP/1.2", b"Host: a"),
    "lower-case protocol": head(b"GET /q7zmark http/1.1", b"Host: a"),
    "RTSP": head(b"GET /q7zmark RTSP/1.0", b"Host: a"),
    "RTSP method": head(b"DESCRIBE /q7zmark RTSP/1.0", b"Host: a"),
    "ICE": head(b"SOURCE /q7zmark ICE/1.0", b"Host: a"),
    "two spaces before the target": head(b"GET  /q7zmark HTTP/1.1", b"Host: a"),
    "two spaces behind the target": head(b"GET /q7zmark  HTTP/1.1", b"Host: a"),
    "space behind the version": head(b"GET /q7zmark HTTP/1.1 ", b"Host: a"),
    "tab for a space": head(b"GET\t/q7zmark HTTP/1.1", b"Host: a"),
    "unknown method": head(b"Q7ZMARK / HTTP/1.1", b"Host: a"),
    "lower-case method": head(b"get /q7zmark HTTP/1.1", b"Host: a"),
    "method of another protocol": head(b"M-SEARCH /q7zmark HTTP/1.1", b"Host: a"),
    "CONNECT": head(b"CONNECT q7zmark:443 HTTP/1.1", b"Host: q7zmark:443"),
    "CONNECT to a path": head(b"CONNECT /q7zmark HTTP/1.1", b"Host: a"),
    "space before the method": head(b" GET /q7zmark HTTP/1.1", b"Host: a"),
    "LF before the method": b"\n" + head(b"GET /q7zmark HTTP/1.1", b"Host: a"),
    "CR before the method": b"\r" + head(b"GET /q7zmark HTTP/1.1", b"Host: a"),
    # the target
    "asterisk with GET": head(b"GET * HTTP/1.1", b"Host: a", b"X: q7zmark"),
    "fragment": head(b"GET /a#q7zmark HTTP/1.1", b"Host: a"),
    "fragment of a URI": head(b"GET http://a/#q7zmark HTTP/1.1", b"Host: a"),
    "other scheme": head(b"GET ftp://a/q7zmark HTTP/1.1", b"Host: a"),
    "user in the URI": head(b"GET http://q7zmark@a/ HTTP/1.1", b"Host: a"),
    "no host in the URI": head(b"GET http:///q7zmark HTTP/1.1", b"Host: a"),
    "relative target": head(b"GET q7zmark HTTP/1.1", b"Host: a"),
    "NUL in the target": head(b"GET /q7zmark\0 HTTP/1.1", b"Host: a"),
    "DEL in the target": head(b"GET /q7zmark\x7f HTTP/1.1", b"Host: a"),
    "UTF-8 in the target": head("GET /q7zmarkü HTTP/1.1".encode(), b"Host: a"),
    "bare CR in the target": head(b"GET /q7zmark\r/ HTTP/1.1", b"Host: a"),
    # the fields
    "no Host": head(b"GET /q7zmark HTTP/1.1", b"X: y"),
    "two Hosts": head(b"GET /q7zmark HTTP/1.1", b"Host: a", b"host: a"),
    "empty Host": head(b"GET /q7zmark HTTP/1.1", b"Host:"),
    "Host with a path": head(b"GET / HTTP/1.1", b"Host: a/q7zmark"),
    "Host with a user": head(b"GET / HTTP/1.1", b"Host: q7zmark@a"),
    "Host with a space": head(b"GET / HTTP/1.1", b"Host: a q7zmark"),
    "two hosts in one": head(b"GET / HTTP/1.1", b"Host: a, q7zmark"),
    "folded field": with_field(b"X: a\r\n q7zmark"),
    "folded first field": head(b"GET /q7zmark HTTP/1.1", b" Host: a"),
    "space before the colon": with_field(b"X-q7zmark : a"),
    "no colon": with_field(b"X-q7zmark"),
    "no name": with_field(b": q7zmark"),
    "NUL in a value": with_field(b"X: q7zmark\0"),
    "control byte in a value": with_field(b"X: q7zmark\x08"),
    "bare CR in a value": with_field(b"X: a\rX-q7zmark: b"),
    "bare LF in a value": with_field(b"X: a\nX-q7zmark: b"),
    "bare LF throughout": b"GET /q7zmark HTTP/1.1\nHost: a\n\n",
    "bare LF at the end": b"GET /q7zmark HTTP/1.1\r\nHost: a\r\n\n",
    "bytes beyond ASCII in a name": with_field("X-q7zmarkü: a".encode()),
    # the framing
    "two lengths": with_field(b"Content-Length: 5\r\nContent-Length: 5"),
    "two lengths that differ": with_field(b"Content-Length: 5\r\ncontent-length: 6"),
    "a list of lengths": with_field(b"Content-Length: 5, 5"),
    "negative length": with_field(b"Content-Length: -1"),
    "signed length": with_field(b"Content-Length: +1"),
    "hexadecimal length": with_field(b"Content-Length: 0x1"),
    "length with an underscore": with_field(b"Content-Length: 1_0"),
    "length beyond 64 bits": with_field(b"Content-Length: 99999999999999999999999999"),
    "length with many zeros": with_field(b"Content-Length: " + b"0" * 5000 + b"5"),
    "empty length": with_field(b"Content-Length:"),
    "length and chunks": with_chunks(b"0\r\n\r\n", "Content-Length: 5"),
    "length before chunks": request("POST", "/", "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "gzip, chunked": request("POST", "/q7zmark", "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    "gzip and chunked": with_field(b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked"),
    "chunked twice": with_field(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    "chunked, gzip": with_field(b"Transfer-Encoding: chunked, gzip"),
    "identity": with_field(b"Transfer-Encoding: identity"),
    "xchunked": with_field(b"Transfer-Encoding: xchunked"),
    "chunked with a parameter": with_field(b"Transfer-Encoding: chunked;q7zmark=1"),
    "empty coding": with_field(b"Transfer-Encoding:"),
    "chunked in HTTP/1.0": head(b"POST /q7zmark HTTP/1.0", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    # the chunks
    "no chunk size": with_chunks(b"\r\nq7zmark"),
    "negative chunk size": with_chunks(b"-5\r\nhello\r\n0\r\n\r\n"),
    "signed chunk size": with_chunks(b"+5\r\nhello\r\n0\r\n\r\n"),
    "chunk size with 0x": with_chunks(b"0x5\r\nhello\r\n0\r\n\r\n"),
    "chunk size in words": with_chunks(b"q7zmark\r\n"),
    "chunk size beyond 64 bits": with_chunks(b"fffffffffffffffff\r\nx"),
    "space behind the chunk size": with_chunks(b"5 \r\nhello\r\n0\r\n\r\n"),
    "LF behind the chunk size": with_chunks(b"5\nhello\r\n0\r\n\r\n"),
    "chunk longer than its size": with_chunks(b"5\r\nhelloq7zmark\r\n0\r\n\r\n"),
    "no CRLF behind the chunk": with_chunks(b"5\r\nhelloab0\r\n\r\n"),
    "LF behind the chunk": with_chunks(b"5\r\nhello\n0\r\n\r\n"),
    "NUL in a chunk extension": with_chunks(b"5;a\0b\r\nhello\r\n0\r\n\r\n"),
    "LF in a chunk extension": with_chunks(b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    "CR in a chunk extension": with_chunks(b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    "folded trailer": with_chunks(b"0\r\nX: a\r\n q7zmark\r\n\r\n"),
    "space before the colon of a trailer": with_chunks(b"0\r\nX : q7zmark\r\n\r\n"),
    "LF behind the last chunk": with_chunks(b"0\n\n"),
    "LF behind the trailer": with_chunks(b"0\r\nX: a\n\r\n"),
    "LF at the end of the chunks": with_chunks(b"0\r\n\n"),
    "malformed trailer": with_chunks(b"0\r\nq7zmark\r\n\r\n"),
    # what is no HTTP/1 at all
    "TLS ClientHello": bytes.fromhex("16030100c8010000c40303") + bytes(range(200)),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    "SSH": b"SSH-2.0-q7zmark\r\n",
    "Redis": b"*1\r\n$4\r\nPING\r\n",
    "PROXY protocol": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + get(),
    "zeros": bytes(100),
    "a good request behind garbage": b"q7zmark\r\n\r\n" + get("/q7zmark"),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_what_is_malformed_is_refused_without_an_echo(name, caplog) -> None:
    """Invariant 14."""
    async with serving() as served:
        wire = await served.wire()
        await wire.send(MALFORMED[name])
        answer = await wire.answer(within_s=1)
        assert (answer.status, answer.code, answer.closes) == (400, "bad-request", True)
        assert MARK not in f"{answer.headers}{answer.body!r}".lower()
        wire.end()
        assert await wire.rest() == b""
        assert not served.application.seen
        assert served.server.stats.refused == 1
        assert (await (await served.wire()).ask(get())).status == 200
    assert not caplog.records


SINGLE = [
    *("Host", "Authorization", "Content-Type", "Idempotency-Key", "traceparent", "webhook-id", "webhook-timestamp"),
    *("webhook-signature", "Receipt-Type", "Webhook-Url", "User-Agent", "Expect"),
]


@pytest.mark.parametrize("name", [*SINGLE, "If-None-Match"])
async def test_a_single_value_may_not_come_twice(name) -> None:
    async with serving() as served:
        wire = await served.wire()
        value = "*" if name == "If-None-Match" else "a"
        answer = await wire.ask(get("/", f"{name}: {value}", f"{name.upper()}: {value}"))
        assert (answer.status, answer.code) == (400, "bad-request")
        assert "repeated" in answer.json["detail"]
        assert not served.application.admitted


@pytest.mark.parametrize("message", [get("/a"), post(b"b"), chunked(b"c")])
async def test_requests_before_a_malformed_one_are_answered(message) -> None:
    async with serving() as served:
        wire = await served.wire()
        await wire.send(message + b"nonsense\r\n\r\n" + message)
        assert (await wire.answer()).status == 200
        assert (await wire.answer()).code == "bad-request"
        assert await wire.rest() == b""
        assert len(served.application.seen) == 1


async def test_another_expectation_fails() -> None:
    async with serving() as served:
        answer = await (await served.wire()).ask(get("/", "Expect: q7zmark"))
        assert (answer.status, answer.code) == (417, "expectation-failed")


async def test_limits_of_the_head() -> None:
    async with serving(head_max_bytes=4096, target_max_bytes=1024, headers_max=10) as served:

        async def outcome(message: bytes) -> str:
            answer = await (await served.wire()).ask(message)
            return answer.code if answer.status != 200 else "fine"

        assert await outcome(get("/" + "a" * 1023)) == "fine"
        assert await outcome(get("/" + "a" * 1024)) == "uri-too-long"
        assert await outcome(get("/?" + "a" * 8000)) == "uri-too-long"
        assert await outcome(b"GET /" + b"a" * 5000) == "uri-too-long"
        assert await outcome(get("/", *["A: b"] * 9)) == "fine"  # Host is the tenth
        assert await outcome(get("/", *["A: b"] * 10)) == "headers-too-large"
        fitting = get("/", "A: ")
        assert await outcome(get("/", "A: " + "b" * (4096 - len(fitting)))) == "fine"
        assert await outcome(get("/", "A: " + "b" * (4097 - len(fitting)))) == "headers-too-large"
        assert await outcome(b"GET / HTTP/1.1\r\nA: " + b"b" * 5000) == "headers-too-large"
        assert [seen.path[:2] for seen in served.application.seen] == ["/a", "/", "/"]


async def test_limits_of_the_body() -> None:
    async with serving(body_max_bytes=1000) as served:
        wire = await served.wire()
        assert (await wire.ask(post(b"x" * 1000))).status == 200
        assert (await wire.ask(chunked(b"x" * 1000))).status == 200
        for message in (
            request("POST", "/", "Content-Length: 1001"),
            request("POST", "/", "Content-Length: 1001", "Expect: 100-continue"),
            request("POST", "/", "Content-Length: 1000000000000"),
            chunked(b"x" * 1001),
            chunked(b"x" * 1001)[:-7],
            request("POST", "/", "Transfer-Encoding: chunked") + b"1;" + b"a" * 5000,
            request("POST", "/", "Transfer-Encoding: chunked") + b"1;aaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n" * 900,
            request("POST", "/", "Transfer-Encoding: chunked") + b"0\r\n" + b"Trailer: a\r\n" * 3000,
        ):
            answer = await (await served.wire()).ask(message)
            assert (answer.status, answer.code, answer.closes) == (413, "body-too-large", True)
        assert len(served.application.seen) == 2


async def test_connections_are_bounded_and_come_free_again() -> None:
    async with serving(connections_max=5) as served:
        wires = [await served.wire() for _ in range(5)]
        for wire in wires:
            assert (await wire.ask(get())).status == 200
        for _ in range(20):
            extra = await served.wire()
            answer = await extra.answer()
            assert (answer.status, answer.code, answer.closes) == (503, "overloaded", True)
            assert answer.headers["retry-after"] == "1"
            assert await extra.rest() == b""
        await wires[0].close()
        await asyncio.sleep(0.05)
        assert (await (await served.wire()).ask(get())).status == 200


async def test_a_connection_that_comes_with_the_drain_is_turned_away() -> None:
    async with serving() as served:
        served.server._state.draining = True  # accepted before the listener closed, made after
        assert (await (await served.wire()).answer()).status == 503


async def test_bytes_of_unfinished_requests_are_bounded_over_all_connections() -> None:
    """Invariant 13."""
    async with serving(buffered_max_bytes=100_000, body_max_bytes=60_000) as served:
        first, second, third = [await served.wire() for _ in range(3)]
        whole = post(b"x" * 60_000)
        await first.send(whole[:-1])
        await asyncio.sleep(0.05)
        refused = await second.ask(request("POST", "/", "Content-Length: 50000"))
        assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "overloaded", "1")
        await third.send(chunked(b"y" * 55_000, 1000))
        assert (await third.answer()).status == 503
        assert (await (await served.wire()).ask(get())).status == 200  # what needs no room is served
        assert (await first.ask(b"x")).status == 200
        assert served.server._state.buffered_bytes == 0
        assert (await (await served.wire()).ask(whole)).status == 200


async def test_a_head_that_does_not_end_is_timed_out() -> None:
    async with serving(head_timeout_s=0.25) as served:
        silent, slow, later, crlf = [await served.wire() for _ in range(4)]
        assert (await later.ask(get())).status == 200
        await later.send(b"GET / HT")
        await slow.send(b"GET / HTTP/1.1\r\n")
        started = time.monotonic()

        async def drip(wire, data: bytes) -> None:
            while True:
                await wire.send(data)
                await asyncio.sleep(0.02)

        drips = [asyncio.create_task(drip(slow, b"X: y\r\n")), asyncio.create_task(drip(crlf, b"\r\n\r\n"))]
        assert await silent.rest(1) == b""  # it asked nothing, so it is told nothing
        for wire in (slow, later):
            answer = await wire.answer(within_s=1)
            assert (answer.status, answer.code, answer.closes) == (408, "request-timeout", True)
        assert await crlf.rest(1) == b""
        assert 0.2 < time.monotonic() - started < 0.7
        for task in drips:
            task.cancel()
        await asyncio.wait(drips)


@pytest.mark.parametrize("opening", [request("POST", "/", "Content-Length: 999"), with_chunks(b"ff\r\n")])
async def test_a_body_that_does_not_end_is_timed_out(opening) -> None:
    async with serving(body_timeout_s=0.2) as served:
        wire = await served.wire()
        await wire.send(opening)
        for _ in range(10):
            await asyncio.sleep(0.02)
            await wire.send(b"x")
        answer = await wire.answer(within_s=1)
        assert (answer.status, answer.code, answer.closes) == (408, "request-timeout", True)
        assert not served.application.seen


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    async with serving(idle_timeout_s=0.15, head_timeout_s=5) as served:
        wire = await served.wire()
        for _ in range(3):
            assert (await wire.ask(get("/yield"))).status == 200
            await asyncio.sleep(0.08)
        assert await wire.rest(1) == b""


async def test_a_handler_has_all_the_time_it_needs() -> None:
    async with serving(idle_timeout_s=0.05, head_timeout_s=0.05, body_timeout_s=0.05) as served:
        wire = await served.wire()
        await wire.send(get("/wait?1"))
        await asyncio.sleep(0.3)
        served.application.gate.set()
        assert (await wire.answer()).status == 200


@pytest.mark.parametrize("message", [get("/bytes?30000000"), get("/bytes?60000") * 400])
async def test_a_peer_that_does_not_read_is_dropped(message) -> None:
    async with serving(write_timeout_s=0.2, write_rate_min_bytes_s=1_000_000_000) as served:
        wire = await served.wire()
        wire.writer.transport.pause_reading()
        await wire.send(message)
        assert await served.empty()
        assert len(served.application.finished) < 400


async def test_a_closed_peer_that_goes_on_sending_is_cut_off() -> None:
    async with serving(linger_max_bytes=100_000, linger_timeout_s=5) as served:
        wire = await served.wire()
        await wire.send(b"nonsense\r\n\r\n")
        assert (await wire.answer()).status == 400
        for _ in range(100):
            await wire.send(b"x" * 10_000)
            await asyncio.sleep(0.001)
        assert await served.empty()


async def test_a_closed_peer_that_stays_is_left_after_a_while() -> None:
    async with serving(linger_timeout_s=0.1) as served:
        wire = await served.wire()
        assert (await wire.ask(b"nonsense\r\n\r\n")).status == 400
        assert await served.empty()


async def test_a_request_cut_short_is_told_so() -> None:
    async with serving() as served:
        for message in (get()[:-2], post(b"hello")[:-1], chunked(b"hello")[:-1]):
            wire = await served.wire()
            await wire.send(message)
            wire.end()
            assert (await wire.answer()).code == "bad-request"
            assert await wire.rest() == b""
        assert not served.application.seen


async def test_an_application_that_cannot_even_refuse_costs_only_the_connection(caplog) -> None:
    class Broken(Probe):
        def refuse(self, *_) -> None:
            raise ValueError("broken on purpose")

    async with serving(Broken(), head_timeout_s=0.1) as served:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        for message in (b"nonsense\r\n\r\n", get("/fail"), get("/bytes?x"), get()[:-2]):
            wire = await served.wire()
            await wire.send(message)
            assert await wire.rest() == b""
        assert (await (await served.wire()).ask(get())).status == 200
        assert served.server.stats.connections == 1  # the last one


def answers_in(received: bytes) -> list[tuple[int, dict]]:
    found = []
    while received:
        start, received = received.split(b"\r\n\r\n", 1)
        status = int(start.split(b" ", 2)[1])
        length = int(re.search(rb"Content-Length: (\d+)", start)[1]) if status != 100 else 0
        found.append((status, json.loads(received[:length] or b"{}")))
        received = received[length:]
    return found


GOOD = [get("/a"), post(b"body"), chunked(b"body", 2), get("/", "Connection: close"), request("OPTIONS", "*")]
TOKENS = [
    *(b"GET ", b"POST ", b"/", b"*", b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"\r\n\r\n", b"\n", b"\r", b" ", b"\t", b":"),
    *(b"Host: a", b"Content-Length: 3", b"Transfer-Encoding: chunked", b"Connection: upgrade", b"Upgrade: h2c"),
    *(b"0", b"3", b"abc", b"ffff", b";", b"Expect: 100-continue", b"\0", b"\xff", b"#", b"http://a/"),
]

mutated = st.builds(
    lambda good, offset, cut, put: good[: offset % len(good)] + put + good[offset % len(good) + cut :],
    st.sampled_from(GOOD),
    st.integers(0, 500),
    st.integers(0, 4),
    st.binary(max_size=4) | st.sampled_from(TOKENS),
)
hostile = (
    st.binary(max_size=300)
    | st.lists(st.sampled_from(TOKENS), max_size=25).map(b"".join)
    | st.lists(st.sampled_from(GOOD) | mutated, min_size=1, max_size=4).map(b"".join)
)


def outcomes(pieces: list[bytes]) -> list:
    """What the parser makes of a stream that comes in these pieces: requests, and the status of its end."""
    parser, found = RequestParser(ServerLimits(body_max_bytes=50), ""), []
    try:
        for piece in pieces:
            position = 0
            while position < len(piece):
                if parser.request is None:
                    position = parser.feed_head(piece, position)
                    if parser.request is None:
                        continue
                    parser.begin_body()
                if not parser.complete:
                    position = parser.feed_body(piece, position)
                if parser.complete:
                    found.append((parser.request, parser.keep_alive, parser.http_1_0, parser.expects_continue))
                    parser.reset()
    except RefusedError as error:
        found.append(error.status)
    return found


@settings(max_examples=300, deadline=None)
@given(data=hostile, cuts=st.lists(st.integers(0, 600), max_size=4))
def test_the_pieces_in_which_a_stream_comes_make_no_difference(data, cuts) -> None:
    whole = outcomes([data])
    edges = [0, *sorted(cuts), len(data)]
    assert outcomes([data[start:end] for start, end in pairwise(edges)]) == whole
    assert outcomes([data[offset : offset + 1] for offset in range(len(data))]) == whole


@settings(max_examples=150, deadline=None)
@given(data=hostile, cuts=st.lists(st.integers(0, 600), max_size=3))
async def test_whatever_comes_is_answered_or_closed_and_harms_nobody_else(data, cuts) -> None:
    async with serving(head_timeout_s=0.5, body_timeout_s=0.5) as served:
        bystander = await served.wire()
        assert (await bystander.ask(get())).status == 200
        wire = await served.wire()
        for start, end in pairwise([0, *sorted(cuts), len(data)]):
            await wire.send(data[start:end])
            await asyncio.sleep(0)
        wire.end()
        answers = answers_in(await wire.rest(2))
        assert all(status < 500 for status, _ in answers)
        assert [status for status, _ in answers if status >= 400] in ([], [answers[-1][0]] if answers else [])
        assert (await bystander.ask(post(b"still here"))).json["body"] == "still here"
        await wire.close()
        await bystander.close()
        assert await served.empty()
        assert not served.server.stats.faults
