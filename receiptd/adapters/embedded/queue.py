"""The durable queues of the embedded store: one table, in which a queue holds at most one message of a key.

Sending again replaces the message and gives it a new sequence number, which is its handle: whoever received the former
one can no longer acknowledge. A receive is durable before it is handed out, so that a message which kills the process
is counted and ends among the dead letters. A lease is a later ``visible_at`` in the row, marked as one: it costs
nothing beyond the count, a command in another process sees it, and the next daemon takes it back at once.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from receiptd.adapters.embedded.database import Database
from receiptd.domain.errors import StorageError
from receiptd.domain.lifecycle import RECOVERY_QUEUE
from receiptd.ports import Clock, Message, QueueDepth, Received

_POLL_S: Final = 1.0
"""How long a redrive by another process may go unnoticed."""
_DEAD_BATCH: Final = 500

_PUT = """
    INSERT INTO messages (queue, key, visible_at, dead, leased, receives, sequence, body)
    VALUES (?, ?, ?, ?, 0, 0, random(), ?)
    ON CONFLICT (queue, key) DO UPDATE SET
        visible_at = excluded.visible_at, dead = excluded.dead, leased = 0, receives = 0,
        sequence = excluded.sequence, body = excluded.body
"""
_CLAIMABLE = """
    SELECT key, receives FROM messages WHERE queue = ? AND dead = 0 AND visible_at <= ? ORDER BY visible_at LIMIT ?
"""
_CLAIM = """
    UPDATE messages SET receives = receives + 1, leased = 1, visible_at = ?, sequence = random()
    WHERE queue = ? AND key = ? RETURNING body, sequence
"""
_BURY = "UPDATE messages SET dead = 1, leased = 0, sequence = random() WHERE queue = ? AND key = ?"
_REVIVE = """
    UPDATE messages SET dead = 0, leased = 0, receives = 0, visible_at = ?, sequence = random()
    WHERE queue = ? AND key = ? AND dead = 1
