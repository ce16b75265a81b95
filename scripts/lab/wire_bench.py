"""The wire benchmark: what a hot call of AWS costs, beside the same call through aiobotocore.

Both call a stand-in in another process that gives one canned answer an operation, over plain HTTP, with the keys of an
instance role, four calls at a time on one loop. They take turns in rounds measured by this process's CPU time, and
the ratio is the median of the rounds' ratios: a shared machine's mood then weighs on both alike. Either side does the
whole of it: bytes of items in and out of base64, and, on our side, bodies of messages held against their checksums.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gc
import hashlib
import os
import random
import statistics
import sys
import tempfile
import time
import zlib
from binascii import a2b_base64
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import orjson
import uvloop
from aiobotocore.session import get_session  # type: ignore[import-untyped]

from lab.children import Child, free_ports
from lab.site import SiteError
from lab.wire import Endpoint, header
from receiptd.adapters.aws.signing import Keys
from receiptd.adapters.aws.sqs import Outgoing, Sqs
from receiptd.adapters.aws.usage import Usage
from receiptd.adapters.aws.wire import Wire
from receiptd.adapters.outbound.client import OutboundClient
from receiptd.domain.addresses import OPERATOR

Call: TypeAlias = Callable[[], Awaitable[Any]]

_REGION = "eu-central-1"
_KEYS = Keys("ASIAEXAMPLEEXAMPLE00", "s" * 40, "t" * 700)
_QUEUE = "https://sqs.eu-central-1.amazonaws.com/123456789012/receiptd-recovery"
_HANDLE = "AQEB" + "h" * 340
_BODY = '{"k":"2026-01-01-0123456789abcdef0123456789abcdef","b":"{\\"client\\":\\"shop-1\\"}","d":1767225600.123}'
_UPDATE = 'UPDATE "receiptd-receipts" SET v=? SET s=? SET p=? WHERE c=? AND r=? AND v=?'
_IN_FLIGHT = 4
_ROUND_S = 0.05
_TIMEOUT_S = 30.0
_READS = 20
_QUERY_BYTES = 1_000_000
_START_MAX_S = 10.0


# -- the stand-in --------------------------------------------------------------------------------------------------


def _item(number: int, rng: random.Random) -> dict[str, Any]:
    """Return a receipt's item, with its bytes in base64."""
    return {
        "c": {"S": "shop-1"},
        "r": {"S": f"2026-01-01-{number:032x}"},
        "t": {"S": "retail-receipt"},
        "a": {"N": "1767225600.123"},
        "v": {"N": "3"},
        "s": {"S": "COMPLETE"},
        "z": {"N": "1"},
        "p": {"B": base64.b64encode(rng.randbytes(140)).decode()},
        "b": {"B": base64.b64encode(rng.randbytes(400)).decode()},
        "x": {"N": "1770249600"},
    }


def _answers() -> dict[str, Any]:
    rng = random.Random(1)
    digest = hashlib.md5(_BODY.encode(), usedforsecurity=False).hexdigest()
    identity = "d0c5ba3d-8f1b-4c5b-9b0a-0123456789ab"
    message = {
        "MessageId": identity,
        "ReceiptHandle": _HANDLE,
        "MD5OfBody": digest,
        "Body": _BODY,
        "Attributes": {"ApproximateReceiveCount": "1"},
    }
    done = {"Successful": [{"Id": str(n)} for n in range(10)]}
    sent = {"Successful": [{"Id": str(n), "MessageId": identity, "MD5OfMessageBody": digest} for n in range(10)]}
    capacity = {"TableName": "receiptd-receipts", "CapacityUnits": 25.0}
    items: list[Any] = []
    while len(orjson.dumps(items)) < _QUERY_BYTES:
        items += [_item(len(items) + n, rng) for n in range(100)]
    return {
        "SendMessageBatch": sent,
        "ReceiveMessage": {"Messages": [message] * 10},
        "DeleteMessageBatch": done,
        "ChangeMessageVisibilityBatch": done,
        "BatchExecuteStatement": {
            "Responses": [{"TableName": "receiptd-receipts"}] * 25,
            "ConsumedCapacity": [capacity],
        },
        "GetItem": {"Item": _item(1, rng), "ConsumedCapacity": capacity},
        "BatchGetItem": {
            "Responses": {"receiptd-receipts": [_item(n, rng) for n in range(_READS)]},
            "UnprocessedKeys": {},
            "ConsumedCapacity": [capacity],
        },
        "Query": {"Items": items, "Count": len(items), "ScannedCount": len(items), "ConsumedCapacity": capacity},
    }


