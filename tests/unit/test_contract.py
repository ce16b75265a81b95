"""A contract's partitions: where a receipt lies follows from its day, whatever is changed later."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from receiptd.domain.contract import Contract

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC).timestamp()


def test_a_contract_has_one_partition_unless_it_says_otherwise():
    assert Contract(client_id="c").partitions_on("20260314") == 1
    assert Contract(client_id="c").partitions_max == 1
    assert Contract(client_id="c", partitions=(("", 4),)).partitions_on("20260314") == 4


def test_a_new_number_is_for_the_next_day_or_the_one_after_when_that_is_about_to_begin():
    contract = Contract(client_id="c")
    assert contract.with_partitions(4, NOON).partitions == (("20260315", 4),)
    assert contract.with_partitions(4, NOON + 12 * 3600 - 601).partitions == (("20260315", 4),)
    assert contract.with_partitions(4, NOON + 12 * 3600 - 599).partitions == (("20260316", 4),)


def test_a_number_that_is_not_in_force_yet_can_be_changed():
    contract = Contract(client_id="c").with_partitions(4, NOON).with_partitions(8, NOON + 60)
    assert contract.partitions == (("20260315", 8),)
    assert contract.partitions_max == 8


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(0, 5e5)), max_size=8))
def test_no_change_moves_what_is_stored_or_will_be_within_ten_minutes(changes):
    contract, now = Contract(client_id="c"), NOON
    for number, pause_s in changes:
        now += pause_s
        changed = contract.with_partitions(number, now)
        for at in (NOON, now - 86_400, now, now + 599):
            day = f"{datetime.fromtimestamp(at, UTC):%Y%m%d}"
            assert changed.partitions_on(day) == contract.partitions_on(day)
            assert changed.partitions_on(day) <= changed.partitions_max
        contract = changed
