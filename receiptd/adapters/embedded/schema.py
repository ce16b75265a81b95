"""The tables of the embedded store, and how an older file is brought up to them.

``user_version`` counts the migrations that a file has had; ``application_id`` tells our files from anybody else's.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from receiptd.domain.errors import ConfigurationError

APPLICATION_ID = 0x72637074  # "rcpt"

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # What every commit rewrites is kept apart from the document, which is written once: an update of a row
        # rewrites all of it, and a small row makes small pages of the write-ahead log.
        """
        CREATE TABLE receipts (
            id INTEGER PRIMARY KEY,
            client_id TEXT NOT NULL,
            receipt_id TEXT NOT NULL,
            type_id TEXT NOT NULL,
            accepted_at REAL NOT NULL,
            version INTEGER NOT NULL,
            state TEXT NOT NULL,
            delivery TEXT,
            settled INTEGER NOT NULL,
            progress BLOB NOT NULL
        ) STRICT
        """,
        # The only index: it makes ids unique, finds one receipt, and walks a client's receipts by day and id, because
        # an id begins with its day. Each further index would dirty one more page a receipt.
        "CREATE UNIQUE INDEX receipts_by_client ON receipts (client_id, receipt_id)",
        "CREATE TABLE documents (id INTEGER PRIMARY KEY, document BLOB NOT NULL) STRICT",
        """
        CREATE TABLE messages (
            queue TEXT NOT NULL,
            key TEXT NOT NULL,
            visible_at REAL NOT NULL,
            dead INTEGER NOT NULL,
            leased INTEGER NOT NULL,
            receives INTEGER NOT NULL,
            sequence INTEGER NOT NULL,
            body TEXT NOT NULL,
            PRIMARY KEY (queue, key)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX messages_by_time ON messages (queue, dead, visible_at)",
        "CREATE TABLE contracts (client_id TEXT PRIMARY KEY, contract BLOB NOT NULL) STRICT, WITHOUT ROWID",
        """
        CREATE TABLE client_secrets (
            id INTEGER PRIMARY KEY,
            client_id TEXT NOT NULL,
            secret_hash BLOB NOT NULL,
            created_at REAL NOT NULL
        ) STRICT
        """,
        "CREATE INDEX client_secrets_by_client ON client_secrets (client_id)",
        """
        CREATE TABLE signing_keys (
            id INTEGER PRIMARY KEY,
            kid TEXT NOT NULL,
            created_at REAL NOT NULL,
            pem BLOB NOT NULL
        ) STRICT
        """,
    ),
)


def migrate(connection: sqlite3.Connection, path: Path, *, daemon: bool) -> None:
    """Bring the file's tables up to this version, in one transaction.

    Raises:
        ConfigurationError: the file is not ours or newer than this program; or older, and opened by a command, which
            must not change tables under a daemon that may be running.
        sqlite3.Error: it could not be read or written.
    """
    if tables_version(connection, path) == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = tables_version(connection, path)  # another process may have been quicker
        if version and not daemon:
            raise ConfigurationError(f"{path} has tables of version {version}; start the daemon once to renew them")
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def tables_version(connection: sqlite3.Connection, path: Path) -> int:
    """Return how many migrations the file has had. Raises ConfigurationError when we may not touch it."""
    ((application,),) = connection.execute("PRAGMA application_id").fetchall()
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    ((tables,),) = connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchall()
    if application != APPLICATION_ID and (application or version or tables):
        raise ConfigurationError(f"{path} is a database of another program; name another directory for storage")
    if version > len(MIGRATIONS):
        raise ConfigurationError(
            f"{path} has tables of version {version}, this program knows {len(MIGRATIONS)}: run the newer program"
        )
    return int(version)
