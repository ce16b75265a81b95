"""Calls for operators and their machines: liveness, readiness, metrics, and the description of the interface.

None of them asks for a token, so a load balancer must not expose ``/metrics`` and ``/readyz`` to the outside. They tell
nothing of any client: no client ids, no receipts.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, TypeAlias

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from receiptd.http.answers import JSON_NO_STORE, NO_STORE, PRIVATE, json_answer
from receiptd.http.fields import none_match
from receiptd.http.message import Request, Response

Readiness: TypeAlias = Callable[[], tuple[bool, dict[str, str]]]
"""Says whether the process can take work, and how each of its parts is."""

_LIVE = Response(200, b'{"status":"live"}', JSON_NO_STORE)


class Operations:
    """The calls that need no token."""

    def __init__(self, registry: CollectorRegistry, readiness: Readiness, description: Mapping[str, Any]) -> None:
        self._registry = registry
        self._readiness = readiness
        self._openapi = orjson.dumps(description)
        self._openapi_etag = f'"{hashlib.sha256(self._openapi).hexdigest()[:32]}"'
        page = files("receiptd.http").joinpath("docs.html").read_text(encoding="utf-8")
        self._docs = Response(200, page.encode(), _page_headers(page))

    async def livez(self, request: Request) -> Response:
        """Answer 200 as long as the event loop turns."""
        del request
        return _LIVE

    async def readyz(self, request: Request) -> Response:
        """Answer 200 when the process can take work, else 503, with how each of its parts is."""
        del request
        ready, checks = self._readiness()
        content = {"status": "ready" if ready else "not ready", "checks": checks}
        return json_answer(200 if ready else 503, content, b"" if ready else b"Retry-After: 5\r\n")

    async def metrics(self, request: Request) -> Response:
        """Give the metrics in Prometheus text, or in OpenMetrics where that is accepted."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(200, encode(self._registry), NO_STORE + f"Content-Type: {content_type}\r\n".encode())

    async def openapi(self, request: Request) -> Response:
        """Give the OpenAPI description."""
        headers = PRIVATE + f"ETag: {self._openapi_etag}\r\n".encode()
        if none_match(request.headers.get("if-none-match"), self._openapi_etag):
            return Response(304, headers=headers)
        return Response(200, self._openapi, b"Content-Type: application/json\r\n" + headers)

    async def docs(self, request: Request) -> Response:
        """Give a page that shows the OpenAPI description; it loads nothing from elsewhere."""
        del request
        return self._docs


def _page_headers(page: str) -> bytes:
    """Let the page run its own script and style, known by their hashes (CSP level 3), and nothing else."""
    hashes = {}
    for element in ("script", "style"):
        matched = re.search(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
        assert matched is not None, f"docs.html has one inline {element}"
        hashes[element] = base64.b64encode(hashlib.sha256(matched[1].encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{hashes['script']}'; style-src 'sha256-{hashes['style']}'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    lines = f"Content-Type: text/html; charset=utf-8\r\nContent-Security-Policy: {policy}\r\n"
    return PRIVATE + lines.encode() + b"Referrer-Policy: no-referrer\r\n"
