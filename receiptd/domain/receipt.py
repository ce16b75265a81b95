"""The receipt and its registrations: values, without behaviour. Every transition is in lifecycle.py.

Times are seconds since the epoch (UTC, float). All values are immutable.
"""

from __future__ import annotations

from enum import StrEnum

from receiptd.domain.values import value


class ReceiptState(StrEnum):
    """Where a receipt stands. COMPLETE and FAILED are terminal."""

    PROCESSING = "PROCESSING"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"


class RegistrationState(StrEnum):
    """Where the registration with one registrar stands. REGISTERED and REJECTED are terminal."""

    PENDING = "PENDING"
    SUBMITTED = "SUBMITTED"
    REGISTERED = "REGISTERED"
    REJECTED = "REJECTED"
    PARKED = "PARKED"


class DeliveryState(StrEnum):
    """Where the webhook of a terminal receipt stands."""

    OWED = "OWED"
    DELIVERED = "DELIVERED"
    EXHAUSTED = "EXHAUSTED"
    """The schedule is used up; an operator or the client may replay it."""
    DISABLED = "DISABLED"
    """The endpoint answered 410, or its address is denied; it may be replayed once mended."""


class Severity(StrEnum):
    """What a finding does: an error fails the receipt, a warning is kept with it."""

    ERROR = "error"
    WARNING = "warning"


@value
class Finding:
    """One thing that is wrong with a document, or why a registrar refused it.

    ``code`` is stable and machine-readable (``schema``, ``rule:total-equals-lines``, ``registrar:tax``);
    ``where`` is a JSON Pointer (RFC 6901), an XPath with its line, or empty for the whole document.
    """

    code: str
    message: str
    where: str = ""
    severity: Severity = Severity.ERROR


@value
class Submission:
    """What was accepted: the facts of a receipt that never change. ``document`` is the received bytes, verbatim."""

    receipt_id: str
    client_id: str
    type_id: str
    type_version: int
    accepted_at: float
    content_type: str
    digest: str
    document: bytes
    canonical: bytes
    """The canonical receipt as JSON (UTF-8), or empty when the document could not be mapped."""
    webhook_url: str = ""
    idempotency_key: str = ""
    trace_id: str = ""
    """The W3C trace id (32 hex digits) that the client's request carried, or one made for it."""


@value
class Registration:
    """The registration of one receipt with one registrar."""

    registrar: str
    state: RegistrationState = RegistrationState.PENDING
    attempts: int = 0
    """Calls whose outcome is known to have failed, or is unknown; a success does not count."""
    updated_at: float = 0.0
    due_at: float = 0.0
    """When the next step is due: the retry of a PENDING one, the callback deadline of a SUBMITTED one; 0: at once."""
    reference: str = ""
    """The registrar's own number for the receipt."""
    reason: str = ""
    """Why it was rejected or parked, or the last failure."""


@value
class Delivery:
    """The webhook that a terminal receipt owes its client."""

    state: DeliveryState = DeliveryState.OWED
    attempts: int = 0
    updated_at: float = 0.0
    due_at: float = 0.0
    last_status: int = 0
    """The endpoint's last HTTP status; 0 when none came."""
    reason: str = ""


@value
class Receipt:
    """A receipt: what was submitted, and how far it has come. ``version`` counts its committed changes from 1."""

    submission: Submission
    state: ReceiptState
    registrations: tuple[Registration, ...] = ()
    findings: tuple[Finding, ...] = ()
    delivery: Delivery | None = None
    updated_at: float = 0.0
    version: int = 0

    @property
    def receipt_id(self) -> str:
        """The receipt's id."""
        return self.submission.receipt_id

    @property
    def client_id(self) -> str:
        """The client that posted it."""
        return self.submission.client_id

    @property
    def terminal(self) -> bool:
        """Whether the receipt's own state is final."""
        return self.state is not ReceiptState.PROCESSING

    @property
    def settled(self) -> bool:
        """Whether nothing is owed any more: state, every registration and the webhook are at rest."""
        if self.state is ReceiptState.PROCESSING:
            return False
        for registration in self.registrations:
            if registration.state not in FINAL_REGISTRATIONS:
                return False
        return self.delivery is None or self.delivery.state is not DeliveryState.OWED

    def registration(self, registrar: str) -> Registration | None:
        """Return the registration with ``registrar``, or None when the receipt's type does not ask for it."""
        for registration in self.registrations:
            if registration.registrar == registrar:
                return registration
        return None


FINAL_REGISTRATIONS = frozenset({RegistrationState.REGISTERED, RegistrationState.REJECTED})
