"""From a URL's host to the addresses that a connection may go to.

The resolver is asked once per connection attempt, every address it gives is judged, and the connection is then made to
a judged address, never to the name: a resolver that answers differently a moment later (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address
from typing import Final, TypeAlias

from receiptd.domain.addresses import Address, AddressPolicy, Target, require_allowed
from receiptd.domain.errors import OutboundError

Resolver: TypeAlias = Callable[[str], Awaitable[Sequence[Address]]]
"""Takes a host name, returns its addresses in order of preference; raises OSError when it has none."""

_CACHE_S: Final = 5.0
_CACHE_MAX: Final = 256


class SystemResolver:
    """The system's resolver, in threads of its own.

    A name server that never answers holds at most ``concurrency`` threads, and none of those that storage uses.
    """

    def __init__(self, *, concurrency: int = 8, timeout_s: float = 5.0) -> None:
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="resolver")

    async def __call__(self, host: str) -> Sequence[Address]:
        """Return the addresses of ``host``, in the order of RFC 6724. Raises OSError, also when it takes too long."""
        lookup = partial(socket.getaddrinfo, host.encode("ascii"), None, type=socket.SOCK_STREAM)
        async with asyncio.timeout(self._timeout_s):
            found = await asyncio.get_running_loop().run_in_executor(self._threads, lookup)
        return tuple(dict.fromkeys(ip_address(entry[4][0]) for entry in found))

    def close(self) -> None:
        """Forget the lookups that wait; one that runs ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class AddressGuard:
    """Resolves and judges under one policy.

    Answers are kept for a few seconds only where the policy permits everything, since a kept answer is one that was
    judged earlier than the connection it is used for.
    """

    def __init__(self, policy: AddressPolicy, resolver: Resolver) -> None:
        self._policy = policy
        self._resolver = resolver
        self._caches = policy.allow_any and not policy.denied
        self._cache: dict[str, tuple[float, Sequence[Address]]] = {}

    async def addresses(self, target: Target) -> Sequence[Address]:
        """Return the addresses to connect to for ``target``, at least one, all of them allowed.

        Raises:
            DeniedAddressError: any of them is denied, so that one good answer cannot cover a bad one.
            OutboundError: the host does not resolve.
        """
        if target.address is not None:
            require_allowed(target.host, target.address, self._policy)
            return (target.address,)
        now = asyncio.get_running_loop().time()
        until, addresses = self._cache.get(target.host, (0.0, ()))
        if until > now:
            return addresses
        try:
            addresses = await self._resolver(target.host)
        except OSError as error:
            raise OutboundError(f"{target.host} does not resolve: {error}", sent=False) from error
        if not addresses:
            raise OutboundError(f"{target.host} does not resolve: no address", sent=False)
        for address in addresses:
            require_allowed(target.host, address, self._policy)
        if self._caches:
            if len(self._cache) >= _CACHE_MAX:
                self._cache.clear()
            self._cache[target.host] = (now + _CACHE_S, addresses)
        return addresses

    def forget(self, target: Target) -> None:
        """Drop what is kept for a host that could not be reached: it may have moved."""
        self._cache.pop(target.host, None)
