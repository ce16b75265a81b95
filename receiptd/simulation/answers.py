"""The stand-ins' answers: JSON, and problem documents (RFC 9457)."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any, Final

import orjson

from receiptd.http.message import Response

JSON_HEADERS: Final = b"Content-Type: application/json\r\n"
_NDJSON_HEADERS: Final = b"Content-Type: application/x-ndjson\r\n"
_PROBLEM_HEADERS: Final = b"Content-Type: application/problem+json\r\n"


def answer(status: int, content: Any) -> Response:
    """Return ``content`` as JSON."""
    return Response(status, orjson.dumps(content), JSON_HEADERS)


def lines(items: list[Any]) -> Response:
    """Return ``items`` as NDJSON, one a line."""
    return Response(200, b"".join([orjson.dumps(item) + b"\n" for item in items]), _NDJSON_HEADERS)


def problem(status: int, detail: str) -> Response:
    """Return a problem document."""
    content = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return Response(status, orjson.dumps(content), _PROBLEM_HEADERS)


def retry_later(status: int, retry_after_s: float) -> Response:
    """Return ``status`` with Retry-After in whole seconds (RFC 9110, section 10.2.3), rounded up."""
    response = problem(status, "try again later, as the knobs ask")
    response.headers += b"Retry-After: %d\r\n" % math.ceil(retry_after_s)
    return response
