"""Whether the directory of the embedded store can be used: what ``receiptd doctor`` finds without opening it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from receiptd.adapters.checkup import Finding, Verdict
from receiptd.adapters.embedded.store import FILE_NAME

_FREE_MIN_BYTES: Final = 1 << 30
_NETWORK_FILESYSTEMS: Final = frozenset({"9p", "cifs", "fuse.sshfs", "nfs", "nfs4", "smb3"})
_PRIVATE: Final = 0o077


def examine(directory: Path) -> Iterator[Finding]:
    """Yield what is found about ``directory``: that it is there, may be written, is private, local, and has room."""
    nearest = next(folder for folder in (directory, *directory.absolute().parents) if folder.exists())
    if not nearest.is_dir():
        yield _finding(directory, Verdict.DIFFERS, attribute="kind", expected="directory", found=f"{nearest} is a file")
        return
    if not os.access(nearest, os.W_OK | os.X_OK):
        yield _finding(directory, Verdict.FORBIDDEN, action="write", detail=f"give {os.geteuid()} (uid) {nearest}")
    elif nearest != directory:
        yield _finding(directory, Verdict.OK, detail="not there yet; the daemon makes it")
    else:
        yield _finding(directory, Verdict.OK)
    free = shutil.disk_usage(nearest).free
    if free < _FREE_MIN_BYTES:
        yield _finding(
            directory, Verdict.DIFFERS, attribute="free bytes", expected=f"{_FREE_MIN_BYTES}", found=f"{free}"
        )
    filesystem = _filesystem(nearest)
    if filesystem in _NETWORK_FILESYSTEMS:  # SQLite's WAL needs shared memory, and locks that hold
        yield _finding(directory, Verdict.DIFFERS, attribute="file system", expected="a local one", found=filesystem)
    database = directory / FILE_NAME
    if not database.exists():
        return
    if not os.access(database, os.R_OK | os.W_OK):
        yield _finding(
            database, Verdict.FORBIDDEN, action="write", detail=f"it belongs to uid {database.stat().st_uid}"
        )
    mode = database.stat().st_mode & 0o777
    if mode & _PRIVATE:
        yield _finding(database, Verdict.DIFFERS, attribute="mode", expected="0600", found=f"{mode:04o}")


def _finding(path: Path, verdict: Verdict, **facts: str) -> Finding:
    return Finding(kind="store", name=str(path), verdict=verdict, **facts)


def _filesystem(folder: Path) -> str:
    """Return the kind of file system that ``folder`` is on (Linux; empty elsewhere)."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return ""
    place = folder.resolve()
    kinds = {Path(fields[1]): fields[2] for fields in map(str.split, mounts.read_text().splitlines())}
    return next((kinds[each] for each in (place, *place.parents) if each in kinds), "")
