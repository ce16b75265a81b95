"""The errors that callers act on: each has a stable code and says whether a retry can help."""

from __future__ import annotations

from typing import ClassVar


class ReceiptdError(Exception):
    """The base of every error that receiptd raises on purpose."""

    code: str = "internal"
    retryable: ClassVar[bool] = False


class ConfigurationError(ReceiptdError):
    """A setting, a registrar's file or a receipt type cannot be used; the message names it and how to mend it."""

    code = "configuration"


class OverloadedError(ReceiptdError):
    """A bounded resource is full; nothing was done and the same request may succeed later.

    Attributes:
        retry_after_s: seconds after which a retry is worth the try.
    """

    code = "overloaded"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StorageError(ReceiptdError):
    """The ledger or a queue could not promise durability (disk full, fsync failed, service unreachable)."""

    code = "storage-unavailable"
    retryable = True


class TokenError(ReceiptdError):
    """A bearer token was refused: malformed, not ours, expired, or for another audience (RFC 6750, invalid_token)."""

    code = "invalid-token"


class GrantError(ReceiptdError):
    """A request for a token was refused.

    Attributes:
        error: the code of RFC 6749, section 5.2 (``invalid_client``, ``invalid_scope``).
    """

    code = "token-refused"

    def __init__(self, message: str, *, error: str) -> None:
        super().__init__(message)
        self.error = error


class IdempotencyMismatchError(ReceiptdError):
    """The idempotency key was used before with another document."""

    code = "idempotency-key-reused"


class UnknownReceiptError(ReceiptdError):
    """No such receipt, or it belongs to another client."""

    code = "receipt-not-found"


class OutboundError(ReceiptdError):
    """An outbound HTTP call failed. ``sent`` says whether the peer may have acted on it.

    Attributes:
        sent: False only when no byte of the request can have reached the peer.
    """

    code = "outbound-failed"
    retryable = True

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class DeniedAddressError(OutboundError):
    """The URL's host is, or resolves to, an address that outbound calls may not reach."""

    code = "address-denied"
    retryable = False

    def __init__(self, message: str) -> None:
        super().__init__(message, sent=False)
