from __future__ import annotations

import pytest

from receiptd.pipeline.limits import BreakerState, CircuitBreaker, TokenBucket
from receiptd.settings import BreakerSettings


@pytest.fixture
def breaker():
    return CircuitBreaker(BreakerSettings(failures=3, open_s=10, open_max_s=40, successes=2))


def fail(breaker, now, times=1):
    for _ in range(times):
        breaker.failed(breaker.allow(now), now)


def succeed(breaker, now):
    breaker.succeeded(breaker.allow(now))


def test_failures_in_a_row_open_it_and_a_success_starts_the_count_anew(breaker):
    fail(breaker, 0, 2)
    succeed(breaker, 0)
    fail(breaker, 0, 2)
    assert breaker.state is BreakerState.CLOSED
    fail(breaker, 0)
    assert breaker.state is BreakerState.OPEN
    assert not breaker.allow(9.9)


def test_it_probes_one_at_a_time_and_closes_by_itself(breaker):
    fail(breaker, 0, 3)
    probe = breaker.allow(10)
    assert probe
    assert not breaker.allow(10), "one probe at a time"
    breaker.succeeded(probe)
    succeed(breaker, 10)
    assert breaker.state is BreakerState.CLOSED


def test_a_failed_probe_doubles_the_pause_up_to_its_cap(breaker):
    fail(breaker, 0, 3)
    for now, retry_at in ((10, 30), (30, 70), (70, 110)):
        fail(breaker, now)
        assert breaker.retry_at == retry_at


def test_results_of_calls_from_before_it_opened_do_not_count(breaker):
    late = [breaker.allow(0) for _ in range(4)]
    fail(breaker, 0, 3)
    breaker.failed(late[0], 8)
    breaker.succeeded(late[1])
    assert (breaker.state, breaker.retry_at) == (BreakerState.OPEN, 10)
    probe = breaker.allow(10)
    breaker.failed(late[2], 11)
    breaker.succeeded(late[3])
    assert breaker.state is BreakerState.HALF_OPEN
    assert not breaker.allow(11), "the probe is still out"
    breaker.succeeded(probe)
    succeed(breaker, 11)
    assert breaker.state is BreakerState.CLOSED


def test_a_probe_that_was_given_up_leaves_its_place_to_the_next(breaker):
    fail(breaker, 0, 3)
    breaker.given_up(breaker.allow(10))
    assert breaker.allow(10)
    assert breaker.retry_at == 10, "nothing was learnt about the peer"


def test_would_allow_takes_no_probe(breaker):
    fail(breaker, 0, 3)
    assert breaker.would_allow(10)
    assert breaker.allow(10)
    assert not breaker.would_allow(10)


def test_the_bucket_lets_a_burst_through_and_then_spaces_calls():
    bucket = TokenBucket(10)
    waits = [bucket.reserve(100.0) for _ in range(13)]
    assert waits[:10] == [0.0] * 10
    assert waits[10:] == pytest.approx([0.1, 0.2, 0.3])
    assert bucket.reserve(101.0) == 0.0


def test_a_rate_of_zero_is_no_limit():
    bucket = TokenBucket(0)
    assert {bucket.reserve(1.0) for _ in range(1000)} == {0.0}
