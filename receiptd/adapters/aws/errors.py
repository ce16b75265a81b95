"""What AWS answers when it does not do what was asked, and whether asking again can help."""

from __future__ import annotations

from typing import Final

# What botocore's standard retry mode takes for throttling, and what SQS and PartiQL call the same.
THROTTLING: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "KmsThrottled",
        "LimitExceededException",
        "OverLimit",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingError",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
PASSING: Final = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "TransactionConflict",
        "TransactionConflictException",
        "TransactionInProgress",
    }
)
STALE_CREDENTIALS: Final = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"}
)
"""Codes after which fresh credentials are worth one more try."""
SKEWED_CLOCK: Final = frozenset(
    {
        "InvalidSignatureException",
        "RequestExpired",
        "RequestInTheFuture",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)
"""Codes that a wrong clock may stand behind, when the answer's Date says so."""

_THROTTLED_STATUS = 429  # RFC 6585, section 4
_SERVER_ERROR = 500  # RFC 9110, section 15.6


class AwsError(Exception):
    """A call failed, after its retries.

    Attributes:
        text: what the service, or the connection, said.
        code: the service's own, such as ``ThrottlingException``; ``""`` when no answer came that could be read.
        status: the HTTP status; 0 when no answer came that could be read.
        unknown: whether the call, or an earlier try of it, may have taken effect all the same.
    """

    def __init__(self, code: str, message: str, *, status: int = 0, unknown: bool = False) -> None:
        super().__init__(f"{code or 'no answer'}: {message}")
        self.text = message
        self.code = code
        self.status = status
        self.unknown = unknown

    @property
    def throttled(self) -> bool:
        """Whether the service asks for a slower pace."""
        return self.code in THROTTLING or self.status == _THROTTLED_STATUS

    @property
    def passing(self) -> bool:
        """Whether the same call may succeed later."""
        return self.status == 0 or self.status >= _SERVER_ERROR or self.throttled or self.code in PASSING
