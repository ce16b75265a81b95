"""The embedded store as one thing to open and close: ledger, queues, contracts and issuer on one database file.

Exports are files beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final, Self

from receiptd.adapters.embedded.clients import EmbeddedClients
from receiptd.adapters.embedded.contracts import EmbeddedContracts
from receiptd.adapters.embedded.database import Database
from receiptd.adapters.embedded.exports import EmbeddedExports
from receiptd.adapters.embedded.issuer import EmbeddedIssuer
from receiptd.adapters.embedded.ledger import EmbeddedLedger
from receiptd.adapters.embedded.queue import EmbeddedQueue
from receiptd.ports import Clock
from receiptd.settings import AuthSettings

FILE_NAME: Final = "receiptd.db"


@dataclass(frozen=True, slots=True)
class EmbeddedStore:
    """The adapters of an open store."""

    database: Database
    ledger: EmbeddedLedger
    queue: EmbeddedQueue
    contracts: EmbeddedContracts
    issuer: EmbeddedIssuer
    exports: EmbeddedExports
    token_url: str = ""
    """Tokens are the issuer's."""
    usage: None = None
    """Nothing is paid for."""

    @property
    def reader(self) -> EmbeddedLedger:
        """The ledger: a read is cheap."""
        return self.ledger

    @classmethod
    async def open(
        cls,
        directory: Path,
        clock: Clock,
        *,
        auth: AuthSettings | None = None,
        daemon: bool = True,
        visibility_s: float = 60.0,
        receives_max: int = 100,
    ) -> Self:
        """Open the store in ``directory``, made as needed.

        Args:
            directory: where the database file and the daemon's lock are.
            clock: the time.
            auth: the issuer's settings.
            daemon: take the lock, take over what a former daemon left, and allow receipts to change. Commands say
                False: they may open the store while a daemon has it.
            visibility_s: how long a received message stays invisible, in seconds.
            receives_max: a message received as often without acknowledgement joins the dead letters.

        Raises:
            ConfigurationError: another daemon has it, or it cannot be opened there.
            StorageError: it could not be written.
        """
        database = await Database.open(directory / FILE_NAME, daemon=daemon)
        try:
            queue = EmbeddedQueue(database, clock, visibility_s=visibility_s, receives_max=receives_max)
            contracts = EmbeddedContracts(database, clock)
            if daemon:
                await queue.take_over()
            issuer = EmbeddedIssuer(database, contracts, clock, auth or AuthSettings())
            await issuer.start()
        except BaseException:
            await database.close()
            raise
        ledger = EmbeddedLedger(database, queue, daemon=daemon)
        return cls(database, ledger, queue, contracts, issuer, EmbeddedExports(directory / "exports"))

    @property
    def identity(self) -> EmbeddedIssuer:
        """The issuer: it verifies what it gave."""
        return self.issuer

    async def clients(self) -> EmbeddedClients:
        """Return the issuer's clients."""
        return EmbeddedClients(self.issuer)

    async def expire(self, before_day: date | None, by_type: Mapping[str, date | None] | None = None) -> int:
        """Delete settled receipts accepted before ``before_day``; see ``EmbeddedLedger.expire``."""
        return await self.ledger.expire(before_day, by_type or {})

    def tasks(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, None]]]:
        """Return what must run while a daemon does: nothing."""
        return {}

    def checks(self) -> Mapping[str, str]:
        """Return how its parts are: who writes to it notices."""
        return {}

    async def close(self) -> None:
        """Finish the writes that were asked for, and let go of the file."""
        await self.database.close()
