"""Request targets: strict percent-decoding (RFC 3986) and query parameters that are known and well-formed."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime
from urllib.parse import unquote_to_bytes

from receiptd.http.problems import ProblemError

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SHOWN_MAX_CHARS = 40
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DATE_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?(?:Z|[+-]\d{2}:\d{2})", re.ASCII)


def percent_decode(text: str) -> str:
    """Decode ``%XX`` as UTF-8. Raises ValueError: a broken escape, bad UTF-8, raw non-ASCII, a control character."""
    if not text.isascii() or _BROKEN_ESCAPE.search(text):
        raise ValueError("not percent-encoded")
    decoded = unquote_to_bytes(text).decode()
    if _CONTROL.search(decoded):
        raise ValueError("holds a control character")
    return decoded


def parameters(query: str, known: Collection[str]) -> dict[str, str]:
    """Return the parameters of a raw query.

    ``+`` stands for itself, so that the offset of a time needs no escape: no parameter here holds a space.

    Raises:
        ProblemError: a parameter is not among ``known``, comes twice, or is not well-formed (400, naming it).
    """
    found: dict[str, str] = {}
    for pair in query.split("&"):
        if not pair:
            continue
        raw_name, _, raw_value = pair.partition("=")
        try:
            name = percent_decode(raw_name)
        except ValueError as error:
            raise ProblemError("parameter-malformed", "A query parameter's name is not percent-encoded.") from error
        if name not in known:
            raise ProblemError("parameter-unknown", f"There is no parameter {_shown(name)} here.{_choice(known)}")
        if name in found:
            raise malformed(name, "comes twice; give it once")
        try:
            found[name] = percent_decode(raw_value)
        except ValueError as error:
            raise malformed(name, "is not percent-encoded UTF-8") from error
    return found


def malformed(name: str, what: str) -> ProblemError:
    """Return the 400 that says of parameter ``name`` what is wrong and how to mend it."""
    return ProblemError("parameter-malformed", f"The query parameter {_shown(name)} {what}.")


def integer(name: str, text: str, low: int, high: int) -> int:
    """Read a whole number from ``low`` to ``high``, both included. Raises ProblemError (400)."""
    if text.isascii() and text.isdigit() and len(text) <= len(str(high)) and low <= int(text) <= high:
        return int(text)
    raise malformed(name, f"must be a whole number from {low} to {high}")


def instant(name: str, text: str) -> float:
    """Read an RFC 3339 date-time, or a date (its midnight, UTC), as seconds since the epoch. Raises ProblemError."""
    try:
        if _DATE.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
        if _DATE_TIME.fullmatch(text):
            return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError) as error:
        raise malformed(name, "names an impossible date or time") from error
    raise malformed(name, "must be a date (2026-01-31) or a date-time with its offset (2026-01-31T12:00:00Z)")


def _shown(name: str) -> str:
    return f"'{name[:_SHOWN_MAX_CHARS]}'"


def _choice(known: Collection[str]) -> str:
    return f" Known are: {', '.join(known)}." if known else " This call takes none."
