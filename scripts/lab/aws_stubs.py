"""Stand-ins of SQS and DynamoDB that truly keep state and are fast, so that what is measured is the daemon.

One process, plain HTTP on a loopback port, no thread and no disk; a batch costs it some tens of microseconds. It counts
what would be paid for (``GET /_stubs/usage``). Left out: signatures are not checked, messages do not die, nothing is
throttled, and what the daemon does not call is refused. Cognito is there as far as its pool's metadata, its keys and
tokens (``POST /oauth2/token``, any secret will do), for the daemon verifies them truly.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, TypeAlias, cast

import orjson
import uvloop
from joserfc import jwt
from joserfc.jwk import RSAKey

from lab.aws_stub_dynamodb import StubDynamoDb
from lab.aws_stub_sqs import RefusalError, Reply, StubSqs
from lab.wire import header, split
from receiptd.adapters.aws import resources

Send: TypeAlias = Callable[[bytes], None]
"""Takes a whole answer."""
Call: TypeAlias = Callable[[str, Any, Reply], None]

REGION: Final = "us-east-1"
PREFIX: Final = "receiptd"
POOL: Final = f"{REGION}_Stub"
ISSUER: Final = f"https://cognito-idp.{REGION}.amazonaws.com/{POOL}"
_ACCOUNT: Final = "000000000000"
_CHUNK: Final = 64 * 1024
"""SQS charges a request for each so many bytes of it."""
_TOKEN_S: Final = 86_400
_IDENTITY: Final = (
    '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
    f"<Arn>arn:aws:iam::{_ACCOUNT}:user/stub</Arn><UserId>stub</UserId><Account>{_ACCOUNT}</Account>"
    "</GetCallerIdentityResult></GetCallerIdentityResponse>"
).encode()


class Stubs:
    """Both services, and what surrounds them.

    Args:
        endpoint: the URL under which the process is reached.
        latency_s: how long every answer of SQS and DynamoDB takes, beyond what it takes to make it.
    """

    def __init__(self, endpoint: str, latency_s: float = 0.0) -> None:
        self._endpoint = endpoint
        self._latency_s = latency_s
        self._sqs = StubSqs(endpoint)
        self._dynamodb = StubDynamoDb()
        self._pool = resources.load(PREFIX, (), resources.Place(REGION)).pool
        self._key = RSAKey.generate_key(2048, parameters={"kid": "stub"})
        self._requests: Counter[str] = Counter()
        self._chunks: Counter[str] = Counter()
        self._traffic: Counter[str] = Counter()

    def serve(self, head: bytes, body: bytes, send: Send) -> None:
        """Answer a request, now or later."""
        target = header(head, head.lower(), b"\r\nx-amz-target: ").decode()
        service, _, operation = target.rpartition(".")
        if service == "AmazonSQS":
            self._chunks[operation] += max(1, -(-len(body) // _CHUNK))
            self._call("sqs", self._sqs.call, operation, (head, body), send)
        elif service == "DynamoDB_20120810":
            self._call("dynamodb", self._dynamodb.call, operation, (head, body), send)
        elif operation == "ListUserPools":
            pools = [{"Id": POOL, "Name": self._pool.name}]
            send(_answer(200, orjson.dumps({"UserPools": pools}), "application/x-amz-json-1.1"))
        elif b"Action=GetCallerIdentity" in body:
            send(_answer(200, _IDENTITY, "text/xml"))
        else:
            send(self._other(head, body))

    def usage(self) -> dict[str, Any]:
        """Return what was counted so far."""
        return {
            "requests": dict(self._requests),
            "sqs_chunks": dict(self._chunks),
            "traffic": dict(self._traffic),
            "write_units": dict(self._dynamodb.write_units),
            "read_units": dict(self._dynamodb.read_units),
            "writes": dict(self._dynamodb.writes),
            "item_bytes": self._dynamodb.item_bytes,
        }

    def _call(self, service: str, call: Call, operation: str, request: tuple[bytes, bytes], send: Send) -> None:
        head, body = request
        self._requests[f"{service}.{operation}"] += 1
        self._traffic[f"{service}_bytes"] += len(head) + len(body)

        def reply(status: int, content: dict[str, Any]) -> None:
            answer = _answer(status, orjson.dumps(content), "application/x-amz-json-1.0")
            self._traffic[f"{service}_bytes"] += len(answer)
            if self._latency_s:
                asyncio.get_running_loop().call_later(self._latency_s, send, answer)
            else:
                send(answer)

        try:
            call(operation, orjson.loads(body), reply)
        except RefusalError as refusal:
            reply(400, {"__type": refusal.code, "message": refusal.message})

    def _other(self, head: bytes, body: bytes) -> bytes:
        path = head.split(b" ", 2)[1].decode()
        if path == "/_stubs/usage":
            return _answer(200, orjson.dumps(self.usage()), "application/json")
        if path == "/oauth2/token":
            kind, _, encoded = header(head, head.lower(), b"\r\nauthorization: ").partition(b" ")
            client_id = base64.b64decode(encoded).decode().partition(":")[0] if kind == b"Basic" else ""
            return _answer(200, orjson.dumps(self._token(client_id)), "application/json")
        if path == f"/{POOL}/.well-known/openid-configuration":
            metadata = {"issuer": ISSUER, "token_endpoint": f"{self._endpoint}/oauth2/token"}
            return _answer(200, orjson.dumps(metadata), "application/json")
        if path == f"/{POOL}/.well-known/jwks.json":
            key = {**self._key.as_dict(private=False), "alg": "RS256", "use": "sig"}
            return _answer(200, orjson.dumps({"keys": [key]}), "application/json")
        del body
        return _answer(501, orjson.dumps({"message": "this stub does not know that"}), "application/json")

    def _token(self, client_id: str) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "sub": client_id,
            "iss": ISSUER,
            "token_use": "access",
            "client_id": client_id,
            "scope": " ".join(f"{self._pool.server}/{scope}" for scope in self._pool.scopes),
            "iat": now,
            "exp": now + _TOKEN_S,
            "jti": "stub",
        }
        token = jwt.encode({"alg": "RS256", "kid": "stub"}, claims, self._key)
        return {"access_token": token, "token_type": "Bearer", "expires_in": _TOKEN_S}


class _Connection(asyncio.Protocol):
    """One connection; its requests come one after another."""

    def __init__(self, stubs: Stubs) -> None:
        self._stubs = stubs
        self._transport: asyncio.Transport | None = None
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        rest = self._held + data if self._held else data
        while rest and (message := split(rest)) is not None:
            head, body, rest = message
            self._stubs.serve(head, body, self._send)
        self._held = rest

    def _send(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)


def _answer(status: int, body: bytes, content_type: str) -> bytes:
    reason = "OK" if status == 200 else "Refused"
    return (
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        "x-amzn-RequestId: 0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEF\r\n"
        f"x-amz-crc32: {zlib.crc32(body)}\r\n\r\n"
    ).encode() + body


async def listen(port: int, latency_s: float = 0.0) -> tuple[asyncio.Server, Stubs]:
    """Listen on a loopback port; return the server and what it serves."""
    stubs = Stubs(f"http://127.0.0.1:{port}", latency_s)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(stubs), "127.0.0.1", port, backlog=1024)
    return server, stubs


def main() -> None:
    """Serve until killed: ``python -m lab.aws_stubs PORT [LATENCY_MS]``."""
    port, latency_s = int(sys.argv[1]), float(sys.argv[2]) / 1000 if len(sys.argv) > 2 else 0.0

    async def run() -> None:
        server, _ = await listen(port, latency_s)
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        await server.serve_forever()

    uvloop.run(run())


if __name__ == "__main__":
    main()
