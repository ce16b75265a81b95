"""Readers of request header fields: pure, linear in the field's length, and cheap when the field is absent."""

from __future__ import annotations

import random
import re
from functools import lru_cache

IDEMPOTENCY_KEY_MAX_CHARS = 255

_LIST_ITEM = re.compile(r'(?:[^",]|"[^"]*(?:"|$))+')
"""An item of a comma-separated list, with commas inside quotes. Escapes do not matter for the fields read here."""
_ENTITY_TAG = re.compile(r'(?:W/)?("[^"]*")')
_WAIT = re.compile(r'wait\s*=\s*(?:(\d{1,9})|"(\d{1,9})")\s*(?:;.*)?', re.IGNORECASE | re.ASCII)
_QUOTED_KEY = re.compile(r'"((?:[!#-\[\]-~]|\\["\\])+)"')
_BARE_KEY = re.compile(r"[!#-+\--:<-\[\]-~]+")
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_MEDIA_TYPE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*(?:;[ \t!-~]*)?")
_MEDIA_TYPE_MAX_CHARS = 255
_QUALITY = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.ASCII)


def wait_s(prefer: str | None, longest_s: float) -> int:
    """Return for how many seconds ``Prefer: wait=N`` (RFC 7240, section 4.3) asks to wait, at most ``longest_s``.

    0 when it does not ask; a malformed preference is ignored, as the standard wants. The first ``wait`` counts.
    """
    if prefer is None:
        return 0
    for item in _LIST_ITEM.findall(prefer):
        if matched := _WAIT.fullmatch(item.strip(" \t")):
            return min(int(matched[1] or matched[2]), int(longest_s))
    return 0


def idempotency_key(value: str) -> str:
    """Return the key of an Idempotency-Key field, quoted (an sf-string, RFC 9651) or bare; both name the same key.

    Raises:
        ValueError: it is not 1 to 255 visible ASCII characters; a bare one has no quote, backslash, comma or semicolon.
    """
    if matched := _QUOTED_KEY.fullmatch(value):
        key = matched[1].replace('\\"', '"').replace("\\\\", "\\") if "\\" in value else matched[1]
    elif _BARE_KEY.fullmatch(value):
        key = value
    else:
        raise ValueError("neither a quoted string nor a bare key")
    if len(key) > IDEMPOTENCY_KEY_MAX_CHARS:
        raise ValueError("too long")
    return key


def none_match(value: str | None, etag: str) -> bool:
    """Return whether an If-None-Match field holds ``etag`` (quoted), by weak comparison (RFC 9110, section 13.1.2)."""
    if value is None:
        return False
    return value.strip() == "*" or etag in _ENTITY_TAG.findall(value)


def trace_id(traceparent: str | None) -> str:
    """Return the trace id of a W3C ``traceparent`` (32 hex digits), or a fresh one when there is no valid one."""
    if traceparent is not None:
        matched = _TRACEPARENT.fullmatch(traceparent)
        if matched and not (matched[1] == "00" and matched[3]):
            return matched[2]
    return f"{random.getrandbits(128):032x}"


@lru_cache(maxsize=64)
def is_media_type(value: str) -> bool:
    """Return whether ``value`` is a media type with optional parameters (RFC 9110, section 8.3.1), in short ASCII."""
    return len(value) <= _MEDIA_TYPE_MAX_CHARS and _MEDIA_TYPE.fullmatch(value) is not None


@lru_cache(maxsize=256)
def negotiate(accept: str | None, offers: tuple[str, ...]) -> str | None:
    """Return the media type of ``offers`` that ``Accept`` likes best (RFC 9110, section 12.5.1), None if it likes none.

    The first offer wins a tie. Without the field, or with one that holds no media range, everything is liked.
    """
    ranges = _ranges(accept or "")
    if not ranges:
        return offers[0]
    best, best_quality = None, 0.0
    for offer in offers:
        family = offer.partition("/")[0] + "/*"
        quality = ranges.get(offer, ranges.get(family, ranges.get("*/*", 0.0)))
        if quality > best_quality:
            best, best_quality = offer, quality
    return best


def _ranges(accept: str) -> dict[str, float]:
    """Return the quality of each media range; parameters other than ``q`` are left aside."""
    ranges: dict[str, float] = {}
    for item in _LIST_ITEM.findall(accept):
        name, *parameters = (part.strip(" \t") for part in item.split(";"))
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "q":
                quality = float(value) if _QUALITY.fullmatch(value) else 0.0
        if "/" in name:
            ranges[name.lower()] = max(quality, ranges.get(name.lower(), 0.0))
    return ranges
