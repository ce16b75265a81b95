"""Standard Webhooks 1.0 signatures, both ways: what we sign for clients, and what registrars sign for us.

The signed content is ``id.timestamp.body`` over the exact bytes of the body, by HMAC-SHA256. No error text holds a
secret, a signature or any part of the body.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets as random_source
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from receiptd.domain.errors import ReceiptdError

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"

_PREFIX: Final = "whsec_"
_KEY_MIN_BYTES: Final = 24
_KEY_MAX_BYTES: Final = 64
_NEW_KEY_BYTES: Final = 32
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


class SignatureError(ReceiptdError):
    """A signed message was refused: a header is missing or malformed, its time is off, or no signature fits."""

    code = "invalid-signature"


def new_secret() -> str:
    """Return a new random secret of 32 bytes, in base64 without the ``whsec_`` prefix, as contracts keep it."""
    return base64.b64encode(random_source.token_bytes(_NEW_KEY_BYTES)).decode()


def sign(secrets: Sequence[str], webhook_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the value of ``webhook-signature``: one ``v1,<base64>`` for each secret, so that secrets can rotate.

    Args:
        secrets: base64 of 24 to 64 bytes each, with or without ``whsec_``; at least one.
        webhook_id: the stable id of the event, as sent in ``webhook-id``.
        timestamp_s: when this attempt is made, in whole seconds since the epoch, as sent in ``webhook-timestamp``.
        body: the exact bytes that are sent.

    Raises:
        ValueError: there is no secret, or one is malformed.
    """
    if not secrets:
        raise ValueError("a webhook needs a secret to be signed with")
    head = f"{webhook_id}.{timestamp_s}.".encode()
    return " ".join(["v1," + base64.b64encode(_mac(secret, head, body)).decode() for secret in secrets])


def verify(
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    now: float,
    tolerance_s: float = 300,
) -> None:
    """Check that ``body`` was signed with one of ``secrets``, within ``tolerance_s`` seconds of ``now``.

    Several signatures are taken, and versions other than ``v1`` are passed over, as the standard asks.

    Args:
        secrets: as for ``sign``; without any, nothing verifies.
        headers: the message's headers, by lower-case name.
        body: the exact bytes that were received.
        now: seconds since the epoch.
        tolerance_s: how far the timestamp may be from ``now``, either way.

    Raises:
        SignatureError: it was not.
        ValueError: a secret is malformed.
    """
    webhook_id = headers.get(ID_HEADER, "")
    timestamp = headers.get(TIMESTAMP_HEADER, "")
    claimed = headers.get(SIGNATURE_HEADER, "")
    if not (webhook_id and timestamp and claimed):
        raise SignatureError("a webhook header is missing")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise SignatureError("the webhook timestamp is not a number of seconds")
    if abs(now - int(timestamp)) > tolerance_s:
        raise SignatureError("the webhook timestamp is too old or too new")
    head = f"{webhook_id}.{timestamp}.".encode()
    expected = [base64.b64encode(_mac(secret, head, body)) for secret in secrets]
    for part in claimed.split(" "):
        version, _, signature = part.partition(",")
        if version != "v1":
            continue
        given = signature.encode()
        if any(hmac.compare_digest(given, mac) for mac in expected):
            return
    raise SignatureError("no webhook signature fits")


def _mac(secret: str, head: bytes, body: bytes) -> bytes:
    mac = _keyed(secret).copy()
    mac.update(head)
    mac.update(body)
    return mac.digest()


@lru_cache(maxsize=1024)
def _keyed(secret: str) -> hmac.HMAC:
    """Return an HMAC that has taken in the key already: its copy saves half the cost of a short message."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not _KEY_MIN_BYTES <= len(key) <= _KEY_MAX_BYTES:
        raise ValueError("a webhook secret is not base64 of 24 to 64 bytes")
    return hmac.new(key, digestmod="sha256")
