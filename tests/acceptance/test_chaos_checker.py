"""The chaos trial's checker finds each kind of violation in made-up histories, and none in an honest one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from lab.checker import Verdict, check
from lab.history import Document, EffectSeen, Fate, History, HookSeen, Post, Read
from lab.index import Kind

REGISTERED = {"tax": "REGISTERED", "warehouse": "REGISTERED"}
GOOD, REJECTED, BAD = "digest-good", "digest-rejected", "digest-bad"
GOOD_ID, REJECTED_ID, BAD_ID = "20260101-good", "20260101-rejected", "20260101-bad"


def effect(registrar: str, key: str, digest: str, verdict: str = "registered", **changes: object) -> EffectSeen:
    number = digest.replace("digest", "number") if registrar == "warehouse" else ""
    sent = digest if registrar == "tax" else f"canonical-of-{digest}"
    made = EffectSeen(registrar, key, 1, 1, verdict, number, (key,), (sent,), verdict_taken_at=13.0)
    return replace(made, **changes)


def hook(receipt_id: str, state: str) -> HookSeen:
    event = f"receipt.{state.lower()}"
    return HookSeen("shop", f"msg_{receipt_id}", 14.0, 1, 1, types=(event,), receipt_ids=(receipt_id,), states=(state,))


def final(receipt_id: str, state: str, registrations: dict[str, str]) -> Read:
    return Read("shop", receipt_id, 90.0, 91.0, 200, state, registrations, "DELIVERED")


def honest() -> History:
    """A run in which a good receipt (one answer lost), a rejected one and an invalid one met their fates."""
    history = History({"tax": "original", "warehouse": "canonical"}, frozenset({"shop"}))
    history.documents = {
        GOOD: Document(GOOD, "number-good", "application/json", Fate.COMPLETE),
        REJECTED: Document(REJECTED, "number-rejected", "application/xml", Fate.FAILED),
        BAD: Document(BAD, "number-bad", "application/json", Fate.REFUSED, "it is invalid"),
    }
    history.posts = [
        Post("shop", "k1", GOOD, 9.0, 9.5, 0),
        Post("shop", "k1", GOOD, 10.0, 10.1, 202, GOOD_ID),
        Post("shop", "", REJECTED, 11.0, 11.1, 202, REJECTED_ID),
        Post("shop", "k3", BAD, 12.0, 12.1, 422, BAD_ID, detail="receipt-invalid"),
        Post("shop", "k3", BAD, 12.2, 12.3, 503, retry_after="1"),
    ]
    split = {"tax": "REJECTED", "warehouse": "REGISTERED"}
    history.reads = [
        Read("shop", GOOD_ID, 10.2, 10.3, 200, "PROCESSING", {"tax": "PENDING", "warehouse": "PENDING"}),
        Read("shop", GOOD_ID, 10.4, 10.5, 0),
        Read("shop", GOOD_ID, 15.0, 15.1, 200, "COMPLETE", REGISTERED),
    ]
    history.finals = {
        GOOD_ID: final(GOOD_ID, "COMPLETE", REGISTERED),
        REJECTED_ID: final(REJECTED_ID, "FAILED", split),
    }
    history.contents = {GOOD_ID: GOOD}
    history.listed = {"shop": {GOOD_ID: "COMPLETE", REJECTED_ID: "FAILED", BAD_ID: "FAILED"}}
    history.effects = [
        effect("tax", GOOD_ID, GOOD, requests=2),
        effect("warehouse", GOOD_ID, GOOD),
        effect("tax", REJECTED_ID, REJECTED, "rejected"),
        effect("warehouse", REJECTED_ID, REJECTED),
    ]
    history.hooks = [hook(GOOD_ID, "COMPLETE"), hook(REJECTED_ID, "FAILED")]
    return history


def found(verdict: Verdict) -> set[tuple[Kind, int, str]]:
    return {(violation.kind, violation.invariant, violation.subject) for violation in verdict.violations}


def test_an_honest_history_has_no_violation():
    verdict = check(honest())
    assert verdict.violations == ()
    assert (verdict.accepted, verdict.complete, verdict.failed) == (2, 1, 1)
    assert verdict.balanced
    assert verdict.clean


# Each case spoils the honest history in one way, and names the violation that must be among those found.


def lose_the_row(history: History) -> None:
    history.finals[GOOD_ID] = Read("shop", GOOD_ID, 90.0, 91.0, 404)


def never_read_at_the_end(history: History) -> None:
    del history.finals[GOOD_ID]


def leave_processing(history: History) -> None:
    history.finals[GOOD_ID] = final(GOOD_ID, "PROCESSING", {"tax": "SUBMITTED", "warehouse": "REGISTERED"})


def refuse_a_good_document(history: History) -> None:
    history.posts.append(Post("shop", "k1", GOOD, 16.0, 16.1, 422, detail="schema"))


def accept_a_bad_document(history: History) -> None:
    history.posts.append(Post("shop", "k3", BAD, 16.0, 16.1, 202, BAD_ID))


def accept_without_id(history: History) -> None:
    history.posts.append(Post("shop", "k1", GOOD, 16.0, 16.1, 202))


def answer_500(history: History) -> None:
    history.posts.append(Post("shop", "k1", GOOD, 16.0, 16.1, 500))


def shed_without_retry_after(history: History) -> None:
    history.posts.append(Post("shop", "k1", GOOD, 16.0, 16.1, 503))


def accept_one_key_twice(history: History) -> None:
    history.posts.append(Post("shop", "k1", GOOD, 16.0, 16.1, 202, "20260101-other"))


def accept_one_document_twice_without_key(history: History) -> None:
    history.posts.append(Post("shop", "", REJECTED, 16.0, 16.1, 202, "20260101-zother"))


def take_another_body_under_the_key(history: History) -> None:
    history.posts.append(Post("shop", "k1", REJECTED, 16.0, 16.1, 202, GOOD_ID))


def register_the_refused(history: History) -> None:
    history.effects.append(effect("tax", BAD_ID, BAD))


def register_canonical_of_the_refused(history: History) -> None:
    history.effects.append(effect("warehouse", BAD_ID, BAD))


def register_what_nobody_posted(history: History) -> None:
    history.effects.append(effect("tax", "20260101-ghost", "digest-ghost"))


def register_twice(history: History) -> None:
    history.effects[0] = effect("tax", GOOD_ID, GOOD, effects=2)


def register_under_two_keys(history: History) -> None:
    history.effects.append(effect("tax", "20260101-zzz", GOOD))


def register_under_the_wrong_key_only(history: History) -> None:
    history.effects[1] = effect("warehouse", "20260101-wrong", GOOD)


def name_another_receipt(history: History) -> None:
    history.effects[0] = effect("tax", GOOD_ID, GOOD, receipt_ids=("20260101-other",))


def send_two_bodies(history: History) -> None:
    history.effects[1] = effect("warehouse", GOOD_ID, GOOD, digests=("one", "two"))


def skip_a_registrar(history: History) -> None:
    del history.effects[1]


def complete_without_confirmation(history: History) -> None:
    history.effects[1] = effect("warehouse", GOOD_ID, GOOD, "rejected")


def fail_without_rejection(history: History) -> None:
    history.effects[2] = effect("tax", REJECTED_ID, REJECTED)


def believe_a_contradiction(history: History) -> None:
    history.finals[REJECTED_ID] = final(REJECTED_ID, "COMPLETE", REGISTERED)


def fail_a_good_document(history: History) -> None:
    """Everything agrees, but the registrar was shown something else than what was posted."""
    history.effects[0] = effect("tax", GOOD_ID, GOOD, "rejected")
    history.finals[GOOD_ID] = final(GOOD_ID, "FAILED", {"tax": "REJECTED", "warehouse": "REGISTERED"})
    history.reads = []
    history.hooks[0] = hook(GOOD_ID, "FAILED")
    history.listed["shop"][GOOD_ID] = "FAILED"


def contradict_the_registrar(history: History) -> None:
    history.finals[REJECTED_ID] = final(REJECTED_ID, "FAILED", {"tax": "REJECTED", "warehouse": "REJECTED"})


def leave_a_registration_lying(history: History) -> None:
    history.finals[REJECTED_ID] = final(REJECTED_ID, "FAILED", {"tax": "REJECTED", "warehouse": "PENDING"})


def take_a_forgery(history: History) -> None:
    history.effects[0] = effect("tax", GOOD_ID, GOOD, forged_taken=1)


def refuse_a_true_callback(history: History) -> None:
    history.effects[0] = effect("tax", GOOD_ID, GOOD, callbacks_refused=1)


def change_a_terminal_state(history: History) -> None:
    history.reads.append(Read("shop", GOOD_ID, 16.0, 16.1, 200, "FAILED", REGISTERED))


def go_back_to_processing(history: History) -> None:
    history.reads.append(Read("shop", GOOD_ID, 16.0, 16.1, 200, "PROCESSING", REGISTERED))


def take_a_registration_back(history: History) -> None:
    states = {"tax": "PENDING", "warehouse": "REGISTERED"}
    history.reads.append(Read("shop", GOOD_ID, 16.0, 16.1, 200, "COMPLETE", states))


def forget_what_was_acknowledged(history: History) -> None:
    history.reads.append(Read("shop", GOOD_ID, 10.35, 10.4, 404))


def answer_a_read_with_500(history: History) -> None:
    history.reads.append(Read("shop", GOOD_ID, 10.35, 10.4, 500))


def read_stale_after_the_webhook(history: History) -> None:
    history.reads.insert(2, Read("shop", GOOD_ID, 14.5, 14.6, 200, "PROCESSING", REGISTERED))


def read_stale_after_the_callback(history: History) -> None:
    states = {"tax": "SUBMITTED", "warehouse": "REGISTERED"}
    history.reads.insert(2, Read("shop", GOOD_ID, 13.5, 13.6, 200, "PROCESSING", states))


def alter_the_bytes(history: History) -> None:
    history.contents[GOOD_ID] = "digest-other"


def keep_no_bytes(history: History) -> None:
    history.contents[GOOD_ID] = ""


def send_no_webhook(history: History) -> None:
    del history.hooks[0]


def deliver_no_webhook(history: History) -> None:
    history.hooks[0] = replace(history.hooks[0], taken=0, attempts=5)


def deny_the_delivery(history: History) -> None:
    history.finals[GOOD_ID] = replace(history.finals[GOOD_ID], delivery="EXHAUSTED")


def sign_badly(history: History) -> None:
    history.hooks[0] = replace(history.hooks[0], signatures_bad=1)


def tell_two_stories(history: History) -> None:
    history.hooks[0] = replace(history.hooks[0], types=("receipt.complete", "receipt.failed"))


def tell_the_wrong_story(history: History) -> None:
    history.hooks[0] = replace(history.hooks[0], types=("receipt.failed",), states=("FAILED",))


def use_a_fresh_webhook_id(history: History) -> None:
    history.hooks[0] = replace(history.hooks[0], webhook_id="msg_random")


def tell_the_wrong_client(history: History) -> None:
    history.hooks.append(replace(history.hooks[0], client="rival"))


def tell_of_the_refused(history: History) -> None:
    history.hooks.append(hook(BAD_ID, "FAILED"))


def leave_off_the_list(history: History) -> None:
    del history.listed["shop"][GOOD_ID]


def list_in_another_state(history: History) -> None:
    history.listed["shop"][GOOD_ID] = "PROCESSING"


def list_under_another_client(history: History) -> None:
    history.listed["rival"] = {GOOD_ID: history.listed["shop"].pop(GOOD_ID)}


def list_a_stranger(history: History) -> None:
    history.listed["shop"]["20260101-stranger"] = "COMPLETE"


def list_the_refused_as_complete(history: History) -> None:
    history.listed["shop"][BAD_ID] = "COMPLETE"


CASES: list[tuple[Callable[[History], None], Kind, int, str]] = [
    (lose_the_row, Kind.LOST, 1, GOOD_ID),
    (never_read_at_the_end, Kind.LOST, 1, GOOD_ID),
    (leave_processing, Kind.LOST, 2, GOOD_ID),
    (refuse_a_good_document, Kind.UNEXPECTED, 3, "k1"),
    (accept_a_bad_document, Kind.UNEXPECTED, 3, BAD_ID),
    (accept_without_id, Kind.UNEXPECTED, 1, "k1"),
    (answer_500, Kind.UNEXPECTED, 13, "k1"),
    (shed_without_retry_after, Kind.UNEXPECTED, 13, "k1"),
    (accept_one_key_twice, Kind.DUPLICATE, 4, GOOD_ID),
    (accept_one_document_twice_without_key, Kind.DUPLICATE, 4, REJECTED_ID),
    (take_another_body_under_the_key, Kind.UNEXPECTED, 4, GOOD_ID),
    (register_the_refused, Kind.UNEXPECTED, 3, BAD_ID),
    (register_canonical_of_the_refused, Kind.UNEXPECTED, 3, BAD_ID),
    (register_what_nobody_posted, Kind.UNEXPECTED, 3, "20260101-ghost"),
    (register_twice, Kind.DUPLICATE, 5, GOOD_ID),
    (register_under_two_keys, Kind.DUPLICATE, 5, GOOD_ID),
    (register_under_the_wrong_key_only, Kind.DUPLICATE, 5, "20260101-wrong"),
    (name_another_receipt, Kind.UNEXPECTED, 5, GOOD_ID),
    (send_two_bodies, Kind.UNEXPECTED, 9, GOOD_ID),
    (skip_a_registrar, Kind.UNEXPECTED, 5, GOOD_ID),
    (complete_without_confirmation, Kind.UNEXPECTED, 6, GOOD_ID),
    (fail_without_rejection, Kind.UNEXPECTED, 6, REJECTED_ID),
    (fail_a_good_document, Kind.UNEXPECTED, 6, GOOD_ID),
    (believe_a_contradiction, Kind.UNEXPECTED, 8, REJECTED_ID),
    (contradict_the_registrar, Kind.UNEXPECTED, 8, REJECTED_ID),
    (leave_a_registration_lying, Kind.UNEXPECTED, 11, REJECTED_ID),
    (take_a_forgery, Kind.UNEXPECTED, 8, GOOD_ID),
    (refuse_a_true_callback, Kind.UNEXPECTED, 8, GOOD_ID),
    (change_a_terminal_state, Kind.UNEXPECTED, 7, GOOD_ID),
    (go_back_to_processing, Kind.UNEXPECTED, 7, GOOD_ID),
    (take_a_registration_back, Kind.UNEXPECTED, 7, GOOD_ID),
    (forget_what_was_acknowledged, Kind.LOST, 15, GOOD_ID),
    (answer_a_read_with_500, Kind.UNEXPECTED, 15, GOOD_ID),
    (read_stale_after_the_webhook, Kind.UNEXPECTED, 15, GOOD_ID),
    (read_stale_after_the_callback, Kind.UNEXPECTED, 15, GOOD_ID),
    (alter_the_bytes, Kind.UNEXPECTED, 9, GOOD_ID),
    (keep_no_bytes, Kind.UNEXPECTED, 9, GOOD_ID),
    (send_no_webhook, Kind.UNEXPECTED, 10, GOOD_ID),
    (deliver_no_webhook, Kind.UNEXPECTED, 10, GOOD_ID),
    (deny_the_delivery, Kind.UNEXPECTED, 10, GOOD_ID),
    (sign_badly, Kind.UNEXPECTED, 10, f"msg_{GOOD_ID}"),
    (tell_two_stories, Kind.UNEXPECTED, 10, GOOD_ID),
    (tell_the_wrong_story, Kind.UNEXPECTED, 10, GOOD_ID),
    (use_a_fresh_webhook_id, Kind.UNEXPECTED, 10, "msg_random"),
    (tell_the_wrong_client, Kind.UNEXPECTED, 10, f"msg_{GOOD_ID}"),
    (tell_of_the_refused, Kind.UNEXPECTED, 3, f"msg_{BAD_ID}"),
    (leave_off_the_list, Kind.UNBALANCED, 16, GOOD_ID),
    (list_in_another_state, Kind.UNBALANCED, 16, GOOD_ID),
    (list_under_another_client, Kind.UNBALANCED, 16, GOOD_ID),
    (list_a_stranger, Kind.UNBALANCED, 16, "20260101-stranger"),
    (list_the_refused_as_complete, Kind.UNBALANCED, 16, BAD_ID),
]


@pytest.mark.parametrize(("spoil", "kind", "invariant", "subject"), CASES, ids=lambda c: getattr(c, "__name__", None))
def test_each_violation_is_found_and_named(
    spoil: Callable[[History], None], kind: Kind, invariant: int, subject: str
) -> None:
    history = honest()
    spoil(history)
    verdict = check(history)
    assert (kind, invariant, subject) in found(verdict)
    assert not verdict.clean
    assert verdict.count(kind) >= 1


def test_a_lost_answer_may_have_any_outcome_until_a_retry_is_answered():
    history = honest()
    history.documents["digest-lost"] = Document("digest-lost", "number-lost", "application/json", Fate.COMPLETE)
    history.posts.append(Post("shop", "k9", "digest-lost", 20.0, 21.0, 0))
    assert check(history).clean, "nothing came of it"
    history.effects += [
        effect("tax", "20260101-lost", "digest-lost"),
        effect("warehouse", "20260101-lost", "digest-lost"),
    ]
    history.hooks.append(hook("20260101-lost", "COMPLETE"))
    history.listed["shop"]["20260101-lost"] = "COMPLETE"
    assert check(history).clean, "it was accepted, unknown to its client"
    history.posts.append(Post("shop", "k9", "digest-lost", 22.0, 23.0, 202, "20260101-elsewhere"))
    assert (Kind.DUPLICATE, 5, "20260101-lost") in found(check(history)), "the retry did not converge (invariant 3)"


def test_reads_that_overlap_a_change_may_show_either_side():
    history = honest()
    history.reads.insert(
        2, Read("shop", GOOD_ID, 12.9, 16.0, 200, "PROCESSING", {"tax": "PENDING", "warehouse": "PENDING"})
    )
    assert check(history).clean


def test_a_client_without_an_endpoint_owes_no_webhook():
    history = honest()
    history.hooked = frozenset()
    history.hooks = []
    assert check(history).clean


def test_counts_are_of_accepted_receipts_only():
    history = honest()
    leave_processing(history)
    verdict = check(history)
    assert (verdict.accepted, verdict.complete, verdict.failed) == (2, 0, 1)
    assert verdict.count(Kind.LOST) == 1
    assert not verdict.balanced
