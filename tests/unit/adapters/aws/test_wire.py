"""The wire against a service that fails in every way, over real sockets."""

from __future__ import annotations

import asyncio
import time
import zlib
from email.utils import formatdate

import orjson
import pytest
from aiohttp import web
from stand_in import content, lost, refusal, silence, status

from receiptd.adapters.aws.errors import AwsError
from receiptd.adapters.aws.wire import ANSWER_MAX_BYTES

ANSWER = {"Successful": [{"Id": "0"}]}


async def call(wire, *, timeout_s=5.0, **facts):
    return await wire.call("DeleteMessageBatch", {"QueueUrl": "u", "Entries": []}, timeout_s=timeout_s, **facts)


async def failure(wire, **facts):
    with pytest.raises(AwsError) as raised:
        await call(wire, **facts)
    return raised.value


async def test_a_call_is_one_signed_post_of_json(service, wire, usage):
    service.script = [ANSWER]
    assert await call(wire) == ANSWER
    (request,) = service.requests
    assert request.body == {"QueueUrl": "u", "Entries": []}
    assert request.headers["x-amz-target"] == "AmazonSQS.DeleteMessageBatch"
    assert request.headers["content-type"] == "application/x-amz-json-1.0"
    assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDFIRST/")
    assert request.headers["host"] == service.url.removeprefix("http://")
    assert usage.requests == {("sqs", "DeleteMessageBatch"): 1}
    assert not usage.failures


async def test_an_endpoint_has_no_path(make_wire):
    with pytest.raises(ValueError, match="no path"):
        make_wire(endpoint_url="http://127.0.0.1:1/somewhere")


# -- what passes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        (refusal("ThrottlingException"), ("ThrottlingException", False)),
        (refusal("ProvisionedThroughputExceededException"), ("ProvisionedThroughputExceededException", False)),
        (refusal("RequestThrottled", status=403), ("RequestThrottled", False)),
        (status(429), ("HTTP 429", False)),
        (refusal("InternalServerError", status=500), ("InternalServerError", True)),
        (status(503), ("HTTP 503", True)),
        (status(502, b""), ("HTTP 502", True)),
        (refusal("TransactionConflictException"), ("TransactionConflictException", False)),
        (lost, ("", True)),
        (content(b"<html>welcome to the hotel</html>"), ("", True)),
        (content(b"[]"), ("", True)),
        (content(b"{}", **{"x-amz-crc32": "17"}), ("", True)),
        (content(b"{}", **{"x-amz-crc32": "none"}), ("", True)),
    ],
)
async def test_what_may_pass_is_tried_again(service, wire, usage, fault, verdict):
    code, unknown = verdict
    service.script = [fault, ANSWER]
    assert await call(wire) == ANSWER
    assert usage.requests.total() == 2
    assert usage.failures == {("sqs", "DeleteMessageBatch", code): 1}

    service.script = [fault]
    error = await failure(wire, timeout_s=0.5)
    assert (error.code, error.unknown, error.passing) == (code, unknown, True)


async def test_a_right_checksum_passes(service, wire):
    body = orjson.dumps(ANSWER)
    service.script = [content(body, **{"x-amz-crc32": str(zlib.crc32(body))})]
    assert await call(wire) == ANSWER


async def test_tries_are_bounded(service, wire):
    service.script = [refusal("InternalError", status=500)]
    error = await failure(wire, timeout_s=60.0)
    assert error.code == "InternalError"
    assert len(service.requests) == 8


async def test_a_refusal_is_final_and_known(service, wire):
    service.script = [refusal("QueueDoesNotExist", "no such queue")]
    error = await failure(wire)
    assert (error.code, error.status, error.unknown, error.passing) == ("QueueDoesNotExist", 400, False, False)
    assert "no such queue" in str(error)
    assert len(service.requests) == 1


async def test_a_refusal_after_an_unknown_try_is_unknown(service, wire):
    service.script = [lost, refusal("ValidationException")]
    error = await failure(wire)
    assert (error.code, error.unknown) == ("ValidationException", True)


async def test_nobody_there_is_known(make_wire):
    error = await failure(make_wire(endpoint_url="http://127.0.0.1:1"), timeout_s=0.5)
    assert (error.code, error.unknown, error.passing) == ("", False, True)


async def test_an_endless_answer_is_cut(service, wire):
    service.script = [lambda _: _large()]
    error = await failure(wire, timeout_s=1.0)
    assert (error.code, error.unknown) == ("", True)
    assert "longer" in str(error)


