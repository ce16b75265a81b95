"""DynamoDB's hot calls: PartiQL batches of conditional writes, and reads. Values are those of its JSON.

Batches are cut by the service's own limits and sent in parallel. What the service leaves undone of one (a throttled
statement, ``UnprocessedKeys``) is asked for again by itself, for a short while: whoever waits for a batch waits for its
slowest statement. A write may be repeated after its first try took effect unseen; then it is refused by what it wrote
itself, and it is for the caller to recognise its own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from receiptd.adapters.aws.errors import PASSING, THROTTLING, AwsError
from receiptd.adapters.aws.usage import Usage
from receiptd.adapters.aws.wire import Wire

STATEMENTS_MAX: Final = 25
"""Statements in one BatchExecuteStatement (the service's limit)."""
KEYS_MAX: Final = 100
"""Keys in one BatchGetItem (the service's limit)."""

_BATCH_MAX_BYTES: Final = 2 * 1024 * 1024
_PARALLEL_MAX: Final = 16
_ASIDE_MAX: Final = 4
_PAUSE_S: Final = 0.05
_PAUSE_MAX_S: Final = 1.0
_PATIENCE_S: Final = 0.5
"""How long a statement that failed for a passing reason is tried again while the rest of its group waits."""
_WRITE_UNIT: Final = 1024
_PASSING: Final = THROTTLING | PASSING
_REFUSALS: Final = frozenset({"DuplicateItem", "ConditionalCheckFailed"})
_UNKNOWN: Final = frozenset({"InternalServerError"})

Item: TypeAlias = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Statement:
    """One PartiQL write with its parameters; ``size`` is roughly what it writes, in bytes."""

    text: str
    parameters: list[dict[str, Any]]
    size: int

    def request(self) -> dict[str, Any]:
        """Return it as the service takes it."""
        return {
            "Statement": self.text,
            "Parameters": self.parameters,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    @property
    def units(self) -> int:
        """What it costs at least, in write units: all of it when it writes the whole item."""
        size = sum(1 + _value_bytes(value) for value in self.parameters)
        return max(1, -(-size // _WRITE_UNIT))


@dataclass(frozen=True, slots=True)
class Done:
    """The statement took effect."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The statement's condition does not hold. ``item`` is what stands there, when the service says so."""

    item: Item | None


class StatementError(AwsError):
    """One statement of a batch failed: the service answered, so it is no trouble of the service as a whole."""


Outcome: TypeAlias = Done | Refused | AwsError
"""What became of one statement. An AwsError that is ``unknown`` may have taken effect."""

DONE: Final = Done()


class DynamoDb:
    """The calls, over a wire to the service."""

    def __init__(self, wire: Wire, usage: Usage) -> None:
        self._wire = wire
        self._usage = usage
        self._slots = asyncio.Semaphore(_PARALLEL_MAX)
        self._slots_aside = asyncio.Semaphore(_ASIDE_MAX)

    async def execute(
        self, table: str, statements: Sequence[Statement], *, timeout_s: float, aside: bool = False
    ) -> list[Outcome]:
        """Execute conditional writes to items of ``table``, at most one an item; return the outcome of each.

        Those ``aside`` have a few slots of their own: bulky or of no hurry, they keep no other call waiting. Failures
        are outcomes: it raises nothing.
        """
        slots = self._slots_aside if aside else self._slots
        outcomes = await asyncio.gather(*(self._execute(table, part, timeout_s, slots) for part in _parts(statements)))
        return [outcome for part in outcomes for outcome in part]

    async def _execute(
        self, table: str, statements: Sequence[Statement], timeout_s: float, slots: asyncio.Semaphore
    ) -> list[Outcome]:
        now = asyncio.get_running_loop().time
        deadline, patient_until = now() + timeout_s, now() + min(timeout_s, _PATIENCE_S)
        outcomes: list[Outcome] = [DONE] * len(statements)
        left: Sequence[int] = range(len(statements))
        attempt = 0
        while True:
            answers = await self._try(table, [statements[index] for index in left], deadline - now(), slots)
            for index, outcome in zip(left, answers, strict=True):
                former = outcomes[index]
                if isinstance(outcome, AwsError) and isinstance(former, AwsError) and former.unknown:
                    outcome.unknown = True
                outcomes[index] = outcome
            left = [index for index in left if _again(outcomes[index])]
            attempt += 1
            pause_s = _jitter_s(attempt)
            if not left or now() + pause_s >= patient_until:
                return outcomes
            await asyncio.sleep(pause_s)

    async def _try(
        self, table: str, statements: Sequence[Statement], left_s: float, slots: asyncio.Semaphore
    ) -> list[Outcome]:
        request = {"Statements": [one.request() for one in statements], "ReturnConsumedCapacity": "TOTAL"}
        try:
            answer = await self._in_turn("BatchExecuteStatement", request, left_s, slots)
        except AwsError as error:
            return [error] * len(statements)
        capacities = answer.get("ConsumedCapacity")
        if capacities:
            units = sum(float(capacity.get("CapacityUnits", 0.0)) for capacity in capacities)
        else:  # emulators leave it out; the service charges a refused statement like one that was done
            units = sum(one.units for one in statements)
        self._usage.write_units[table, "BatchExecuteStatement"] += units
        responses = answer.get("Responses", ())
        if len(responses) != len(statements):
            return [AwsError("", "the answer does not speak of each statement", unknown=True)] * len(statements)
        return [_outcome(response) for response in responses]

    async def get(self, table: str, key: Item, *, timeout_s: float, consistent: bool = True) -> Item | None:
        """Return the item, or None; ``consistent``: as last acknowledged, at twice the price. Raises AwsError."""
        request = {
            "TableName": table,
            "Key": key,
            "ConsistentRead": consistent,
            "ReturnConsumedCapacity": "TOTAL",
        }
        answer = await self._wire.call("GetItem", request, timeout_s=timeout_s)
        self._read(table, "GetItem", answer)
        item: Item | None = answer.get("Item")
        return item

    async def get_many(self, table: str, keys: Sequence[Item], *, timeout_s: float) -> list[Item]:
        """Return those items that exist, as last acknowledged, in no order; no key twice. Raises AwsError."""
        parts = [keys[at : at + KEYS_MAX] for at in range(0, len(keys), KEYS_MAX)]
        found = await asyncio.gather(*(self._get_many(table, part, timeout_s) for part in parts))
        return [item for part in found for item in part]

    async def get_some(
        self, table: str, keys: Sequence[Item], *, timeout_s: float
    ) -> tuple[Sequence[Item], Sequence[Item]]:
        """Read up to 100 items, as last acknowledged, in one call; return those that exist, and the keys left unread.

        Raises:
            AwsError: none of them could be read.
        """
        request = {
            "RequestItems": {table: {"Keys": keys, "ConsistentRead": True}},
            "ReturnConsumedCapacity": "TOTAL",
        }
        answer = await self._in_turn("BatchGetItem", request, timeout_s, self._slots)
        self._read(table, "BatchGetItem", answer)
        left = (answer.get("UnprocessedKeys") or {}).get(table, {})
        return answer.get("Responses", {}).get(table, ()), left.get("Keys", ())

    async def _get_many(self, table: str, keys: Sequence[Item], timeout_s: float) -> list[Item]:
        now = asyncio.get_running_loop().time
        deadline = now() + timeout_s
        items: list[Item] = []
        left = keys
        attempt = 0
        while True:
            found, left = await self.get_some(table, left, timeout_s=deadline - now())
            items += found
            if not left:
                return items
            attempt = 0 if found else attempt + 1  # with some found, the answer was full: 16 MB
            pause_s = _jitter_s(attempt) if attempt else 0.0
            if now() + pause_s >= deadline:
                raise AwsError("ProvisionedThroughputExceededException", "BatchGetItem left keys unread", status=400)
            await asyncio.sleep(pause_s)

    async def query(self, table: str, request: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """Return one page of a Query of ``table``, as the service answers it. Raises AwsError."""
        return await self._page("Query", table, request, timeout_s)

    async def scan(self, table: str, request: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """Return one page of a Scan of ``table``, as the service answers it. Raises AwsError."""
        return await self._page("Scan", table, request, timeout_s)

    async def put(self, table: str, item: Item, *, timeout_s: float) -> None:
        """Add or replace an item. Raises AwsError."""
        request = {"TableName": table, "Item": item, "ReturnConsumedCapacity": "TOTAL"}
        answer = await self._wire.call("PutItem", request, timeout_s=timeout_s)
        self._usage.write_units[table, "PutItem"] += _units(answer)

    async def _in_turn(
        self, operation: str, request: Mapping[str, Any], timeout_s: float, slots: asyncio.Semaphore
    ) -> dict[str, Any]:
        """Call once there is a slot; the wait for it is part of ``timeout_s``. Raises AwsError."""
        now = asyncio.get_running_loop().time
        deadline = now() + timeout_s
        async with slots:
            left_s = deadline - now()
            if left_s <= 0:
                raise AwsError("", f"{operation}: the time was up before its turn came")
            return await self._wire.call(operation, request, timeout_s=left_s)

    async def _page(self, operation: str, table: str, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        whole = {"TableName": table, "ReturnConsumedCapacity": "TOTAL", **request}
        answer = await self._wire.call(operation, whole, timeout_s=timeout_s)
        self._read(table, operation, answer)
        return answer

    def _read(self, table: str, operation: str, answer: Mapping[str, Any]) -> None:
        self._usage.read_units[table, operation] += _units(answer)


def _units(answer: Mapping[str, Any]) -> float:
    """Return the capacity units that an answer speaks of: one entry, or one for each table."""
    capacity = answer.get("ConsumedCapacity") or {}
    entries = [capacity] if isinstance(capacity, dict) else capacity
    return sum(float(entry.get("CapacityUnits", 0.0)) for entry in entries)


def _value_bytes(value: Mapping[str, Any]) -> int:
    """Return how many bytes the service counts for a value (a number: half a byte a digit, and one)."""
    kind: str
    content: str
    ((kind, content),) = value.items()
    if kind == "B":
        return 3 * (len(content) // 4) - content.count("=", -2)
    if kind == "N":
        return (len(content.strip("0").replace(".", "")) + 1) // 2 + 1
    return len(content.encode())


def _parts(statements: Sequence[Statement]) -> Iterator[Sequence[Statement]]:
    """Cut into batches of at most 25 statements and, unless one alone is larger, 2 MiB."""
    part: list[Statement] = []
    size = 0
    for statement in statements:
        if part and (len(part) == STATEMENTS_MAX or size + statement.size > _BATCH_MAX_BYTES):
            yield part
            part, size = [], 0
        part.append(statement)
        size += statement.size
    if part:
        yield part


def _outcome(response: Mapping[str, Any]) -> Outcome:
    error = response.get("Error")
    if error is None:
        return DONE
    code = str(error.get("Code", ""))
    if code in _REFUSALS:
        return Refused(error.get("Item"))
    return StatementError(code, str(error.get("Message", "")), status=400, unknown=code in _UNKNOWN)


def _again(outcome: Outcome) -> bool:
    """Whether a statement may do better by itself; a call that failed has had its retries."""
    return isinstance(outcome, StatementError) and outcome.code in _PASSING


def _jitter_s(attempt: int) -> float:
    return random.uniform(0, min(_PAUSE_S * 2**attempt, _PAUSE_MAX_S))  # noqa: S311 - jitter
