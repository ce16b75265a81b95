"""The lifecycle of a receipt: ``advance`` owns every transition, and nothing else sets a state.

A transition gives the next receipt and its effects. Effects are of two kinds: what must be durable in the same commit
(``Owe``: a message that brings the receipt back), and what the process does once that commit stands (``Submit``,
``Deliver``). A crash between the two costs nothing: the recovery message finds the receipt and starts from its row.
"""

from __future__ import annotations

from typing import TypeAlias

from receiptd.domain.receipt import (
    FINAL_REGISTRATIONS,
    Delivery,
    DeliveryState,
    Finding,
    Receipt,
    ReceiptState,
    Registration,
    RegistrationState,
    Submission,
)
from receiptd.domain.values import value

# -- events: what happened -----------------------------------------------------------------------------------------


@value
class Submitted:
    """The registrar took the receipt and will call back; without a callback by ``deadline`` it is asked again."""

    registrar: str
    at: float
    deadline: float
    reference: str = ""
    again: bool = False
    """Whether it was submitted once more because its callback was missed; that counts as an attempt."""


@value
class Confirmed:
    """The registrar registered the receipt."""

    registrar: str
    at: float
    reference: str = ""


@value
class Refused:
    """The registrar refused the receipt for good."""

    registrar: str
    at: float
    reason: str
    reference: str = ""


@value
class AttemptFailed:
    """A call failed, or its outcome is unknown. ``retry_at`` is None when the retries are used up.

    ``durable`` asks for a message in the registrar's own queue: the retry is too far away to wait in memory.
    """

    registrar: str
    at: float
    reason: str
    retry_at: float | None
    durable: bool = False


@value
class Redriven:
    """An operator sends a parked registration round again, with its retries renewed."""

    registrar: str
    at: float


@value
class Abandoned:
    """An operator gives a parked registration up: it counts as rejected."""

    registrar: str
    at: float
    reason: str


@value
class Delivered:
    """The client's endpoint took the webhook."""

    at: float
    status: int


@value
class DeliveryFailed:
    """The endpoint did not take the webhook. ``retry_at`` None ends it: as DISABLED when ``gone``, else EXHAUSTED."""

    at: float
    status: int
    reason: str
    retry_at: float | None
    gone: bool = False


@value
class ReplayAsked:
    """The client asks for the webhook once more."""

    at: float


Event: TypeAlias = (
    Submitted | Confirmed | Refused | AttemptFailed | Redriven | Abandoned | Delivered | DeliveryFailed | ReplayAsked
)

# -- effects: what follows -----------------------------------------------------------------------------------------


@value
class Submit:
    """Hand the receipt to the registrar's lane."""

    registrar: str


@value
class Deliver:
    """Post the webhook."""


@value
class Owe:
    """Commit a message with the change: to ``queue``, visible at ``at``; ``dead`` puts it among the dead letters."""

    queue: str
    at: float
    dead: bool = False


Effect: TypeAlias = Submit | Deliver | Owe

RECOVERY_QUEUE = "recovery"
WEBHOOK_QUEUE = "webhooks"


def registrar_queue(registrar: str) -> str:
    """Return the name of the durable queue of ``registrar``."""
    return f"registrar.{registrar}"


# -- transitions ---------------------------------------------------------------------------------------------------


def accept(submission: Submission, registrars: tuple[str, ...], findings: tuple[Finding, ...]) -> Receipt:
    """Begin a receipt that passed its checks: PROCESSING, with one pending registration per registrar.

    A type without registrars is COMPLETE at once: there is nobody left to confirm it.
    """
    at = submission.accepted_at
    receipt = Receipt(
        submission,
        ReceiptState.PROCESSING,
        tuple(Registration(name, updated_at=at) for name in registrars),
        findings,
        None,
        at,
    )
    return receipt if registrars else _settle(receipt, at)


def refuse(submission: Submission, findings: tuple[Finding, ...]) -> Receipt:
    """Begin and end a receipt that did not pass: FAILED with its findings, registered nowhere, no webhook owed.

    The client has the findings in its answer, and again whenever it asks.
    """
    return Receipt(submission, ReceiptState.FAILED, (), findings, None, submission.accepted_at)


def opening_effects(receipt: Receipt, recover_at: float) -> tuple[Effect, ...]:
    """Return the effects of a receipt's first commit: its recovery message, and a submission per registrar."""
    if receipt.settled:
        return ()
    effects: list[Effect] = [Owe(RECOVERY_QUEUE, recover_at)]
    effects += [Submit(r.registrar) for r in receipt.registrations]
    if receipt.delivery is not None:
        effects.append(Deliver())
    return tuple(effects)


