"""Any receipt survives its stored form."""

from __future__ import annotations

from dataclasses import replace
from typing import get_type_hints

from hypothesis import given
from hypothesis import strategies as st

from receiptd.adapters.records import RecordCodec, contract_from_json, contract_to_json, day_stamp
from receiptd.domain.contract import Contract
from receiptd.domain.identifiers import digest
from receiptd.domain.receipt import Delivery, Finding, Receipt, ReceiptState, Registration, Submission

CODEC = RecordCodec()
DENSE = RecordCodec(dense=True)

text = st.text(st.characters(exclude_categories=["Cs"]))
number = st.floats(0, 1e11)
count = st.integers(0, 2**31)
SIMPLE = {str: text, int: count, float: number, bool: st.booleans(), bytes: st.binary(max_size=3_000)}


def values(cls, **composite):
    """Build ``cls`` from every field that it has, so that a new field is covered on the day it is added."""
    hints = get_type_hints(cls)
    plain = {
        name: SIMPLE[hint] if hint in SIMPLE else st.sampled_from(hint)
        for name, hint in hints.items()
        if name not in composite
    }
    return st.builds(cls, **plain, **composite)


receipts = values(
    Receipt,
    submission=values(Submission),
    registrations=st.lists(values(Registration), max_size=4).map(tuple),
    findings=st.lists(values(Finding), max_size=4).map(tuple),
    delivery=st.none() | values(Delivery),
)


@given(receipts)
def test_a_receipt_comes_back_from_its_record_invariant_9(receipt):
    assert CODEC.receipt(CODEC.record(receipt)) == receipt
    assert CODEC.receipt(DENSE.record(receipt)) == receipt
    assert DENSE.receipt(CODEC.record(receipt)) == receipt


@given(values(Submission))
def test_a_digest_that_is_the_documents_own_need_not_be_stored(submission):
    receipt = Receipt(replace(submission, digest=digest(submission.document)), ReceiptState.COMPLETE)
    assert CODEC.receipt(DENSE.record(receipt)) == receipt
    assert receipt.submission.digest.encode() not in DENSE.record(receipt).document


names = st.lists(text).map(tuple)


partitions = st.lists(st.tuples(text, count)).map(tuple)


@given(values(Contract, webhook_secrets=names, webhook_origins=names, receipt_types=names, partitions=partitions))
def test_a_contract_comes_back_from_its_stored_form(contract):
    assert contract_from_json(contract_to_json(contract)) == contract


@given(number, number)
def test_day_stamps_sort_as_time_does(one, other):
    assert (day_stamp(one) <= day_stamp(other)) or one > other
    assert len(day_stamp(one)) == 8
