"""Retention: how long settled receipts are kept, by the class that their type names and the days that settings give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from receiptd.documents import ReceiptType
from receiptd.domain.errors import ConfigurationError
from receiptd.settings import StorageSettings

Types = Iterable[ReceiptType]


@dataclass(frozen=True, slots=True)
class Expiry:
    """Before which days settled receipts go; None: never."""

    before_day: date | None
    """For receipts of types that are not loaded."""
    by_type: Mapping[str, date | None]


def check_retention(types: Types, settings: StorageSettings) -> None:
    """Hold the types' retention classes against those that have days.

    Raises:
        ConfigurationError: a type names a class that has none; a line for each names file, line and setting.
    """
    known = settings.retention_days
    faults = [
        type_.file.fault(
            ["retention"],
            f"the settings give the class {type_.retention} no days; add storage.retention_days.{type_.retention} "
            f"(0: for ever), or name one of {', '.join(sorted(known))}",
        )
        for type_ in types
        if type_.retention not in known
    ]
    if faults:
        raise ConfigurationError("\n".join(faults))


def expiry(types: Types, settings: StorageSettings, today: date) -> Expiry:
    """Return what expires on ``today`` (UTC).

    The versions of one type are kept as long as the longest of their classes says. What is of no loaded type is kept as
    long as the longest of all: to take a folder off must not shorten the life of its receipts.
    """
    by_id: dict[str, int | None] = {}
    for type_ in types:
        days = settings.retention_days[type_.retention] or None
        by_id[type_.id] = _longer(days, by_id.get(type_.id, days))
    longest: int | None = 1
    for configured in settings.retention_days.values():
        longest = _longer(configured or None, longest)
    return Expiry(_before(today, longest), {type_id: _before(today, days) for type_id, days in by_id.items()})


def _longer(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)


def _before(today: date, days: int | None) -> date | None:
    return None if days is None else today - timedelta(days=days)
