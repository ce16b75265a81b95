"""AWS behind bad weather: a proxy between the daemon and an emulator that misbehaves as its rates say (aws_faults.py).

Control, on the proxy's own port:
    PUT /_faults {"reset": true, "rates": {"*": {"error": 0.1}, "ReceiveMessage": {"duplicate": 0.5}}, "expire": true}
    GET /_faults          what was done so far: {"faults": {"error GetItem": 3}, "requests": .., "receives": ..}
    GET /_credentials     credentials of a session, for AWS_CONTAINER_CREDENTIALS_FULL_URI

``expire`` ends the session: from then on only the credentials that are asked for anew are taken.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import time
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
import uvloop
from aiohttp import web

from lab.aws_deliveries import Deliveries
from lab.aws_entries import EntryFaults
from lab.aws_faults import CALL_FAULTS, Faults, Rates

_HOST = "127.0.0.1"
_KEEPALIVE_S = 75.0
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"})
_CONTENT_TYPE = "application/x-amz-json-1.0"
_BEFORE_EFFECT = frozenset({"throttle", "error", "hang"})
_SESSION_S = 3600.0
_BODY_MAX_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class _Reply:
    """An answer on its way to the daemon."""

    status: int
    headers: dict[str, str]
    body: bytes

    def rewrite(self, content: Mapping[str, Any]) -> None:
        """Replace the body, and the checksum that speaks of it."""
        self.body = orjson.dumps(content)
        if "x-amz-crc32" in self.headers:
            self.headers["x-amz-crc32"] = str(zlib.crc32(self.body))


class FaultProxy:
    """The proxy. ``target_url``: the emulator; ``seed``: of the draws."""

    def __init__(self, target_url: str, *, seed: int = 1) -> None:
        self._target = target_url.rstrip("/")
        self.faults = Faults(seed)
        self.requests: Counter[str] = Counter()
        """Calls that came in, by operation."""
        self.receives: Counter[str] = Counter()
        """The same for ReceiveMessage, by queue."""
        self._entries = EntryFaults(self.faults)
        self._deliveries = Deliveries(self.faults)
        self._session_number = 0
        self._http: aiohttp.ClientSession | None = None
        self._server: web.Server | None = None
        self._listening: asyncio.Server | None = None
        self.url = ""

    async def start(self, port: int = 0) -> None:
        """Listen on loopback."""
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=5.0),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        # A caller that hangs up (or is killed) ends its long poll here as well: the emulator gives nothing to nobody.
        self._server = web.Server(self._handle, keepalive_timeout=_KEEPALIVE_S, handler_cancellation=True)
        self._listening = await asyncio.get_running_loop().create_server(self._server, _HOST, port)
        self.url = f"http://{_HOST}:{self._listening.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Stop listening; calls under way are dropped."""
        assert self._listening is not None
        assert self._server is not None
        assert self._http is not None
        self._listening.close()
        await self._server.shutdown(0.1)
        await self._http.close()

    def turn(self, patch: Mapping[str, Any]) -> None:
        """Change the weather, as PUT /_faults does. Raises ValueError."""
        reset = bool(patch.get("reset"))
        self.faults.turn(patch.get("rates", {}), reset=reset)
        if reset:
            self._deliveries.release()
        if patch.get("expire"):
            self._session_number += 1

    def told(self) -> dict[str, dict[str, int]]:
        """Return what GET /_faults tells."""
        done = sorted(self.faults.counts.items())
        return {
            "faults": {f"{fault} {operation}": count for (fault, operation), count in done},
            "requests": dict(sorted(self.requests.items())),
            "receives": dict(sorted(self.receives.items())),
        }

    # -- requests --------------------------------------------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/_faults":
            return await self._control(request)
        if request.path == "/_credentials":
            return _json(200, self._credentials())
        return await self._pass(request)

    async def _control(self, request: web.BaseRequest) -> web.Response:
        if request.method == "PUT":
            try:
                self.turn(orjson.loads(await request.read()))
            except (orjson.JSONDecodeError, AttributeError, TypeError, ValueError) as error:
                return web.Response(status=400, text=str(error))
        return _json(200, self.told())

    def _credentials(self) -> dict[str, str]:
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + _SESSION_S))
        token = f"session-{self._session_number}"
        return {"AccessKeyId": "test", "SecretAccessKey": "test", "Token": token, "Expiration": until}

    async def _pass(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.content.read()
        service, _, operation = request.headers.get("X-Amz-Target", "").partition(".")
        if not operation:
            operation = "GetKeys" if request.path.endswith("/jwks.json") else f"{request.method} other"
        self.requests[operation] += 1
        hot = service == "AmazonSQS" or service.startswith("DynamoDB")
        if hot and self._expired(request):
            self.faults.counts["expired", operation] += 1
            return _json(400, _problem("com.amazon.coral.service#ExpiredTokenException", "the token is expired"))
        rates = self.faults.of(operation, hot=hot)
        if self.faults.chance(rates, "slow", operation):
            await asyncio.sleep(self.faults.rng.random() * rates.slow_s)
        fault = self.faults.draw(rates, CALL_FAULTS, operation)
        if fault in _BEFORE_EFFECT:
            return await self._refuse(request, fault, service, rates)
        reply = await self._answer(request, operation, body, rates)
        if fault == "damage":
            self._damage(reply)
        elif fault == "error_after_effect":
            return _json(500, _problem("InternalServerError", "it was done all the same"))
        elif fault:
            return await self._drop(request, rates.hang_s if fault == "hang_after_effect" else 0.0)
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)

    def _expired(self, request: web.BaseRequest) -> bool:
        token = request.headers.get("X-Amz-Security-Token", "")
        return bool(self._session_number) and token != f"session-{self._session_number}"

    async def _refuse(self, request: web.BaseRequest, fault: str, service: str, rates: Rates) -> web.StreamResponse:
        """Answer, or do not, without having asked the emulator."""
        even = self.faults.rng.random() < 0.5
        if fault == "hang":
            return await self._drop(request, rates.hang_s)
        if fault == "error":
            if even:
                return web.Response(status=503, text="<html>Service Unavailable</html>", content_type="text/html")
            return _json(500, _problem("InternalServerError", "nothing was done"))
        if service == "AmazonSQS":
            code = "RequestThrottled" if even else "ThrottlingException"
        else:
            code = "ProvisionedThroughputExceededException" if even else "ThrottlingException"
        return _json(400, _problem(f"com.amazonaws.some.service#{code}", "the rate is exceeded"))

    async def _drop(self, request: web.BaseRequest, after_s: float) -> web.StreamResponse:
        """Close the connection without an answer."""
        await asyncio.sleep(after_s)
        if request.transport is not None:
            request.transport.close()
        return web.Response(status=500)

    # -- the emulator ----------------------------------------------------------------------------------------------

    async def _answer(self, request: web.BaseRequest, operation: str, body: bytes, rates: Rates) -> _Reply:
        """Ask the emulator, but for what is to fail; return its answer with that laid over it."""

        async def ask(content: Mapping[str, Any] | None) -> _Reply:
            return await self._forward(request, body if content is None else orjson.dumps(content))

        if operation == "ReceiveMessage":
            content = orjson.loads(body)
            self.receives[content["QueueUrl"].rpartition("/")[2]] += 1
            ready = self._deliveries.due(content)
            if ready:
                return _given({"Messages": ready})
            reply = await ask(self._deliveries.shortened(content))
            if reply.status == 200:
                answer = orjson.loads(reply.body)
                messages = self._deliveries.pass_on(content, answer.get("Messages") or [], rates)
                reply.rewrite({**answer, "Messages": messages})
            return reply
        plan = self._entries.plan(operation, rates, body)
        if plan is None:
            return await ask(None)
        if plan.content is None:
            return _given(plan.laid_over({}))
        reply = await ask(plan.content)
        if reply.status == 200:
            reply.rewrite(plan.laid_over(orjson.loads(reply.body)))
        return reply

    async def _forward(self, request: web.BaseRequest, body: bytes) -> _Reply:
        assert self._http is not None
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP]
        try:
            async with self._http.request(
                request.method, self._target + request.raw_path, data=body, headers=headers, allow_redirects=False
            ) as reply:
                content = await reply.read()
                kept = {name: value for name, value in reply.headers.items() if name.lower() not in _HOP_BY_HOP}
                return _Reply(reply.status, {name.lower(): value for name, value in kept.items()}, content)
        except aiohttp.ClientError as error:
            return _Reply(502, {"content-type": "text/plain"}, f"the emulator does not answer: {error}".encode())

    def _damage(self, reply: _Reply) -> None:
        """Spoil the answer on its way: a byte that the checksum notices, or the digest of a message, or its end."""
        if "x-amz-crc32" in reply.headers:
            at = self.faults.rng.randrange(len(reply.body))
            reply.body = reply.body[:at] + bytes([reply.body[at] ^ 1]) + reply.body[at + 1 :]
            return
        for name in (b'"MD5OfMessageBody":"', b'"MD5OfBody":"'):
            before, found, rest = reply.body.partition(name)
            if found:
                reply.body = before + found + (b"0" if rest[:1] != b"0" else b"1") + rest[1:]
                return
        reply.body = reply.body[: len(reply.body) // 2] or b"{"


def _given(content: Mapping[str, Any]) -> _Reply:
    return _Reply(200, {"content-type": _CONTENT_TYPE}, orjson.dumps(content))


def _json(status: int, content: Mapping[str, Any]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(content), content_type="application/json")


def _problem(code: str, message: str) -> dict[str, str]:
    return {"__type": code, "message": message}


async def _main(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    proxy = FaultProxy(arguments.target, seed=arguments.seed)
    await proxy.start(arguments.port)
    print(proxy.url, flush=True)
    await stop.wait()
    await proxy.close()


def main() -> None:
    """Run a proxy until a signal; its URL is the first line on standard output."""
    parser = argparse.ArgumentParser(
        prog="fault_proxy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", required=True, help="the emulator's URL")
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--seed", type=int, default=1, help="of the draws (default: 1)")
    uvloop.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
