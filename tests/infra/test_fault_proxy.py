"""The fault-injecting proxy: each fault is what it says, is counted, and the daemon's own adapters live through it."""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from uuid import uuid4

import aiohttp
import orjson
import pytest

from lab.aws_faults import Rates
from lab.emulator import Emulator
from lab.fault_proxy import FaultProxy
from receiptd.adapters.aws.dynamodb import Done, DynamoDb, Refused, Statement
from receiptd.adapters.aws.errors import AwsError
from receiptd.adapters.aws.queue import AwsQueue
from receiptd.adapters.aws.signing import Keys
from receiptd.adapters.aws.sqs import Sqs
from receiptd.adapters.aws.usage import Usage
from receiptd.adapters.aws.wire import Wire
from receiptd.adapters.outbound.client import OutboundClient
from receiptd.domain.addresses import OPERATOR
from receiptd.domain.errors import StorageError
from receiptd.ports import Message
from receiptd.runtime.clock import SystemClock

SERVICES = {"sqs": "AmazonSQS", "dynamodb": "DynamoDB_20120810"}
AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=0"


@pytest.fixture(scope="module")
def emulator():
    """DynamoDB Local: the one whose answers carry checksums."""
    running = Emulator()
    yield running
    running.close()


@pytest.fixture
async def proxy(emulator):
    one = FaultProxy(emulator.endpoint, seed=7)
    await one.start()
    yield one
    await one.close()


