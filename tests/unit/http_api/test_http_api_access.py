"""Tokens, scopes, contracts, and the rate of each client."""

from __future__ import annotations

import re

import pytest

from receiptd.domain.contract import Access
from receiptd.http.calls import CALLS
from receiptd.http.limits import RateLimiter
from receiptd.http.problems import ProblemError

CLIENT_CALLS = [call for call in CALLS if call.scope]
CHALLENGE = 'Bearer realm="receiptd"'


def path_of(call):
    return re.sub(r"\{\w+\}", "20260101-" + "0" * 24, call.path)


@pytest.mark.parametrize("call", CLIENT_CALLS, ids=lambda call: call.name)
async def test_without_a_token_there_is_a_bare_challenge(face, call):
    for headers in ({}, {"authorization": "Basic c2hvcDpz"}, {"authorization": ""}):
        answer = await face.call(call.method, path_of(call), token="", **headers)
        assert (answer.status, answer.code, answer.headers["www-authenticate"]) == (401, "token-missing", CHALLENGE)


@pytest.mark.parametrize("call", CLIENT_CALLS, ids=lambda call: call.name)
async def test_a_refused_token_is_invalid(face, call):
    answer = await face.call(call.method, path_of(call), token="garbage")
    assert (answer.status, answer.code) == (401, "invalid-token")
    assert answer.headers["www-authenticate"] == f'{CHALLENGE}, error="invalid_token"'


@pytest.mark.parametrize("call", CLIENT_CALLS, ids=lambda call: call.name)
async def test_every_call_asks_for_its_scope(face, call):
    token = "shop:r" if call.scope == "receipts/write" else "shop:w"
    answer = await face.call(call.method, path_of(call), token=token)
    assert (answer.status, answer.code) == (403, "insufficient-scope")
    challenge = f'{CHALLENGE}, error="insufficient_scope", scope="{call.scope}"'
    assert answer.headers["www-authenticate"] == challenge


@pytest.mark.parametrize("call", CLIENT_CALLS, ids=lambda call: call.name)
async def test_the_contract_grants_and_not_the_token_alone(face, call):
    face.contract("shop", access=Access.READ)
    answer = await face.call(call.method, path_of(call))
    if call.scope == "receipts/write":
        assert (answer.status, answer.code) == (403, "contract-read-only")
    else:
        assert answer.status in {200, 404}
    face.contract("shop", active=False)
    for token in ("shop:rw", "nobody:rw"):
        answer = await face.call(call.method, path_of(call), token=token)
        assert (answer.status, answer.code) == (403, "contract-inactive")


async def test_the_scheme_is_read_in_any_case(face):
    answer = await face.call("GET", "/v1/receipts", token="", authorization="bEaReR  shop:r")
    assert answer.status == 200


async def test_a_contract_may_name_the_receipt_types(face):
    face.contract("shop", receipt_types=("till",))
    assert (await face.post(receipt_type="other")).code == "receipt-type-not-allowed"
    stored = face.ledger.receipts[await face.posted()]
    assert stored.submission.type_id == "till"
    assert (await face.post(b'{"n":4}', receipt_type="till@1")).json["type"] == "till@1"
    face.contract("shop", receipt_types=("a", "b"))
    assert (await face.post(b'{"n":2}', receipt_type="b")).json["type"] == "b"
    refused = await face.post(b'{"n":3}')
    assert (refused.status, refused.code) == (400, "receipt-type-required")


async def test_one_loud_client_is_held_back_and_the_others_are_not_invariants_12_and_13(face):
    face.contract("loud", rate_per_s=2, burst=3)
    for remaining in (2, 1, 0):
        answer = await face.post(token="loud:rw")
        assert answer.status == 202
        assert answer.headers["ratelimit-policy"] == '"write";q=3;w=2'
        assert answer.headers["ratelimit"] == f'"write";r={remaining}'
    refused = await face.post(b'{"n":99}', token="loud:rw")
    assert (refused.status, refused.code, refused.headers["retry-after"]) == (429, "rate-limited", "1")
    assert refused.headers["ratelimit"] == '"write";r=0;t=1'
    assert len(face.ledger.receipts) == 1
    assert (await face.post()).status == 202
    face.monotonic_now += 0.5
    assert (await face.post(token="loud:rw")).status == 202
    assert (await face.post(token="loud:rw")).status == 429


async def test_reads_have_a_larger_bucket_of_their_own(face):
    face.contract("loud", rate_per_s=1, burst=1)
    receipt_id = await face.posted(token="loud:rw")
    for remaining in (4, 3, 2, 1, 0):
        answer = await face.call("GET", f"/v1/receipts/{receipt_id}/status", token="loud:rw")
        assert answer.headers["ratelimit"] == f'"read";r={remaining}'
    assert (await face.call("GET", f"/v1/receipts/{receipt_id}/status", token="loud:rw")).status == 429
    assert (await face.call("GET", "/v1/receipts", token="loud:rw")).code == "rate-limited"


def test_a_rate_of_zero_lets_the_burst_through_and_no_more():
    limiter = RateLimiter("write", monotonic=lambda: 0.0)
    limiter.take("a", 0, 1)
    with pytest.raises(ProblemError):
        limiter.take("a", 0, 1)


def test_the_table_of_buckets_is_bounded_and_forgets_the_full_ones_invariant_13():
    now = 0.0
    limiter = RateLimiter("write", buckets_max=16, monotonic=lambda: now)
    for _ in range(5):
        limiter.take("busy", 1, 5)
    for number in range(1000):
        limiter.take(f"once-{number}", 1, 5)
    assert len(limiter) <= 16
    with pytest.raises(ProblemError):
        limiter.take("busy", 1, 5)
