"""The stand-ins of SQS and DynamoDB keep state as the services do; seen through the daemon's own adapters."""

import asyncio
import base64
from types import SimpleNamespace

import pytest

from lab import aws_stubs
from lab.children import free_ports
from receiptd.adapters.aws.dynamodb import Done, DynamoDb, Refused, Statement
from receiptd.adapters.aws.errors import AwsError
from receiptd.adapters.aws.signing import Keys
from receiptd.adapters.aws.sqs import Outgoing, Sqs
from receiptd.adapters.aws.usage import Usage
from receiptd.adapters.aws.wire import Wire
from receiptd.adapters.outbound.client import OutboundClient
from receiptd.domain.addresses import OPERATOR

_T = 5.0
_TABLE = "receiptd-receipts"
_INSERT = f"INSERT INTO \"{_TABLE}\" VALUE {{'c': ?, 'r': ?, 'v': ?, 'b': ?}}"
_UPDATE = f'UPDATE "{_TABLE}" SET "v"=? SET "b"=? REMOVE "x" WHERE "c"=? AND "r"=? AND "v"=?'


class _Keys:
    async def keys(self, refused=None):
        return Keys("stub", "stub")


@pytest.fixture
async def aws():
    (port,) = free_ports(1)
    server, stubs = await aws_stubs.listen(port)
    http, usage = OutboundClient(OPERATOR), Usage()
    where = {"endpoint_url": f"http://127.0.0.1:{port}", "region": "us-east-1", "credentials": _Keys()}
    sqs = Sqs(Wire("sqs", "AmazonSQS", http=http, usage=usage, **where))
    dynamodb = DynamoDb(Wire("dynamodb", "DynamoDB_20120810", http=http, usage=usage, **where), usage)
    yield SimpleNamespace(sqs=sqs, dynamodb=dynamodb, usage=usage, stubs=stubs)
    await http.close()
    server.close()
    await server.wait_closed()


def _insert(receipt_id, size=10, version=1):
    body = base64.b64encode(bytes(size)).decode()
    return Statement(_INSERT, [{"S": "shop"}, {"S": receipt_id}, {"N": str(version)}, {"B": body}], size)


def _update(receipt_id, expected, size=10):
    body = base64.b64encode(bytes(size)).decode()
    parameters = [{"N": str(expected + 1)}, {"B": body}, {"S": "shop"}, {"S": receipt_id}, {"N": str(expected)}]
    return Statement(_UPDATE, parameters, size)


async def test_messages_come_once_they_are_due_and_go_when_deleted(aws):
    url = await aws.sqs.queue_url("q", timeout_s=_T)
    assert await aws.sqs.send(url, [Outgoing("now"), Outgoing("later", 1)], timeout_s=_T) == [None, None]
    (first,) = await aws.sqs.receive(url, 10, wait_s=0, timeout_s=_T)
    assert (first.body, first.receives) == ("now", 1)
    assert (await aws.sqs.counts(url, timeout_s=_T)) == (await aws.sqs.counts(url, timeout_s=_T))
    (second,) = await aws.sqs.receive(url, 10, wait_s=5, timeout_s=_T)  # the long poll ends when it is due
    assert second.body == "later"
    assert await aws.sqs.delete(url, [first.handle, second.handle, first.handle], timeout_s=_T) == [None] * 3
    counts = await aws.sqs.counts(url, timeout_s=_T)
    assert (counts.visible, counts.in_flight, counts.delayed) == (0, 0, 0)


async def test_a_message_comes_again_when_its_visibility_ends(aws):
    url = await aws.sqs.queue_url("q", timeout_s=_T)
    await aws.sqs.send(url, [Outgoing("x")], timeout_s=_T)
    (one,) = await aws.sqs.receive(url, 10, wait_s=0, timeout_s=_T)
    assert await aws.sqs.receive(url, 10, wait_s=0, timeout_s=_T) == []
    await aws.sqs.change_visibility(url, [one.handle], 0, timeout_s=_T)
    (again,) = await aws.sqs.receive(url, 10, wait_s=0, timeout_s=_T)
    assert again.receives == 2


