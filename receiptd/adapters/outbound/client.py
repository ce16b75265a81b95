"""The outbound HTTP client: ``ports.HttpClient`` over connections of our own, under one address policy.

Own, because the call is the larger part of a receipt's cost: a general client takes six to nine times the CPU for the
same request. What it leaves out is on purpose: redirects (they would lead round the address policy), cookies, proxies,
content codings, HTTP/2.

A call is repeated once, on a fresh connection, when a kept connection turns out to have been closed before any byte of
the reply came (RFC 9112, section 9.3.1: that is a race, not an answer). Every call of ours may be repeated, since it
carries an idempotency key or a webhook-id.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from functools import cache, lru_cache

from receiptd.adapters.outbound.addresses import AddressGuard, Resolver, SystemResolver
from receiptd.adapters.outbound.connection import Connection, StaleConnectionError
from receiptd.adapters.outbound.pool import ConnectionPool
from receiptd.adapters.outbound.request import encode, head_of
from receiptd.domain.addresses import AddressPolicy, Target, check_target, parse_url
from receiptd.domain.errors import OutboundError
from receiptd.ports import HttpCall, HttpReply

_TARGETS_MAX = 4096
_ADDRESSES_TRIED = 4


class OutboundClient:
    """Sends calls under one address policy; one instance serves any number of origins and concurrent calls.

    Make it, use it and close it on one event loop.

    Args:
        policy: where calls may go.
        resolver: from a host name to its addresses; the system's by default.
        tls: the context for https; by default the system's certificate authorities, with host names checked.
        connections_per_origin: connections to one scheme, host and port; further calls wait their turn.
        resting_max: kept connections in all.
        resting_timeout_s: how long a connection is kept without a call.
        connect_timeout_s: how long one address may take, TLS included, before the next one is tried.
        user_agent: the User-Agent of calls that bring none.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        resolver: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
        connections_per_origin: int = 64,
        resting_max: int = 512,
        resting_timeout_s: float = 15.0,
        connect_timeout_s: float = 3.0,
        user_agent: str = "receiptd",
    ) -> None:
        self._policy = policy
        self._system_resolver = SystemResolver()
        self._guard = AddressGuard(policy, resolver or self._system_resolver)
        self._tls = tls or _default_tls()
        self._connect_timeout_s = connect_timeout_s
        self._user_agent = user_agent
        self._pool = ConnectionPool(
            per_origin=connections_per_origin, resting_max=resting_max, resting_timeout_s=resting_timeout_s
        )
        self._connections: set[Connection] = set()
        self._closed = False
        self._read_url = lru_cache(maxsize=_TARGETS_MAX)(self._read_url_uncached)

    async def send(self, call: HttpCall) -> HttpReply:
        """Send the call and return the whole reply, whatever its status.

        ``call.timeout_s`` covers all of it: the wait for a connection, name resolution, connecting, and the reply.

        Raises:
            ValueError: the URL, the method or a header is malformed.
            DeniedAddressError: the policy forbids the URL's scheme, host or address.
            OutboundError: no complete reply came; ``sent`` is False only when no byte can have reached the peer.
        """
        target, origin, head = self._read_url(call.url)
        request = encode(call, head, self._user_agent)
        deadline = asyncio.get_running_loop().time() + call.timeout_s
        connection = await self._pool.acquire(origin, deadline)
        sent = False
        try:
            while True:
                if connection is None:
                    connection = await self._connect(target, deadline, sent=sent)
                try:
                    return await connection.exchange(
                        request,
                        head_only=call.method == "HEAD",
                        reply_max_bytes=call.reply_max_bytes,
                        deadline=deadline,
                    )
                except StaleConnectionError:  # only of a connection that had served, so once
                    connection = None
                    sent = True
        finally:
            self._pool.release(origin, connection)

    async def close(self) -> None:
        """Close every connection, and end the calls that still wait with OutboundError."""
        self._closed = True
        self._pool.close()
        losses = [connection.lost for connection in self._connections]
        for connection in tuple(self._connections):
            connection.close()
        if losses:
            await asyncio.wait(losses)
        self._system_resolver.close()

    def _read_url_uncached(self, url: str) -> tuple[Target, str, str]:
        """Return the target of a URL that the policy permits, its origin, and the head of requests to it."""
        target = parse_url(url)
        check_target(target, self._policy)
        return target, target.origin, head_of(target)

    async def _connect(self, target: Target, deadline: float, *, sent: bool) -> Connection:
        """Open a connection to a judged address of ``target``.

        ``sent`` tells that an earlier attempt of the same call may have reached the peer, whatever happens here.
        """
        try:
            try:
                async with asyncio.timeout_at(deadline):
                    return await self._open(target)
            except TimeoutError as error:
                raise OutboundError(f"{target.origin}: no connection in time", sent=False) from error
        except OutboundError as error:
            if sent:
                raise OutboundError(f"{error} (after an attempt on a kept connection)", sent=True) from error
            raise

    async def _open(self, target: Target) -> Connection:
        loop = asyncio.get_running_loop()
        tls = self._tls if target.scheme == "https" else None
        failure: OSError | None = None
        for address in (await self._guard.addresses(target))[:_ADDRESSES_TRIED]:
            try:
                async with asyncio.timeout(self._connect_timeout_s):
                    _, connection = await loop.create_connection(
                        lambda: Connection(target.origin, self._forget),
                        str(address),
                        target.port,
                        ssl=tls,
                        server_hostname=target.host if tls else None,  # the name is verified, not the pinned address
                        flags=socket.AI_NUMERICHOST,
                    )
            except OSError as error:  # TimeoutError and ssl.SSLError are such
                failure = error
                continue
            if not connection.lost.done():
                self._connections.add(connection)
            if self._closed:
                connection.close()
                raise OutboundError(f"{target.origin}: the client is closed", sent=False)
            return connection
        self._guard.forget(target)
        raise OutboundError(f"{target.origin}: cannot connect: {failure!r}", sent=False) from failure

    def _forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._pool.forget(connection)


@cache
def _default_tls() -> ssl.SSLContext:
    """Return the context that clients share: to load the certificate authorities takes 30 ms."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
