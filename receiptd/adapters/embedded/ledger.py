"""The ledger of the embedded store: receipts and the messages they owe, in one transaction.

This process is the only one that writes receipts (the daemon's lock), so what it committed last may be kept in memory:
``get`` answers from there first. Nothing enters that memory before its commit stands, so no read ever shows what a
power cut could take back (invariant 15).
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial
from typing import Final

from receiptd.adapters.embedded.database import Database, Row
from receiptd.adapters.embedded.queue import EmbeddedQueue, put_messages
from receiptd.adapters.recent import RecentReceipts
from receiptd.adapters.records import Progress, Record, RecordCodec, day_stamp, progress_of
from receiptd.domain.errors import ConfigurationError
from receiptd.domain.lifecycle import RECOVERY_QUEUE
from receiptd.domain.receipt import Receipt, ReceiptState
from receiptd.ports import Change, Message, Page, PageQuery

_COUNT_BATCH: Final = 50_000
_EXPIRE_BATCH: Final = 100

# The columns are those of Record and Progress, in their order.
_INSERT = """
    INSERT INTO receipts (client_id, receipt_id, type_id, accepted_at, version, state, delivery, settled, progress)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (client_id, receipt_id) DO NOTHING
"""
_INSERT_DOCUMENT = "INSERT INTO documents (id, document) VALUES (?, ?)"
_UPDATE = """
    UPDATE receipts SET version = ?, state = ?, delivery = ?, settled = ?, progress = ?
    WHERE client_id = ? AND receipt_id = ? AND version = ?
"""
_FORGET = "DELETE FROM messages WHERE queue = ? AND key = ?"
_SELECT = """
    SELECT client_id, receipt_id, type_id, accepted_at, version, state, delivery, settled, progress, document
    FROM receipts JOIN documents USING (id)
"""
_ONE = f"{_SELECT} WHERE client_id = ? AND receipt_id = ?"


class EmbeddedLedger:
    """The Ledger port on two tables."""

    def __init__(self, database: Database, queue: EmbeddedQueue, *, daemon: bool) -> None:
        self._database = database
        self._queue = queue
        self._daemon = daemon
        self._codec = RecordCodec()
        self._scan_codec = RecordCodec()
        self._recent = RecentReceipts()

    async def commit(self, changes: Sequence[Change]) -> Sequence[Receipt | None]:
        """Make the changes and their messages durable, in one transaction with whatever else waits.

        The recovery message of a receipt that is settled goes with the same commit: nothing is left to recover.

        Raises:
            StorageError: none of the changes is visible.
            ConfigurationError: the store was opened by a command; only a daemon's memory may be ahead of others'.
        """
        if not self._daemon:
            raise ConfigurationError("only the daemon changes receipts; a command sends it a message")
        stored = [
            self._codec.record(change.receipt) if change.expected_version is None else progress_of(change.receipt)
            for change in changes
        ]
        return await self._database.write(partial(self._apply, changes, stored), partial(self._committed, changes))

    async def get(self, client_id: str, receipt_id: str) -> Receipt | None:
        """Return the receipt as last acknowledged, or None. Raises StorageError."""
        receipt = self._recent.get(receipt_id)
        if receipt is not None and receipt.client_id == client_id:
            return receipt
        rows = self._database.fetch(_ONE, (client_id, receipt_id))
        if not rows:
            return None
        receipt = self._codec.receipt(Record(*rows[0]))
        if self._daemon:
            self._recent.keep(receipt)
        return receipt

    async def page(self, query: PageQuery) -> Page:
        """Return a page of one client's receipts in order of ``(accepted day, receipt id)``. Raises StorageError."""
        sql, parameters = _page_statement(query)
        return await self._database.scan(partial(self._read_page, sql, parameters, query.limit))

    async def counts(self) -> Mapping[ReceiptState, int]:
        """Return how many receipts are in each state, by reading every row. Raises StorageError."""
        count = """
            SELECT state, COUNT(*), MAX(id)
            FROM (SELECT id, state FROM receipts WHERE id > ? ORDER BY id LIMIT ?) GROUP BY state
        """
        totals: Counter[str] = Counter()
        after, rows = 0, None
        while rows is None or rows:  # in parts, so that no long read keeps the log from being reset
            parameters = (after, _COUNT_BATCH)
            rows = await self._database.scan(partial(_fetch, count, parameters))
            for state, number, last in rows:
                totals[state] += number
                after = max(after, last)
        return {state: totals[state.value] for state in ReceiptState}

    async def expire(self, before_day: date | None, by_type: Mapping[str, date | None]) -> int:
        """Delete settled receipts accepted before a day (UTC), oldest first, in small transactions.

        Args:
            before_day: the day for every type that ``by_type`` does not name; None: they are kept.
            by_type: the days of types that have their own, by type id; None: they are kept.

        Returns:
            How many were deleted.

        Raises:
            StorageError: the store could not be read or written; what was deleted so far is gone.
        """
        cutoffs = _Cutoffs(_stamp(before_day), {type_id: _stamp(day) for type_id, day in by_type.items()})
        after: int | None = 0
        deleted = 0
        while after is not None:
            after, expired = await self._database.scan(partial(_next_expired, after, cutoffs))
            if expired:
                deleted += await self._database.write(partial(_delete, [number for number, _ in expired]))
                for _, receipt_id in expired:
                    self._recent.drop(receipt_id)
        return deleted

    def _apply(
        self, changes: Sequence[Change], stored: Sequence[Record | Progress], cursor: sqlite3.Cursor
    ) -> list[Receipt | None]:
        results: list[Receipt | None] = []
        documents: list[tuple[int | None, bytes]] = []
        settled: list[tuple[str, str]] = []
        messages: list[Message] = []
        for change, values in zip(changes, stored, strict=True):
            receipt = change.receipt
            if isinstance(values, Record):
                cursor.execute(_INSERT, values[:-1])
                if cursor.rowcount:
                    documents.append((cursor.lastrowid, values.document))
            else:
                cursor.execute(_UPDATE, (*values, receipt.client_id, receipt.receipt_id, change.expected_version))
            if cursor.rowcount:
                results.append(receipt)
                messages += change.messages
                if values.settled:
                    settled.append((RECOVERY_QUEUE, receipt.receipt_id))
            else:
                results.append(self._standing(cursor, receipt))
        cursor.executemany(_INSERT_DOCUMENT, documents)
        cursor.executemany(_FORGET, settled)
        put_messages(cursor, messages)
        return results

    def _standing(self, cursor: sqlite3.Cursor, receipt: Receipt) -> Receipt | None:
        rows = cursor.execute(_ONE, (receipt.client_id, receipt.receipt_id)).fetchall()
        return self._codec.receipt(Record(*rows[0])) if rows else None

    def _committed(self, changes: Sequence[Change], results: Sequence[Receipt | None]) -> None:
        for change, result in zip(changes, results, strict=True):
            if result is change.receipt:
                self._recent.keep(result)
                if change.messages:
                    self._queue.announce(change.messages)

    def _read_page(self, sql: str, parameters: Sequence[object], limit: int, connection: sqlite3.Connection) -> Page:
        rows = connection.execute(sql, parameters).fetchall()
        receipts = tuple([self._scan_codec.receipt(Record(*row)) for row in rows[:limit]])
        return Page(receipts, receipts[-1].receipt_id if len(rows) > limit else "")


