"""Each call of SQS through the wire is answered as through aiobotocore, errors included."""

from __future__ import annotations

import uuid

import pytest
from aiobotocore.session import get_session
from botocore.exceptions import ClientError

from receiptd.adapters.aws.errors import AwsError

TIMEOUT_S = 10.0
METHODS = {
    "GetQueueUrl": "get_queue_url",
    "GetQueueAttributes": "get_queue_attributes",
    "SendMessageBatch": "send_message_batch",
    "ReceiveMessage": "receive_message",
    "DeleteMessageBatch": "delete_message_batch",
    "ChangeMessageVisibilityBatch": "change_message_visibility_batch",
}
OF_THE_MOMENT = {"MessageId", "ReceiptHandle"}


SESSION = get_session()  # one for all: it keeps the service's model, which takes long to read


@pytest.fixture
async def sqs_client(emulator):
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    async with SESSION.create_client(
        "sqs", region_name="eu-central-1", endpoint_url=emulator.endpoint, **keys
    ) as client:
        yield client


@pytest.fixture
def ours(sqs_wire):
    async def call(operation, request):
        try:
            return await sqs_wire.call(
                operation, request, timeout_s=TIMEOUT_S, waits_s=request.get("WaitTimeSeconds", 0)
            )
        except AwsError as error:
            return error.code, error.status, error.text.partition(": ")[2]

    return call


@pytest.fixture
def theirs(sqs_client):
    async def call(operation, request):
        try:
            answer = await getattr(sqs_client, METHODS[operation])(**request)
        except ClientError as error:
            fault = error.response["Error"]
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            return fault.get("QueryErrorCode", fault["Code"]), status, fault["Message"]
        del answer["ResponseMetadata"]
        return answer

    return call


@pytest.fixture
async def urls(make_queue, sqs_client):
    """Two queues alike: one for each way."""
    names = [await make_queue(visibility_s=30) for _ in range(2)]
    return [(await sqs_client.get_queue_url(QueueName=name))["QueueUrl"] for name in names]


def lasting(answer):
    """Return ``answer`` without what differs between any two calls; whether it was there is kept."""
    if isinstance(answer, dict):
        return {name: "…" if name in OF_THE_MOMENT else lasting(part) for name, part in answer.items()}
    return [lasting(part) for part in answer] if isinstance(answer, list) else answer


@pytest.fixture
def both(ours, theirs, urls):
    """Makes one call both ways, each on its own queue; returns both answers."""

    async def call(operation, request, handles=(None, None)):
        answers = []
        for way, url, given in zip((ours, theirs), urls, handles, strict=True):
            whole = dict(request) if "QueueUrl" in request else {"QueueUrl": url, **request}
            if given is not None:
                whole["Entries"] = [{**entry, "ReceiptHandle": handle} for entry, handle in zip_(request, given)]
            answers.append(await way(operation, whole))
        return answers

    return call


def zip_(request, handles):
    return zip(request["Entries"], handles, strict=True)


def entries(count, **facts):
    return [{"Id": str(n), **facts} for n in range(count)]


BODIES = ['{"k":"a"}', "№ – 語 😀", 'quotes " and \\ and\nlines\t', "x" * 5000, " ", "<&>", "\x7f", "\u2028"]


async def test_a_batch_sent_received_extended_and_deleted(both):
    batch = [{"Id": f"i-{n}", "MessageBody": body} for n, body in enumerate(BODIES)]
    sent = await both("SendMessageBatch", {"Entries": batch})
    assert lasting(sent[0]) == lasting(sent[1])
    assert len(sent[0]["Successful"]) == len(BODIES)

    request = {"MaxNumberOfMessages": 10, "WaitTimeSeconds": 1, "MessageSystemAttributeNames": ["All"]}
    received = await both("ReceiveMessage", request)
    messages = [answer["Messages"] for answer in received]
    assert [m["Body"] for m in messages[0]] == [m["Body"] for m in messages[1]] == BODIES
    assert lasting([{**m, "Attributes": sorted(m["Attributes"])} for m in messages[0]]) == lasting(
        [{**m, "Attributes": sorted(m["Attributes"])} for m in messages[1]]
    )
    assert {m["Attributes"]["ApproximateReceiveCount"] for m in messages[0]} == {"1"}

    handles = [[m["ReceiptHandle"] for m in part] for part in messages]
    extended = await both("ChangeMessageVisibilityBatch", {"Entries": entries(8, VisibilityTimeout=60)}, handles)
    assert extended[0] == extended[1]
    deleted = await both("DeleteMessageBatch", {"Entries": entries(8)}, handles)
    assert deleted[0] == deleted[1]
    assert len(deleted[0]["Successful"]) == len(BODIES)
    stale = await both("DeleteMessageBatch", {"Entries": entries(8)}, handles)
    assert stale[0] == stale[1]