"""
_DROP = "DELETE FROM messages WHERE queue = ? AND key = ? AND dead = 1"


class EmbeddedQueue:
    """The WorkQueue port on a table."""

    def __init__(self, database: Database, clock: Clock, *, visibility_s: float = 60.0, receives_max: int = 10) -> None:
        self._database = database
        self._clock = clock
        self._visibility_s = visibility_s
        self._receives_max = receives_max
        self._sleepers: defaultdict[str, dict[asyncio.Future[None], float]] = defaultdict(dict)
        """Who waits for a message of a queue, and until when (seconds since the epoch) without being woken."""

    async def take_over(self) -> None:
        """Give back what a former daemon was working on, and all recovery: its process is dead, as our lock proves.

        Raises:
            StorageError: it could not be made durable.
        """

        def operate(cursor: sqlite3.Cursor) -> None:
            cursor.execute("UPDATE messages SET leased = 0, visible_at = 0 WHERE leased = 1")
            cursor.execute(
                "UPDATE messages SET visible_at = 0 WHERE queue = ? AND dead = 0 AND visible_at > 0",
                (RECOVERY_QUEUE,),
            )

        await self._database.write(operate)

    async def send(self, messages: Sequence[Message]) -> None:
        """Make the messages durable. Raises StorageError."""
        await self._database.write(lambda cursor: put_messages(cursor, messages), lambda _: self.announce(messages))

    async def post(self, messages: Sequence[Message]) -> list[StorageError | None]:
        """Make the messages durable, all or none; return for each None, or why it may not be."""
        try:
            await self.send(messages)
        except StorageError as error:
            return [error] * len(messages)
        return [None] * len(messages)

    def announce(self, messages: Iterable[Message]) -> None:
        """Wake whoever waits for one of these messages, now that they are durable."""
        for message in messages:
            if message.queue in self._sleepers and not message.dead:
                self._wake(message.queue, message.visible_at)

    async def receive(self, queue: str, limit: int, wait_s: float) -> Sequence[Received]:
        """Return up to ``limit`` visible messages; wait up to ``wait_s`` seconds for the first. Empty when none."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        while True:
            due_in_s = self._due_in_s(queue)
            if due_in_s <= 0:
                received = await self._claim(queue, limit)
                if received:
                    return received
                continue
            left_s = deadline - loop.time()
            if left_s <= 0:
                return ()
            await self._sleep(queue, min(due_in_s, left_s, _POLL_S))

    async def acknowledge(self, queue: str, received: Sequence[Received]) -> None:
        """Remove the messages. Unknown or stale handles are ignored. Raises StorageError."""
        keys = [(queue, each.message.key, each.handle) for each in received]
        delete = "DELETE FROM messages WHERE queue = ? AND key = ? AND sequence = CAST(? AS INTEGER)"
        await self._database.write(lambda cursor: cursor.executemany(delete, keys))

    async def extend(self, queue: str, received: Sequence[Received], visible_in_s: float) -> None:
        """Keep the messages invisible for ``visible_in_s`` seconds from now (0: give them back at once)."""
        until = self._clock.now() + visible_in_s
        rows = [(until, int(visible_in_s > 0), queue, each.message.key, each.handle) for each in received]
        update = """
            UPDATE messages SET visible_at = ?, leased = ?
            WHERE queue = ? AND key = ? AND sequence = CAST(? AS INTEGER)
        """
        await self._database.write(lambda cursor: cursor.executemany(update, rows), lambda _: self._wake(queue, until))

    async def depth(self, queue: str) -> QueueDepth:
        """Return how much waits in ``queue``."""
        count = """
            SELECT COUNT(*) FILTER (WHERE dead = 0 AND visible_at <= ?1),
                   COUNT(*) FILTER (WHERE dead = 0 AND visible_at > ?1),
                   COUNT(*) FILTER (WHERE dead = 1)
            FROM messages WHERE queue = ?2
        """
        now = self._clock.now()
        ((ready, delayed, dead),) = await self._database.scan(
            lambda connection: connection.execute(count, (now, queue)).fetchall()
        )
        return QueueDepth(ready, delayed, dead)

    async def dead_letters(self, queue: str, limit: int) -> Sequence[Message]:
        """Return up to ``limit`` dead letters of ``queue``, those that have waited longest first."""
        select = "SELECT key, body, visible_at FROM messages WHERE queue = ? AND dead = 1 ORDER BY visible_at LIMIT ?"
        rows = await self._database.scan(lambda connection: connection.execute(select, (queue, limit)).fetchall())
        return [Message(queue, key, body, visible_at, dead=True) for key, body, visible_at in rows]

    async def redrive(self, queue: str, keys: Sequence[str] | None) -> int:
        """Make dead letters live again (all, or those of ``keys``); return how many. Raises StorageError."""

        def revive(keys: Sequence[str], cursor: sqlite3.Cursor) -> int:
            now = self._clock.now()
            return cursor.executemany(_REVIVE, [(now, queue, key) for key in keys]).rowcount

        return await self._of_the_dead(queue, keys, revive, lambda _: self._wake(queue, 0.0))

    async def drop(self, queue: str, keys: Sequence[str] | None) -> int:
        """Remove dead letters for good (all, or those of ``keys``); return how many. Raises StorageError."""

        def remove(keys: Sequence[str], cursor: sqlite3.Cursor) -> int:
            return cursor.executemany(_DROP, [(queue, key) for key in keys]).rowcount

        return await self._of_the_dead(queue, keys, remove, None)

    async def _of_the_dead(
        self,
        queue: str,
        keys: Sequence[str] | None,
        operate: Callable[[Sequence[str], sqlite3.Cursor], int],
        committed: Callable[[int], None] | None,
    ) -> int:
        """Do ``operate`` to dead letters by their keys (None: all of them), in small transactions; return how many."""
        if keys is None:
            select = "SELECT key FROM messages WHERE queue = ? AND dead = 1"
            rows = await self._database.scan(lambda connection: connection.execute(select, (queue,)).fetchall())
            keys = [key for (key,) in rows]
        done = 0
        for start in range(0, len(keys), _DEAD_BATCH):
            done += await self._database.write(partial(operate, keys[start : start + _DEAD_BATCH]), committed)
        return done

    async def _claim(self, queue: str, limit: int) -> Sequence[Received]:
        def operate(cursor: sqlite3.Cursor) -> list[Received]:
            now = self._clock.now()
            received = []
            for key, receives in cursor.execute(_CLAIMABLE, (queue, now, limit)).fetchall():
                if receives >= self._receives_max:
                    cursor.execute(_BURY, (queue, key))
                    continue
                cursor.execute(_CLAIM, (now + self._visibility_s, queue, key))
                ((body, sequence),) = cursor.fetchall()
                received.append(Received(Message(queue, key, body), str(sequence), receives + 1))
            return received

        return await self._database.write(operate)

    def _due_in_s(self, queue: str) -> float:
        """Return in how many seconds the next message of ``queue`` becomes visible; infinite when there is none."""
        rows = self._database.fetch("SELECT MIN(visible_at) FROM messages WHERE queue = ? AND dead = 0", (queue,))
        ((visible_at,),) = rows
        return float("inf") if visible_at is None else visible_at - self._clock.now()

    async def _sleep(self, queue: str, seconds: float) -> None:
        """Wait until something is sent to ``queue``, or ``seconds`` have passed."""
        loop = asyncio.get_running_loop()
        sleeper = loop.create_future()
        timer = loop.call_later(seconds, _finish, sleeper)
        self._sleepers[queue][sleeper] = self._clock.now() + seconds
        try:
            await sleeper
        finally:
            timer.cancel()
            del self._sleepers[queue][sleeper]
            if not self._sleepers[queue]:
                del self._sleepers[queue]

    def _wake(self, queue: str, visible_at: float) -> None:
        for sleeper, until in self._sleepers.get(queue, {}).items():
            if visible_at < until:
                _finish(sleeper)


def put_messages(cursor: sqlite3.Cursor, messages: Iterable[Message]) -> None:
    """Write messages within a transaction, each in place of the one of its queue and key."""
    cursor.executemany(_PUT, [(m.queue, m.key, m.visible_at, int(m.dead), m.body) for m in messages])


def _finish(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
