"""Reads of single receipts that can wait a moment: those of clients who ask for a status, by far the most of all.

Who reads waits for company, and one call fetches for all. A write of the same receipt that begins while a read waits
answers it without a read unit: it is conditional on the version, so what it has written, or was refused by, is what
stood there at that moment, which is within the read (invariant 15). A write that was on its way already says nothing:
another process may have written since, and been acknowledged, before the read began.

Each read gets the chance of the next group of writes: while one is on its way, or has just ended, the next is near.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from receiptd.adapters.aws import items
from receiptd.adapters.aws.dynamodb import KEYS_MAX, DynamoDb, Item
from receiptd.adapters.aws.errors import AwsError
from receiptd.domain.errors import StorageError
from receiptd.domain.receipt import Receipt

_log = logging.getLogger("receiptd.aws.reads")
_READ_S: Final = 5.0
_WAIT_MAX_S: Final = 0.3
"""The longest that a read waits for a group of writes to begin."""

Decode: TypeAlias = Callable[[str, Sequence[Item]], Awaitable[list[Receipt]]]
"""Turns a client's items into receipts. Raises StorageError."""


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """A read that waits, for one or several who asked."""

    client_id: str
    partition: str
    receipt_id: str
    since: float
    """When it began, by the loop's time."""
    result: asyncio.Future[Receipt | None]

    def answer(self, receipt: Receipt | None) -> None:
        """Give everyone who waits what was read."""
        if not self.result.done():
            self.result.set_result(receipt)

    def fail(self, error: StorageError) -> None:
        """Tell everyone who waits that it could not be read."""
        if not self.result.done():
            self.result.set_exception(error)


class SharedReads:
    """The reads of one table.

    Args:
        dynamodb: the calls.
        table: the table's name.
        decode: makes receipts of items.
        linger_s: how long a read waits for company, or for a write of its receipt.
    """

    def __init__(self, dynamodb: DynamoDb, table: str, decode: Decode, linger_s: float) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._decode = decode
        self._linger_s = linger_s
        self._waiting: dict[tuple[str, str], Read] = {}  # the longest waiting first
        self._near_until = -math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._fetching: set[asyncio.Task[None]] = set()

    async def get(self, client_id: str, partition: str, receipt_id: str) -> Receipt | None:
        """Return the receipt as last acknowledged, or None. Raises StorageError."""
        read = self._waiting.get((partition, receipt_id))
        if read is None:
            loop = asyncio.get_running_loop()
            now = loop.time()
            read = Read(client_id, partition, receipt_id, now, loop.create_future())
            self._waiting[partition, receipt_id] = read
            if self._timer is None:
                self._timer = loop.call_at(now + self._linger_s, self._look)
        return await asyncio.shield(read.result)

    def group_begins(self) -> None:
        """Hear that a group of writes is on its way."""
        self._near_until = math.inf

    def group_ends(self) -> None:
        """Hear that it has ended."""
        self._near_until = asyncio.get_running_loop().time() + self._linger_s

    def join(self, partition: str, receipt_id: str) -> Read | None:
        """Take over the read, if any, that waits for a receipt which is about to be written.

        The caller answers it by the outcome of that write, or gives it back.
        """
        return self._waiting.pop((partition, receipt_id), None)

    def give_back(self, reads: Collection[Read]) -> None:
        """Fetch after all what was taken over."""
        reads = list(reads)
        for at in range(0, len(reads), KEYS_MAX):
            task = asyncio.get_running_loop().create_task(self._fetch(reads[at : at + KEYS_MAX]))
            self._fetching.add(task)
            task.add_done_callback(self._fetching.discard)

    def fetch_due(self) -> None:
        """Fetch what has waited long enough: a group of writes has begun, and has taken over what it could."""
        self._fetch_since(asyncio.get_running_loop().time() - self._linger_s)

    def _look(self) -> None:
        """Fetch what has waited long enough, unless a group is about to begin."""
        loop = asyncio.get_running_loop()
        self._timer, now = None, loop.time()
        self._fetch_since(now - (_WAIT_MAX_S if now < self._near_until else self._linger_s))
        if self._waiting:
            self._timer = loop.call_later(self._linger_s, self._look)

    def _fetch_since(self, latest: float) -> None:
        due = list(itertools.takewhile(lambda read: read.since <= latest, self._waiting.values()))
        for read in due:
            del self._waiting[read.partition, read.receipt_id]
        self.give_back(due)

    async def _fetch(self, reads: Sequence[Read]) -> None:
        """Answer all of ``reads``, whatever happens: nobody else would."""
        try:
            await self._answer_all(reads)
        except Exception:  # noqa: BLE001 - a fault of ours; the task ends here, and who waits is told below
            _log.exception("a shared read failed")
        finally:
            for read in reads:
                read.fail(StorageError("DynamoDB: the read was broken off"))

    async def _answer_all(self, reads: Sequence[Read]) -> None:
        if len(reads) == 1:
            await self._fetch_one(reads[0])
            return
        by_key = {(read.partition, read.receipt_id): read for read in reads}
        keys = [items.key(read.partition, read.receipt_id) for read in reads]
        try:
            found, left = await self._dynamodb.get_some(self._table, keys, timeout_s=_READ_S)
        except AwsError as error:
            for read in reads:
                read.fail(storage_error(error))
            return
        # What a throttled partition leaves is asked for by itself, and so are the chunks of large documents, when
        # everybody else has his answer (invariant 12).
        alone = [by_key.pop((key["c"]["S"], key["r"]["S"])) for key in left]
        pairs = [(by_key.pop((item["c"]["S"], item["r"]["S"])), item) for item in found]
        for read in by_key.values():
            read.answer(None)
        for read, item in pairs:
            if not items.is_in_chunks(item):
                await self._answer(read, item)
        large = (self._answer(read, item) for read, item in pairs if items.is_in_chunks(item))
        await asyncio.gather(*large, *(self._fetch_one(read) for read in alone))

    async def _fetch_one(self, read: Read) -> None:
        key = items.key(read.partition, read.receipt_id)
        try:
            item = await self._dynamodb.get(self._table, key, timeout_s=_READ_S)
        except AwsError as error:
            read.fail(storage_error(error))
            return
        if item is None:
            read.answer(None)
        else:
            await self._answer(read, item)

    async def _answer(self, read: Read, item: Item) -> None:
        try:
            (receipt,) = await self._decode(read.client_id, [item])
        except StorageError as error:
            read.fail(error)
        except Exception as error:  # noqa: BLE001 - a fault of ours over one receipt fails its own reader only
            _log.exception("a receipt could not be decoded", extra={"receipt": read.receipt_id})
            failure = StorageError(f"the stored receipt {read.receipt_id} cannot be read")
            failure.__cause__ = error
            read.fail(failure)
        else:
            read.answer(receipt)


def storage_error(error: AwsError) -> StorageError:
    """Return what ``error`` of a table is to a caller of the ports."""
    failure = StorageError(f"DynamoDB: {error}")
    failure.__cause__ = error
    return failure