async def test_an_empty_queue(both):
    answers = await both("ReceiveMessage", {"MaxNumberOfMessages": 10, "WaitTimeSeconds": 1})
    assert answers == [{}, {}]


async def test_depths_and_urls(both, ours, theirs, urls):
    await both("SendMessageBatch", {"Entries": entries(3, MessageBody="x", DelaySeconds=60)})
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed", "RedrivePolicy", "VisibilityTimeout"]
    request = {"QueueUrl": urls[0], "AttributeNames": names}
    assert await ours("GetQueueAttributes", request) == await theirs("GetQueueAttributes", request)
    name = {"QueueName": urls[0].rpartition("/")[2]}
    assert await ours("GetQueueUrl", name) == await theirs("GetQueueUrl", name) == {"QueueUrl": urls[0]}


@pytest.mark.parametrize(
    ("operation", "request_", "code"),
    [
        ("SendMessageBatch", {"Entries": entries(11, MessageBody="x")}, "TooManyEntriesInBatchRequest"),
        ("DeleteMessageBatch", {"Entries": entries(11, ReceiptHandle="x")}, "TooManyEntriesInBatchRequest"),
        ("SendMessageBatch", {"Entries": []}, "EmptyBatchRequest"),
        ("DeleteMessageBatch", {"Entries": []}, "EmptyBatchRequest"),
        ("ChangeMessageVisibilityBatch", {"Entries": []}, "EmptyBatchRequest"),
        ("SendMessageBatch", {"Entries": 2 * entries(1, MessageBody="x")}, "BatchEntryIdsNotDistinct"),
        ("SendMessageBatch", {"Entries": [{"Id": "a b", "MessageBody": "x"}]}, "InvalidBatchEntryId"),
        ("SendMessageBatch", {"Entries": entries(2, MessageBody="x" * 600_000)}, "BatchRequestTooLong"),
        ("ReceiveMessage", {"MaxNumberOfMessages": 11}, "InvalidParameterValue"),
    ],
)
@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")
async def test_a_call_that_is_refused(both, operation, request_, code):
    answers = await both(operation, request_)
    assert answers[0] == answers[1]
    assert answers[0][:2] == (code, 400)


@pytest.mark.parametrize(
    ("operation", "facts"),
    [
        ("SendMessageBatch", {"Entries": entries(1, MessageBody="x")}),
        ("ReceiveMessage", {}),
        ("DeleteMessageBatch", {"Entries": entries(1, ReceiptHandle="x")}),
        ("ChangeMessageVisibilityBatch", {"Entries": entries(1, ReceiptHandle="x", VisibilityTimeout=1)}),
        ("GetQueueAttributes", {"AttributeNames": ["All"]}),
    ],
)
async def test_a_queue_that_does_not_exist(both, emulator, operation, facts):
    url = f"{emulator.endpoint}/000000000000/none-{uuid.uuid4().hex}"
    answers = await both(operation, {"QueueUrl": url, **facts})
    assert answers[0] == answers[1]
    assert answers[0][:2] == ("QueueDoesNotExist", 400)


async def test_a_name_that_does_not_exist(ours, theirs):
    name = {"QueueName": f"none-{uuid.uuid4().hex}"}
    answer = await ours("GetQueueUrl", name)
    assert answer == await theirs("GetQueueUrl", name)
    assert answer[:2] == ("QueueDoesNotExist", 400)


@pytest.mark.parametrize("operation", ["DeleteMessageBatch", "ChangeMessageVisibilityBatch"])
async def test_handles_that_are_none(both, operation):
    facts = {"VisibilityTimeout": 5} if operation.startswith("Change") else {}
    answers = await both(operation, {"Entries": entries(2, ReceiptHandle="no handle at all", **facts)})
    assert answers[0] == answers[1]
    assert [entry["Code"] for entry in answers[0]["Failed"]] == 2 * ["ReceiptHandleIsInvalid"]


async def test_a_batch_that_fails_in_part(both):
    batch = [{"Id": "good", "MessageBody": "fine"}, {"Id": "bad", "MessageBody": "\x01"}]
    answers = await both("SendMessageBatch", {"Entries": batch})
    assert lasting(answers[0]) == lasting(answers[1])
    assert [entry["Id"] for entry in answers[0]["Successful"]] == ["good"]
    assert [(entry["Id"], entry["SenderFault"]) for entry in answers[0]["Failed"]] == [("bad", True)]
