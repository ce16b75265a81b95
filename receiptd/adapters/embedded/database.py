"""One SQLite file, and the only way to write to it: group commit.

Writes are operations on a cursor. Those that come while a commit is on its way to the disk wait, and then share the
next transaction. Their statements run in the event loop's thread (about 2-9 us each on pages in memory; another thread
would pass the interpreter's lock back and forth for each), and only COMMIT, which writes the log and fsyncs it, runs in
a thread of its own. The file is in WAL mode with ``synchronous=FULL``: what a write returned from survives power loss
(invariant 1). A failed COMMIT is rolled back and fails all writes of its group; none of it becomes visible.

Reads by key run in the event loop on a second connection, which sees committed rows only; long reads run in a thread
on a third. One daemon at a time holds the file, by a lock beside it; commands may open it too, for short writes.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeAlias, TypeVar

from receiptd.adapters.embedded.schema import migrate, tables_version
from receiptd.domain.errors import ConfigurationError, StorageError

T = TypeVar("T")
Row: TypeAlias = tuple[Any, ...]

_Group: TypeAlias = "list[tuple[_Write[Any], Any]]"

_BUSY_RETRY_S = 0.002
_BUSY_MAX_S = 5.0
_LOOP_READ_TIMEOUT_S = 0.05
_THREAD_TIMEOUT_S = 5.0
_WRITER_CACHE_KIB = 32_768
_PRAGMAS = (
    "synchronous = FULL",
    "wal_autocheckpoint = 4000",  # 16 MB of log: hot pages are copied back once for many commits
    "journal_size_limit = 67108864",
    "temp_store = MEMORY",
    "secure_delete = FAST",  # some builds default to ON, which writes freed pages once more
    "trusted_schema = OFF",
)


@dataclass(frozen=True, slots=True)
class _Write(Generic[T]):
    """An operation that waits for its transaction, and whom to tell."""

    operation: Callable[[sqlite3.Cursor], T]
    committed: Callable[[T], None] | None
    future: asyncio.Future[T]

    def succeed(self, result: T) -> None:
        """Tell that ``result`` is durable."""
        if self.committed is not None:
            self.committed(result)
        if not self.future.done():
            self.future.set_result(result)

    def fail(self, error: Exception) -> None:
        """Tell that nothing of it was done."""
        if not self.future.done():
            self.future.set_exception(_storage_error(error) if isinstance(error, sqlite3.Error) else error)


class Database:
    """The file. Open it with ``open``; every call is made from the event loop's thread."""

    def __init__(self, path: Path, lock: int | None) -> None:
        self._path = path
        self._lock = lock
        self._loop = asyncio.get_running_loop()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection
        self._scanner: sqlite3.Connection
        self._waiting: list[_Write[Any]] = []
        self._busy_since: float | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False
        self._groups: queue.SimpleQueue[_Group | None] = queue.SimpleQueue()
        self._committer = threading.Thread(target=self._commit_groups, name="receiptd-commit", daemon=True)
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="receiptd-read")

    @classmethod
    async def open(cls, path: Path, *, daemon: bool) -> Self:
        """Open the file, made and migrated as needed; with ``daemon``, take the lock that only one daemon holds.

        Raises:
            ConfigurationError: another daemon holds it, it is not ours, or it cannot be opened there.
        """
        database = cls(path, _take_lock(path) if daemon else None)
        try:
            await asyncio.to_thread(database._connect_all, daemon=daemon)
        except BaseException:
            database._disconnect()
            raise
        database._committer.start()
        return database

    async def write(self, operation: Callable[[sqlite3.Cursor], T], committed: Callable[[T], None] | None = None) -> T:
        """Run ``operation`` in a transaction that others may share; return its result once that is durable.

        An operation that raises is undone alone. ``committed`` is called with the result as soon as the commit
        stands, even if nobody waits for it any more (a cancelled caller's write is done all the same); it must not
        raise.

        Raises:
            StorageError: nothing of it is visible.
        """
        if self._closed:
            raise StorageError("the database is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting.append(_Write(operation, committed, future))
        if self._idle.is_set():
            self._idle.clear()
            self._loop.call_soon(self._begin)
        return await future

    def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Read a few committed rows by key, at once, in the event loop. Raises StorageError."""
        try:
            return self._reader.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise _storage_error(error) from error

    async def scan(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """Run a long read in a thread, on a connection of its own. Raises StorageError."""
        if self._closed:
            raise StorageError("the database is closed")
        try:
            return await self._loop.run_in_executor(self._threads, read, self._scanner)
        except sqlite3.Error as error:
            raise _storage_error(error) from error

    async def close(self) -> None:
        """Finish the writes that were asked for, and let go of the file."""
        if self._closed:
            return
        self._closed = True
        await self._idle.wait()
        self._groups.put(None)
        await asyncio.to_thread(self._disconnect)

    # -- group commit ----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Run everything that waits in one transaction, and hand it to the committing thread."""
        try:
            if self._writer is None:
                self._writer = self._connect_writer()
            cursor = self._writer.cursor()
            cursor.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            if not self._try_later(error):
                self._fail(self._take(), error)
            return
        self._busy_since = None
        group = self._take()
        done: _Group = []
        try:
            for write in group:
                self._run(cursor, write, done, alone=len(group) == 1)
            if done:
                self._groups.put(done)
                return
            cursor.execute("ROLLBACK")
        except sqlite3.Error as error:
            self._fail(group, error)
            return
        self._next()

    def _run(self, cursor: sqlite3.Cursor, write: _Write[Any], done: _Group, *, alone: bool) -> None:
        """Run one operation so that its failure undoes itself only. Raises sqlite3.Error when all is undone."""
        try:
            if not alone:
                cursor.execute("SAVEPOINT operation")
            result = write.operation(cursor)
            if not alone:
                cursor.execute("RELEASE operation")
        except Exception as error:  # whatever it is, it is raised where the write is awaited
            if isinstance(error, sqlite3.Error) and not cursor.connection.in_transaction:
                raise
            if not alone:
                cursor.execute("ROLLBACK TO operation")
                cursor.execute("RELEASE operation")
            write.fail(error)
        else:
            done.append((write, result))

    def _commit_groups(self) -> None:
        """Commit, in the thread, what ``_begin`` hands over."""
        while (group := self._groups.get()) is not None:
            failure: sqlite3.Error | None = None
            try:
                assert self._writer is not None, "a group is handed over inside its transaction"
                self._writer.execute("COMMIT")
            except sqlite3.Error as error:
                failure = error
            self._loop.call_soon_threadsafe(self._end, group, failure)

    def _end(self, group: _Group, failure: sqlite3.Error | None) -> None:
        if failure is not None:
            self._fail([write for write, _ in group], failure)
            return
        try:
            for write, result in group:
                write.succeed(result)
        finally:
            self._next()

    def _fail(self, writes: Sequence[_Write[Any]], error: sqlite3.Error) -> None:
        """Undo the transaction, tell everyone in it, and go on with a new connection.

        A new one, because nothing that the old one holds in memory can be trusted after an I/O error. The readers
        stay connected, so that the log is not recovered and what failed does not come to light after all.
        """
        if self._writer is not None:
            with suppress(sqlite3.Error):  # what cannot be rolled back goes with its connection
                self._writer.rollback()
            with suppress(sqlite3.Error):
                self._writer.close()
            self._writer = None
        for write in writes:
            write.fail(error)
        self._next()

    def _next(self) -> None:
        if self._waiting:
            self._loop.call_soon(self._begin)
        else:
            self._idle.set()

    def _take(self) -> list[_Write[Any]]:
        group, self._waiting = self._waiting, []
        return group

    def _try_later(self, error: sqlite3.Error) -> bool:
        """Whether a transaction is begun again soon, because a command is writing now."""
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:
            return False
        now = self._loop.time()
        if self._busy_since is None:
            self._busy_since = now
        if now - self._busy_since > _BUSY_MAX_S:
            self._busy_since = None
            return False
        self._loop.call_later(_BUSY_RETRY_S, self._begin)
        return True

    # -- connections -----------------------------------------------------------------------------------------------

    def _connect_all(self, *, daemon: bool) -> None:
        try:
            _create(self._path)
            self._scanner = self._connect(timeout_s=_THREAD_TIMEOUT_S)
            tables_version(self._scanner, self._path)  # is it ours at all?
            ((mode,),) = self._scanner.execute("PRAGMA journal_mode = WAL").fetchall()
            if mode != "wal":
                raise ConfigurationError(f"{self._path} is on a file system without shared memory: use a local disk")
            migrate(self._scanner, self._path, daemon=daemon)
            self._reader = self._connect(timeout_s=_LOOP_READ_TIMEOUT_S)
            self._writer = self._connect_writer()
        except (sqlite3.Error, OSError) as error:
            raise ConfigurationError(f"{self._path} cannot be opened: {error}") from error

    def _connect_writer(self) -> sqlite3.Connection:
        connection = self._connect(timeout_s=0.0)
        connection.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
        return connection

    def _connect(self, *, timeout_s: float) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=timeout_s, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _disconnect(self) -> None:
        if self._committer.is_alive():
            self._committer.join()
        self._threads.shutdown()
        for name in ("_writer", "_reader", "_scanner"):
            connection = getattr(self, name, None)
            if connection is not None:
                connection.close()
        if self._lock is not None:
            os.close(self._lock)


def _create(path: Path) -> None:
    """Make the directory and the file for their owner only; SQLite gives its log the mode of the file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # An existing file is not even opened: closing it would drop the locks that this process holds on it (POSIX).
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _take_lock(path: Path) -> int:
    """Return a descriptor that holds the daemon's lock as long as it is open. Raises ConfigurationError."""
    lock_path = path.with_name(f"{path.name}.lock")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(f"{lock_path} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise ConfigurationError(
            f"{path} is in use by another receiptd daemon (process {holder}); "
            f"stop that one, or give this one a storage directory of its own"
        ) from error
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock


def _storage_error(error: sqlite3.Error) -> StorageError:
    raised = StorageError(f"the database failed: {error}")
    raised.__cause__ = error
    return raised
