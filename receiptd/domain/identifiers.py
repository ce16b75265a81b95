"""Receipt ids: derived, so that the same request on any instance names the same row."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, date, datetime, timedelta

RECEIPT_ID = re.compile(r"\A[0-9]{8}-[a-v0-9]{24}\Z")
"""A receipt id: the UTC day it was accepted, a dash, 120 bits in lower-case base32hex (RFC 4648, section 7)."""


def digest(body: bytes) -> str:
    """Return the SHA-256 of ``body`` in lower-case hex: 64 characters, the fingerprint kept with every receipt."""
    return hashlib.sha256(body).hexdigest()


def receipt_id(day: date, client_id: str, key: str) -> str:
    """Derive the id of the receipt that ``client_id`` posts on ``day`` (UTC) under ``key``.

    ``key`` is the client's Idempotency-Key, or ``sha256:`` and the document's digest when it sent none.
    """
    stamp = f"{day:%Y%m%d}"
    material = b"\0".join((stamp.encode(), client_id.encode(), key.encode()))
    name = hashlib.blake2b(material, digest_size=15, person=b"receiptd.id").digest()
    return f"{stamp}-{base64.b32hexencode(name).decode().lower()}"


def day_of(receipt_id: str) -> date:
    """Return the UTC day that a well-formed receipt id carries. Raises ValueError for an impossible date."""
    return datetime.strptime(receipt_id[:8], "%Y%m%d").replace(tzinfo=UTC).date()


def candidate_ids(now: float, client_id: str, key: str) -> tuple[str, str]:
    """Return today's and yesterday's id for a key at ``now`` (seconds since the epoch).

    A retry after midnight must find the row of the day before, so a key holds for at least 24 hours.
    """
    today = datetime.fromtimestamp(now, UTC).date()
    return receipt_id(today, client_id, key), receipt_id(today - timedelta(days=1), client_id, key)
