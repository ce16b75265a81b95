"""The rules for a request's head that go beyond what llhttp checks: request line, Host, repeated fields.

Pure functions. What is refused says why in the server's own words, never in the request's (invariant 14).
"""

from __future__ import annotations

import re
from functools import lru_cache

_METHODS = {method.encode(): method for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")}
_USUAL_LINE = re.compile(rb"([A-Z]+) (/[^ ?#\r\n]*)(\?[^ #\r\n]*)? HTTP/1\.([01])\r\n")
_ANY_LINE = re.compile(rb"([^ \r\n]+) ([^ \r\n]+) ([^ \r\n]+)\r\n")
_ABSOLUTE_TARGET = re.compile(rb"https?://([^/?]*)(/[^?]*)?(?:\?(.*))?", re.IGNORECASE)
_HOST = re.compile(r"(?:[A-Za-z0-9._~%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")

_SINGLE = frozenset(
    {
        *(
            "age",
            "authorization",
            "content-length",
            "content-location",
            "content-range",
            "content-type",
            "date",
            "etag",
        ),
        *("expect", "expires", "from", "host", "idempotency-key", "if-modified-since", "if-range"),
        *("if-unmodified-since", "last-modified", "location", "max-forwards", "proxy-authorization", "receipt-type"),
        *("referer", "retry-after", "traceparent", "user-agent", "webhook-id", "webhook-signature"),
        *("webhook-timestamp", "webhook-url"),
    }
)
"""Fields whose value is no list: a second one is a mistake, or a trick on whoever reads the other one."""

_STAR_OR_LIST = frozenset({"if-match", "if-none-match"})

NAMES = {
    spelling.encode(): name
    for name in (*_SINGLE, "accept", "accept-encoding", "connection", "prefer", "tracestate")
    for spelling in (name, name.title())
}
"""Usual field names by their usual spellings, so that most need no conversion."""


class RefusedError(Exception):
    """A request that the server itself refuses: what ``Application.refuse`` takes, and no byte of the request."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail


def bad_request(detail: str) -> RefusedError:
    """Return a refusal with status 400."""
    return RefusedError(400, "bad-request", detail)


def target_too_long() -> RefusedError:
    """Return the refusal of a request target that is too long."""
    return RefusedError(414, "uri-too-long", "The request target is too long.")


def body_too_large() -> RefusedError:
    """Return the refusal of a body that is, or will be, too large."""
    return RefusedError(413, "body-too-large", "The body of the request is too large.")


def parse_request_line(head: bytes, target_max_bytes: int) -> tuple[str, str, str, str, bool]:
    """Parse the first line of a complete head, which llhttp has passed (RFC 9112, section 3).

    Returns:
        Method, path, query, the authority of a target in absolute form (else empty), and whether it is HTTP/1.0.

    Raises:
        RefusedError: the method is not served, the version is not HTTP/1.0 or 1.1, or the target is too long, has a
            fragment, or is neither a path, an http URI, nor the ``*`` of OPTIONS.
    """
    usual = _USUAL_LINE.match(head)
    if usual is None:
        return _parse_rare_line(head, target_max_bytes)
    word, path, query, minor = usual.groups(b"")
    if len(path) + len(query) > target_max_bytes:
        raise target_too_long()
    return _served_method(word), path.decode(), query[1:].decode(), "", minor == b"0"


def _parse_rare_line(head: bytes, target_max_bytes: int) -> tuple[str, str, str, str, bool]:
    line = _ANY_LINE.match(head)
    if line is None:
        raise bad_request("The request line is not a method, a target and a version.")
    word, target, version = line.groups()
    if version not in {b"HTTP/1.1", b"HTTP/1.0"}:
        raise bad_request("Only HTTP/1.1 and HTTP/1.0 are served.")
    method, http_1_0 = _served_method(word), version == b"HTTP/1.0"
    if len(target) > target_max_bytes:
        raise target_too_long()
    if target == b"*" and method == "OPTIONS":
        return method, "*", "", "", http_1_0
    absolute = _ABSOLUTE_TARGET.fullmatch(target)
    if absolute is None or b"#" in target:
        raise bad_request("The request target is neither a path nor an http URI, without a fragment.")
    authority, path, query = (part.decode() for part in absolute.groups(b""))
    if not is_host(authority):
        raise bad_request("The request target names no host.")
    return method, path or "/", query, authority, http_1_0


def _served_method(word: bytes) -> str:
    # 400 where RFC 9110 has 501 (and 505): the noise of a scanner must not look like a fault of the server.
    method = _METHODS.get(word)
    if method is None:
        raise bad_request("The method is not served.")
    return method


def join_field(name: str, first: str, second: str) -> str:
    """Return the value of a repeated field, whose name is in lower case.

    A repeated field that this server does not know is joined too: only a list may be repeated (RFC 9110, section 5.3),
    and a proxy's own fields must not fail a request.

    Raises:
        RefusedError: the field has a single value.
    """
    if name in _SINGLE or (name in _STAR_OR_LIST and "*" in {first, second}):
        raise bad_request("A field that must not be repeated is repeated.")
    return f"{first}, {second}"


@lru_cache(maxsize=256)
def is_host(value: str) -> bool:
    """Return whether ``value`` is a host with an optional port, as Host holds it (RFC 9110, section 7.2)."""
    return _HOST.fullmatch(value) is not None
