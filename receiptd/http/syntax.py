"""The rules for a request's head that go beyond what llhttp checks: request line, Host, repeated fields.

Pure functions. What is refused says why in the server's own words, never in the request's (invariant 14).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
_VERSIONS = frozenset({"HTTP/1.1", "HTTP/1.0"})

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

_ABSOLUTE_TARGET = re.compile(r"https?://([^/?]*)(/[^?]*)?(?:\?(.*))?", re.IGNORECASE)
_HOST = re.compile(r"(?:[A-Za-z0-9._~%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")


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


def parse_request_line(line: str) -> tuple[str, str, str]:
    """Return method, target and version (RFC 9112, section 3).

    Raises:
        RefusedError: the line has other parts than these, or a method or a version that is not served.
    """
    try:
        method, target, version = line.split(" ")
    except ValueError:
        raise bad_request("The request line is not a method, a target and a version.") from None
    # 400 where RFC 9110 has 501 and 505: the noise of a scanner must not look like a fault of the server.
    if method not in _METHODS:
        raise bad_request("The method is not served.")
    if version not in _VERSIONS:
        raise bad_request("Only HTTP/1.1 and HTTP/1.0 are served.")
    return method, target, version


def parse_fields(lines: Iterable[str]) -> dict[str, str]:
    """Return the header fields by name in lower case; the values of a repeated list are joined.

    ``lines`` are well-formed (llhttp has passed them). A repeated field that this server does not know is joined
    too: only a list may be repeated (RFC 9110, section 5.3), and a proxy's own fields must not fail a request.

    Raises:
        RefusedError: a field with a single value is repeated.
    """
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name = name.lower()
        value = value.strip(" \t")
        if name in fields:
            if name in _SINGLE or (name in _STAR_OR_LIST and "*" in {value, fields[name]}):
                raise bad_request("A field that must not be repeated is repeated.")
            value = f"{fields[name]}, {value}"
        fields[name] = value
    return fields


def split_target(method: str, target: str) -> tuple[str, str, str]:
    """Return path, query and (of the absolute form, else empty) authority of a target (RFC 9112, section 3.2).

    Raises:
        RefusedError: it has a fragment, or is neither a path, an http URI, nor the ``*`` of OPTIONS.
    """
    if "#" in target:
        raise bad_request("The request target has a fragment.")
    if target.startswith("/"):
        path, _, query = target.partition("?")
        return path, query, ""
    if target == "*" and method == "OPTIONS":
        return target, "", ""
    absolute = _ABSOLUTE_TARGET.fullmatch(target)
    if absolute is None:
        raise bad_request("The request target is neither a path nor an http URI.")
    authority, path, query = absolute.groups("")
    if not is_host(authority):
        raise bad_request("The request target names no host.")
    return path or "/", query, authority


@lru_cache(maxsize=256)
def is_host(value: str) -> bool:
    """Return whether ``value`` is a host with an optional port, as Host holds it (RFC 9110, section 7.2)."""
    return _HOST.fullmatch(value) is not None
