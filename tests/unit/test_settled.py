"""What a process remembers of settled receipts, and when that makes a recovery message superfluous."""

from __future__ import annotations

from dataclasses import replace

import pytest

from receiptd.domain import lifecycle as lc
from receiptd.domain.receipt import Submission
from receiptd.pipeline.settled import SettledVersions
from receiptd.pipeline.work import WorkItem
from receiptd.ports import Message


def refused(number, version=1):
    facts = Submission(f"20260101-{number:024d}", "c", "t", 1, 100.0, "application/json", "d", b"{}", b"{}")
    return replace(lc.refuse(facts, ()), version=version)


def test_a_message_owed_before_the_receipt_settled_is_done_with():
    settled = SettledVersions()
    settled.note(refused(1, version=3))
    receipt_id = refused(1).receipt_id
    assert [settled.covers(receipt_id, version) for version in (1, 2, 3)] == [True, True, True]


def test_the_message_of_a_later_change_is_not_covered_whoever_made_it_invariant_11():
    """A replay in another process reopens the receipt as version 4 and owes a message: it must be looked after."""
    settled = SettledVersions()
    settled.note(refused(1, version=3))
    assert not settled.covers(refused(1).receipt_id, 4)
    settled.note(refused(1, version=5))
    assert settled.covers(refused(1).receipt_id, 4)


def test_a_message_of_unknown_version_or_receipt_is_never_covered():
    settled = SettledVersions()
    settled.note(refused(1))
    assert not settled.covers(refused(1).receipt_id, 0)
    assert not settled.covers(refused(2).receipt_id, 1)


def test_the_memory_is_bounded_and_forgets_the_oldest_invariant_13():
    settled = SettledVersions(generation_max=10)
    for number in range(1000):
        settled.note(refused(number))
        assert len(settled._young) + len(settled._old) <= 20
    known = [number for number in range(1000) if settled.covers(refused(number).receipt_id, 1)]
    assert known[-1] == 999
    assert 10 <= len(known) <= 20
    assert known == list(range(known[0], 1000))


def test_a_work_item_carries_the_version_of_its_change():
    item = WorkItem("c", "r", version=7)
    assert WorkItem.parse(item.message("recovery", 1.0)) == item
    assert WorkItem.parse(WorkItem("c", "r").message("recovery", 1.0)).version == 0
    with pytest.raises(ValueError, match="work item"):
        WorkItem.parse(Message("recovery", "r", '{"client":"c","receipt":"r","version":[]}'))
