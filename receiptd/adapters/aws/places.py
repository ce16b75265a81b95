"""In which partition a receipt is: what its client's contract says of the receipt's day.

A new number of partitions is for days to come and known well before (``Contract.with_partitions``), so it may be
remembered for minutes: neither a commit nor a read waits for the contracts as a rule.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Final, TypeAlias

from receiptd.adapters.aws.items import partition_key, partition_of
from receiptd.domain.contract import Contract
from receiptd.domain.errors import StorageError

_FRESH_S: Final = 120.0
"""With the contracts' own memory, far less than the ten minutes of notice."""
_KNOWN_MAX: Final = 20_000

FindContract: TypeAlias = Callable[[str], Awaitable[Contract | None]]
"""Gives a client's contract, or None. Raises StorageError."""


class Places:
    """Knows the partitions of clients."""

    def __init__(self, contract: FindContract) -> None:
        self._contract = contract
        self._known: dict[str, tuple[Contract, float]] = {}

    async def of(self, client_id: str, receipt_id: str) -> str:
        """Return the partition key of a receipt. Raises StorageError."""
        return _place(await self._owner(client_id), client_id, receipt_id)

    async def of_all(self, receipts: Collection[tuple[str, str]]) -> list[str | StorageError]:
        """Return the partition key of each receipt, given by client and id, or why it cannot be told."""
        stale_at = time.monotonic() - _FRESH_S
        owners: dict[str, Contract | BaseException | None] = {}
        strange: list[str] = []
        for client_id in {client_id for client_id, _ in receipts}:
            known = self._known.get(client_id)
            if known is None or known[1] <= stale_at:
                strange.append(client_id)
            else:
                owners[client_id] = known[0]
        if strange:
            found = await asyncio.gather(*map(self._owner, strange), return_exceptions=True)
            owners.update(zip(strange, found, strict=True))
        places: list[str | StorageError] = []
        for client_id, receipt_id in receipts:
            owner = owners[client_id]
            if isinstance(owner, StorageError):
                places.append(owner)
            elif isinstance(owner, BaseException):
                raise owner
            else:
                places.append(_place(owner, client_id, receipt_id))
        return places

    async def keys(self, client_id: str) -> list[str]:
        """Return the keys of every partition in which the client may have receipts. Raises StorageError."""
        owner = await self._owner(client_id)
        return [partition_key(client_id, number) for number in range(1 if owner is None else owner.partitions_max)]

    async def _owner(self, client_id: str) -> Contract | None:
        now = time.monotonic()
        known = self._known.get(client_id)
        if known is not None and now - known[1] < _FRESH_S:
            return known[0]
        contract = await self._contract(client_id)
        if contract is not None:  # a client without a contract may have one at any moment
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            self._known[client_id] = (contract, now)
        return contract


def _place(owner: Contract | None, client_id: str, receipt_id: str) -> str:
    if owner is None or not owner.partitions:
        return client_id
    return partition_of(client_id, receipt_id, owner.partitions_on(receipt_id[:8]))