def _page_statement(query: PageQuery) -> tuple[str, list[object]]:
    """Return the statement for a page, which reads one row more than asked: whether there is a next page."""
    conditions = ["client_id = ?", "receipt_id > ?", "receipt_id < ?", "accepted_at >= ?", "accepted_at < ?"]
    parameters: list[object] = [
        query.client_id,
        max(query.after, day_stamp(query.start)),
        f"{day_stamp(query.end)}.",  # "." sorts after the "-" that follows the day in an id
        query.start,
        query.end,
    ]
    if query.state is not None:
        conditions.append("state = ?")
        parameters.append(query.state.value)
    if query.type_id:
        conditions.append("type_id = ?")
        parameters.append(query.type_id)
    if query.with_delivery:
        conditions.append("delivery IS NOT NULL")
    parameters.append(query.limit + 1)
    return f"{_SELECT} WHERE {' AND '.join(conditions)} ORDER BY receipt_id LIMIT ?", parameters


class _Cutoffs:
    """The days before which receipts expire, as their ids begin with them; an empty text is before every id."""

    def __init__(self, others: str, by_type: Mapping[str, str]) -> None:
        self._others = others
        self._by_type = by_type
        self.newest = max((others, *by_type.values()))

    def expired(self, type_id: str, receipt_id: str) -> bool:
        """Say whether a receipt is old enough to go."""
        return receipt_id < self._by_type.get(type_id, self._others)


def _stamp(day: date | None) -> str:
    return "" if day is None else f"{day:%Y%m%d}"


def _next_expired(
    after: int, cutoffs: _Cutoffs, connection: sqlite3.Connection
) -> tuple[int | None, list[tuple[int, str]]]:
    """Return where to go on, and which of the next receipts expire, as (row id, receipt id).

    Rows are in order of commit, which is that of days but for the moments around midnight: a batch in which no row is
    old for any type ends the walk. Reading all of each receipt here, in a thread, spares the event loop from waiting
    for the disk when it deletes them.
    """
    rows = connection.execute(
        "SELECT id, client_id, receipt_id, type_id, settled FROM receipts WHERE id > ? ORDER BY id LIMIT ?",
        (after, _EXPIRE_BATCH),
    ).fetchall()
    if not any(receipt_id < cutoffs.newest for _, _, receipt_id, _, _ in rows):
        return None, []
    expired = []
    for number, client_id, receipt_id, type_id, settled in rows:
        if settled and cutoffs.expired(type_id, receipt_id):
            connection.execute(_ONE, (client_id, receipt_id)).fetchall()
            expired.append((number, receipt_id))
    return rows[-1][0], expired


def _delete(numbers: Sequence[int], cursor: sqlite3.Cursor) -> int:
    rows = [(number,) for number in numbers]
    deleted = cursor.executemany("DELETE FROM receipts WHERE id = ? AND settled = 1", rows).rowcount
    cursor.executemany(
        "DELETE FROM documents WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM receipts WHERE id = ?1)", rows
    )
    return deleted


def _fetch(sql: str, parameters: Sequence[object], connection: sqlite3.Connection) -> list[Row]:
    return connection.execute(sql, parameters).fetchall()
