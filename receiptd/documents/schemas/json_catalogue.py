"""The JSON files of a receipt type's folder, as the only ones that a schema's references reach: nothing is fetched.

A reference is a URL. It stands for the file whose ``$id`` names that URL, or else for the one whose path is the longest
tail of the URL's: ``https://example.org/schemas/common/money`` is ``common/money.json``, or else any ``money.json``.
The folder is walked only when a reference asks for it, and its samples are no schemas.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urljoin, urlsplit

import orjson

from receiptd.domain.errors import ConfigurationError

_SCHEME: Final = "receipt-type"
_FILES_MAX: Final = 10_000
_BYTES_MAX: Final = 64 * 1024 * 1024
_SUFFIXES: Final = ("", ".json", ".schema.json")
_BOM: Final = b"\xef\xbb\xbf"
_LONG_NUMBER: Final = re.compile(rb"[0-9][0-9.]{15}")
_EXACT_CHARS: Final = 15
_NOWHERE: Final = object()


class JsonCatalogue:
    """The files of one folder, by URL.

    Attributes:
        loaded: what was read so far: the bytes by the file's path in the folder.
        fault: why ``get`` last raised, for callers that come to know it through a library's own error; else None.
    """

    def __init__(self, folder: Path) -> None:
        self.loaded: dict[str, bytes] = {}
        self.fault: ConfigurationError | None = None
        self._folder = folder
        self._root = folder.resolve()
        self._files: list[str] = []
        self._ids: dict[str, list[str]] | None = None

    def url(self, path: Path) -> str:
        """Return the URL of the file at ``path``, for a schema without an absolute ``$id``."""
        return f"{_SCHEME}:///{quote(self._name(path))}"

    def read(self, path: Path) -> Any:
        """Return the schema in the file at ``path``. Raises ConfigurationError."""
        return self._load(self._name(path))

    def get(self, url: str) -> Any:
        """Return the schema in the file that ``url`` stands for. Raises ConfigurationError."""
        try:
            return self._load(self._find(url))
        except ConfigurationError as error:
            self.fault = error
            raise

    def naming(self, text: str) -> list[str]:
        """Return the files read so far that hold ``text``, by their paths in the folder."""
        return [name for name, data in self.loaded.items() if text.encode() in data]

    def having(self, place: Iterable[str | int], value: Any) -> list[str]:
        """Return the files read so far that hold ``value`` at ``place``, by their paths in the folder."""
        return [name for name, data in self.loaded.items() if _at(_parse(data), place) == value]

    def _name(self, path: Path) -> str:
        return Path(os.path.relpath(path, self._folder)).as_posix()

    def _load(self, name: str) -> Any:
        try:
            if not self._holds(name):
                raise ConfigurationError(f"{name} is no file of {self._folder}; put it there")
            self.loaded[name] = (self._root / name).read_bytes()
            schema = _parse(self.loaded[name])
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{self._folder / name}: no JSON: {error}") from error
        if type(schema) not in (dict, bool):
            raise ConfigurationError(f"{self._folder / name}: a JSON Schema is an object, or true or false")
        return schema

    def _holds(self, name: str) -> bool:
        """Whether ``name`` is a file in the folder, also when it is a link."""
        path = (self._root / name).resolve()
        return path.is_relative_to(self._root) and path.is_file()

    def _find(self, url: str) -> str:
        parts = urlsplit(url)
        path = unquote(parts.path)
        steps = [step for step in path.split("/") if step]
        inside = parts.scheme == _SCHEME
        if inside and self._holds("/".join(steps)):
            return "/".join(steps)
        if self._ids is None:
            self._files = [name for name in self._walk() if self._holds(name)]
            self._ids = self._index()
        found = self._ids.get(url) or self._ids.get(path) or _by_tail(steps, self._files, whole=inside)
        if len(found) == 1:
            return found[0]
        asked = f"{path.lstrip('/') if inside else url}{self._referrers(steps)}"
        if found:
            raise ConfigurationError(f"{asked} may be {' or '.join(found[:5])}; give the right one that $id")
        raise ConfigurationError(f"{asked} is no file of {self._folder}; put it there, for nothing is fetched")

    def _referrers(self, steps: list[str]) -> str:
        names = self.naming(steps[-1]) if steps else []
        return f" (a reference of {', '.join(names[:3])})" if names else ""

    def _walk(self) -> Iterator[str]:
        count = 0
        for directory, directories, files in os.walk(self._root):
            inner = Path(directory).relative_to(self._root)
            top = directory == str(self._root)
            directories[:] = [
                name for name in sorted(directories) if name[0] != "." and not (top and name == "samples")
            ]
            count += len(files)
            if count > _FILES_MAX:
                raise ConfigurationError(f"{self._folder}: more than {_FILES_MAX:,} files; keep the schema's own here")
            yield from ((inner / name).as_posix() for name in sorted(files))

    def _index(self) -> dict[str, list[str]]:
        """Return the files by what their ``$id`` (in draft 4 ``id``) says, as a URL, or as a path in the folder."""
        ids: dict[str, list[str]] = {}
        size = 0
        for name in self._files:
            if not name.endswith(".json"):
                continue
            data = (self._root / name).read_bytes()
            size += len(data)
            if size > _BYTES_MAX:
                raise ConfigurationError(
                    f"{self._folder}: more than {_BYTES_MAX:,} bytes of JSON; keep schemas here only"
                )
            identifier = _identifier(data)
            if identifier:
                url, _, fragment = urljoin(f"file:///{name}", identifier).partition("#")
                if not fragment:
                    ids.setdefault(unquote(url.removeprefix("file://")), []).append(name)
        return ids


def _identifier(data: bytes) -> str:
    if b'id"' not in data:
        return ""
    try:
        value = _parse(data)
    except ValueError:  # it may be no schema at all; the one that refers to it is told
        return ""
    identifier = value.get("$id", value.get("id")) if type(value) is dict else ""
    return identifier if type(identifier) is str else ""


def _by_tail(steps: list[str], files: Iterable[str], *, whole: bool) -> list[str]:
    """Return the files with most in common with the end of a URL's path; of these, wholly its tail, least deep.

    Args:
        steps: the URL's path.
        files: the paths to choose from.
        whole: take only files that are wholly the path's tail: the URL comes from a relative reference.
    """
    best: tuple[int, ...] = ()
    found: list[str] = []
    for name in files:
        parts = name.split("/")
        form = next((form for form, suffix in enumerate(_SUFFIXES) if steps and parts[-1] == steps[-1] + suffix), None)
        if form is None:
            continue
        common = 1
        while common < min(len(parts), len(steps)) and parts[-1 - common] == steps[-1 - common]:
            common += 1
        rank = (common, common == len(parts), -form, -len(parts))
        if whole and not rank[1]:
            continue
        if rank > best:
            best, found = rank, []
        if rank == best:
            found.append(name)
    return found


def _at(value: Any, place: Iterable[str | int]) -> Any:
    try:
        for step in place:
            value = value[step]
    except (LookupError, TypeError):
        return _NOWHERE
    return value


def _parse(data: bytes) -> Any:
    """Return the value of JSON text; a number that a float may not hold exactly comes as ``Decimal``."""
    data = data.removeprefix(_BOM)
    value = orjson.loads(data)
    return json.loads(data, parse_float=_number) if _LONG_NUMBER.search(data) else value


def _number(text: str) -> float | Decimal:
    return float(text) if len(text) <= _EXACT_CHARS else Decimal(text)
