"""DynamoDB's calls against a stand-in on a real socket: batches, retries of parts, and what is counted."""

from __future__ import annotations

import asyncio
import time

import pytest
from stand_in import refusal

from receiptd.adapters.aws.dynamodb import DONE, DynamoDb, Refused, Statement, StatementError
from receiptd.adapters.aws.errors import AwsError

TABLE = "receipts"


def statement(number, size=100):
    return Statement("UPDATE", [{"S": f"k{number}"}, {"B": "AAAA" * (size // 3)}], size)


def failed(code, **facts):
    return {"Error": {"Code": code, "Message": "no", **facts}, "TableName": TABLE}


def answers(*outcomes, **facts):
    return {"Responses": [outcome or {"TableName": TABLE} for outcome in outcomes], **facts}


async def well(request):
    return answers(*[None] * len(request.body["Statements"]))


@pytest.fixture
def dynamodb(make_wire, usage):
    return DynamoDb(make_wire("dynamodb", "DynamoDB_20120810"), usage)


def keys(request):
    return [each["Parameters"][0]["S"] for each in request.body["Statements"]]


async def test_outcomes_are_in_the_order_of_the_statements(dynamodb, service):
    standing = {"c": {"S": "shop"}}
    service.script = [
        answers(
            None,
            failed("ConditionalCheckFailed", Item=standing),
            failed("DuplicateItem"),
            failed("ValidationError"),
            failed("AccessDenied"),
        )
    ]
    done, changed, there, wrong, denied = await dynamodb.execute(TABLE, [statement(n) for n in range(5)], timeout_s=5)
    assert done is DONE
    assert (changed, there) == (Refused(standing), Refused(None))
    assert (wrong.code, denied.code) == ("ValidationError", "AccessDenied")
    assert isinstance(wrong, StatementError)
    assert not wrong.unknown
    assert len(service.requests) == 1
    assert service.requests[0].body["ReturnConsumedCapacity"] == "TOTAL"
    assert all(s["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD" for s in service.requests[0].body["Statements"])


async def test_a_batch_holds_25_statements_and_parts_go_in_parallel(dynamodb, service):
    together = asyncio.Barrier(3)

    async def all_at_once(request):
        await together.wait()
        return await well(request)

    service.script = [all_at_once]
    outcomes = await dynamodb.execute(TABLE, [statement(n) for n in range(60)], timeout_s=5)
    assert outcomes == [DONE] * 60
    assert sorted(len(keys(request)) for request in service.requests) == [10, 25, 25]
    assert {key for request in service.requests for key in keys(request)} == {f"k{n}" for n in range(60)}


async def test_large_statements_make_smaller_batches_and_one_that_is_larger_still_goes_alone(dynamodb, service):
    service.script = [well]
    sizes = [900_000, 900_000, 900_000, 3_000_000, 10]
    statements = [Statement("INSERT", [{"S": f"k{n}"}], size) for n, size in enumerate(sizes)]
    assert await dynamodb.execute(TABLE, statements, timeout_s=5) == [DONE] * 5
    assert sorted(len(keys(request)) for request in service.requests) == [1, 1, 1, 2]


async def test_nothing_to_execute_is_no_call(dynamodb, service):
    assert await dynamodb.execute(TABLE, [], timeout_s=5) == []
    assert await dynamodb.get_many(TABLE, [], timeout_s=5) == []
    assert service.requests == []


@pytest.mark.parametrize(
    "code",
    [
        *("ProvisionedThroughputExceeded", "RequestLimitExceeded", "ThrottlingError"),
        *("TransactionConflict", "InternalServerError"),
    ],
)
async def test_a_statement_that_may_do_better_is_tried_again_alone(dynamodb, service, code):
    service.script = [answers(None, failed(code), failed("DuplicateItem")), answers(failed(code)), answers(None)]
    outcomes = await dynamodb.execute(TABLE, [statement(n) for n in range(3)], timeout_s=5)
    assert outcomes == [DONE, DONE, Refused(None)]
    assert [keys(request) for request in service.requests] == [["k0", "k1", "k2"], ["k1"], ["k1"]]


async def test_a_statement_that_stays_throttled_does_not_hold_up_its_group_for_long_invariant_12(dynamodb, service):
    async def one_throttled(request):
        return answers(*[failed("ThrottlingError") if key == "k1" else None for key in keys(request)])

    service.script = [one_throttled]
    begun = time.monotonic()
    done, throttled = await dynamodb.execute(TABLE, [statement(0), statement(1)], timeout_s=30)
    assert time.monotonic() - begun < 1.5
    assert done is DONE
    assert isinstance(throttled, StatementError)
    assert (throttled.code, throttled.unknown) == ("ThrottlingError", False)
    assert 2 <= len(service.requests) < 20


async def test_a_statement_that_may_have_taken_effect_stays_in_doubt_whatever_comes_after(dynamodb, service):
    service.script = [answers(failed("InternalServerError")), answers(failed("ThrottlingError"))]
    (outcome,) = await dynamodb.execute(TABLE, [statement(0)], timeout_s=5)
    assert (outcome.code, outcome.unknown) == ("ThrottlingError", True)


async def test_a_call_that_fails_is_the_outcome_of_each_of_its_statements(dynamodb, service):
    service.script = [refusal("AccessDeniedException")]
    outcomes = await dynamodb.execute(TABLE, [statement(0), statement(1)], timeout_s=5)
    assert [outcome.code for outcome in outcomes] == ["AccessDeniedException"] * 2
    assert not any(isinstance(outcome, StatementError) for outcome in outcomes)
    assert len(service.requests) == 1


async def test_an_answer_for_fewer_statements_is_no_answer(dynamodb, service):
    service.script = [answers(None)]
    outcomes = await dynamodb.execute(TABLE, [statement(0), statement(1)], timeout_s=5)
    assert [outcome.unknown for outcome in outcomes] == [True, True]


async def test_what_gets_no_turn_in_time_is_not_called_and_not_in_doubt(dynamodb, service):
    async def slow(request):
        await asyncio.sleep(0.3)
        return await well(request)

    service.script = [slow]
    dynamodb._slots = asyncio.Semaphore(1)
    first = asyncio.create_task(dynamodb.execute(TABLE, [statement(0)], timeout_s=5))
    await asyncio.sleep(0)
    (late,), read = await asyncio.gather(
        dynamodb.execute(TABLE, [statement(1)], timeout_s=0.1),
        dynamodb.get_many(TABLE, [key(0)], timeout_s=0.1),
        return_exceptions=True,
    )
    assert await first == [DONE]
    for error in (late, read):
        assert isinstance(error, AwsError)
        assert not error.unknown
    assert len(service.requests) == 1


async def test_the_wait_for_a_turn_counts(dynamodb, service):
    async def slow(request):
        await asyncio.sleep(0.4)
        return await well(request)

    service.script = [slow]
    dynamodb._slots = asyncio.Semaphore(1)
    begun = time.monotonic()
    first, second = await asyncio.gather(
        dynamodb.execute(TABLE, [statement(0)], timeout_s=5), dynamodb.execute(TABLE, [statement(1)], timeout_s=0.6)
    )
    assert first == [DONE]
    assert second[0].unknown, "it was sent, and its time was up before the answer"
    assert time.monotonic() - begun < 0.75


async def test_what_goes_aside_keeps_nobody_waiting_invariant_12(dynamodb, service):
    bulky_may_end = asyncio.Event()

    async def answer(request):
        if keys(request)[0] != "k0":
            await bulky_may_end.wait()
        return await well(request)

    service.script = [answer]
    bulky = [Statement("INSERT", [{"S": f"k{n}"}], 2_000_000) for n in range(1, 40)]
    aside = asyncio.create_task(dynamodb.execute(TABLE, bulky, timeout_s=30, aside=True))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        assert await dynamodb.execute(TABLE, [statement(0)], timeout_s=5) == [DONE]
    bulky_may_end.set()
    assert await aside == [DONE] * 39


# -- reads ---------------------------------------------------------------------------------------------------------


async def test_get_is_consistent_unless_it_need_not_be(dynamodb, service):
    service.script = [{"Item": {"c": {"S": "shop"}}}, {}]
    assert await dynamodb.get(TABLE, {"c": {"S": "shop"}}, timeout_s=5) == {"c": {"S": "shop"}}
    assert await dynamodb.get(TABLE, {"c": {"S": "shop"}}, timeout_s=5, consistent=False) is None
    assert [request.body["ConsistentRead"] for request in service.requests] == [True, False]


def key(number):
    return {"c": {"S": "shop"}, "r": {"S": f"{number}"}}


async def test_unprocessed_keys_are_asked_for_again(dynamodb, service):
    rest = {TABLE: {"Keys": [key(1)], "ConsistentRead": True}}
    service.script = [
        {"Responses": {TABLE: [key(0)]}, "UnprocessedKeys": rest},
        {"Responses": {TABLE: []}, "UnprocessedKeys": rest},
        {"Responses": {TABLE: [key(1)]}, "UnprocessedKeys": {}},
    ]
    assert await dynamodb.get_many(TABLE, [key(0), key(1)], timeout_s=5) == [key(0), key(1)]
    assert [request.body["RequestItems"] for request in service.requests[1:]] == [rest, rest]


async def test_keys_that_stay_unprocessed_are_an_error(dynamodb, service):
    rest = {TABLE: {"Keys": [key(1)], "ConsistentRead": True}}
    service.script = [{"Responses": {}, "UnprocessedKeys": rest}]
    begun = time.monotonic()
    with pytest.raises(AwsError, match="unread"):
        await dynamodb.get_many(TABLE, [key(1)], timeout_s=0.3)
    assert time.monotonic() - begun < 1.0


async def test_a_batch_of_keys_holds_100(dynamodb, service):
    async def found(request):
        return {"Responses": {TABLE: request.body["RequestItems"][TABLE]["Keys"]}}

    service.script = [found]
    items = await dynamodb.get_many(TABLE, [key(n) for n in range(230)], timeout_s=5)
    assert items == [key(n) for n in range(230)]
    assert sorted(len(r.body["RequestItems"][TABLE]["Keys"]) for r in service.requests) == [30, 100, 100]


# -- what is paid for ----------------------------------------------------------------------------------------------


async def test_consumed_units_are_counted_by_table_and_operation(dynamodb, service, usage):
    def units(number):
        return {"TableName": TABLE, "CapacityUnits": number}

    service.script = [
        answers(None, failed("ConditionalCheckFailed"), ConsumedCapacity=[units(1.0), units(2.0)]),
        {"Item": {}, "ConsumedCapacity": units(0.5)},
        {"Responses": {}, "ConsumedCapacity": [units(7.0)]},
        {"Items": [], "ConsumedCapacity": units(12.5)},
        {"Items": [], "ConsumedCapacity": units(128.0)},
        {"ConsumedCapacity": units(3.0)},
    ]
    await dynamodb.execute(TABLE, [statement(0), statement(1)], timeout_s=5)
    await dynamodb.get(TABLE, key(0), timeout_s=5)
    await dynamodb.get_many(TABLE, [key(0)], timeout_s=5)
    await dynamodb.query(TABLE, {}, timeout_s=5)
    await dynamodb.scan(TABLE, {}, timeout_s=5)
    await dynamodb.put(TABLE, key(0), timeout_s=5)
    assert dict(usage.write_units) == {(TABLE, "BatchExecuteStatement"): 3.0, (TABLE, "PutItem"): 3.0}
    assert dict(usage.read_units) == {
        (TABLE, "GetItem"): 0.5,
        (TABLE, "BatchGetItem"): 7.0,
        (TABLE, "Query"): 12.5,
        (TABLE, "Scan"): 128.0,
    }
    assert all(request.body["ReturnConsumedCapacity"] == "TOTAL" for request in service.requests)


async def test_units_that_the_service_does_not_tell_are_reckoned_from_what_is_written(dynamodb, service, usage):
    service.script = [well]
    small, large = statement(0, 1_000), statement(1, 1_500)
    await dynamodb.execute(TABLE, [small, large], timeout_s=5)
    assert usage.write_units[TABLE, "BatchExecuteStatement"] == 3
