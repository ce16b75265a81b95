"""A call as the bytes that go out: HTTP/1.1 (RFC 9112), with nothing in it that could end a line early."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from receiptd.domain.addresses import Target
from receiptd.ports import HttpCall

_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_METHODS: Final = _WITH_BODY | {"GET", "HEAD", "DELETE"}
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OURS: Final = frozenset({
    *("host", "content-length", "transfer-encoding", "accept-encoding"),
    *("connection", "keep-alive", "te", "trailer", "upgrade", "expect"),
})  # fmt: skip
_AGENT: Final = "user-agent"


def head_of(target: Target) -> str:
    """Return what every request to ``target`` has after its method: the rest of the first line, and Host."""
    return f" {target.path} HTTP/1.1\r\nHost: {target.authority}\r\nAccept-Encoding: identity\r\n"


def encode(call: HttpCall, head: str, user_agent: str) -> bytes:
    """Return the whole request. ``user_agent`` is sent unless the call brings its own.

    Raises:
        ValueError: the method is unknown, or a header is malformed, or it is one of those that frame the message and
            so belong to the client (Host, Content-Length, Connection and their like).
    """
    if call.method not in _METHODS:
        raise ValueError("the method is none of those that the client sends")
    lines = [call.method, head]
    has_agent = False
    for name, value in call.headers.items():
        # Printable ASCII is the common case, and str knows it faster than a regular expression does.
        if not (value.isascii() and value.isprintable()) and not _FIELD_VALUE.fullmatch(value):
            raise ValueError(f"the value of the header {name!r:.60} holds a character that a header may not (RFC 9110)")
        lines.append(f"{_field_name(name)}: {value}\r\n")
        has_agent = has_agent or (len(name) == len(_AGENT) and name.lower() == _AGENT)
    if not has_agent:
        lines.append(f"User-Agent: {user_agent}\r\n")
    if call.body or call.method in _WITH_BODY:
        lines.append(f"Content-Length: {len(call.body)}\r\n\r\n")
    else:
        lines.append("\r\n")
    return "".join(lines).encode("latin-1") + call.body


@lru_cache(maxsize=512)
def _field_name(name: str) -> str:
    """Return ``name`` when a caller may send it. Raises ValueError."""
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r:.60} is no name of a header (RFC 9110)")
    if name.lower() in _OURS:
        raise ValueError(f"the header {name!r} is the client's own to set")
    return name
