"""The lifecycle as a state machine: whatever happens in whatever order, the invariants hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from receiptd.domain import lifecycle as lc
from receiptd.domain.receipt import FINAL_REGISTRATIONS, Receipt, ReceiptState, RegistrationState, Submission

REGISTRARS = ("tax", "warehouse", "customs")
names = st.sampled_from(REGISTRARS)
times = st.floats(100, 1000)
maybe_time = st.none() | times
events = st.lists(
    st.one_of(
        st.builds(lc.Submitted, names, times, times),
        st.builds(lc.Confirmed, names, times, st.sampled_from(["", "R-1"])),
        st.builds(lc.Refused, names, times, st.just("no")),
        st.builds(lc.AttemptFailed, names, times, st.just("503"), maybe_time, st.booleans()),
        st.builds(lc.Redriven, names, times),
        st.builds(lc.Abandoned, names, times, st.just("given up")),
        st.builds(lc.Delivered, times, st.just(200)),
        st.builds(lc.DeliveryFailed, times, st.just(500), st.just("500"), maybe_time, st.booleans()),
        st.builds(lc.ReplayAsked, times),
    ),
    max_size=40,
)


def opened(registrars: tuple[str, ...], webhook_url: str) -> Receipt:
    facts = Submission("20260101-" + "0" * 24, "c", "t", 1, 100.0, "text/xml", "d", b"<a/>", b"{}", webhook_url)
    return lc.accept(facts, registrars, ())


@given(events, st.sampled_from([(), ("tax",), REGISTRARS]), st.sampled_from(["", "https://c.example/"]))
def test_terminal_is_final_and_complete_means_confirmed_invariants_6_7(sequence, registrars, url):
    receipt = opened(registrars, url)
    for event in sequence:
        after, effects = lc.advance(receipt, event)
        if receipt.terminal:
            assert after.state is receipt.state
        for was, now in zip(receipt.registrations, after.registrations, strict=True):
            if was.state in FINAL_REGISTRATIONS:
                assert now == was
        if after.state is ReceiptState.COMPLETE:
            assert all(r.state is RegistrationState.REGISTERED for r in after.registrations)
        if after.state is ReceiptState.FAILED:
            assert any(r.state is RegistrationState.REJECTED for r in after.registrations)
        if after.terminal and not receipt.terminal and url:
            assert lc.Deliver() in effects
        assert (after is receipt) <= (effects == ())
        receipt = after


@given(events, st.lists(st.integers(0, 39), max_size=10))
def test_duplicates_of_verdicts_change_nothing_invariant_8(sequence, repeated):
    def run(events_given):
        receipt = opened(REGISTRARS, "")
        for event in events_given:
            receipt, _ = lc.advance(receipt, event)
        return receipt.state, [r.state in FINAL_REGISTRATIONS and r.state for r in receipt.registrations]

    verdicts = [e for e in sequence if isinstance(e, lc.Confirmed | lc.Refused)]
    doubled = verdicts + [verdicts[i % len(verdicts)] for i in repeated] if verdicts else []
    assert run(verdicts) == run(doubled)


@given(events)
def test_whatever_is_unsettled_can_still_be_brought_to_an_end_invariant_2(sequence):
    receipt = opened(REGISTRARS, "https://c.example/")
    for event in sequence:
        receipt, _ = lc.advance(receipt, event)
    for name in REGISTRARS:
        receipt, _ = lc.advance(receipt, lc.Confirmed(name, 2000.0))
    receipt, _ = lc.advance(receipt, lc.Delivered(2001.0, 200))
    assert receipt.settled
