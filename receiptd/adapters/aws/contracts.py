"""The contracts on a DynamoDB table.

Answers come from memory for a few seconds, so that a revocation is noticed well within a minute, and a little longer
while the table cannot be read. Reads are eventually consistent, at half the price: what they miss is younger than what
the memory may miss anyhow.
"""

from __future__ import annotations

import asyncio
import builtins
import math
from collections.abc import Sequence
from typing import Final

from receiptd.adapters.aws.dynamodb import DynamoDb, Item
from receiptd.adapters.aws.errors import AwsError
from receiptd.adapters.records import contract_from_json, contract_to_json
from receiptd.domain.contract import Contract
from receiptd.domain.errors import StorageError
from receiptd.ports import Clock

_FRESH_S: Final = 5.0
_KEPT_S: Final = 27.0
"""With the longest read, an answer is of no more than 30 seconds ago."""
_PAUSE_S: Final = 1.0
"""How long the table is not asked again after it failed, while there is something to answer with."""
_CACHED_MAX: Final = 20_000
_READ_S: Final = 3.0
_WRITE_S: Final = 8.0
_LIST_S: Final = 10.0


class AwsContracts:
    """The Contracts port on a table: ``c`` is the client's id, ``j`` the contract as JSON."""

    def __init__(self, dynamodb: DynamoDb, table: str, clock: Clock) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._clock = clock
        self._cached: dict[str, tuple[Contract | None, float]] = {}
        self._failed_at = -math.inf
        self._reading: dict[str, asyncio.Task[Contract | None]] = {}

    async def get(self, client_id: str) -> Contract | None:
        """Return the contract, active or not, as it was at most 5 seconds ago, or None.

        While the table cannot be read, an answer of up to 30 seconds ago is given, without a wait for each.

        Raises:
            StorageError: the table cannot be read, and there is no such answer.
        """
        now = self._clock.now()
        cached = self._cached.get(client_id)
        if cached is not None and 0 <= now - cached[1] < _FRESH_S:
            return cached[0]
        kept = cached is not None and 0 <= now - cached[1] < _KEPT_S
        if cached is not None and kept and now - self._failed_at < _PAUSE_S:
            return cached[0]
        try:
            return await self._read(client_id)
        except StorageError:
            self._failed_at = self._clock.now()
            if cached is not None and kept:
                return cached[0]
            raise

    async def put(self, contract: Contract) -> None:
        """Add or replace a contract, durably.

        Raises:
            StorageError: it may or may not have been stored.
            ValueError: the client's id holds a ``#``, which sets the partitions of the ledger apart.
        """
        client_id = contract.client_id
        if "#" in client_id:
            raise ValueError("a client's id holds no #")
        item: Item = {"c": {"S": client_id}, "j": {"S": contract_to_json(contract).decode()}}
        try:
            await self._dynamodb.put(self._table, item, timeout_s=_WRITE_S)
        except AwsError as error:
            self._cached.pop(client_id, None)
            raise StorageError(f"DynamoDB: {error}") from error
        self._reading.pop(client_id, None)  # what is being read now may be from before
        self._keep(client_id, contract)

    async def list(self) -> Sequence[Contract]:
        """Return every contract, by client id. Raises StorageError."""
        found: builtins.list[Contract] = []
        request: dict[str, object] = {"ConsistentRead": True}
        while True:
            try:
                answer = await self._dynamodb.scan(self._table, request, timeout_s=_LIST_S)
            except AwsError as error:
                raise StorageError(f"DynamoDB: {error}") from error
            found += [_contract(item) for item in answer["Items"]]
            if "LastEvaluatedKey" not in answer:
                return sorted(found, key=lambda contract: contract.client_id)
            request = {**request, "ExclusiveStartKey": answer["LastEvaluatedKey"]}

    async def _read(self, client_id: str) -> Contract | None:
        """Read a contract; those who ask for the same one at once share a call."""
        task = self._reading.get(client_id)
        if task is None:
            task = self._reading[client_id] = asyncio.create_task(self._fetch(client_id))
            task.add_done_callback(lambda done: self._fetched(client_id, done))
        return await asyncio.shield(task)

    async def _fetch(self, client_id: str) -> Contract | None:
        try:
            item = await self._dynamodb.get(self._table, {"c": {"S": client_id}}, timeout_s=_READ_S, consistent=False)
        except AwsError as error:
            raise StorageError(f"DynamoDB: {error}") from error
        return None if item is None else _contract(item)

    def _fetched(self, client_id: str, task: asyncio.Task[Contract | None]) -> None:
        if self._reading.get(client_id) is not task:
            return  # a put came between
        del self._reading[client_id]
        if not task.cancelled() and task.exception() is None:
            self._keep(client_id, task.result())

    def _keep(self, client_id: str, contract: Contract | None) -> None:
        self._cached.pop(client_id, None)
        self._cached[client_id] = (contract, self._clock.now())
        if len(self._cached) > _CACHED_MAX:
            del self._cached[next(iter(self._cached))]


def _contract(item: Item) -> Contract:
    try:
        stored = item["j"]["S"].encode()
    except (KeyError, AttributeError) as error:
        raise StorageError("a stored contract cannot be read: it is not one of ours") from error
    return contract_from_json(stored)
