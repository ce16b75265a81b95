"""Readers of fields, queries and cursors, on whatever a client may send."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiptd.domain.receipt import ReceiptState
from receiptd.http import fields, paging, uri
from receiptd.http.limits import RateLimiter
from receiptd.http.message import Request
from receiptd.http.problems import ProblemError
from receiptd.http.representations import timestamp
from receiptd.ports import PageQuery

latin_1 = st.text(st.characters(codec="latin-1"), max_size=80)
fieldlike = st.text('wait=0123456789",;*/ qjson.W\\-%&', max_size=40) | latin_1
visible = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255)
OFFERS = ("application/json", "application/x-ndjson")


@given(fieldlike)
def test_no_field_makes_a_reader_fail(value):
    assert 0 <= fields.wait_s(value, 30.0) <= 30
    assert fields.none_match(value, '"v"') in {True, False}
    assert fields.negotiate(value, OFFERS) in {*OFFERS, None}
    assert len(bytes.fromhex(fields.trace_id(value))) == 16
    if fields.is_media_type(value):
        assert value.isascii()
        assert value.isprintable() or "\t" in value
    try:
        key = fields.idempotency_key(value)
    except ValueError:
        return
    assert key.isascii()
    assert 1 <= len(key) <= 255


@given(visible)
def test_a_quoted_key_is_read_as_it_was_written(key):
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    assert fields.idempotency_key(f'"{escaped}"') == key
    if not set(key) & set('",;\\'):
        assert fields.idempotency_key(key) == key


@given(st.text(max_size=40))
def test_percent_decoding_undoes_encoding(text):
    encoded = quote(text, safe="")
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in text):
        with pytest.raises(ValueError, match="control"):
            uri.percent_decode(encoded)
    else:
        assert uri.percent_decode(encoded) == text


@given(fieldlike)
def test_any_query_is_read_or_refused(query):
    try:
        read = paging.read_query(Request("GET", "/v1/receipts", query, {}), "shop")
    except ProblemError:
        return
    assert read.client_id == "shop"
    assert 0 <= read.start <= read.end
    assert 1 <= read.limit <= paging.LIMIT_MAX


times = st.floats(0, 1e12)


@given(
    st.tuples(times, times).map(sorted),
    st.sampled_from([None, *ReceiptState]),
    st.text(min_size=1, max_size=64) | st.just(""),
    st.integers(1, 10_000),
    st.booleans(),
)
def test_a_cursor_goes_on_where_its_page_ended_for_the_same_client(window, state, type_id, limit, with_delivery):
    after = "20260131-" + "f" * 24
    query = PageQuery(
        client_id="shop",
        start=window[0],
        end=window[1],
        limit=limit,
        state=state,
        type_id=type_id,
        with_delivery=with_delivery,
    )
    cursor = paging.encode_cursor(query, after)
    read = paging.decode_cursor(cursor, "other", limit, with_delivery=with_delivery)
    assert (read.client_id, read.after) == ("other", after)
    assert (read.start, read.end, read.state, read.type_id) == (query.start, query.end, query.state, query.type_id)


@given(st.binary(max_size=200) | st.text(max_size=60).map(str.encode))
def test_a_forged_cursor_is_refused_and_never_a_fault(raw):
    text = quote(raw.decode("latin-1"), safe="")
    with pytest.raises(ProblemError):
        paging.read_query(Request("GET", "/v1/receipts", f"cursor={text}", {}), "shop")


@given(st.lists(st.floats(0, 5), max_size=60), st.floats(0.1, 50), st.integers(1, 20))
def test_no_interval_sees_more_calls_than_rate_and_burst_allow_invariant_13(pauses, rate_per_s, burst):
    now = 0.0
    limiter = RateLimiter("write", monotonic=lambda: now)
    taken = []
    for pause in pauses:
        now += pause
        try:
            limiter.take("shop", rate_per_s, burst)
        except ProblemError:
            continue
        taken.append(now)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + (taken[last] - taken[first]) * rate_per_s + 1e-6


@given(st.floats(0, 100_000_000_000))
def test_a_timestamp_is_rounded_to_the_millisecond(at):
    assert abs(uri.instant("from", timestamp(at)) - at) <= 0.000_55
