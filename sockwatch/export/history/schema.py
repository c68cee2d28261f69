"""The store's tables, and how a connection to it is made."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sockwatch.export.state_file import foreign

VERSION = 1
APPLICATION_ID = 0x736F636B  # "sock"
ROLLUP = 300
"""Seconds that one row of `rollups` covers."""

TABLES = """
CREATE TABLE state (key TEXT PRIMARY KEY, value REAL) WITHOUT ROWID;
CREATE TABLE series (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, netns TEXT NOT NULL, name TEXT NOT NULL, used INTEGER NOT NULL,
    UNIQUE (kind, netns, name)
);
CREATE TABLE samples (time INTEGER PRIMARY KEY, packed BLOB NOT NULL);
CREATE TABLE rollups (time INTEGER PRIMARY KEY, packed BLOB NOT NULL);
CREATE TABLE gaps (id INTEGER PRIMARY KEY, began REAL NOT NULL, ended REAL, why TEXT NOT NULL);
CREATE TABLE episodes (
    id INTEGER PRIMARY KEY,
    code TEXT NOT NULL, variant TEXT NOT NULL, netns TEXT NOT NULL, local TEXT NOT NULL, remote TEXT NOT NULL,
    process TEXT NOT NULL, unit TEXT NOT NULL, container TEXT NOT NULL,
    opened REAL NOT NULL, seen REAL NOT NULL, closed REAL,
    severity TEXT NOT NULL, worst TEXT NOT NULL, count INTEGER NOT NULL, most INTEGER NOT NULL, summary TEXT NOT NULL
);
CREATE INDEX episodes_by_end ON episodes (closed);
CREATE TABLE events (
    id INTEGER PRIMARY KEY, episode INTEGER NOT NULL, time REAL NOT NULL, kind TEXT NOT NULL,
    severity TEXT NOT NULL, count INTEGER NOT NULL, finding TEXT
);
CREATE INDEX events_by_episode ON events (episode);
CREATE INDEX events_by_time ON events (time);
"""


class ForeignError(Exception):
    """The file is not a store that this release can go on with; the message says why."""


def open_writer(path: Path, *, most_bytes: int) -> sqlite3.Connection:
    """The store, made if it is not there, and checked. Raises ForeignError, sqlite3.Error and OSError.

    In WAL mode readers do not wait for the writer, a commit waits for no disk, and a kill costs nothing that was
    committed (https://sqlite.org/wal.html).
    """
    try:
        # Made here, so that it and what SQLite puts beside it are for its owner only.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if (why := foreign(path.lstat())) is not None:
            raise ForeignError(why) from None
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    try:
        _prepare(connection, most_bytes)
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """The store for reading, also while another process writes. Raises sqlite3.Error and ForeignError."""
    connection = sqlite3.connect(_uri(path, "mode=ro"), uri=True, isolation_level=None, timeout=5)
    try:
        try:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except sqlite3.OperationalError:
            # Nobody writes, and this user may not make the files that reading takes: then it does not change either.
            if path.with_name(f"{path.name}-wal").exists() or os.access(path.parent, os.W_OK):
                raise
            connection.close()
            connection = sqlite3.connect(_uri(path, "immutable=1"), uri=True, isolation_level=None)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA query_only = ON")
        _check_version(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def set_aside(path: Path) -> Path:
    """Rename the store, and what SQLite has beside it, to *.corrupt; the last one is kept. Raises OSError."""
    for end in ("-wal", "-shm", ""):
        there = path.with_name(path.name + end)
        if os.path.lexists(there):
            there.rename(path.with_name(f"{path.name}.corrupt{end}"))
    return path.with_name(f"{path.name}.corrupt")


def limit(connection: sqlite3.Connection, most_bytes: int) -> None:
    """Let the file never grow beyond this, and what is not yet in it to a twentieth of that, but at most to 4 MB."""
    (page_size,) = connection.execute("PRAGMA page_size").fetchone()
    pages = max(most_bytes // page_size, 1)
    connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()
    waiting = min(max(pages // 20, 16), 1000)
    connection.execute(f"PRAGMA wal_autocheckpoint = {waiting}").fetchone()
    connection.execute(f"PRAGMA journal_size_limit = {waiting * page_size}").fetchone()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Everything in it happens, or nothing. Raises sqlite3.Error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _prepare(connection: sqlite3.Connection, most_bytes: int) -> None:
    connection.execute("PRAGMA trusted_schema = OFF")
    (schema,) = connection.execute("PRAGMA schema_version").fetchone()
    if not schema:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    limit(connection, most_bytes)
    if not schema:
        connection.executescript(
            f"BEGIN; {TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT"
        )
    _check_version(connection)
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise ForeignError(f"it is damaged: {verdict}")


def _check_version(connection: sqlite3.Connection) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise ForeignError("it is no history of sockwatch")
    if version != VERSION:
        raise ForeignError(f"it has version {version}, and this release reads {VERSION}")


def _uri(path: Path, how: str) -> str:
    return f"file:{quote(str(path.absolute()))}?{how}"
