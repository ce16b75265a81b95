"""Callback tokens: the part of a callback URL that says, beyond forgery, which receipt it is about.

A token names the client and the receipt and carries a MAC under the registrar's callback secret, so any instance can
find the row and nothing has to be stored for it.
"""

from __future__ import annotations

import hashlib
import hmac

_MAC_BYTES = 16
_ID_LENGTH = 33


class CallbackTokens:
    """Makes and reads the tokens of one registrar. ``secrets`` newest first; all of them are accepted."""

    def __init__(self, registrar: str, secrets: tuple[str, ...]) -> None:
        person = hashlib.blake2b(registrar.encode(), digest_size=16).digest()
        self._keys = [hashlib.blake2b(secret.encode(), digest_size=32, person=person).digest() for secret in secrets]

    def make(self, client_id: str, receipt_id: str) -> str:
        """Return the token of a receipt: hex digits, about 130 of them."""
        name = f"{receipt_id}{client_id}".encode()
        return (self._mac(self._keys[0], name) + name).hex()

    def read(self, token: str) -> tuple[str, str] | None:
        """Return ``(client_id, receipt_id)``, or None for anything that we did not make."""
        try:
            raw = bytes.fromhex(token)
            mac, name = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
            for key in self._keys:
                if hmac.compare_digest(mac, self._mac(key, name)):
                    text = name.decode()
                    return text[_ID_LENGTH:], text[:_ID_LENGTH]
        except ValueError:
            return None
        return None

    def _mac(self, key: bytes, name: bytes) -> bytes:
        """Keyed BLAKE2b (RFC 7693): a MAC by itself, at a fifth of the cost of an HMAC."""
        return hashlib.blake2b(name, key=key, digest_size=_MAC_BYTES).digest()
