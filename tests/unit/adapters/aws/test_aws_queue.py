"""The queues on SQS: what the contract suite does not show, on an emulator and against a service that fails."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_in import lost, refusal, silence, status

from receiptd.adapters.aws.frames import frame, unframe
from receiptd.adapters.aws.queue import AwsQueue
from receiptd.adapters.aws.sqs import Outgoing, Sqs
from receiptd.domain.errors import ConfigurationError, StorageError
from receiptd.ports import Message, QueueDepth, Received
from receiptd.runtime.clock import SystemClock

URL = "http://sqs.example/1/jobs"


def dead_name(name):
    return f"{name}-dlq"


@pytest.fixture
def sqs(sqs_wire):
    return Sqs(sqs_wire)


@pytest.fixture
async def name(make_queue):
    return await make_queue(visibility_s=20)


@pytest.fixture
def queue(sqs, name):
    return AwsQueue(sqs, SystemClock(), lambda _: name, lambda _: dead_name(name))


@pytest.fixture
def frail(service, make_wire):
    """A queue whose service is the stand-in: it tells URLs itself and leaves the rest to the script."""
    service.fixed = {"GetQueueUrl": {"QueueUrl": URL}}
    return AwsQueue(Sqs(make_wire(try_timeout_s=0.5)), SystemClock(), str, dead_name, timeout_s=1.0)


def messages(*keys, **facts):
    return [Message("jobs", key, f"body of {key}", **facts) for key in keys]


def keys(received):
    return sorted(each.message.key for each in received)


def received(*keys):
    return [Received(Message("jobs", key, ""), f"{key} handle-{key}", 1) for key in keys]


# -- bodies --------------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SENDABLE = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")  # what SQS takes in a message


@given(key=TEXT, body=TEXT, due=st.floats(0, 4e9), dead=st.booleans())
def test_any_message_can_be_sent_and_comes_back(key, body, due, dead):
    content = frame(Message("jobs", key, body, due, dead))
    assert SENDABLE.fullmatch(content)
    assert unframe("jobs", content, dead=dead) == Message("jobs", key, body, round(due, 3), dead)


@pytest.mark.parametrize("body", ["", "x", "[]", "{}", '{"k":1,"b":"x"}', '{"k":"a","b":"b","d":"soon"}', '{"k":"a"}'])
def test_what_is_none_of_ours_is_no_message(body):
    assert unframe("jobs", body) is None


# -- receiving -----------------------------------------------------------------------------------------------------


async def test_a_large_backlog_is_received_in_one_go(queue, usage):
    await queue.send(messages(*(f"k{n}" for n in range(95))))
    begun = time.monotonic()
    assert keys(await queue.receive("jobs", 200, 20.0)) == sorted(f"k{n}" for n in range(95))
    assert time.monotonic() - begun < 3.0
    assert usage.requests["sqs", "ReceiveMessage"] <= 1 + 8 + 8 + 8
    assert usage.requests["sqs", "SendMessageBatch"] == 10


async def test_a_limit_that_is_no_ten_is_kept(queue):
    await queue.send(messages(*(f"k{n}" for n in range(50))))
    first = await queue.receive("jobs", 33, 0.0)
    assert len(first) == 33
    assert len(await queue.receive("jobs", 50, 0.0)) == 17
    await queue.acknowledge("jobs", first)
    assert await queue.depth("jobs") == QueueDepth(0, 17, 0)


async def test_a_message_due_later_than_sqs_delays_is_sent_on_and_not_handed_out(queue, sqs, name):
    later = Message("jobs", "later", "x", time.time() + 3600)
    url = await sqs.queue_url(name, timeout_s=5.0)
    await sqs.send(url, [Outgoing(frame(later)), Outgoing(frame(Message("jobs", "now", "y")))], timeout_s=5.0)
    assert keys(await queue.receive("jobs", 10, 0.0)) == ["now"]
    assert await queue.depth("jobs") == QueueDepth(0, 2, 0)


async def test_a_message_sent_on_has_the_rest_of_its_delay(frail, service):
    due = time.time() + 1000
    body = frame(Message("jobs", "later", "x", due))
    digest = hashlib.md5(body.encode()).hexdigest()
    early = {"MessageId": "m", "ReceiptHandle": "h", "Body": body, "MD5OfBody": digest}
    early["Attributes"] = {"ApproximateReceiveCount": "1"}
    sent = {"Successful": [{"Id": "0", "MessageId": "n", "MD5OfMessageBody": digest}]}
    service.script = [{"Messages": [early]}, sent, {"Successful": [{"Id": "0"}]}, {}]
    assert await frail.receive("jobs", 10, 0.0) == []
    _, sending, deleting = service.requests
    assert sending.body["Entries"] == [{"MessageBody": body, "DelaySeconds": 900, "Id": "0"}]
    assert deleting.body["Entries"] == [{"ReceiptHandle": "h", "Id": "0"}]

    service.script = [{"Messages": [early]}, status(503)]
    assert await frail.receive("jobs", 10, 0.0) == []
    assert "DeleteMessageBatch" not in [request.operation for request in service.requests[3:]]


async def test_delays_are_whole_seconds_and_no_more_than_sqs_takes(frail, service):
    service.script = [_all_sent]
    now = time.time()
    await frail.send([Message("jobs", "a", "x", now + due) for due in (-5.0, 0.2, 600.5, 1e6)] + messages("b"))
    delays = [entry["DelaySeconds"] for entry in service.requests[0].body["Entries"]]
    assert delays[0] == delays[4] == 0
    assert delays[1:4] == [1, 601, 900]


async def test_a_body_that_is_none_of_ours_is_buried_and_harms_nobody_invariant_12(queue, sqs, name):
    url = await sqs.queue_url(name, timeout_s=5.0)
    await sqs.send(url, [Outgoing("who are you"), Outgoing(frame(Message("jobs", "a", "x")))], timeout_s=5.0)
    assert keys(await queue.receive("jobs", 10, 0.0)) == ["a"]
    (letter,) = await queue.dead_letters("jobs", 10)
    assert letter.key.startswith("malformed:")
    assert letter.body == "who are you"
    assert await queue.redrive("jobs", None) == 0
    assert await queue.drop("jobs", [letter.key]) == 1
    assert await queue.dead_letters("jobs", 10) == []


async def test_a_cancelled_receive_ends_at_once(queue):
    task = asyncio.create_task(queue.receive("jobs", 10, 20.0))
    await asyncio.sleep(0.2)
    begun = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - begun < 0.2
    await queue.send(messages("a"))
    assert keys(await queue.receive("jobs", 10, 2.0)) == ["a"]


async def test_a_message_damaged_on_the_way_is_not_handed_out(frail, service):
    service.script = [{"Messages": [_delivered("a"), {**_delivered("b"), "MD5OfBody": "0" * 32}]}]
    assert keys(await frail.receive("jobs", 2, 0.0)) == ["a"]


async def test_one_receive_of_several_may_fail(frail, service):
    calls = iter(range(99))

    async def answer(request):
        number = next(calls)
        if number == 1:
            return await refusal("OverLimit")(request)
        return {"Messages": [_delivered(f"{number}-{n}") for n in range(10 if number == 0 else 1)]}

    service.script = [answer]
    assert len(await frail.receive("jobs", 30, 0.0)) >= 11


@pytest.mark.parametrize("fault", [status(500), lost, silence, refusal("AccessDeniedException")])
async def test_a_receive_that_fails_is_a_storage_error(frail, service, fault):
    service.script = [fault]
    with pytest.raises(StorageError) as raised:
        await frail.receive("jobs", 10, 0.0)
    assert raised.value.__cause__ is not None


async def test_a_few_messages_hold_a_waiting_consumer_back_for_a_moment(sqs, name, usage):
    queue = AwsQueue(sqs, SystemClock(), lambda _: name, dead_name, pace_s=0.4)
    await queue.send(messages("a"))
    assert keys(await queue.receive("jobs", 10, 5.0)) == ["a"]
    await queue.send(messages(*(f"k{n}" for n in range(10))))
    begun = time.monotonic()
    assert len(await queue.receive("jobs", 10, 5.0)) == 10
    assert 0.3 < time.monotonic() - begun < 1.0
    await queue.send(messages("b"))
    begun = time.monotonic()
    assert keys(await queue.receive("jobs", 10, 5.0)) == ["b"]
    assert keys(await queue.receive("jobs", 10, 0.0)) == []
    assert time.monotonic() - begun < 0.3


async def test_a_receive_of_less_than_was_asked_for_holds_back_too(sqs, name, usage):
    queue = AwsQueue(sqs, SystemClock(), lambda _: name, dead_name, pace_s=0.4)
    await queue.send(messages(*(f"k{n}" for n in range(20))))
    received = [*await queue.receive("jobs", 100, 5.0)]
    begun = time.monotonic()
    await queue.send(messages("last"))
    while len(received) < 21:
        received += await queue.receive("jobs", 100, 5.0)
    assert time.monotonic() - begun > 0.3
    assert usage.requests["sqs", "ReceiveMessage"] <= 8


# -- sending -------------------------------------------------------------------------------------------------------


def _delivered(key):
    body = frame(Message("jobs", key, "x"))
    return {
        "MessageId": key,
        "ReceiptHandle": f"handle-{key}",
        "Body": body,
        "MD5OfBody": hashlib.md5(body.encode()).hexdigest(),
        "Attributes": {"ApproximateReceiveCount": "1"},
    }


def _sent(entry):
    digest = hashlib.md5(entry.get("MessageBody", "").encode()).hexdigest()
    return {"Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": digest}


async def _all_sent(request):
    return {"Successful": [_sent(entry) for entry in request.body["Entries"]]}


def partly(code, *failing, ours=False):
    """Answer a batch; the entries at the places ``failing`` fail."""

    async def answer(request):
        entries = request.body["Entries"]
        failed = [
            {"Id": entry["Id"], "Code": code, "SenderFault": ours, "Message": "no"}
            for place, entry in enumerate(entries)
            if place in failing
        ]
        done = [_sent(entry) for place, entry in enumerate(entries) if place not in failing]
        return {"Successful": done, "Failed": failed}

    return answer


async def test_entries_that_the_service_failed_are_sent_again_alone(frail, service):
    service.script = [partly("InternalError", 1, 3), partly("ServiceUnavailable", 0), _all_sent]
    await frail.send(messages("a", "b", "c", "d"))
    bodies = [[unframe("", e["MessageBody"]).key for e in r.body["Entries"]] for r in service.requests]
    assert bodies == [["a", "b", "c", "d"], ["b", "d"], ["b"]]


async def test_entries_that_the_sender_failed_are_not_sent_again(frail, service):
    service.script = [partly("InvalidMessageContents", 1, ours=True)]
    outcomes = await frail.post(messages("a", "b", "c"))
    assert [outcome is None for outcome in outcomes] == [True, False, True]
    assert isinstance(outcomes[1], StorageError)
    assert len(service.requests) == 1
    with pytest.raises(StorageError, match="InvalidMessageContents"):
        await frail.send(messages("a", "b"))


async def test_an_entry_that_the_answer_leaves_out_or_damages_is_sent_again(frail, service):
    async def damaged(request):
        return {"Successful": [{**_sent(request.body["Entries"][0]), "MD5OfMessageBody": "0" * 32}]}

    service.script = [damaged, _all_sent]
    await frail.send(messages("a", "b"))
    assert [len(request.body["Entries"]) for request in service.requests] == [2, 2]


@pytest.mark.parametrize("answer", [{"Successful": [7]}, {"Failed": "yes"}, {"Successful": [{}]}])
async def test_an_answer_of_another_shape_is_none(frail, service, answer):
    service.script = [answer]
    with pytest.raises(StorageError):
        await frail.send(messages("a"))


async def test_a_send_that_fails_is_a_storage_error_within_its_time(frail, service):
    service.script = [status(503)]
    begun = time.monotonic()
    outcomes = await frail.post([*messages("a"), Message("other", "b", "x"), *messages("c", dead=True)])
    assert all(isinstance(outcome, StorageError) for outcome in outcomes)
    assert time.monotonic() - begun < 2.0


async def test_the_queue_of_a_registrar_that_is_not_configured_fails_its_own_messages_only(sqs, name):
    def name_of(queue):
        if queue != "jobs":
            raise ConfigurationError(f"there is no queue {queue}")
        return name

    queue = AwsQueue(sqs, SystemClock(), name_of, dead_name)
    outcomes = await queue.post([*messages("a"), Message("registrar.gone", "b", "x")])
    assert outcomes[0] is None
    assert str(outcomes[1]) == "there is no queue registrar.gone"


async def test_a_fault_of_one_queue_is_not_the_others_invariant_12(sqs, name, queue):
    queue = AwsQueue(
        sqs, SystemClock(), lambda queue: name if queue == "jobs" else "no-such-queue", dead_name, timeout_s=1.0
    )
    outcomes = await queue.post([*messages("a"), Message("missing", "b", "x"), *messages("c")])
    assert [outcome is None for outcome in outcomes] == [True, False, True]
    assert "receiptd aws provision" in str(outcomes[1])
    assert keys(await queue.receive("jobs", 10, 0.0)) == ["a", "c"]


async def test_batches_go_side_by_side_but_not_all_at_once_invariant_13(frail, service):
    busy = most = 0

    async def answer(request):
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0.01)
        busy -= 1
        return await _all_sent(request)

    service.script = [answer]
    await frail.send(messages(*(f"k{n}" for n in range(600))))
    assert len(service.requests) == 60
    assert 8 <= most <= 16


async def test_large_bodies_are_split_over_requests(frail, service):
    service.script = [_all_sent]
    await frail.send([Message("jobs", f"k{n}", "x" * 40_000) for n in range(5)])
    assert len(service.requests) > 1
    assert max(len(request.raw) for request in service.requests) < 262_144


# -- handles -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue"])
async def test_stale_handles_are_ignored(frail, service, code):
    service.script = [partly(code, 0, 1, ours=True)]
    await frail.acknowledge("jobs", received("a", "b"))
    await frail.extend("jobs", received("a", "b"), 5.0)


async def test_an_acknowledgement_that_fails_in_part_is_none_that_failed(frail, service):
    service.script = [partly("AccessDenied", 1, ours=True)]
    await frail.acknowledge("jobs", received("a", "b"))
    service.script = [partly("AccessDenied", 0, 1, ours=True)]
    with pytest.raises(StorageError):
        await frail.acknowledge("jobs", received("a", "b"))
    service.script = [status(500)]
    with pytest.raises(StorageError):
        await frail.extend("jobs", received("a", "b"), 5.0)


async def test_nothing_to_acknowledge_asks_nothing(frail, service):
    await frail.acknowledge("jobs", [])
    await frail.acknowledge("jobs", [Received(Message("jobs", "a", ""), "b handle-b", 1)])
    assert service.requests == []


@pytest.mark.parametrize(("asked_s", "given_s"), [(0.0, 0), (0.1, 1), (59.5, 60), (1e9, 39_600)])
async def test_visibility_is_whole_seconds_and_no_more_than_sqs_takes(frail, service, asked_s, given_s):
    service.script = [_all_sent]
    await frail.extend("jobs", received("a"), asked_s)
    assert service.requests[0].body["Entries"][0]["VisibilityTimeout"] == given_s


async def test_a_queue_that_comes_to_be_is_found(sqs, make_queue):
    names = {"jobs": "no-such-queue"}
    queue = AwsQueue(sqs, SystemClock(), names.__getitem__, dead_name)
    with pytest.raises(StorageError, match="no-such-queue"):
        await queue.send(messages("a"))
    names["jobs"] = await make_queue()
    await queue.send(messages("a"))


# -- dead letters --------------------------------------------------------------------------------------------------


async def test_many_letters_are_looked_at_redriven_and_dropped(queue):
    everything = {f"d{n}" for n in range(63)}
    await queue.send(messages(*everything, dead=True))
    assert len(await queue.dead_letters("jobs", 25)) == 25
    letters = await queue.dead_letters("jobs", 1000)
    assert {letter.key for letter in letters} == everything
    assert {letter.body for letter in letters} == {f"body of {key}" for key in everything}
    assert await queue.redrive("jobs", ["d3", "d62"]) == 2
    assert await queue.drop("jobs", ["d4", "d5", "d3"]) == 2
    assert keys(await queue.receive("jobs", 10, 0.0)) == ["d3", "d62"]
    assert await queue.redrive("jobs", None) == 59
    assert await queue.depth("jobs") == QueueDepth(59, 2, 0)


async def test_letters_stay_dead_when_they_cannot_be_sent(frail, service):
    sweeping = {"Messages": [_delivered("a")]}

    async def answer(request):
        if request.operation == "ReceiveMessage":
            return sweeping
        return await (status(500) if request.operation == "SendMessageBatch" else _all_sent)(request)

    service.script = [answer]
    with pytest.raises(StorageError):
        await frail.redrive("jobs", None)
    operations = [request.operation for request in service.requests]
    assert "DeleteMessageBatch" not in operations
    assert operations[-1] == "ChangeMessageVisibilityBatch"
    assert service.requests[-1].body["Entries"][0]["VisibilityTimeout"] == 0


async def test_nothing_chosen_asks_nothing(frail, service):
    assert await frail.redrive("jobs", []) == 0
    assert await frail.drop("jobs", []) == 0
    assert service.requests == []
