"""The benchmark's world in one process: the client, both registrars and the webhook endpoint, as cheap as can be.

Callbacks are truly signed, and every answer's status is looked at; nothing else is done that is not asked for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lab.wire import Endpoint, WirePool, header
from receiptd.domain import signatures

_SUBMITTED = (
    b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 54\r\n\r\n"
    b'{"status":"accepted","reference":"registrar-00000001"}'
)
_TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_RETRY_S = 0.1


@dataclass(frozen=True, slots=True)
class Target:
    """A pipeline to load, on a loopback port, by a client's token."""

    name: str
    port: int
    token: str


@dataclass(slots=True)
class Tally:
    """What one slice of load saw. Times are in seconds."""

    offered: int = 0
    completed: int = 0
    ended: int = 0
    """Receipts that are over, one way or another."""
    completed_in_time: int = 0
    """Those that completed before the load stopped."""
    post_s: list[float] = field(default_factory=list)
    complete_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class Peers:
    """Everybody that the pipeline speaks to."""

    def __init__(self, callback_secrets: Mapping[str, Sequence[str]], callback_delay_s: float = 0.0) -> None:
        self._secrets = callback_secrets
        self._callback_delay_s = callback_delay_s
        self._server: asyncio.Server | None = None
        self._pools: dict[int, WirePool] = {}
        self.waiting: dict[str, Callable[[bytes], None]] = {}
        """By receipt id: who waits for its webhook."""
        self.early: dict[str, bytes] = {}
        """Webhooks that overtook the answer to their POST."""
        self.failures: list[str] = []
        """What went wrong outside any receipt's own course."""

    async def start(self, port: int) -> None:
        """Listen on ``port``."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Endpoint(self._serve), "127.0.0.1", port, backlog=1024)

    def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for pool in self._pools.values():
            pool.close()

    def pool(self, port: int) -> WirePool:
        """Return the connections to a port."""
        pool = self._pools.get(port)
        if pool is None:
            pool = self._pools[port] = WirePool(port)
        return pool

    def _serve(self, head: bytes, body: bytes) -> bytes:
        lowered = head.lower()
        if head.startswith(b"POST /hooks/"):
            receipt_id = header(head, lowered, b"\r\nwebhook-id: ")[4:].decode()
            waiter = self.waiting.pop(receipt_id, None)
            if waiter is not None:
                waiter(body)
            else:
                self.early[receipt_id] = body
            return _TAKEN
        registrar = head[6 : head.find(b"/", 6)].decode()
        if registrar not in self._secrets:
            self.failures.append(f"asked for {head[:60]!r}")
            return _NOT_FOUND
        url = header(head, lowered, b"\r\ncallback-url: ")
        key = header(head, lowered, b"\r\nidempotency-key: ")
        loop = asyncio.get_running_loop()
        if self._callback_delay_s:
            loop.call_later(self._callback_delay_s, self._report, registrar, url, key)
        else:
            loop.call_soon(self._report, registrar, url, key)
        return _SUBMITTED

    def _report(self, registrar: str, url: bytes, key: bytes) -> None:
        """Call back."""
        body = b'{"status":"registered","reference":"registrar-00000001","reason":"","receipt_id":"%b"}' % key
        webhook_id, timestamp_s = f"cb_{registrar}_{key.decode()}", int(time.time())
        signature = signatures.sign(self._secrets[registrar], webhook_id, timestamp_s, body)
        _, _, host, path = url.split(b"/", 3)
        request = (
            b"POST /%b HTTP/1.1\r\nHost: %b\r\nContent-Type: application/json\r\nwebhook-id: %b\r\n"
            b"webhook-timestamp: %d\r\nwebhook-signature: %b\r\nContent-Length: %d\r\n\r\n%b"
            % (path, host, webhook_id.encode(), timestamp_s, signature.encode(), len(body), body)
        )

        def done(status: int, answer: bytes) -> None:
            if status == 503:
                asyncio.get_running_loop().call_later(_RETRY_S, self._report, registrar, url, key)
            elif status != 200:
                self.failures.append(f"callback of {registrar} answered {status}: {answer[:200]!r}")

        self.pool(int(host.rpartition(b":")[2])).send(request, done)


class Journey:
    """One receipt: its POST, one status read, its webhook, and for every second one another read."""

    __slots__ = ("_due", "_id", "_loop", "_on_end", "_peers", "_read_again", "_tally", "_target", "_under_way")

    def __init__(
        self, peers: Peers, target: Target, tally: Tally, due: float, on_end: Callable[[], None], *, read_again: bool
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._peers = peers
        self._target = target
        self._tally = tally
        self._due = due
        self._on_end = on_end
        self._read_again = read_again
        self._id = ""
        self._under_way = 0

    def start(self, key: str, body: bytes, content_type: str) -> None:
        """Post the receipt. It was due at ``due`` (the loop's time): what a late generator adds counts, too."""
        target = self._target
        head = (
            f"POST /v1/receipts HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\nAuthorization: Bearer {target.token}\r\n"
            f"Content-Type: {content_type}\r\nIdempotency-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._tally.offered += 1
        self._under_way = 1
        self._peers.pool(target.port).send(head.encode() + body, self._posted)

    def _posted(self, status: int, body: bytes) -> None:
        tally, peers = self._tally, self._peers
        tally.post_s.append(self._loop.time() - self._due)
        if status != 202:
            self._fail(f"POST answered {status}: {body[:300].decode(errors='replace')}")
            return
        start = body.find(b'"id":"') + 6
        self._id = body[start : body.find(b'"', start)].decode()
        self._under_way += 1
        early = peers.early.pop(self._id, None)
        if early is None:
            peers.waiting[self._id] = self._told
        else:
            self._told(early)
        self._read()

    def _told(self, event: bytes) -> None:
        """The webhook has come."""
        tally = self._tally
        tally.complete_s.append(self._loop.time() - self._due)
        tally.completed += 1
        if b'"receipt.complete"' not in event:
            tally.errors.append(f"{self._id} failed: {event[:300].decode(errors='replace')}")
        if self._read_again:
            self._under_way += 1
            self._read()
        self._step()

    def _read(self) -> None:
        target = self._target
        request = (
            f"GET /v1/receipts/{self._id}/status HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\n"
            f"Authorization: Bearer {target.token}\r\n\r\n"
        )
        self._peers.pool(target.port).send(request.encode(), self._was_read)

    def _was_read(self, status: int, body: bytes) -> None:
        if status == 200:
            self._step()
        else:
            self._fail(f"status of {self._id} answered {status}: {body[:300].decode(errors='replace')}")

    def _step(self) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._end()

    def _fail(self, problem: str) -> None:
        self._tally.errors.append(problem)
        self._peers.waiting.pop(self._id, None)
        if self._under_way:
            self._under_way = 0
            self._end()

    def _end(self) -> None:
        self._tally.ended += 1
        self._on_end()
