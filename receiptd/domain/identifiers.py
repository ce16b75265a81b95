"""Receipt ids: derived, so that the same request on any instance names the same row."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, date, datetime
from functools import lru_cache

RECEIPT_ID = re.compile(r"\A[0-9]{8}-[0-9a-f]{24}\Z")
"""A receipt id: the UTC day it was accepted, a dash, and 96 bits in lower-case hex, unique within client and day."""

_DAY_S = 86_400
_EXPORT_NAME = re.compile(r"\A(?=.{1,200}\Z)[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*\Z")


def digest(body: bytes) -> str:
    """Return the SHA-256 of ``body`` in lower-case hex: 64 characters, the fingerprint kept with every receipt."""
    return hashlib.sha256(body).hexdigest()


def receipt_id(day: date, client_id: str, key: str) -> str:
    """Derive the id of the receipt that ``client_id`` posts on ``day`` (UTC) under ``key``.

    ``key`` is the client's Idempotency-Key, or ``sha256:`` and the document's digest when it sent none.
    """
    return _name(f"{day:%Y%m%d}", client_id, key)


def day_of(receipt_id: str) -> date:
    """Return the UTC day that a well-formed receipt id carries. Raises ValueError for an impossible date."""
    return datetime.strptime(receipt_id[:8], "%Y%m%d").replace(tzinfo=UTC).date()


def candidate_ids(now: float, client_id: str, key: str) -> tuple[str, str]:
    """Return today's and yesterday's id for a key at ``now`` (seconds since the epoch).

    A retry after midnight must find the row of the day before.
    """
    day = int(now // _DAY_S)
    return _name(_stamp(day), client_id, key), _name(_stamp(day - 1), client_id, key)


def _name(stamp: str, client_id: str, key: str) -> str:
    material = f"{stamp}\0{client_id}\0{key}".encode()
    return f"{stamp}-{hashlib.blake2b(material, digest_size=12, person=b'receiptd.id').hexdigest()}"


@lru_cache(maxsize=4)
def _stamp(day: int) -> str:
    """Return the day of the epoch as YYYYMMDD."""
    return f"{datetime.fromtimestamp(day * _DAY_S, UTC):%Y%m%d}"


def check_export_name(name: str) -> str:
    """Return ``name`` if it can name an export: it leads to no place but its own. Raises ValueError."""
    if not _EXPORT_NAME.match(name):
        raise ValueError(f"{name!r} cannot name an export")
    return name
