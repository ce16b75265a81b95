"""A request as the handlers see it, and the response they give: plain values between the server and the routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias


@dataclass(slots=True)
class Request:
    """One HTTP request.

    ``path`` is the raw target up to ``?`` (still percent-encoded, starts with ``/``), ``query`` the raw rest.
    ``headers`` has lower-case names; the server refuses a repeated header unless HTTP allows a list, and joins lists
    with ``", "`` (RFC 9110, section 5.3). Values are decoded as latin-1. ``body`` is empty until the body is complete.
    ``params`` holds what the router matched.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes = b""
    peer: str = ""
    params: tuple[str, ...] = field(default=())


@dataclass(slots=True)
class Response:
    """One HTTP response. The server adds Date, Content-Length and Connection; ``headers`` holds the rest.

    ``headers`` is a ready block of lines, each with its CRLF, so that a frequent answer is built once. ``close`` ends
    the connection after it.
    """

    status: int
    body: bytes = b""
    headers: bytes = b""
    close: bool = False


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


class Application(Protocol):
    """What the server serves."""

    def admit(self, request: Request, content_length: int | None) -> Response | None:
        """Judge a request by its head, before its body is read; a Response refuses it and closes the connection.

        Runs on every request, so it must be quick and must not wait. ``content_length`` is None for a chunked body.
        """
        ...

    async def handle(self, request: Request) -> Response:
        """Answer a complete request. An exception that escapes is a fault: logged, and answered 500."""
        ...

    def refuse(self, status: int, code: str, detail: str) -> Response:
        """Build the problem document (RFC 9457) for what the server itself refuses: bad syntax, timeouts, limits.

        ``detail`` is the server's own text; it never holds bytes of the request.
        """
        ...
