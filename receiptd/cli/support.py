"""What the commands share: their options, the store, and how results are printed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from receiptd.documents import ReceiptTypes
    from receiptd.settings import Configuration
    from receiptd.stores import Store

T = TypeVar("T")

DEFAULT_CONFIG = Path("config/embedded.toml")

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help=f"The settings file. Default: {DEFAULT_CONFIG} where there is one, else the built-in settings. "
        "RECEIPTD_* variables override it.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def example(*lines: str) -> str:
    """Return the end of a command's help: lines to type, kept as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def configuration(config: Path | None, *, needs_registrars: bool = True) -> Configuration:
    """Load the settings that ``--config`` names, or the default ones; see ``load``. Raises ConfigurationError."""
    from receiptd.settings import load

    file = config or (DEFAULT_CONFIG if DEFAULT_CONFIG.is_file() else None)
    return load(file, needs_registrars=needs_registrars)


@asynccontextmanager
async def open_store(config: Path | None) -> AsyncIterator[Store]:
    """Open the daemon's own store beside it: short transactions, no lock. Raises ConfigurationError, StorageError."""
    from receiptd.stores import opened

    async with opened(configuration(config)) as store:
        yield store


def registrar_ids(config: Path | None) -> list[str]:
    """Return the ids of the registrars that the settings name. Raises ConfigurationError."""
    return [registrar.id for registrar in configuration(config).registrars]


def receipt_types(config: Path | None) -> ReceiptTypes:
    """Load the receipt types that the settings name. Raises ConfigurationError."""
    from receiptd.documents import ReceiptTypes

    return ReceiptTypes.read(receipt_type_roots(config))


def receipt_type_roots(config: Path | None) -> list[Path]:
    """Return the folders of receipt types that the settings name. Raises ConfigurationError."""
    from receiptd.documents import BUNDLED_ROOT

    settings = configuration(config, needs_registrars=False).settings.receipt_types
    return [*([BUNDLED_ROOT] if settings.bundled else []), *settings.roots]


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's asynchronous part."""
    return asyncio.run(work)


def print_json(value: Any) -> None:
    """Print ``value`` as JSON, for machines."""
    import orjson

    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line for the header and for each row, in columns as wide as they need to be."""
    cells = [[title.upper() for title in header], *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    print("\n".join(table(header, rows)))


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Print names and values, one pair a line."""
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        print(f"{name.ljust(width)}  {value}".rstrip())


def plain(value: object) -> str:
    """Return a value of JSON as a human reads it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        value = ", ".join(str(each) for each in value)
    return str(value) or "-"


def note(text: str) -> None:
    """Tell a human something that is no result: on standard error."""
    print(text, file=sys.stderr)


def stamp(seconds: float) -> str:
    """Return a time (seconds since the epoch) as ISO 8601 in UTC; empty for 0."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z") if seconds else ""


def one_line(text: str) -> str:
    """Return ``text`` without control characters: stored text (a registrar's reason, say) must not steer a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