@pytest.fixture
async def ask(proxy):
    """Make one call, unsigned and without retries: ``ask("sqs", "CreateQueue", QueueName="q")``; (status, answer)."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:

        async def ask(service, operation, *, token="", **request):
            headers = {
                "X-Amz-Target": f"{SERVICES[service]}.{operation}",
                "Content-Type": "application/x-amz-json-1.0",
                "Authorization": AUTHORIZATION.format(service),
                "X-Amz-Security-Token": token,
            }
            async with session.post(f"{proxy.url}/", data=orjson.dumps(request), headers=headers) as reply:
                body = await reply.read()
                checksum = reply.headers.get("x-amz-crc32")
                if checksum is not None and checksum != str(zlib.crc32(body)):
                    return reply.status, b"damaged"
                return reply.status, orjson.loads(body) if reply.content_type != "text/html" else body

        yield ask


@pytest.fixture
async def queue_url(ask):
    return (await ask("sqs", "CreateQueue", QueueName=f"q-{uuid4().hex}"))[1]["QueueUrl"]


@pytest.fixture
async def table(ask):
    name = f"t-{uuid4().hex}"
    status, answer = await ask(
        "dynamodb",
        "CreateTable",
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "c", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "c", "KeyType": "HASH"}],
    )
    assert status == 200, answer
    return name


def entries(count):
    return [{"Id": str(n), "MessageBody": f"body {n}"} for n in range(count)]


def inserts(table, count, start=0):
    text = f"INSERT INTO \"{table}\" VALUE {{'c': ?}}"
    return [{"Statement": text, "Parameters": [{"S": f"c{n}"}]} for n in range(start, start + count)]


async def count_of(ask, table):
    return (await ask("dynamodb", "Scan", TableName=table, Select="COUNT"))[1]["Count"]


async def bodies_of(ask, queue_url):
    found = []
    while messages := (await ask("sqs", "ReceiveMessage", QueueUrl=queue_url, MaxNumberOfMessages=10))[1].get(
        "Messages"
    ):
        found += [message["Body"] for message in messages]
    return found


async def test_without_faults_it_is_not_there(proxy, ask, queue_url, table):
    assert (await ask("sqs", "SendMessageBatch", QueueUrl=queue_url, Entries=entries(10)))[1]["Failed"] == []
    assert sorted(await bodies_of(ask, queue_url)) == [f"body {n}" for n in range(10)]
    status, answer = await ask("dynamodb", "BatchExecuteStatement", Statements=inserts(table, 25))
    assert (status, len(answer["Responses"])) == (200, 25)
    assert await count_of(ask, table) == 25
    assert not proxy.faults.counts
    assert proxy.told()["requests"]["SendMessageBatch"] == 1


@pytest.mark.parametrize(
    ("fault", "statuses"),
    [("throttle", {400}), ("error", {500, 503}), ("error_after_effect", {500}), ("damage", {200})],
)
async def test_a_call_that_fails_took_effect_or_did_not_as_its_fault_says(proxy, ask, table, fault, statuses):
    done = fault in {"error_after_effect", "damage"}
    proxy.turn({"rates": {"BatchExecuteStatement": {fault: 1}}})
    for n in range(4):
        status, answer = await ask("dynamodb", "BatchExecuteStatement", Statements=inserts(table, 1, n))
        assert status in statuses
        assert (answer == b"damaged") is (fault == "damage")
    assert await count_of(ask, table) == 4 * done, "other operations are answered all the while"
    assert proxy.faults.counts == Counter({(fault, "BatchExecuteStatement"): 4})


@pytest.mark.parametrize(("fault", "done"), [("hang", 0), ("hang_after_effect", 1), ("reset_after_effect", 1)])
async def test_a_call_without_an_answer_took_effect_or_did_not(proxy, ask, table, fault, done):
    proxy.turn({"rates": {"*": {fault: 1, "hang_s": 0.05}, "Scan": {fault: 0}}})
    with pytest.raises(aiohttp.ClientError):
        await ask("dynamodb", "BatchExecuteStatement", Statements=inserts(table, 1))
    assert await count_of(ask, table) == done


async def test_single_statements_fail_beside_others_that_are_done(proxy, ask, table):
    proxy.turn({"rates": {"*": {"entry_throttle": 0.2, "entry_conflict": 0.2, "entry_error": 0.2}}})
    _, answer = await ask("dynamodb", "BatchExecuteStatement", Statements=inserts(table, 25))
    codes = Counter(one.get("Error", {}).get("Code") for one in answer["Responses"])
    assert len(answer["Responses"]) == 25
    assert {"TransactionConflict", "InternalServerError", "ThrottlingError", "ProvisionedThroughputExceeded"} < {*codes}
    assert await count_of(ask, table) == codes[None]
    assert sum(proxy.faults.counts.values()) == 25 - codes[None]


async def test_a_statement_may_be_done_and_denied(proxy, ask, table):
    proxy.turn({"rates": {"BatchExecuteStatement": {"entry_error_after_effect": 1}}})
    _, answer = await ask("dynamodb", "BatchExecuteStatement", Statements=inserts(table, 5))
    assert [one["Error"]["Code"] for one in answer["Responses"]] == ["InternalServerError"] * 5
    assert await count_of(ask, table) == 5


async def test_keys_are_left_unprocessed(proxy, ask, table):
    await ask("dynamodb", "BatchExecuteStatement", Statements=inserts(table, 20))
    proxy.turn({"rates": {"BatchGetItem": {"entry_throttle": 0.5}}})
    keys = [{"c": {"S": f"c{n}"}} for n in range(20)]
    _, answer = await ask("dynamodb", "BatchGetItem", RequestItems={table: {"Keys": keys}})
    found, left = answer["Responses"][table], answer["UnprocessedKeys"][table]["Keys"]
    assert found
    assert left
    assert sorted(item["c"]["S"] for item in found + left) == sorted(key["c"]["S"] for key in keys)


async def test_single_messages_of_a_batch_fail(proxy, ask, queue_url):
    proxy.turn({"rates": {"SendMessageBatch": {"entry_error": 0.4, "entry_error_after_effect": 0.3}}})
    _, answer = await ask("sqs", "SendMessageBatch", QueueUrl=queue_url, Entries=entries(10))
    failed = {one["Id"] for one in answer["Failed"]}
    done = {one["Id"] for one in answer["Successful"]}
    assert failed | done == {str(n) for n in range(10)}
    assert not failed & done
    sent = set(await bodies_of(ask, queue_url))
    assert {f"body {n}" for n in done} < sent, "some that are said to have failed were sent"
    assert len(sent) - len(done) == proxy.faults.counts["entry_error_after_effect", "SendMessageBatch"]
    assert len(failed) == sum(proxy.faults.counts.values())


async def test_a_received_message_comes_again_under_another_handle_before_its_visibility_ends(proxy, ask, queue_url):
    await ask("sqs", "SendMessageBatch", QueueUrl=queue_url, Entries=entries(3))
    proxy.turn({"rates": {"ReceiveMessage": {"duplicate": 1, "again_s": 0}}})
    (first, second) = [
        (await ask("sqs", "ReceiveMessage", QueueUrl=queue_url, MaxNumberOfMessages=10))[1]["Messages"]
        for _ in range(2)
    ]
    bodies = [sorted(one["Body"] for one in messages) for messages in (first, second)]
    assert set(bodies[0]) | set(bodies[1]) == {"body 0", "body 1", "body 2"}
    assert len(bodies[0]) + len(bodies[1]) == 6
    handles = {one["ReceiptHandle"] for one in first + second}
    assert len(handles) == 6
    deletions = [{"Id": str(n), "ReceiptHandle": handle} for n, handle in enumerate(sorted(handles))]
    _, answer = await ask("sqs", "DeleteMessageBatch", QueueUrl=queue_url, Entries=deletions)
    assert len(answer["Successful"]) == 3, "either handle deletes; the other one is stale then"


async def test_messages_overtake_each_other_and_none_is_forgotten(proxy, ask, queue_url):
    await ask("sqs", "SendMessageBatch", QueueUrl=queue_url, Entries=entries(10))
    proxy.turn({"rates": {"ReceiveMessage": {"hold": 0.6, "again_s": 1}}})
    first = (await ask("sqs", "ReceiveMessage", QueueUrl=queue_url, MaxNumberOfMessages=10))[1].get("Messages", [])
    assert len(first) < 10
    seen = [one["Body"] for one in first]
    async with asyncio.timeout(4):
        while len(seen) < 10:  # a long poll ends when a message that was held back is due
            _, answer = await ask(
                "sqs", "ReceiveMessage", QueueUrl=queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=20
            )
            seen += [one["Body"] for one in answer.get("Messages", [])]
    assert sorted(seen) == [f"body {n}" for n in range(10)]
    assert seen != sorted(seen)


async def test_handles_are_said_to_be_stale(proxy, ask, queue_url):
    await ask("sqs", "SendMessageBatch", QueueUrl=queue_url, Entries=entries(1))
    ((message),) = (await ask("sqs", "ReceiveMessage", QueueUrl=queue_url))[1]["Messages"]
    deletion = [{"Id": "0", "ReceiptHandle": message["ReceiptHandle"]}]
    proxy.turn({"rates": {"*": {"entry_stale": 1}}})
    _, answer = await ask("sqs", "DeleteMessageBatch", QueueUrl=queue_url, Entries=deletion)
    assert [one["Code"] for one in answer["Failed"]] == ["ReceiptHandleIsInvalid"]
    proxy.turn({"reset": True})
    _, answer = await ask("sqs", "DeleteMessageBatch", QueueUrl=queue_url, Entries=deletion)
    assert len(answer["Successful"]) == 1


async def test_a_session_expires_until_its_credentials_are_asked_for_anew(proxy, ask, table):
    async def credentials():
        async with aiohttp.ClientSession() as session, session.get(f"{proxy.url}/_credentials") as reply:
            return await reply.json()

    token = (await credentials())["Token"]
    assert (await ask("dynamodb", "Scan", TableName=table, token=token))[0] == 200
    proxy.turn({"expire": True})
    status, answer = await ask("dynamodb", "Scan", TableName=table, token=token)
    assert (status, answer["__type"].rpartition("#")[2]) == (400, "ExpiredTokenException")
    token = (await credentials())["Token"]
    assert (await ask("dynamodb", "Scan", TableName=table, token=token))[0] == 200


async def test_answers_are_slow(proxy, ask, table):
    proxy.turn({"rates": {"*": {"slow": 1, "slow_s": 0.2}}})
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for _ in range(5):
        assert await count_of(ask, table) == 0
    assert loop.time() - begun > 0.2
    assert proxy.faults.counts["slow", "Scan"] == 5


async def test_the_weather_is_controlled_from_outside_and_a_misspelt_rate_is_refused(proxy):
    async with aiohttp.ClientSession() as session:
        url = f"{proxy.url}/_faults"
        async with session.put(url, json={"rates": {"*": {"thorttle": 0.1}}}) as reply:
            assert (reply.status, "thorttle" in await reply.text()) == (400, True)
        async with session.put(url, json={"rates": {"*": {"throttle": 1.5}}}) as reply:
            assert reply.status == 400
        async with session.put(url, json={"rates": {"*": {"throttle": 0.5}}}) as reply:
            assert reply.status == 200
        assert proxy.faults.of("GetItem", hot=True) == Rates(throttle=0.5)
        assert proxy.faults.of("GetKeys", hot=False) == Rates()
        async with session.get(url) as reply:
            assert (await reply.json()) == {"faults": {}, "requests": {}, "receives": {}}


# -- the adapters behind it ----------------------------------------------------------------------------------------

STORM = {
    "throttle": 0.03,
    "error": 0.03,
    "error_after_effect": 0.03,
    "reset_after_effect": 0.03,
    "damage": 0.03,
    "slow": 0.1,
    "slow_s": 0.1,
    "entry_throttle": 0.03,
    "entry_conflict": 0.03,
    "entry_error": 0.03,
    "entry_error_after_effect": 0.03,
    "entry_stale": 0.05,
    "duplicate": 0.2,
    "hold": 0.2,
    "again_s": 0.5,
}


class Session:
    """Credentials from the proxy, as those of an instance's role."""

    def __init__(self, url):
        self._url = url
        self.renewals = 0
        self._keys = None

    async def keys(self, refused=None):
        if self._keys is None or self._keys == refused:
            async with aiohttp.ClientSession() as session, session.get(f"{self._url}/_credentials") as reply:
                told = await reply.json()
            self._keys = Keys(told["AccessKeyId"], told["SecretAccessKey"], told["Token"])
            self.renewals += 1
        return self._keys


