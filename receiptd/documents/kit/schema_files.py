"""The schema that an author gives: it, and every file that it refers to, taken along into the new type's folder."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from receiptd.documents.media import Format
from receiptd.domain.errors import ConfigurationError

_LEVELS_UP = 3
_FILES_MAX = 3_000
_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")


def copy_schema(schema: Path, folder: Path, format_: Format) -> str:
    """Copy ``schema`` and what it refers to into ``folder``; return what ``type.yaml`` says of it.

    References may lead to files beside it, below it, or below one of the three folders above it.

    Raises:
        ConfigurationError: it cannot be used, or what it refers to was found nowhere there.
    """
    base, files = _needed(schema.resolve(), _xsd_files if format_ is Format.XML else _json_files)
    suffix = ".xsd" if format_ is Format.XML else ".json"
    if len(files) == 1:
        shutil.copyfile(schema, folder / f"schema{suffix}")
        return f"schema{suffix}"
    for file in files:
        target = folder / "schema" / file.relative_to(base)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    main = folder / "schema" / schema.resolve().relative_to(base)
    fit = main.with_name((_UNFIT.sub("-", main.stem).strip(".-") or "schema") + suffix)
    if fit.name != main.name:
        main.rename(fit)
    return fit.relative_to(folder).as_posix()


def _needed(schema: Path, files_of: Callable[[Path, Path], list[Path]]) -> tuple[Path, list[Path]]:
    """Return the nearest folder that holds everything, and what the schema needs of it."""
    reason: ConfigurationError | None = None
    for base in _bases(schema):
        try:
            return base, files_of(schema, base)
        except ConfigurationError as error:
            reason = reason or error
    assert reason is not None
    raise reason


def _bases(schema: Path) -> Iterator[Path]:
    """Yield the schema's folder, then those above it that are no whole disk."""
    yield schema.parent
    for base in list(schema.parent.parents)[:_LEVELS_UP]:
        if base == Path(base.anchor) or base == Path.home() or _is_large(base):
            return
        yield base


def _is_large(folder: Path) -> bool:
    count = 0
    for _, _, files in os.walk(folder):
        count += len(files)
        if count > _FILES_MAX:
            return True
    return False


def _xsd_files(schema: Path, base: Path) -> list[Path]:
    from receiptd.documents.schemas.xsd_catalogue import XsdCatalogue, closure  # noqa: PLC0415 - for XML only

    paths = {document.path.resolve() for document in closure(XsdCatalogue(base), schema)}
    return sorted(path for path in paths if path.is_relative_to(base))  # the package's own need not be taken along


def _json_files(schema: Path, base: Path) -> list[Path]:
    import jsonschema_rs  # noqa: PLC0415 - for JSON only

    from receiptd.documents.schemas.json_catalogue import JsonCatalogue  # noqa: PLC0415 - likewise

    catalogue = JsonCatalogue(base)
    try:
        jsonschema_rs.validator_for(
            catalogue.read(schema),
            retriever=catalogue.get,
            base_uri=catalogue.url(schema),
            pattern_options=jsonschema_rs.FancyRegexOptions(),
        )
    except (ValueError, TypeError, jsonschema_rs.ReferencingError) as error:
        raise catalogue.fault or ConfigurationError(f"{schema}: no usable JSON Schema: {error}") from error
    return sorted((base / name).resolve() for name in catalogue.loaded)
