"""The ledger on one DynamoDB table: the messages first, then the rows, each write conditional on the version.

A row therefore never stands without the message that will bring its receipt back (invariant 11); a message whose row
never came to be finds nothing, goes round once more and is dropped. Because a row may come later than that, the
messages of rows that were late are sent again. Every write carries a mark of its own, so that one that took effect
unseen (a timeout, a repeated call) is recognised when the item is read back. What fails for one change, such as its
client's throttled partition or a registrar's queue, fails that change alone; large documents, whose chunks come before
the messages, go their own way beside the rest of a group (invariant 12).

What is final may be kept in memory: a receipt that is settled and never had a webhook changes no more, in any process.
Everything else is read from the table, strongly consistent, because another daemon may have written since
(invariant 15).
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
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
from receiptd.adapters.aws.reads import SharedReads, storage_error
from receiptd.adapters.recent import RecentReceipts
from receiptd.domain.errors import StorageError
from receiptd.domain.lifecycle import RECOVERY_QUEUE
from receiptd.domain.receipt import Receipt, ReceiptState
from receiptd.ports import Change, Message, Page, PageQuery
from receiptd.runtime import crash

_log = logging.getLogger("receiptd.aws.ledger")

KEEP_DAYS: Final = 35.0
"""How long settled receipts are kept, in days from their acceptance, unless the ledger is told otherwise."""

LATE_S: Final = 10.0
"""After so many seconds a message may have been dropped before its row came: recovery takes it up ``delay_s`` (30 s)
after its change was made, half of which may be gone before the commit."""

_DAY_S: Final = 86_400.0
_KEEP_SETTLED_S: Final = 3 * _DAY_S
"""What settles late is kept as long after that, whatever its age: its client still wants to see the end."""
_WRITE_S: Final = 8.0
_CHUNKS_S: Final = 4.0
"""One try that hangs, and another: the answers to the rest of the group wait meanwhile."""
_READ_S: Final = 5.0
_MARK_BYTES: Final = 6
_DECODE_BATCH: Final = 100
"""So many receipts are decoded (about 3 ms) before the event loop has its turn."""
_COUNT_PAGES_MAX: Final = 2_000
"""2 GB of items, about 250,000 read units: beyond that, counting by reading is no answer any more."""


class Sender(Protocol):
    """What the ledger needs of the queues."""

    async def post(self, messages: Sequence[Message]) -> list[StorageError | None]:
        """Make the messages durable; return for each None, or why it may not be."""
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
    alone: bool = False
    """Whether ``result`` is a fault of a queue that other changes may do without."""

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
        now: the wall clock, in seconds since the epoch. A monotonic one may stand still while the machine does.
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
        now: Callable[[], float] = time.time,
    ) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._queue = queue
        self._places = Places(contract)
        self._keep_days = keep_days
        self._now = now
        self._tidying: set[asyncio.Task[None]] = set()
        self._items = Items(table)
        self._final = RecentReceipts()
        self._pages = PageReader(dynamodb, table, self._receipts)
        self._shared = SharedReads(dynamodb, table, self._receipts, read_linger_s)

    async def commit(self, changes: Sequence[Change]) -> list[Receipt | StorageError | None]:
        """Send the changes' messages, then write their rows; return the outcome of each (``ports.Ledger.commit``).

        Messages of a change that is then left undone have been sent: whoever receives them reads the receipt as it
        stands. What cannot be sent is an outcome of the changes that owe it. So is the fault of any queue but the
        recovery queue, even when it is all that became of the group: a registrar's says nothing about the store.

        Raises:
            StorageError: none of it could be done for reasons that concern no single change.
        """
        self._shared.group_begins()
        try:
            return await self._commit(changes)
        finally:
            self._shared.group_ends()

    async def _commit(self, changes: Sequence[Change]) -> list[Receipt | StorageError | None]:
        places = await self._places.of_all([(c.receipt.client_id, c.receipt.receipt_id) for c in changes])
        whole = [
            place if isinstance(place, StorageError) else self._write(change, place)
            for change, place in zip(changes, places, strict=True)
        ]
        small = [each for each in whole if isinstance(each, _Write) and not each.chunks]
        large = [each for each in whole if isinstance(each, _Write) and each.chunks]
        if large:
            await asyncio.gather(self._carry_out(small), self._carry_out_large(large))
        else:
            await self._carry_out(small)
        faults = [fault for each in whole if (fault := _general_fault(each)) is not None]
        if faults and len(faults) == len(whole):
            raise faults[0]
        return [each.result if isinstance(each, _Write) else each for each in whole]

    async def close(self) -> None:
        """Wait for what is still being tidied up."""
        await asyncio.gather(*self._tidying)

    async def get(self, client_id: str, receipt_id: str) -> Receipt | None:
        """Return the receipt as last acknowledged, or None. Raises StorageError."""
        final = self._final.get(receipt_id)
        if final is not None and final.client_id == client_id:
            return final
        partition = await self._places.of(client_id, receipt_id)
        try:
            item = await self._dynamodb.get(self._table, items.key(partition, receipt_id), timeout_s=_READ_S)
        except AwsError as error:
            raise storage_error(error) from error
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
            raise storage_error(error) from error

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
                raise storage_error(error) from error
            totals.update(item["s"]["S"] for item in answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return {state: totals[items.LETTERS[state]] for state in ReceiptState}
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
        raise StorageError("there are too many receipts to count them by reading; see the metrics")

    # -- writing -------------------------------------------------------------------------------------------------------

    async def _carry_out_large(self, writes: Sequence[_Write]) -> None:
        """Do ``writes`` with their chunks, which come before the messages: chunks without a row are only left over."""
        chunks = [(write, chunk) for write in writes for chunk in write.chunks]
        statements = [chunk for _, chunk in chunks]
        outcomes = await self._dynamodb.execute(self._table, statements, timeout_s=_CHUNKS_S, aside=True)
        for (write, _), outcome in zip(chunks, outcomes, strict=True):
            if isinstance(outcome, AwsError):  # a chunk that stands is the same one, by its name
                write.result = storage_error(outcome)
        await self._carry_out([write for write in writes if write.result is None])

    async def _carry_out(self, writes: Sequence[_Write]) -> None:
        """Send the messages, write the rows whose messages are durable, and see that they still are."""
        began_at = self._now()
        await self._send(writes)
        crash.point("after-messages")
        rows = [write for write in writes if write.result is None]
        await self._apply(rows)
        late_s = self._now() - began_at
        if late_s > LATE_S:
            done = [row for row in rows if row.result is row.change.receipt]
            _log.warning("rows came late: their messages are sent again", extra={"rows": len(done), "late_s": late_s})
            await self._send(done)

    async def _send(self, writes: Sequence[_Write]) -> None:
        """Send the messages of ``writes``; what cannot be sent becomes the result of its write."""
        owed = [(write, message) for write in writes for message in write.change.messages]
        faults = await self._queue.post([message for _, message in owed]) if owed else []
        for (write, message), fault in zip(owed, faults, strict=True):
            everybodys = message.queue == RECOVERY_QUEUE
            if fault is not None and (everybodys or not isinstance(write.result, StorageError)):
                write.result, write.alone = fault, not everybodys

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

    async def _apply(self, rows: Sequence[_Write]) -> None:
        """Write the rows, and find out what became of each."""
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
                row.result = storage_error(outcome)
        if doubtful:
            await self._resolve(doubtful)
        for row in rows:
            receipt = row.change.receipt
            if row.result is receipt and _is_large(receipt) and (expires_at := self._expires_at(receipt)) is not None:
                self._let_chunks_expire(row, None, expires_at)

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
        try:
            for item in await self._dynamodb.get_many(self._table, [row.key for row in unread], timeout_s=_READ_S):
                found[item["r"]["S"]] = item
        except AwsError as error:
            for row in unread:
                row.result = storage_error(error)
        known = [(row, outcome) for row, outcome in doubtful if row.result is None]
        await asyncio.gather(*(self._settle(row, outcome, found.get(row.key["r"]["S"])) for row, outcome in known))

    async def _settle(self, row: _Write, outcome: Outcome, item: Item | None) -> None:
        change = row.change
        if item is not None and items.written_by(item, row.mark):
            self._done(row)
            return
        try:
            version = None if item is None else items.version(item)
            if isinstance(outcome, AwsError) and version == change.expected_version:
                row.result = storage_error(outcome)  # not yet, but what is on its way may still arrive
            elif item is not None:
                if keys := items.left_over(row.chunks, item):  # the id is taken for as long as it can be used
                    self._let_chunks_expire(row, keys, self._now())
                (row.result,) = await self._receipts(change.receipt.client_id, [item])
        except StorageError as error:
            row.result = error

    def _let_chunks_expire(self, write: _Write, keys: Sequence[Item] | None, expires_at: float) -> None:
        """Give chunks (None: those of the row) their end, while nobody waits for it."""
        expiry = self._expire_chunks(write.change.receipt.client_id, write.key, keys, expires_at)
        task = asyncio.get_running_loop().create_task(expiry)
        self._tidying.add(task)
        task.add_done_callback(self._tidying.discard)

    async def _expire_chunks(self, client_id: str, row: Item, keys: Sequence[Item] | None, expires_at: float) -> None:
        try:
            if keys is None:
                item = await self._dynamodb.get(self._table, row, timeout_s=_READ_S)
                keys = [] if item is None else items.chunk_keys(client_id, item)
            statements = [self._items.chunk_expiry(key, expires_at) for key in keys]
            for outcome in await self._dynamodb.execute(self._table, statements, timeout_s=_WRITE_S, aside=True):
                if isinstance(outcome, AwsError):
                    raise outcome
        except AwsError as error:
            _log.warning("chunks of a document are left over", extra={"receipt": row["r"]["S"], "reason": str(error)})

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
                    raise storage_error(error) from error
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


def _general_fault(outcome: _Write | StorageError) -> StorageError | None:
    """Return the fault, if it is one that concerns no single change."""
    fault, alone = (outcome.result, outcome.alone) if isinstance(outcome, _Write) else (outcome, False)
    if not isinstance(fault, StorageError) or alone or isinstance(fault.__cause__, StatementError):
        return None
    return fault
