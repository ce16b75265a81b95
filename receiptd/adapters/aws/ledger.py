"""The ledger on one DynamoDB table: the messages first, then the rows, each write conditional on the version.

A row therefore never stands without the message that will bring its receipt back (invariant 11); a message whose row
never came to be finds nothing, goes round once more and is dropped. Every write carries a mark of its own, so that one
that took effect unseen (a timeout, a repeated call) is recognised when the item is read back. What fails for one
change, such as its client's throttled partition, fails that change alone (invariant 12).

What is final may be kept in memory: a receipt that is settled and never had a webhook changes no more, in any process.
Everything else is read from the table, strongly consistent, because another daemon may have written since
(invariant 15).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from receiptd.adapters.aws import items
from receiptd.adapters.aws.dynamodb import Done, DynamoDb, Item, Outcome, Refused, Statement, StatementError
from receiptd.adapters.aws.errors import AwsError
from receiptd.adapters.aws.items import Items
from receiptd.adapters.aws.pages import PageReader
from receiptd.adapters.aws.places import FindContract, Places
from receiptd.adapters.aws.reads import SharedReads
from receiptd.adapters.recent import RecentReceipts
from receiptd.domain.errors import StorageError
from receiptd.domain.receipt import Receipt, ReceiptState
from receiptd.ports import Change, Message, Page, PageQuery
from receiptd.runtime import crash

_log = logging.getLogger("receiptd.aws.ledger")

KEEP_DAYS: Final = 35.0
"""How long settled receipts are kept, in days from their acceptance, unless the ledger is told otherwise."""

_DAY_S: Final = 86_400.0
_KEEP_SETTLED_S: Final = 3 * _DAY_S
"""What settles late is kept as long after that, whatever its age: its client still wants to see the end."""
_WRITE_S: Final = 8.0
_READ_S: Final = 5.0
_MARK_BYTES: Final = 6
_DECODE_BATCH: Final = 100
"""So many receipts are decoded (about 3 ms) before the event loop has its turn."""
_COUNT_PAGES_MAX: Final = 2_000
"""2 GB of items, about 250,000 read units: beyond that, counting by reading is no answer any more."""


class Sender(Protocol):
    """What the ledger needs of the queues."""

    async def send(self, messages: Sequence[Message]) -> None:
        """Make the messages durable. Raises StorageError."""
        ...


@dataclass(slots=True)
class _Write:
    """A change on its way into the table, and what became of it."""

    change: Change
    partition: str
    mark: bytes
    statement: Statement
    chunks: list[Statement]
    result: Receipt | StorageError | None = None

    @property
    def key(self) -> Item:
        return items.key(self.partition, self.change.receipt.receipt_id)


class AwsLedger:
    """The Ledger port on a table.

    Args:
        dynamodb: the calls.
        table: the table's name.
        queue: takes the messages that changes owe.
        contract: finds a client's contract, for its partitions.
        keep_days: says how many days after their acceptance the settled receipts of a type are kept; None: for ever.
        read_linger_s: how long reads through ``reader`` wait for company, in seconds.
    """

    def __init__(
        self,
        dynamodb: DynamoDb,
        table: str,
        queue: Sender,
        contract: FindContract,
        keep_days: Callable[[str], float | None] = lambda _: KEEP_DAYS,
        *,
        read_linger_s: float = 0.0,
    ) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._queue = queue
        self._places = Places(contract)
        self._keep_days = keep_days
        self._items = Items(table)
        self._final = RecentReceipts()
        self._pages = PageReader(dynamodb, table, self._receipts)
        self._shared = SharedReads(dynamodb, table, self._receipts, read_linger_s)

    async def commit(self, changes: Sequence[Change]) -> list[Receipt | StorageError | None]:
        """Send the changes' messages, then write their rows; return the outcome of each (``ports.Ledger.commit``).

        Messages of a change that is then left undone have been sent: whoever receives them reads the receipt as it
        stands.

        Raises:
            StorageError: none of it could be done for reasons that concern no single change.
        """
        self._shared.group_begins()
        try:
            return await self._commit(changes)
        finally:
            self._shared.group_ends()

    async def _commit(self, changes: Sequence[Change]) -> list[Receipt | StorageError | None]:
        results: list[Receipt | StorageError | None] = [None] * len(changes)
        places = await self._places.of_all([(c.receipt.client_id, c.receipt.receipt_id) for c in changes])
        unsent = await self._send(
            [m for c, place in zip(changes, places, strict=True) if isinstance(place, str) for m in c.messages]
        )
        crash.point("after-messages")
        writes: list[tuple[int, _Write]] = []
        for index, (change, place) in enumerate(zip(changes, places, strict=True)):
            if isinstance(place, StorageError):
                results[index] = place
            elif unsent is not None and change.messages:
                results[index] = unsent
            else:
                writes.append((index, self._write(change, place)))
        await self._apply([write for _, write in writes])
        for index, write in writes:
            results[index] = write.result
        if changes and all(isinstance(one, StorageError) and not _concerns_one(one) for one in results):
            assert isinstance(results[0], StorageError), "as has just been seen"
            raise results[0]
        return results

    async def get(self, client_id: str, receipt_id: str) -> Receipt | None:
        """Return the receipt as last acknowledged, or None. Raises StorageError."""
        final = self._final.get(receipt_id)
        if final is not None and final.client_id == client_id:
            return final
        partition = await self._places.of(client_id, receipt_id)
        try:
            item = await self._dynamodb.get(self._table, items.key(partition, receipt_id), timeout_s=_READ_S)
        except AwsError as error:
            raise _storage_error(error) from error
        if item is None:
            return None
        (receipt,) = await self._receipts(client_id, [item])
        self._remember(receipt)
        return receipt

    async def get_shared(self, client_id: str, receipt_id: str) -> Receipt | None:
        """Return what ``get`` does, a moment later and for less (see reads.py). Raises StorageError."""
        final = self._final.get(receipt_id)
        if final is not None and final.client_id == client_id:
            return final
        partition = await self._places.of(client_id, receipt_id)
        receipt = await self._shared.get(client_id, partition, receipt_id)
        if receipt is not None:
            self._remember(receipt)
        return receipt

    async def page(self, query: PageQuery) -> Page:
        """Return a page of one client's receipts in order of ``(accepted day, receipt id)``. Raises StorageError."""
        keys = await self._places.keys(query.client_id)
        try:
            return await self._pages.read(query, keys)
        except AwsError as error:
            raise _storage_error(error) from error

    async def counts(self) -> Mapping[ReceiptState, int]:
        """Return how many receipts are in each state, by reading all of a table that is not too large for that.

        Raises:
            StorageError: it could not be read, or is larger than ``_COUNT_PAGES_MAX`` pages of 1 MB.
        """
        totals: Counter[str] = Counter()
        request: dict[str, object] = {
            "ProjectionExpression": "#s",
            "FilterExpression": "attribute_exists(#s)",
            "ExpressionAttributeNames": {"#s": "s"},
        }
        for _ in range(_COUNT_PAGES_MAX):
            try:
                answer = await self._dynamodb.scan(self._table, request, timeout_s=_READ_S)
            except AwsError as error:
                raise _storage_error(error) from error
            totals.update(item["s"]["S"] for item in answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return {state: totals[items.LETTERS[state]] for state in ReceiptState}
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
        raise StorageError("there are too many receipts to count them by reading; see the metrics")

    # -- writing -------------------------------------------------------------------------------------------------------

    async def _send(self, messages: Sequence[Message]) -> StorageError | None:
        if messages:
            try:
                await self._queue.send(messages)
            except StorageError as error:
                return error
        return None

    def _write(self, change: Change, partition: str) -> _Write:
        receipt, mark = change.receipt, os.urandom(_MARK_BYTES)
        expires_at, version = self._expires_at(receipt), change.expected_version
        if version is None:
            return _Write(change, partition, mark, *self._items.insertion(partition, receipt, mark, expires_at))
        return _Write(change, partition, mark, self._items.update(partition, receipt, version, mark, expires_at), [])

    def _expires_at(self, receipt: Receipt) -> float | None:
        """Return when the row may go: never while anything is owed."""
        days = self._keep_days(receipt.submission.type_id)
        if days is None or not receipt.settled:
            return None
        return max(receipt.submission.accepted_at + days * _DAY_S, receipt.updated_at + _KEEP_SETTLED_S)

    async def _apply(self, writes: Sequence[_Write]) -> None:
        """Write the rows, and find out what became of each."""
        rows = [write for write in writes if not write.chunks or await self._write_chunks(write)]
        shared = [(row, self._shared.join(row.partition, row.change.receipt.receipt_id)) for row in rows]
        joined = [(row, read) for row, read in shared if read is not None]
        self._shared.fetch_due()
        try:
            await self._apply_rows(rows)
        except BaseException:
            self._shared.give_back([read for _, read in joined])
            raise
        for row, read in joined:
            if isinstance(row.result, StorageError):
                self._shared.give_back([read])
            else:
                read.answer(row.result)

    async def _apply_rows(self, rows: Sequence[_Write]) -> None:
        outcomes = await self._dynamodb.execute(self._table, [row.statement for row in rows], timeout_s=_WRITE_S)
        doubtful: list[tuple[_Write, Outcome]] = []
        for row, outcome in zip(rows, outcomes, strict=True):
            if isinstance(outcome, Done):
                self._done(row)
            elif isinstance(outcome, Refused) or outcome.unknown:
                doubtful.append((row, outcome))
            else:
                row.result = _storage_error(outcome)
        if doubtful:
            await self._resolve(doubtful)
        large = [row for row in rows if row.result is row.change.receipt and _is_large(row.change.receipt)]
        for row in large:
            await self._let_chunks_expire(row)

    def _done(self, write: _Write) -> None:
        write.result = write.change.receipt
        self._remember(write.change.receipt)

    async def _resolve(self, doubtful: Sequence[tuple[_Write, Outcome]]) -> None:
        """Read back what was refused, or may have taken effect: is it ours after all, or what stands there?"""
        found: dict[str, Item] = {}
        unread = []
        for row, outcome in doubtful:
            if isinstance(outcome, Refused) and outcome.item is not None and "c" in outcome.item:
                found[row.change.receipt.receipt_id] = outcome.item
            else:
                unread.append(row)
        failure: AwsError | None = None
        try:
            for item in await self._dynamodb.get_many(self._table, [row.key for row in unread], timeout_s=_READ_S):
                found[item["r"]["S"]] = item
        except AwsError as error:
            failure = error
        unread_ids = {row.change.receipt.receipt_id for row in unread}
        for row, outcome in doubtful:
            receipt_id = row.change.receipt.receipt_id
            if failure is not None and receipt_id in unread_ids:
                row.result = _storage_error(failure)
            else:
                await self._settle(row, outcome, found.get(receipt_id))

    async def _settle(self, row: _Write, outcome: Outcome, item: Item | None) -> None:
        change = row.change
        if item is not None and items.written_by(item, row.mark):
            self._done(row)
            return
        try:
            version = None if item is None else items.version(item)
            if isinstance(outcome, AwsError) and version == change.expected_version:
                row.result = _storage_error(outcome)  # not yet, but what is on its way may still arrive
            elif item is not None:
                (row.result,) = await self._receipts(change.receipt.client_id, [item])
        except StorageError as error:
            row.result = error

    async def _write_chunks(self, write: _Write) -> bool:
        """Write a large document's chunks; a chunk that stands is the same one, by its name."""
        outcomes = await self._dynamodb.execute(self._table, write.chunks, timeout_s=_WRITE_S)
        for outcome in outcomes:
            if isinstance(outcome, AwsError):
                write.result = _storage_error(outcome)
                return False
        return True

    async def _let_chunks_expire(self, write: _Write) -> None:
        """Give the chunks of a receipt that was settled their end; without it they would be left over."""
        expires_at = self._expires_at(write.change.receipt)
        if expires_at is None:
            return
        client_id = write.change.receipt.client_id
        try:
            item = await self._dynamodb.get(self._table, write.key, timeout_s=_READ_S)
            keys = [] if item is None else items.chunk_keys(client_id, item)
            statements = [self._items.chunk_expiry(key, expires_at) for key in keys]
            for outcome in await self._dynamodb.execute(self._table, statements, timeout_s=_WRITE_S):
                if isinstance(outcome, AwsError):
                    raise outcome
        except AwsError as error:
            extra = {"receipt": write.change.receipt.receipt_id, "reason": str(error)}
            _log.warning("chunks of a document are left over", extra=extra)

    # -- reading -------------------------------------------------------------------------------------------------------

    async def _receipts(self, client_id: str, found: Sequence[Item]) -> list[Receipt]:
        """Return the receipts that items hold, with the chunks of large ones. Raises StorageError."""
        receipts = []
        for item in found:
            keys = items.chunk_keys(client_id, item)
            parts: Sequence[Item] = ()
            if keys:
                try:
                    parts = await self._dynamodb.get_many(self._table, keys, timeout_s=_READ_S)
                except AwsError as error:
                    raise _storage_error(error) from error
            receipts.append(self._items.receipt(client_id, item, parts))
            if len(receipts) % _DECODE_BATCH == 0:
                await asyncio.sleep(0)
        return receipts

    def _remember(self, receipt: Receipt) -> None:
        if receipt.delivery is None and receipt.settled:
            self._final.keep(receipt)


class LedgerForClients:
    """The ledger as clients read it: the Ledger port, whose single reads are shared."""

    def __init__(self, ledger: AwsLedger) -> None:
        self.get = ledger.get_shared
        self.commit, self.page, self.counts = ledger.commit, ledger.page, ledger.counts


def _is_large(receipt: Receipt) -> bool:
    submission = receipt.submission
    return len(submission.document) + len(submission.canonical) >= items.DOCUMENT_MAX_BYTES


def _storage_error(error: AwsError) -> StorageError:
    failure = StorageError(f"DynamoDB: {error}")
    failure.__cause__ = error
    return failure


def _concerns_one(error: StorageError) -> bool:
    return isinstance(error.__cause__, StatementError)
