"""Ready header blocks, and the constructors of the plain answers: built once, so that a frequent answer costs little.

Every block carries ``X-Content-Type-Options: nosniff`` and says how the answer may be kept: what belongs to a client is
never stored (``no-store``), or kept by that client alone and asked for again each time (``private, no-cache``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import orjson

from receiptd.http.message import Response

_NOSNIFF = b"X-Content-Type-Options: nosniff\r\n"
NO_STORE = _NOSNIFF + b"Cache-Control: no-store\r\n"
PRIVATE = _NOSNIFF + b"Cache-Control: private, no-cache\r\n"
JSON_NO_STORE = b"Content-Type: application/json\r\n" + NO_STORE
JSON_PRIVATE = b"Content-Type: application/json\r\n" + PRIVATE
PROBLEM = b"Content-Type: application/problem+json\r\n" + NO_STORE


def json_answer(status: int, content: Any, headers: bytes = b"") -> Response:
    """Return ``content`` as JSON that nobody stores; ``headers`` are further lines."""
    return Response(status, orjson.dumps(content), JSON_NO_STORE + headers)


def retry_after(delay_s: float) -> bytes:
    """Return the Retry-After line (RFC 9110, section 10.2.3) for ``delay_s``: whole seconds, rounded up, at least 1."""
    return b"Retry-After: %d\r\n" % max(1, math.ceil(delay_s))


def allow(methods: Sequence[str]) -> bytes:
    """Return the Allow line (RFC 9110, section 10.2.1) that names ``methods``."""
    return f"Allow: {', '.join(methods)}\r\n".encode()
