"""Group commit, the daemon's lock, and what the file must be like (receiptd.adapters.embedded.database)."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import sys
import threading

import pytest

from receiptd.adapters.embedded import database as database_module
from receiptd.adapters.embedded import schema
from receiptd.adapters.embedded.database import Database
from receiptd.domain.errors import ConfigurationError, StorageError

PUT = "INSERT INTO contracts (client_id, contract) VALUES (?, ?)"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store" / "receiptd.db"


@pytest.fixture
async def database(path):
    opened = await Database.open(path, daemon=True)
    yield opened
    await opened.close()


def put(name, value=b"{}"):
    return lambda cursor: cursor.execute(PUT, (name, value)).rowcount


def stored(database):
    return {name for (name,) in database.fetch("SELECT client_id FROM contracts")}


# -- group commit --------------------------------------------------------------------------------------------------


async def test_a_write_returns_what_its_operation_did(database):
    assert await database.write(put("a")) == 1
    assert stored(database) == {"a"}


async def test_writes_that_come_together_share_a_transaction(database):
    begun = []
    database._writer.set_trace_callback(lambda sql: begun.append(sql) if sql.startswith("BEGIN") else None)
    await asyncio.gather(*(database.write(put(f"n{n}")) for n in range(50)))
    assert len(begun) == 1
    assert len(stored(database)) == 50


async def test_writes_that_come_during_a_commit_share_the_next(database):
    begun = []
    database._writer.set_trace_callback(lambda sql: begun.append(sql) if sql.startswith("BEGIN") else None)
    first = asyncio.create_task(database.write(put("first")))
    while not begun:
        await asyncio.sleep(0)
    assert not first.done()
    await asyncio.gather(first, *(database.write(put(f"n{n}")) for n in range(20)))
    assert len(begun) == 2


async def test_only_the_commit_leaves_the_event_loops_thread(database):
    threads = {}
    database._writer.set_trace_callback(lambda sql: threads.setdefault(sql.split()[0], threading.get_ident()))
    await database.write(put("a"))
    assert threads["BEGIN"] == threads["INSERT"] == threading.get_ident()
    assert threads["COMMIT"] != threading.get_ident()


async def test_an_operation_that_raises_is_undone_alone(database):
    def half_done(cursor):
        put("half")(cursor)
        raise LookupError("no further")

    results = await asyncio.gather(
        database.write(put("before")),
        database.write(half_done),
        database.write(put("before")),  # breaks the key's uniqueness
        database.write(put("after")),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [int, LookupError, StorageError, int]
    assert isinstance(results[2].__cause__, sqlite3.IntegrityError)
    assert stored(database) == {"before", "after"}


async def test_an_operation_that_raises_on_its_own_is_undone(database):
    def half_done(cursor):
        put("half")(cursor)
        raise LookupError("no further")

    with pytest.raises(LookupError):
        await database.write(half_done)
    assert stored(database) == set()
    await database.write(put("next"))
    assert stored(database) == {"next"}


async def test_a_read_sees_nothing_before_its_commit_invariant_15(database):
    seen = []

    def operation(cursor):
        put("a")(cursor)
        seen.append(stored(database))

    await database.write(operation, lambda _: seen.append(stored(database)))
    assert seen == [set(), {"a"}]


async def test_the_write_of_a_cancelled_caller_is_done_all_the_same(database):
    told = []
    task = asyncio.create_task(database.write(put("a"), told.append))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await database.write(put("b"))
    assert stored(database) == {"a", "b"}
    assert told == [1]


async def test_closing_finishes_what_was_asked_for(path):
    database = await Database.open(path, daemon=True)
    writes = [asyncio.create_task(database.write(put(f"n{n}"))) for n in range(5)]
    await asyncio.sleep(0)
    await database.close()
    await asyncio.gather(*writes)
    with pytest.raises(StorageError):
        await database.write(put("late"))
    with pytest.raises(StorageError):
        database.fetch("SELECT 1")
    with pytest.raises(StorageError):
        await database.scan(lambda connection: connection)
    await database.close()
    again = await Database.open(path, daemon=True)
    assert len(stored(again)) == 5
    await again.close()


async def test_a_failed_read_is_a_storage_error(database):
    with pytest.raises(StorageError):
        database.fetch("SELECT * FROM nothing")
    with pytest.raises(StorageError):
        await database.scan(lambda connection: connection.execute("SELECT * FROM nothing"))


# -- the file ------------------------------------------------------------------------------------------------------


async def test_every_commit_is_synced_invariant_1(database):
    for connection in (database._writer, database._reader):
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_only_the_owner_may_read_the_files_invariant_14(database, path):
    await database.write(put("a"))
    names = {each.name for each in path.parent.iterdir()}
    assert names == {"receiptd.db", "receiptd.db-wal", "receiptd.db-shm", "receiptd.db.lock"}
    for each in path.parent.iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600, each
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_the_log_stays_small_under_steady_writes(database, path):
    log, largest = path.with_name("receiptd.db-wal"), 0
    for n in range(60):
        rows = [(f"n{n}-{m}", bytes(20_000)) for m in range(40)]
        await database.write(lambda cursor, rows=rows: cursor.executemany(PUT, rows))
        largest = max(largest, log.stat().st_size)
    assert largest < 32 * 1024 * 1024 < path.stat().st_size + largest


async def test_a_file_of_a_newer_version_is_refused(database, path):
    await database.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigurationError, match=r"version 99.*newer program"):
        await Database.open(path, daemon=True)


async def test_an_older_file_is_migrated_by_the_daemon_and_not_by_a_command(database, path, monkeypatch):
    await database.write(put("kept"))
    await database.close()
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE added (id INTEGER) STRICT",)))
    with pytest.raises(ConfigurationError, match="start the daemon once"):
        await Database.open(path, daemon=False)
    daemon = await Database.open(path, daemon=True)
    assert daemon.fetch("SELECT COUNT(*) FROM added") == [(0,)]
    assert stored(daemon) == {"kept"}
    command = await Database.open(path, daemon=False)
    await command.close()
    await daemon.close()


async def test_a_migration_that_fails_leaves_the_file_as_it_was(database, path, monkeypatch):
    await database.close()
    broken = ("CREATE TABLE added (id INTEGER) STRICT", "CREATE NONSENSE")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
        with pytest.raises(ConfigurationError, match="cannot be opened"):
            await Database.open(path, daemon=True)
    again = await Database.open(path, daemon=True)
    assert again.fetch("SELECT COUNT(*) FROM sqlite_schema WHERE name = 'added'") == [(0,)]
    await again.close()


async def test_a_file_that_is_not_ours_is_refused_and_left_alone(path):
    path.parent.mkdir()
    path.write_bytes(b"these are not the pages you are looking for" * 100)
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        await Database.open(path, daemon=True)
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (id)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="another program"):
        await Database.open(path, daemon=True)
    assert path.read_bytes() == before


async def test_a_directory_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for daemon in (True, False):
        with pytest.raises(ConfigurationError, match="cannot be opened"):
            await Database.open(tmp_path / "file" / "receiptd.db", daemon=daemon)


# -- several processes ---------------------------------------------------------------------------------------------


async def test_a_second_daemon_is_refused_and_told_who_is_there(path):
    code = (
        "import asyncio, sys\nfrom pathlib import Path\n"
        "from receiptd.adapters.embedded.database import Database\n"
        "async def main():\n"
        "    await Database.open(Path(sys.argv[1]), daemon=True)\n"
        "    print('open', flush=True)\n"
        "    await asyncio.to_thread(sys.stdin.read)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(path), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    await process.stdout.readline()
    with pytest.raises(ConfigurationError, match=rf"another receiptd daemon \(process {process.pid}\); stop that"):
        await Database.open(path, daemon=True)
    process.kill()
    await process.communicate()
    successor = await Database.open(path, daemon=True)
    await successor.close()


async def test_a_command_writes_while_the_daemon_has_the_file(database, path):
    command = await Database.open(path, daemon=False)
    await asyncio.gather(
        *(database.write(put(f"daemon-{n}")) for n in range(10)),
        *(command.write(put(f"command-{n}")) for n in range(10)),
    )
    await command.close()
    assert len(stored(database)) == 20


async def test_a_write_waits_for_another_process_without_holding_up_the_loop(database, path):
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    write = asyncio.create_task(database.write(put("a")))
    ticks = 0
    loop = asyncio.get_running_loop()
    until = loop.time() + 0.2
    while loop.time() < until:
        await asyncio.sleep(0.001)
        ticks += 1
    assert not write.done()
    assert ticks > 40
    other.execute("COMMIT")
    other.close()
    assert await write == 1


async def test_a_write_gives_up_on_a_process_that_never_ends(database, path, monkeypatch):
    monkeypatch.setattr(database_module, "_BUSY_MAX_S", 0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError):
        await database.write(put("a"))
    other.execute("ROLLBACK")
    other.close()
    assert await database.write(put("a")) == 1