def serve(port: int) -> None:
    """Answer on a loopback port until the process is ended."""
    whole = {}
    for operation, answer in _answers().items():
        body = orjson.dumps(answer)
        head = (
            "HTTP/1.1 200 OK\r\nServer: Server\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
            f"Content-Type: application/x-amz-json-1.0\r\nContent-Length: {len(body)}\r\nConnection: keep-alive\r\n"
            "x-amzn-RequestId: 0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEF\r\n"
        )
        if "ConsumedCapacity" in answer:  # DynamoDB's
            head += f"x-amz-crc32: {zlib.crc32(body)}\r\n"
        whole[operation.encode()] = head.encode() + b"\r\n" + body

    def answer_to(head: bytes, _body: bytes) -> bytes:
        return whole[header(head, head.lower(), b"\r\nx-amz-target: ").rpartition(b".")[2]]

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: Endpoint(answer_to), "127.0.0.1", port)
        await server.serve_forever()

    uvloop.run(run())


# -- the two sides -------------------------------------------------------------------------------------------------


def _statements(progress: Callable[[], Any]) -> dict[str, Any]:
    """Return 25 updates, each with the bytes that ``progress`` gives."""
    statements = [
        {
            "Statement": _UPDATE,
            "Parameters": [
                {"N": "3"},
                {"S": "COMPLETE"},
                {"B": progress()},
                {"S": "shop-1"},
                {"S": f"2026-01-01-{number:032x}"},
                {"N": "2"},
            ],
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        for number in range(25)
    ]
    return {"Statements": statements, "ReturnConsumedCapacity": "TOTAL"}


_GET = {
    "TableName": "receiptd-receipts",
    "Key": {"c": {"S": "shop-1"}, "r": {"S": "2026-01-01-0123456789abcdef0123456789abcdef"}},
    "ConsistentRead": True,
    "ReturnConsumedCapacity": "TOTAL",
}
_GET_MANY = {
    "RequestItems": {
        "receiptd-receipts": {
            "Keys": [{"c": {"S": "shop-1"}, "r": {"S": f"2026-01-01-{n:032x}"}} for n in range(_READS)],
            "ConsistentRead": True,
        }
    },
    "ReturnConsumedCapacity": "TOTAL",
}
_QUERY = {
    "TableName": "receiptd-receipts",
    "KeyConditionExpression": "c = :c AND r > :r",
    "ExpressionAttributeValues": {":c": {"S": "shop-1"}, ":r": {"S": "2026-01-01"}},
    "ReturnConsumedCapacity": "TOTAL",
}


@dataclass(frozen=True, slots=True)
class _GivenKeys:
    async def keys(self, refused: Keys | None = None) -> Keys:
        del refused
        return _KEYS


def _ours(endpoint: str, http: OutboundClient) -> dict[str, Call]:
    where: Any = {"endpoint_url": endpoint, "region": _REGION, "credentials": _GivenKeys(), "http": http}
    sqs = Sqs(Wire("sqs", "AmazonSQS", usage=Usage(), **where))
    dynamodb = Wire("dynamodb", "DynamoDB_20120810", usage=Usage(), **where)
    messages = [Outgoing(_BODY, 60)] * 10
    handles = [_HANDLE] * 10
    progress = os.urandom(140)

    def in_bytes(item: Mapping[str, Any]) -> tuple[bytes, bytes]:
        return a2b_base64(item["p"]["B"]), a2b_base64(item["b"]["B"])

    async def execute() -> None:
        request = _statements(lambda: base64.b64encode(progress).decode())
        await dynamodb.call("BatchExecuteStatement", request, timeout_s=_TIMEOUT_S)

    async def get() -> None:
        in_bytes((await dynamodb.call("GetItem", _GET, timeout_s=_TIMEOUT_S))["Item"])

    async def get_many() -> None:
        answer = await dynamodb.call("BatchGetItem", _GET_MANY, timeout_s=_TIMEOUT_S)
        for item in answer["Responses"]["receiptd-receipts"]:
            in_bytes(item)

    async def query() -> None:
        for item in (await dynamodb.call("Query", _QUERY, timeout_s=_TIMEOUT_S))["Items"]:
            in_bytes(item)

    return {
        "SendMessageBatch": lambda: sqs.send(_QUEUE, messages, timeout_s=_TIMEOUT_S),
        "ReceiveMessage": lambda: sqs.receive(_QUEUE, 10, wait_s=20, timeout_s=_TIMEOUT_S),
        "DeleteMessageBatch": lambda: sqs.delete(_QUEUE, handles, timeout_s=_TIMEOUT_S),
        "ChangeMessageVisibilityBatch": lambda: sqs.change_visibility(_QUEUE, handles, 60, timeout_s=_TIMEOUT_S),
        "BatchExecuteStatement": execute,
        "GetItem": get,
        "BatchGetItem": get_many,
        "Query": query,
    }


def _theirs(sqs: Any, dynamodb: Any) -> dict[str, Call]:
    sends = [{"Id": str(n), "MessageBody": _BODY, "DelaySeconds": 60} for n in range(10)]
    handles = [{"Id": str(n), "ReceiptHandle": _HANDLE} for n in range(10)]
    changes = [{**handle, "VisibilityTimeout": 60} for handle in handles]
    receive = {
        "MaxNumberOfMessages": 10,
        "WaitTimeSeconds": 20,
        "MessageSystemAttributeNames": ["ApproximateReceiveCount"],
    }
    progress = os.urandom(140)
    return {
        "SendMessageBatch": lambda: sqs.send_message_batch(QueueUrl=_QUEUE, Entries=sends),
        "ReceiveMessage": lambda: sqs.receive_message(QueueUrl=_QUEUE, **receive),
        "DeleteMessageBatch": lambda: sqs.delete_message_batch(QueueUrl=_QUEUE, Entries=handles),
        "ChangeMessageVisibilityBatch": lambda: sqs.change_message_visibility_batch(QueueUrl=_QUEUE, Entries=changes),
        "BatchExecuteStatement": lambda: dynamodb.batch_execute_statement(**_statements(lambda: progress)),
        "GetItem": lambda: dynamodb.get_item(**_GET),
        "BatchGetItem": lambda: dynamodb.batch_get_item(**_GET_MANY),
        "Query": lambda: dynamodb.query(**_QUERY),
    }


# -- measuring -----------------------------------------------------------------------------------------------------


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--rounds", type=int, default=9, help="of each call (default: 9)")


def measure(arguments: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Return the report and the table of it."""
    (port,) = free_ports(1)
    folder = Path(tempfile.mkdtemp(prefix="receiptd-bench-"))
    path = os.pathsep.join(sys.path)
    stand_in = Child(
        "services",
        [sys.executable, "-m", "lab.wire_bench", str(port)],
        environment={**os.environ, "PYTHONPATH": path},
        folder=folder,
    )
    try:
        figures = uvloop.run(_measure(port, stand_in, arguments.rounds))
    finally:
        stand_in.kill()
    result: dict[str, Any] = dict(figures)
    result["least_ratio"] = min(figure["ratio"] for figure in figures.values())
    lines = ["call                            us a call   aiobotocore   ratio"]
    lines += [
        f"{name:30} {f['us']:10,.0f} {f['aiobotocore_us']:13,.0f} {f['ratio']:7.1f}" for name, f in figures.items()
    ]
    return result, "\n".join(lines)


async def _measure(port: int, stand_in: Child, rounds: int) -> dict[str, dict[str, float]]:
    await _until_up(port, stand_in)
    endpoint = f"http://127.0.0.1:{port}"
    http = OutboundClient(OPERATOR)
    session = get_session()
    keys = {
        "region_name": _REGION,
        "endpoint_url": endpoint,
        "aws_access_key_id": _KEYS.access_key,
        "aws_secret_access_key": _KEYS.secret_key,
        "aws_session_token": _KEYS.token,
    }
    async with session.create_client("sqs", **keys) as sqs, session.create_client("dynamodb", **keys) as dynamodb:
        sides = _ours(endpoint, http), _theirs(sqs, dynamodb)
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)  # as the daemon has it
        figures = {name: await _compare(sides[0][name], sides[1][name], rounds) for name in sides[0]}
    await http.close()
    return figures


async def _until_up(port: int, stand_in: Child) -> None:
    deadline = time.monotonic() + _START_MAX_S
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if not stand_in.alive or time.monotonic() > deadline:
                raise SiteError(f"the stand-in did not come up:\n{stand_in.tail()}") from None
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


async def _compare(ours: Call, theirs: Call, rounds: int) -> dict[str, float]:
    counts = [await _warm(side) for side in (ours, theirs)]
    times: list[tuple[float, float]] = []
    for number in range(rounds):
        if number % 2:
            other = await _round(theirs, counts[1])
            times.append((await _round(ours, counts[0]), other))
        else:
            times.append((await _round(ours, counts[0]), await _round(theirs, counts[1])))
    return {
        "us": round(statistics.median(one for one, _ in times), 1),
        "aiobotocore_us": round(statistics.median(other for _, other in times), 1),
        "ratio": round(statistics.median(other / one for one, other in times), 2),
    }


async def _warm(side: Call) -> int:
    """Return how many calls make a round."""
    await _round(side, 2 * _IN_FLIGHT)
    us = await _round(side, 2 * _IN_FLIGHT)
    return max(_IN_FLIGHT, round(_ROUND_S * 1e6 / us))


async def _round(side: Call, count: int) -> float:
    """Return the CPU microseconds of a call."""
    numbers: Iterator[int] = iter(range(count))

    async def work() -> None:
        for _ in numbers:
            await side()

    began = time.process_time()
    await asyncio.gather(*(work() for _ in range(_IN_FLIGHT)))
    return (time.process_time() - began) / count * 1e6


if __name__ == "__main__":
    serve(int(sys.argv[1]))