async def test_a_long_poll_waits_for_a_send(aws):
    url = await aws.sqs.queue_url("q", timeout_s=_T)
    waiting = asyncio.create_task(aws.sqs.receive(url, 10, wait_s=5, timeout_s=_T))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await aws.sqs.send(url, [Outgoing("x")], timeout_s=_T)
    assert [one.body for one in await asyncio.wait_for(waiting, 1)] == ["x"]


async def test_a_row_is_written_once_and_changed_by_its_version_only(aws):
    execute, get = aws.dynamodb.execute, aws.dynamodb.get
    assert await execute(_TABLE, [_insert("a"), _insert("b")], timeout_s=_T) == [Done(), Done()]
    statements = [_insert("a"), _update("b", 7), _update("c", 1), _insert("d")]
    standing, stale, missing, new = await execute(_TABLE, statements, timeout_s=_T)
    assert isinstance(standing, Refused)
    assert standing.item["v"] == {"N": "1"}
    assert isinstance(stale, Refused)
    assert missing == Refused(None)
    assert new == Done()
    assert await execute(_TABLE, [_update("a", 1)], timeout_s=_T) == [Done()]
    assert (await get(_TABLE, {"c": {"S": "shop"}, "r": {"S": "a"}}, timeout_s=_T))["v"] == {"N": "2"}
    found = await aws.dynamodb.get_many(
        _TABLE, [{"c": {"S": "shop"}, "r": {"S": each}} for each in "abz"], timeout_s=_T
    )
    assert sorted(item["r"]["S"] for item in found) == ["a", "b"]


async def test_units_are_those_of_the_services_rules(aws):
    key = {"c": {"S": "shop"}, "r": {"S": "a"}}
    await aws.dynamodb.execute(_TABLE, [_insert("a", 900)], timeout_s=_T)  # 1 unit
    await aws.dynamodb.execute(_TABLE, [_update("a", 1, 3000)], timeout_s=_T)  # 3: the larger of before and after
    await aws.dynamodb.execute(_TABLE, [_update("a", 2, 10)], timeout_s=_T)  # 3 again, though it shrinks
    await aws.dynamodb.execute(_TABLE, [_update("a", 9, 10)], timeout_s=_T)  # 1: refused, but charged
    await aws.dynamodb.get(_TABLE, key, timeout_s=_T)  # 1
    await aws.dynamodb.get(_TABLE, key, timeout_s=_T, consistent=False)  # a half
    usage = aws.stubs.usage()
    assert usage["write_units"] == {_TABLE: 8.0}
    assert usage["read_units"] == {_TABLE: 1.5}
    assert sum(aws.usage.write_units.values()) == 8.0
    assert sum(aws.usage.read_units.values()) == 1.5


async def test_requests_are_counted_as_the_daemon_counts_them(aws):
    url = await aws.sqs.queue_url("q", timeout_s=_T)
    await aws.sqs.send(url, [Outgoing("x")] * 25, timeout_s=_T)
    await aws.sqs.send(url, [Outgoing("x" * 60_000), Outgoing("y" * 60_000)], timeout_s=_T)
    counted = aws.stubs.usage()
    ours = {f"{service}.{operation}": number for (service, operation), number in aws.usage.requests.items()}
    assert counted["requests"] == ours
    assert counted["requests"]["sqs.SendMessageBatch"] == 5  # 3, and 2 of 60 kB are cut apart
    assert counted["sqs_chunks"]["SendMessageBatch"] == 5


async def test_what_the_daemon_does_not_call_is_refused(aws):
    with pytest.raises(AwsError) as caught:
        await aws.dynamodb.scan(_TABLE, {}, timeout_s=_T)
    assert caught.value.code == "UnknownOperationException"
