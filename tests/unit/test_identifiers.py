from __future__ import annotations

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from receiptd.domain.identifiers import RECEIPT_ID, candidate_ids, day_of, receipt_id

NOON = 1_767_268_800.0  # 2026-01-01T12:00:00Z


def test_a_retry_after_midnight_finds_the_day_before_invariant_4():
    before, _ = candidate_ids(NOON + 43_199.9, "c", "k")
    _, yesterday = candidate_ids(NOON + 43_200.1, "c", "k")
    assert before == yesterday
    assert day_of(before) == date(2026, 1, 1)


def test_clients_and_keys_do_not_run_into_each_other():
    assert candidate_ids(NOON, "ab", "c") != candidate_ids(NOON, "a", "bc")


@given(st.dates(date(1970, 1, 2), date(2100, 1, 1)), st.text(), st.text())
def test_every_id_is_well_formed_and_the_same_everywhere(day, client, key):
    made = receipt_id(day, client.encode(errors="replace").decode(), key.encode(errors="replace").decode())
    assert RECEIPT_ID.match(made)
    assert day_of(made) == day
