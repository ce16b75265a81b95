"""The lean client's answers are those of aiobotocore, call by call, errors included; bytes are base64 text in ours."""

from __future__ import annotations

import base64
from copy import deepcopy

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError

from receiptd.adapters.aws.errors import AwsError

INSERT = "INSERT INTO \"{}\" VALUE {{'c': ?, 'r': ?, 'v': ?, 'b': ?}}"
UPDATE = 'UPDATE "{}" SET "v"=? WHERE "c"=? AND "r"=? AND "v"=?'
NUMBERS = ["0", "1", "-1", "0.1", "1795383462.653216", "1e100", "12345678901234567890.123456789"]


@pytest.fixture
async def client(dynamodb_url):
    config = AioConfig(retries={"total_max_attempts": 1})
    facts = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
    async with get_session().create_client("dynamodb", endpoint_url=dynamodb_url, config=config, **facts) as made:
        yield made


@pytest.fixture
def both(client, tables):
    """Makes a call both ways; returns what both gave, once it has been compared."""

    async def call(operation, method, request):
        return await compare(tables.wire, operation, getattr(client, method), request)

    return call


async def compare(wire, operation, method, request):
    refusal = None
    try:
        theirs = encoded(await method(**deepcopy(request)))
    except ClientError as error:
        refusal = error.response
    if refusal is not None:
        with pytest.raises(AwsError) as refused:
            await wire.call(operation, encoded(request), timeout_s=5)
        assert refused.value.code == refusal["Error"]["Code"]
        assert refused.value.status == refusal["ResponseMetadata"]["HTTPStatusCode"]
        assert refusal["Error"]["Message"][:100] in str(refused.value)
        assert not refused.value.unknown
        return refused.value.code
    assert theirs.pop("ResponseMetadata")["HTTPStatusCode"] == 200
    ours = await wire.call(operation, encoded(request), timeout_s=5)
    assert ours == theirs
    return ours


