"""Findings of schemas: how many are told, under which code, and how a JSON place is written."""

from __future__ import annotations

from receiptd.documents.errors import bounded

FINDINGS_MAX = 50
CODE = "schema"


def pointer(path: list[str | int]) -> str:
    """Return ``path`` as a JSON Pointer (RFC 6901), bounded."""
    return bounded("".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path))
