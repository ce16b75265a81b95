"""The contracts of the embedded store.

Answers come from memory for a few seconds, so that a revocation by a command in another process is noticed well within
a minute.
"""

from __future__ import annotations

import builtins
import sqlite3
from collections.abc import Sequence
from typing import Final

from receiptd.adapters.embedded.database import Database
from receiptd.adapters.records import contract_from_json, contract_to_json
from receiptd.domain.contract import Contract
from receiptd.ports import Clock

_FRESH_S: Final = 5.0
_CACHED_MAX: Final = 20_000

_SELECT = "SELECT contract FROM contracts"
_PUT = """
    INSERT INTO contracts (client_id, contract) VALUES (?, ?)
    ON CONFLICT (client_id) DO UPDATE SET contract = excluded.contract
"""


class EmbeddedContracts:
    """The Contracts port on a table."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._cached: dict[str, tuple[Contract | None, float]] = {}

    async def get(self, client_id: str) -> Contract | None:
        """Return the contract, active or not, as it was at most 5 seconds ago, or None. Raises StorageError."""
        now = self._clock.now()
        cached = self._cached.get(client_id)
        if cached is not None and 0 <= now - cached[1] < _FRESH_S:
            return cached[0]
        rows = self._database.fetch(f"{_SELECT} WHERE client_id = ?", (client_id,))
        contract = contract_from_json(rows[0][0]) if rows else None
        self._keep(client_id, contract, now)
        return contract

    async def put(self, contract: Contract) -> None:
        """Add or replace a contract, durably. Raises StorageError."""
        row = (contract.client_id, contract_to_json(contract))
        await self._database.write(
            lambda cursor: cursor.execute(_PUT, row),
            lambda _: self._keep(contract.client_id, contract, self._clock.now()),
        )

    async def list(self) -> Sequence[Contract]:
        """Return every contract, by client id. Raises StorageError."""

        def read(connection: sqlite3.Connection) -> builtins.list[Contract]:
            return [contract_from_json(stored) for (stored,) in connection.execute(f"{_SELECT} ORDER BY client_id")]

        return await self._database.scan(read)

    def _keep(self, client_id: str, contract: Contract | None, now: float) -> None:
        self._cached.pop(client_id, None)
        self._cached[client_id] = (contract, now)
        if len(self._cached) > _CACHED_MAX:
            del self._cached[next(iter(self._cached))]