@pytest.fixture
async def wire(proxy):
    """Make wires to a service through the proxy."""
    http = OutboundClient(OPERATOR, connections_per_origin=32)
    session = Session(proxy.url)

    def make(service):
        return Wire(
            service,
            SERVICES[service],
            endpoint_url=proxy.url,
            region="us-east-1",
            credentials=session,
            http=http,
            usage=Usage(),
        )

    yield make
    await http.close()


async def test_no_message_is_lost_in_a_storm(proxy, ask, queue_url, wire):
    """Invariant 11: what was sent without an error is received, whatever else is received twice."""
    name = queue_url.rpartition("/")[2]
    await ask("sqs", "SetQueueAttributes", QueueUrl=queue_url, Attributes={"VisibilityTimeout": "1"})
    queue = AwsQueue(Sqs(wire("sqs")), SystemClock(), lambda _: name, lambda _: name)
    proxy.turn({"rates": {"*": STORM}})
    sent, seen = set(), Counter()

    async def send(n):
        messages = [Message("q", f"k-{n}-{m}", "{}") for m in range(10)]
        try:
            await queue.send(messages)
        except StorageError:
            return  # some of it may be sent all the same
        sent.update(message.key for message in messages)

    async def receive():
        while not sent <= set(seen):
            try:
                received = await queue.receive("q", 50, 1.0)
                await queue.acknowledge("q", received)
            except StorageError:
                continue
            seen.update(one.message.key for one in received)

    await asyncio.gather(*(send(n) for n in range(30)))
    proxy.turn({"expire": True})
    async with asyncio.timeout(30):
        await receive()
    assert len(sent) > 150
    assert max(seen.values()) > 1, "duplicates were among them"
    assert proxy.faults.counts["expired", "ReceiveMessage"]