async def _large():
    return web.Response(body=b" " * (ANSWER_MAX_BYTES + 1))


# -- time ----------------------------------------------------------------------------------------------------------


async def test_a_try_that_hangs_is_given_up_and_repeated(service, make_wire):
    service.script = [silence, ANSWER]
    begun = time.monotonic()
    assert await call(make_wire(try_timeout_s=0.2)) == ANSWER
    assert 0.15 < time.monotonic() - begun < 1.5


async def test_the_deadline_ends_a_call_that_may_have_taken_effect(service, wire):
    service.script = [silence]
    begun = time.monotonic()
    error = await failure(wire, timeout_s=0.5)
    assert (error.code, error.unknown, error.passing) == ("", True, True)
    assert 0.2 < time.monotonic() - begun < 1.0


async def test_a_long_poll_may_take_as_long_as_it_waits(service, make_wire):
    async def late(_):
        await asyncio.sleep(0.4)
        return {}

    service.script = [late]
    assert await call(make_wire(try_timeout_s=0.2), waits_s=1.0) == {}


async def test_a_cancelled_call_ends_at_once_and_the_next_one_is_whole(service, wire):
    service.script = [silence, ANSWER]
    task = asyncio.create_task(call(wire))
    await asyncio.sleep(0.1)
    begun = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - begun < 0.1
    assert await call(wire) == ANSWER


async def test_a_burst_of_calls_is_answered_each_by_its_own(service, wire):
    async def echo(request):
        await asyncio.sleep(0.001 * (request.body["n"] % 7))
        return {"n": request.body["n"]}

    service.script = [echo]
    answers = await asyncio.gather(*(wire.call("X", {"n": n}, timeout_s=5.0) for n in range(300)))
    assert [answer["n"] for answer in answers] == list(range(300))


# -- credentials and the clock -------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException", "UnrecognizedClientException"])
async def test_expired_credentials_are_renewed_once(service, wire, credentials, code):
    async def judge(request):
        return ANSWER if "AKIDSECOND" in request.headers["authorization"] else await refusal(code)(request)

    service.script = [judge]
    assert await call(wire) == ANSWER
    assert credentials.refusals == 1
    assert await call(wire) == ANSWER
    assert len(service.requests) == 3


async def test_credentials_that_stay_refused_are_an_error_after_one_more_try(service, wire, credentials):
    service.script = [refusal("ExpiredTokenException", status=400)]
    error = await failure(wire)
    assert (error.code, error.passing) == ("ExpiredTokenException", False)
    assert len(service.requests) == 2


async def test_renewed_credentials_serve_the_tries_after(service, wire, credentials):
    service.script = [refusal("ExpiredToken"), status(503), ANSWER]
    assert await call(wire) == ANSWER
    assert credentials.refusals == 1


@pytest.mark.parametrize("hours", [-3, 3])
@pytest.mark.parametrize("code", ["RequestTimeTooSkewed", "InvalidSignatureException"])
async def test_a_wrong_clock_is_set_by_the_services(service, wire, hours, code):
    theirs = time.time() + hours * 3600

    async def judge(request):
        stamp = time.strftime("%Y%m%dT%H", time.gmtime(theirs))
        if request.headers["x-amz-date"].startswith(stamp):
            return ANSWER
        return await refusal(code, Date=formatdate(theirs, usegmt=True))(request)

    service.script = [judge]
    assert await call(wire) == ANSWER
    assert await call(wire) == ANSWER
    assert len(service.requests) == 3


@pytest.mark.parametrize("date", [None, "yesterday", ""])
async def test_a_bad_signature_under_a_right_clock_is_final(service, wire, date):
    service.script = [refusal("InvalidSignatureException", Date=formatdate(usegmt=True) if date is None else date)]
    error = await failure(wire)
    assert (error.code, error.passing) == ("InvalidSignatureException", False)
    assert len(service.requests) == 1


async def test_a_clock_that_no_setting_mends_is_an_error(service, wire):
    async def judge(request):
        return await refusal("RequestTimeTooSkewed", Date=formatdate(time.time() + 9000))(request)

    service.script = [judge]
    error = await failure(wire)
    assert error.code == "RequestTimeTooSkewed"
    assert len(service.requests) == 2


async def test_what_was_signed_is_not_told_invariant_14(service, wire):
    told = "The signature does not match. The Canonical String for this request should have been 'token-1'"
    service.script = [refusal("InvalidSignatureException", told)]
    error = await failure(wire)
    assert "does not match" in str(error)
    assert "token-1" not in str(error)