def encoded(value):
    """Return a request or an answer of aiobotocore's as it is on the wire."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: encoded(each) for name, each in value.items()}
    return [encoded(each) for each in value] if isinstance(value, list) else value


def insertion(table, key, *, client="shop", version="1", content=b"\x00\xff frame"):
    parameters = [{"S": client}, {"S": key}, {"N": version}, {"B": content}]
    return {"Statement": INSERT.format(table), "Parameters": parameters}


def update(table, key, expected, version="9"):
    parameters = [{"N": version}, {"S": "shop"}, {"S": key}, {"N": expected}]
    condition = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    return {"Statement": UPDATE.format(table), "Parameters": parameters, **condition}


@pytest.fixture
async def filled(client, tables):
    """Thirty items, one of them in another partition."""
    for at in range(0, 30, 10):
        statements = [insertion(tables.receipts, f"k{n:02d}", version=NUMBERS[n % 7]) for n in range(at, at + 10)]
        answer = await client.batch_execute_statement(Statements=statements)
        assert not any("Error" in response for response in answer["Responses"])
    await client.batch_execute_statement(Statements=[insertion(tables.receipts, "k00", client="shop#1")])
    return tables.receipts


async def test_execute_with_all_kinds_of_outcomes(both, filled):
    async def execute(*statements):
        request = {"Statements": list(statements), "ReturnConsumedCapacity": "TOTAL"}
        return await both("BatchExecuteStatement", "batch_execute_statement", request)

    # Statements that change nothing, because each is executed twice.
    answer = await execute(
        insertion(filled, "k00"),
        update(filled, "k01", "77"),
        update(filled, "missing", "1"),
        update("no-such-table", "k00", "1"),
        {"Statement": UPDATE.format(filled), "Parameters": [{"N": "1"}, {"S": "shop"}, {"N": "4"}, {"N": "1"}]},
        insertion(filled, "large", content=b"x" * 410_000),
    )
    codes = [response["Error"]["Code"] for response in answer["Responses"]]
    assert codes[:4] == ["DuplicateItem", "ConditionalCheckFailed", "ConditionalCheckFailed", "ResourceNotFound"]
    assert "ValidationError" in codes[4:]  # which ones, emulators differ about


async def test_execute_what_takes_effect(both, filled):
    request = {"Statements": [update(filled, "k02", "-1", "-1"), update(filled, "k03", "0.1", "0.1")]}
    answer = await both("BatchExecuteStatement", "batch_execute_statement", request)
    assert not any("Error" in response for response in answer["Responses"])


async def test_execute_what_is_refused_as_a_whole(both, filled):
    reading = {"Statement": f'SELECT * FROM "{filled}" WHERE c=? AND r=?', "Parameters": [{"S": "shop"}, {"S": "k00"}]}
    many = {"Statements": [update(filled, f"k{n}", "77") for n in range(26)]}
    assert await both("BatchExecuteStatement", "batch_execute_statement", many) == "ValidationException"
    mixed = {"Statements": [reading, update(filled, "k00", "77")]}
    await both("BatchExecuteStatement", "batch_execute_statement", mixed)  # one emulator lets it pass


@pytest.mark.parametrize("consistent", [True, False])
async def test_get(both, filled, consistent):
    for key in ("k00", "k05", "missing"):
        request = {
            "TableName": filled,
            "Key": {"c": {"S": "shop"}, "r": {"S": key}},
            "ConsistentRead": consistent,
            "ReturnConsumedCapacity": "TOTAL",
        }
        answer = await both("GetItem", "get_item", request)
        assert ("Item" in answer) is (key != "missing")


async def test_get_what_is_refused(both, filled):
    key = {"c": {"S": "shop"}, "r": {"S": "k00"}}
    wrong = await both("GetItem", "get_item", {"TableName": filled, "Key": {"c": {"S": "shop"}}})
    missing = await both("GetItem", "get_item", {"TableName": "no-such-table", "Key": key})
    assert (wrong, missing) == ("ValidationException", "ResourceNotFoundException")


async def test_get_many(both, filled):
    keys = [{"c": {"S": "shop"}, "r": {"S": f"k{n:02d}"}} for n in range(28, 33)]
    request = {"RequestItems": {filled: {"Keys": keys, "ConsistentRead": True}}, "ReturnConsumedCapacity": "TOTAL"}
    answer = await both("BatchGetItem", "batch_get_item", request)
    assert len(answer["Responses"][filled]) == 2
    twice = {"RequestItems": {filled: {"Keys": [keys[0], keys[0]]}}}
    assert await both("BatchGetItem", "batch_get_item", twice) == "ValidationException"
    many = {"RequestItems": {filled: {"Keys": [{**keys[0], "r": {"S": str(n)}} for n in range(101)]}}}
    assert await both("BatchGetItem", "batch_get_item", many) == "ValidationException"


async def test_query_page_by_page(both, filled):
    request = {
        "TableName": filled,
        "KeyConditionExpression": "c = :c AND r BETWEEN :low AND :high",
        "FilterExpression": "v > :v",
        "ExpressionAttributeValues": {
            ":c": {"S": "shop"},
            ":low": {"S": "k01"},
            ":high": {"S": "k25"},
            ":v": {"N": "0"},
        },
        "ConsistentRead": True,
        "Limit": 10,
        "ReturnConsumedCapacity": "TOTAL",
    }
    found, pages = 0, 0
    while True:
        answer = await both("Query", "query", request)
        found, pages = found + len(answer["Items"]), pages + 1
        if "LastEvaluatedKey" not in answer:
            break
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
    assert (found, pages) == (18, 3)
    assert await both("Query", "query", {**request, "FilterExpression": "v >"}) == "ValidationException"
    assert await both("Query", "query", {**request, "TableName": "no-such-table"}) == "ResourceNotFoundException"


async def test_scan_and_put(both, tables):
    item = {"c": {"S": "shop"}, "j": {"S": '{"name": "Крамниця «Сонце»"}'}}
    await both("PutItem", "put_item", {"TableName": tables.contracts, "Item": item, "ReturnConsumedCapacity": "TOTAL"})
    answer = await both("Scan", "scan", {"TableName": tables.contracts, "ReturnConsumedCapacity": "TOTAL"})
    assert answer["Items"] == [item]
    large = {"c": {"S": "large"}, "j": {"S": "x" * 410_000}}
    refused = await both("PutItem", "put_item", {"TableName": tables.contracts, "Item": large})
    assert refused == "ValidationException"