async def test_every_outcome_of_a_batch_is_true_in_a_storm(proxy, ask, table, wire):
    """Invariant 1: what is said to be written stands; what is said to be refused was there."""
    dynamodb = DynamoDb(wire("dynamodb"), Usage())
    text = inserts(table, 1)[0]["Statement"]
    proxy.turn({"rates": {"*": STORM}})
    statements = [Statement(text, [{"S": f"c{n}"}], 10) for n in range(500)]
    outcomes = await dynamodb.execute(table, statements, timeout_s=5)
    proxy.turn({"reset": True})
    keys = [{"c": statement.parameters[0]} for statement in statements]
    standing = {item["c"]["S"] for item in await dynamodb.get_many(table, keys, timeout_s=10)}
    kinds = Counter(type(outcome).__name__ for outcome in outcomes)
    for key, outcome in zip(keys, outcomes, strict=True):
        assert isinstance(outcome, AwsError) or key["c"]["S"] in standing
    assert kinds["Done"] > 300
    assert kinds["Refused"], "a write that was repeated meets itself"
    assert sum(proxy.faults.counts.values()) > 50
    outcomes = await dynamodb.execute(table, statements, timeout_s=5)
    assert {type(outcome) for outcome in outcomes} <= {Done, Refused}, "what failed can be repeated"
