"""Times: from what a document holds to ISO 8601 with an offset.

A time that names no offset is one of a time zone's clock. An hour that this clock shows twice (the end of summer time)
is the first of the two; one that it skips keeps the offset that held before.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from receiptd.documents.values import Converter, text

_FIELDS = ("YYYY", "MM", "DD", "hh", "mm", "ss")
_FIELD = re.compile("|".join(_FIELDS))
_DATE_FIELDS = 3
_USUAL = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\+[0-9]{2}:[0-9]{2}|Z)")
_DATE_AND_OFFSET = re.compile(r"([0-9]{4}-?[0-9]{2}-?[0-9]{2}) ?(Z|[+-][0-9]{2}:?[0-9]{2})")
_DATE_THEN_TIME = re.compile(r"[0-9W-]{8,10}(?:[T ].*)?", re.DOTALL)
_SECONDS = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,9})?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def compile_time(format_: str, zone: str) -> Converter:
    """Return a converter of times written in ``format_``: ``iso``, ``unix``, ``unix-ms``, or a pattern of fixed width.

    ``zone`` (an IANA name, or empty) is for times that name none, and for seconds since the epoch, which are told in
    UTC without it.

    Raises:
        ValueError: no such zone, or a pattern lacks year, month or day, has a field twice, or one without the greater
            before it.
    """
    try:
        clock = ZoneInfo(zone) if zone else None
    except (ValueError, OSError, LookupError) as error:
        raise ValueError(f"{zone!r} is no time zone that this machine knows (IANA: Europe/Kyiv)") from error
    if format_ == "iso":
        return _iso_converter(clock)
    if format_ in {"unix", "unix-ms"}:
        return _converter(_since_epoch(Decimal(1000 if format_ == "unix-ms" else 1), clock or UTC), clock)
    return _converter(_patterned(format_), clock)


def _converter(read: Callable[[str], datetime], zone: tzinfo | None) -> Converter:
    def convert(value: Any, _currency: str = "") -> str:
        moment = read(text(value))
        if moment.tzinfo is None:
            if zone is None:
                raise ValueError("names no time zone")
            moment = moment.replace(tzinfo=zone)
        return moment.isoformat()

    return convert


def _iso_converter(zone: tzinfo | None) -> Converter:
    convert = _converter(_iso, zone)

    def convert_usual(value: Any, currency: str = "") -> str:
        if type(value) is str and _USUAL.fullmatch(value):  # it is already written as we write it
            try:
                datetime.fromisoformat(value)
            except ValueError:
                raise ValueError("is no possible time") from None
            return value if value[-1] != "Z" else f"{value[:-1]}+00:00"
        result: str = convert(value, currency)
        return result

    return convert_usual


def _iso(written: str) -> datetime:
    """Read ISO 8601 or RFC 3339: basic or extended, ``T`` or a space, a date alone, any decimals, either case."""
    written = written.upper()
    if _DATE_THEN_TIME.fullmatch(written) is None:  # fromisoformat takes anything between date and time, also a sign
        written = _DATE_AND_OFFSET.sub(r"\1T00:00:00\2", written)
    if _DATE_THEN_TIME.fullmatch(written):
        try:
            return datetime.fromisoformat(written)
        except ValueError:
            pass
    raise ValueError("is no time in ISO 8601")


def _since_epoch(ticks_a_second: Decimal, zone: tzinfo) -> Callable[[str], datetime]:
    def read(written: str) -> datetime:
        if _SECONDS.fullmatch(written) is None:
            raise ValueError("is no number of seconds or milliseconds since 1970")
        try:
            micros = int(Decimal(written) / ticks_a_second * 1_000_000)
            return (_EPOCH + timedelta(microseconds=micros)).astimezone(zone)
        except OverflowError:
            raise ValueError("is no possible time") from None

    return read


def _patterned(pattern: str) -> Callable[[str], datetime]:
    places = {match[0]: slice(*match.span()) for match in _FIELD.finditer(pattern)}
    names = _FIELDS[: len(places)]
    if len(places) < _DATE_FIELDS or set(names) != places.keys() or len(places) != len(_FIELD.findall(pattern)):
        raise ValueError(
            "a time's format is iso, unix, unix-ms, or has YYYY, MM and DD, then perhaps hh, mm and ss, in any order, "
            "once each"
        )
    shape = re.compile(_FIELD.sub(lambda match: f"[0-9]{{{len(match[0])}}}", re.escape(pattern)))
    spans = [places[name] for name in names]

    def read(written: str) -> datetime:
        if shape.fullmatch(written) is None:
            raise ValueError(f"is no time of the form {pattern}")
        try:
            return datetime(*(int(written[span]) for span in spans))  # type: ignore[arg-type]  # noqa: DTZ001 - the converter adds it
        except ValueError:
            raise ValueError("is no possible time") from None

    return read
