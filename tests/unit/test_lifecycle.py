"""The transitions one by one; tests/property/test_lifecycle.py holds the invariants over all sequences."""

from __future__ import annotations

import pytest

from receiptd.domain import lifecycle as lc
from receiptd.domain.receipt import DeliveryState, Finding, ReceiptState, RegistrationState, Submission


def submission(webhook_url: str = "https://client.example/hook") -> Submission:
    return Submission("20260101-" + "0" * 24, "c", "t", 1, 100.0, "application/json", "d", b"{}", b"{}", webhook_url)


@pytest.fixture
def receipt():
    return lc.accept(submission(), ("tax", "warehouse"), ())


def test_acceptance_owes_a_recovery_message_and_a_submission_for_each_registrar_invariant_11(receipt):
    assert lc.opening_effects(receipt, 160.0) == (
        lc.Owe("recovery", 160.0),
        lc.Submit("tax"),
        lc.Submit("warehouse"),
    )


def test_a_refused_document_is_failed_and_owes_nothing_invariant_3():
    receipt = lc.refuse(submission(), (Finding("schema", "no total", "/total"),))
    assert (receipt.state, receipt.registrations, receipt.settled) == (ReceiptState.FAILED, (), True)
    assert lc.opening_effects(receipt, 160.0) == ()


def test_a_type_without_registrars_is_complete_at_once_and_owes_its_webhook():
    receipt = lc.accept(submission(), (), ())
    assert receipt.state is ReceiptState.COMPLETE
    assert lc.opening_effects(receipt, 160.0) == (lc.Owe("recovery", 160.0), lc.Deliver())


def test_complete_only_when_every_registrar_confirmed_invariant_6(receipt):
    receipt, effects = lc.advance(receipt, lc.Confirmed("tax", 101.0, "T-1"))
    assert (receipt.state, effects) == (ReceiptState.PROCESSING, ())
    receipt, effects = lc.advance(receipt, lc.Confirmed("warehouse", 102.0, "W-1"))
    assert (receipt.state, effects) == (ReceiptState.COMPLETE, (lc.Deliver(),))
    assert receipt.delivery is not None
    assert not receipt.settled
    receipt, _ = lc.advance(receipt, lc.Delivered(103.0, 204))
    assert receipt.settled


def test_one_rejection_fails_the_receipt_but_the_other_registration_goes_on_invariant_5(receipt):
    receipt, effects = lc.advance(receipt, lc.Refused("tax", 101.0, "unknown seller"))
    assert (receipt.state, effects) == (ReceiptState.FAILED, (lc.Deliver(),))
    assert receipt.findings == (Finding("registrar:tax", "unknown seller"),)
    receipt, _ = lc.advance(receipt, lc.Delivered(102.0, 200))
    assert not receipt.settled, "the warehouse still owes its answer"
    receipt, effects = lc.advance(receipt, lc.Confirmed("warehouse", 103.0))
    assert (receipt.state, effects, receipt.settled) == (ReceiptState.FAILED, (), True)


def test_a_contradicting_verdict_changes_nothing_invariant_8(receipt):
    receipt, _ = lc.advance(receipt, lc.Confirmed("tax", 101.0))
    assert lc.advance(receipt, lc.Refused("tax", 102.0, "no")) == (receipt, ())


def test_a_callback_before_the_answer_wins_over_it_invariant_8(receipt):
    receipt, _ = lc.advance(receipt, lc.Confirmed("tax", 101.0))
    assert lc.advance(receipt, lc.Submitted("tax", 102.0, 132.0)) == (receipt, ())


def test_a_far_retry_waits_in_the_registrars_own_queue(receipt):
    receipt, effects = lc.advance(receipt, lc.AttemptFailed("tax", 101.0, "503", 401.0, durable=True))
    assert effects == (lc.Owe("registrar.tax", 401.0),)
    assert receipt.registrations[0].due_at == 401.0


def test_used_up_retries_park_and_a_redrive_renews_them(receipt):
    receipt, effects = lc.advance(receipt, lc.AttemptFailed("tax", 101.0, "503", None))
    assert receipt.registrations[0].state is RegistrationState.PARKED
    assert effects == (lc.Owe("registrar.tax", 101.0, dead=True),)
    receipt, effects = lc.advance(receipt, lc.Redriven("tax", 102.0))
    assert (receipt.registrations[0].state, receipt.registrations[0].attempts) == (RegistrationState.PENDING, 0)
    assert effects == (lc.Submit("tax"),)


def test_an_abandoned_registration_fails_the_receipt(receipt):
    receipt, _ = lc.advance(receipt, lc.AttemptFailed("tax", 101.0, "503", None))
    receipt, _ = lc.advance(receipt, lc.Abandoned("tax", 102.0, "closed down"))
    assert receipt.state is ReceiptState.FAILED


def test_a_missed_callback_counts_as_an_attempt(receipt):
    receipt, _ = lc.advance(receipt, lc.Submitted("tax", 101.0, 131.0))
    receipt, _ = lc.advance(receipt, lc.Submitted("tax", 140.0, 170.0, again=True))
    assert receipt.registrations[0].attempts == 1
    receipt, _ = lc.advance(receipt, lc.Submitted("tax", 180.0, 210.0))
    assert receipt.registrations[0].attempts == 1, "an answer to a question is no attempt"


def test_a_failed_call_does_not_take_a_submission_back_invariant_7(receipt):
    receipt, _ = lc.advance(receipt, lc.Submitted("tax", 101.0, 131.0))
    receipt, _ = lc.advance(receipt, lc.AttemptFailed("tax", 140.0, "503", 150.0))
    registration = receipt.registrations[0]
    assert (registration.state, registration.due_at) == (RegistrationState.SUBMITTED, 150.0)


@pytest.mark.parametrize(("gone", "state"), [(True, DeliveryState.DISABLED), (False, DeliveryState.EXHAUSTED)])
def test_giving_a_webhook_up_is_visible_and_can_be_replayed_invariant_10(receipt, gone, state):
    for registrar in ("tax", "warehouse"):
        receipt, _ = lc.advance(receipt, lc.Confirmed(registrar, 101.0))
    receipt, _ = lc.advance(receipt, lc.DeliveryFailed(102.0, 410, "gone", None, gone=gone))
    assert receipt.delivery is not None
    assert receipt.delivery.state is state
    receipt, effects = lc.advance(receipt, lc.ReplayAsked(103.0))
    assert receipt.delivery is not None
    assert receipt.delivery.state is DeliveryState.OWED
    assert effects == (lc.Owe("recovery", 103.0), lc.Deliver())


def test_an_event_of_an_unknown_registrar_changes_nothing(receipt):
    assert lc.advance(receipt, lc.Confirmed("customs", 101.0)) == (receipt, ())
