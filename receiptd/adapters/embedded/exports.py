"""The Exports port on a directory: for a machine of one's own, where a URL is that of the file itself."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterable
from pathlib import Path
from typing import BinaryIO

from receiptd.domain.errors import StorageError
from receiptd.domain.identifiers import check_export_name


class EmbeddedExports:
    """Files below ``directory``, which is made when the first one is."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def put(self, name: str, content_type: str, chunks: AsyncIterable[bytes]) -> None:
        """Store a file; its name alone tells its type. Raises ValueError and StorageError."""
        del content_type
        path = self._directory / check_export_name(name)
        try:
            file = await asyncio.to_thread(_begin, path)
            try:
                async for chunk in chunks:
                    await asyncio.to_thread(file.write, chunk)
                await asyncio.to_thread(_finish, file, path)
            except BaseException:
                _give_up(file)
                raise
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror}") from error

    async def url(self, name: str, valid_s: int) -> str:
        """Return the file's own URL (RFC 8089). It holds as long as the file is there."""
        del valid_s
        return (self._directory.absolute() / check_export_name(name)).as_uri()


def _begin(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    os.close(descriptor)
    return Path(name).open("wb")


def _finish(file: BinaryIO, path: Path) -> None:
    with file:
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)


def _give_up(file: BinaryIO) -> None:
    file.close()
    Path(file.name).unlink(missing_ok=True)