def advance(receipt: Receipt, event: Event) -> tuple[Receipt, tuple[Effect, ...]]:
    """Apply ``event``; return the next receipt and its effects, or ``(receipt, ())`` itself when nothing changes.

    Late, duplicated, reordered and contradicting events change nothing: a final registration stays as it is, and so
    does a terminal receipt (invariants 7 and 8). ``version`` is left alone; the writer counts commits.
    """
    if isinstance(event, (Delivered, DeliveryFailed, ReplayAsked)):
        return _advance_delivery(receipt, event)
    registration = receipt.registration(event.registrar)
    if registration is None or registration.state in FINAL_REGISTRATIONS:
        return receipt, ()
    if isinstance(event, (Redriven, Abandoned)) and registration.state is not RegistrationState.PARKED:
        return receipt, ()  # the operator's wish came twice, or late
    changed, effects = _advance_registration(registration, event)
    if changed is registration:
        return receipt, ()
    registrations = tuple([changed if r is registration else r for r in receipt.registrations])
    findings = receipt.findings
    if changed.state is RegistrationState.REJECTED:
        findings = (*findings, Finding(f"registrar:{changed.registrar}", changed.reason))
    moved = Receipt(
        receipt.submission, receipt.state, registrations, findings, receipt.delivery, event.at, receipt.version
    )
    if changed.state in FINAL_REGISTRATIONS and not moved.terminal:
        moved = _settle(moved, event.at)
        if moved.delivery is not None:
            effects = (*effects, Deliver())
    return moved, effects


def _settle(receipt: Receipt, at: float) -> Receipt:
    """Give a PROCESSING receipt its terminal state once its registrations decide it, with the webhook it owes."""
    states = {r.state for r in receipt.registrations}
    if RegistrationState.REJECTED in states:
        state = ReceiptState.FAILED
    elif states <= {RegistrationState.REGISTERED}:
        state = ReceiptState.COMPLETE
    else:
        return receipt
    delivery = Delivery(updated_at=at) if receipt.submission.webhook_url else None
    return Receipt(receipt.submission, state, receipt.registrations, receipt.findings, delivery, at, receipt.version)


def _advance_registration(
    registration: Registration, event: Submitted | Confirmed | Refused | AttemptFailed | Redriven | Abandoned
) -> tuple[Registration, tuple[Effect, ...]]:
    name, attempts = registration.registrar, registration.attempts
    reference = getattr(event, "reference", "") or registration.reference
    match event:
        case Submitted():
            attempts += event.again
            return Registration(name, RegistrationState.SUBMITTED, attempts, event.at, event.deadline, reference), ()
        case Confirmed():
            return Registration(name, RegistrationState.REGISTERED, attempts, event.at, 0.0, reference), ()
        case Refused() | Abandoned():
            return Registration(name, RegistrationState.REJECTED, attempts, event.at, 0.0, reference, event.reason), ()
        case Redriven():
            return Registration(name, RegistrationState.PENDING, 0, event.at, 0.0, reference), (Submit(name),)
        case AttemptFailed(retry_at=None):
            parked = Registration(name, RegistrationState.PARKED, attempts + 1, event.at, 0.0, reference, event.reason)
            return parked, (Owe(registrar_queue(name), event.at, dead=True),)
        case AttemptFailed(retry_at=float(retry_at)):
            # What was submitted stays so while it is asked about: states never go back (invariant 7).
            submitted = registration.state is RegistrationState.SUBMITTED
            state = RegistrationState.SUBMITTED if submitted else RegistrationState.PENDING
            waiting = Registration(name, state, attempts + 1, event.at, retry_at, reference, event.reason)
            return waiting, ((Owe(registrar_queue(name), retry_at),) if event.durable else ())
        case _:  # pragma: no cover - the union is closed
            raise TypeError(f"unknown event {event!r}")


def _advance_delivery(
    receipt: Receipt, event: Delivered | DeliveryFailed | ReplayAsked
) -> tuple[Receipt, tuple[Effect, ...]]:
    delivery = receipt.delivery
    if delivery is None:
        return receipt, ()
    effects: tuple[Effect, ...] = ()
    match event:
        case ReplayAsked():
            changed = Delivery(updated_at=event.at)
            effects = (Owe(RECOVERY_QUEUE, event.at), Deliver())
        case _ if delivery.state is not DeliveryState.OWED:
            return receipt, ()
        case Delivered():
            changed = Delivery(DeliveryState.DELIVERED, delivery.attempts + 1, event.at, 0.0, event.status)
        case DeliveryFailed(retry_at=None):
            state = DeliveryState.DISABLED if event.gone else DeliveryState.EXHAUSTED
            changed = Delivery(state, delivery.attempts + 1, event.at, 0.0, event.status, event.reason)
        case DeliveryFailed(retry_at=float(retry_at)):
            changed = Delivery(
                DeliveryState.OWED, delivery.attempts + 1, event.at, retry_at, event.status, event.reason
            )
            effects = (Owe(WEBHOOK_QUEUE, retry_at),)
        case _:  # pragma: no cover - the union is closed
            raise TypeError(f"unknown event {event!r}")
    return Receipt(
        receipt.submission,
        receipt.state,
        receipt.registrations,
        receipt.findings,
        changed,
        event.at,
        receipt.version,
    ), effects
