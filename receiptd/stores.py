"""Which store: the one place that knows both backends, for the daemon and the commands.

An adapter is imported when it is asked for: the AWS one brings libraries that take longer to import than the embedded
daemon takes to start.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import date
from typing import Any, Final, Protocol

from receiptd.adapters.outbound.client import OutboundClient
from receiptd.domain.addresses import OPERATOR
from receiptd.http.tokens import Issuer
from receiptd.ports import Clients, Clock, Contracts, Exports, Identity, Ledger, WorkQueue
from receiptd.runtime.clock import SystemClock
from receiptd.settings import Configuration

_AWS_CONNECTIONS: Final = 256
"""To one origin, which is all of AWS on an emulator. Each queue that is waited for keeps one."""


class Usage(Protocol):
    """What is paid for, counted."""

    @property
    def requests(self) -> Mapping[tuple[str, str], int]:
        """Requests by (service, operation)."""
        ...

    @property
    def failures(self) -> Mapping[tuple[str, str, str], int]:
        """Requests that failed, by (service, operation, code)."""
        ...

    @property
    def read_units(self) -> Mapping[tuple[str, str], float]:
        """Capacity units by (table, operation)."""
        ...

    @property
    def write_units(self) -> Mapping[tuple[str, str], float]:
        """Capacity units by (table, operation)."""
        ...


class Store(Protocol):
    """The adapters of an open backend."""

    @property
    def ledger(self) -> Ledger:
        """The receipts."""
        ...

    @property
    def reader(self) -> Ledger:
        """The same for clients' reads of single receipts, which may take a moment longer where that is cheaper."""
        ...

    @property
    def queue(self) -> WorkQueue:
        """The durable queues."""
        ...

    @property
    def contracts(self) -> Contracts:
        """The contracts."""
        ...

    @property
    def exports(self) -> Exports:
        """The files of exports."""
        ...

    @property
    def identity(self) -> Identity:
        """Verifies tokens. Only of a store that was opened for a daemon."""
        ...

    @property
    def issuer(self) -> Issuer | None:
        """Gives tokens; None: clients get them elsewhere."""
        ...

    @property
    def token_url(self) -> str:
        """Where a daemon's clients get tokens; empty: from it."""
        ...

    @property
    def usage(self) -> Usage | None:
        """What is paid for; None: nothing is."""
        ...

    async def clients(self) -> Clients:
        """Return the clients' credentials. Raises ConfigurationError and StorageError."""
        ...

    async def expire(self, before_day: date | None, by_type: Mapping[str, date | None] | None = None) -> int:
        """Let settled receipts go: those accepted before a day (UTC), by type where it has a day of its own.

        Returns how many were deleted here and now. Raises StorageError.
        """
        ...

    def tasks(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, None]]]:
        """Return what must run while a daemon does, by name."""
        ...

    def checks(self) -> Mapping[str, str]:
        """Return how its parts are; one that is ``failing`` is not fit to serve."""
        ...

    async def close(self) -> None:
        """Finish what was begun, and let go."""
        ...


async def open_store(configuration: Configuration, clock: Clock | None = None, *, daemon: bool) -> Store:
    """Open the store that the settings name.

    Args:
        configuration: the settings and the registrars.
        clock: the time; the system's by default.
        daemon: own it, and be ready to serve. Commands say False: they may open it while a daemon has it.

    Raises:
        ConfigurationError: it cannot be opened as configured, or another daemon has it.
        StorageError: it cannot be reached or written.
    """
    settings, clock = configuration.settings, clock or SystemClock()
    if settings.storage.backend == "embedded":
        from receiptd.adapters.embedded.store import EmbeddedStore  # noqa: PLC0415 - see above

        return await EmbeddedStore.open(settings.storage.path, clock, auth=settings.auth, daemon=daemon)

    from receiptd.adapters.aws.store import AwsStore  # noqa: PLC0415 - see above

    http = OutboundClient(OPERATOR, connections_per_origin=_AWS_CONNECTIONS)
    registrars = [registrar.id for registrar in configuration.registrars]
    return await AwsStore.open(settings.aws, registrars, http, clock, daemon=daemon)


@asynccontextmanager
async def opened(configuration: Configuration) -> AsyncIterator[Store]:
    """Open the store for a command, and close it. Raises ConfigurationError and StorageError."""
    store = await open_store(configuration, daemon=False)
    try:
        yield store
    finally:
        await store.close()
