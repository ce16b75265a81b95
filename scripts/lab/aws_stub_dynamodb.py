"""DynamoDB, as little of it as the daemon calls, in memory: conditional PartiQL writes in batches, consistent reads.

Consumed units follow the service's rules: a write unit for each KiB of the item before or after, whichever is larger,
also of a write that is refused; a read unit for each 4 KiB of a consistent read, half of that for another one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

from lab.aws_stub_sqs import RefusalError, Reply

Item: TypeAlias = dict[str, dict[str, Any]]

STATEMENTS_MAX: Final = 25
KEYS_MAX: Final = 100
_WRITE_UNIT: Final = 1024
_READ_UNIT: Final = 4096
_ITEM_MAX: Final = 400 * 1024
_INSERT = re.compile(r'INSERT INTO "([^"]+)" VALUE \{(.*)\}')
_UPDATE = re.compile(r'UPDATE "([^"]+)" (.*) WHERE (.*)')
_PAIR = re.compile(r"'(\w+)': \?")
_SET = re.compile(r'SET "?(\w+)"?=\?')
_REMOVE = re.compile(r'REMOVE "?(\w+)"?')
_EQUALS = re.compile(r'"?(\w+)"?=\?')


@dataclass(frozen=True, slots=True)
class _Plan:
    """A statement's text, understood: the attributes that its parameters are for, in order."""

    table: str
    inserts: tuple[str, ...]
    sets: tuple[str, ...]
    removes: tuple[str, ...]
    conditions: tuple[str, ...]


@dataclass(slots=True)
class _Stored:
    item: Item
    size: int


@dataclass(frozen=True, slots=True)
class _Refused:
    code: str
    item: Item | None


class StubDynamoDb:
    """The service. Any table is there from the first; an item's key is its ``c`` and, if it has one, its ``r``."""

    def __init__(self) -> None:
        self._tables: defaultdict[str, dict[tuple[str, str], _Stored]] = defaultdict(dict)
        self.write_units: defaultdict[str, float] = defaultdict(float)
        self.read_units: defaultdict[str, float] = defaultdict(float)
        self.item_bytes = 0
        """Bytes of all items as they stand."""
        self.writes: defaultdict[str, int] = defaultdict(int)
        """Items written, by table."""

    def call(self, operation: str, request: Mapping[str, Any], reply: Reply) -> None:
        """Do ``operation`` and reply. Raises RefusalError."""
        if operation == "BatchExecuteStatement":
            reply(200, self._execute(request["Statements"]))
        elif operation == "GetItem":
            reply(200, self._get(request))
        elif operation == "BatchGetItem":
            reply(200, self._get_many(request["RequestItems"]))
        elif operation == "PutItem":
            table, item = request["TableName"], request["Item"]
            units = self._store(table, _key(item), item)
            reply(200, {"ConsumedCapacity": {"TableName": table, "CapacityUnits": units}})
        else:
            raise RefusalError(
                "com.amazon.coral.service#UnknownOperationException", f"This stub does not know {operation}."
            )

    # -- writes ------------------------------------------------------------------------------------------------------

    def _execute(self, statements: list[dict[str, Any]]) -> dict[str, Any]:
        if not 1 <= len(statements) <= STATEMENTS_MAX:
            raise RefusalError("com.amazon.coral.validate#ValidationException", "A batch has 1 to 25 statements.")
        plans = [_plan(one["Statement"]) for one in statements]
        keys = [_key_of(plan, one["Parameters"]) for plan, one in zip(plans, statements, strict=True)]
        if len({(plan.table, key) for plan, key in zip(plans, keys, strict=True)}) < len(keys):
            raise RefusalError("com.amazon.coral.validate#ValidationException", "A batch names an item once.")
        consumed: defaultdict[str, float] = defaultdict(float)
        responses: list[dict[str, Any]] = []
        for plan, key, one in zip(plans, keys, statements, strict=True):
            refused, units = self._write(plan, key, one["Parameters"])
            consumed[plan.table] += units
            if refused is None:
                responses.append({"TableName": plan.table})
                continue
            error: dict[str, Any] = {"Code": refused.code, "Message": "The conditional request failed"}
            if refused.item is not None and one.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD":
                error["Item"] = refused.item
            responses.append({"Error": error, "TableName": plan.table})
        capacity = [{"TableName": table, "CapacityUnits": units} for table, units in consumed.items()]
        return {"Responses": responses, "ConsumedCapacity": capacity}

    def _write(
        self, plan: _Plan, key: tuple[str, str], parameters: list[dict[str, Any]]
    ) -> tuple[_Refused | None, float]:
        standing = self._tables[plan.table].get(key)
        if plan.inserts:
            if standing is not None:
                return _Refused("DuplicateItem", standing.item), self._charge(plan.table, standing.size)
            return None, self._store(plan.table, key, dict(zip(plan.inserts, parameters, strict=True)))
        tested = parameters[len(plan.sets) :]
        if standing is None:
            return _Refused("ConditionalCheckFailed", None), self._charge(plan.table, 0)
        if any(standing.item.get(name) != value for name, value in zip(plan.conditions, tested, strict=True)):
            return _Refused("ConditionalCheckFailed", standing.item), self._charge(plan.table, standing.size)
        item = {**standing.item, **dict(zip(plan.sets, parameters, strict=False))}
        for name in plan.removes:
            item.pop(name, None)
        return None, self._store(plan.table, key, item)

    def _store(self, table: str, key: tuple[str, str], item: Item) -> float:
        size = _size(item)
        if size > _ITEM_MAX:
            raise RefusalError("com.amazon.coral.validate#ValidationException", "Item size has exceeded the maximum")
        rows = self._tables[table]
        before = rows[key].size if key in rows else 0
        rows[key] = _Stored(item, size)
        self.item_bytes += size - before
        self.writes[table] += 1
        return self._charge(table, max(before, size))

    def _charge(self, table: str, size: int) -> float:
        units = float(max(1, -(-size // _WRITE_UNIT)))
        self.write_units[table] += units
        return units

    # -- reads -------------------------------------------------------------------------------------------------------

    def _get(self, request: Mapping[str, Any]) -> dict[str, Any]:
        table = request["TableName"]
        item, units = self._read(table, request["Key"], consistent=request.get("ConsistentRead", False))
        capacity = {"TableName": table, "CapacityUnits": units}
        return {"Item": item, "ConsumedCapacity": capacity} if item else {"ConsumedCapacity": capacity}

    def _get_many(self, asked: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        if sum(len(one["Keys"]) for one in asked.values()) > KEYS_MAX:
            raise RefusalError("com.amazon.coral.validate#ValidationException", "Too many items requested")
        responses, capacity = {}, []
        for table, one in asked.items():
            found = [self._read(table, key, consistent=one.get("ConsistentRead", False)) for key in one["Keys"]]
            responses[table] = [item for item, _ in found if item is not None]
            capacity.append({"TableName": table, "CapacityUnits": sum(units for _, units in found)})
        return {"Responses": responses, "UnprocessedKeys": {}, "ConsumedCapacity": capacity}

    def _read(self, table: str, key: Item, *, consistent: bool) -> tuple[Item | None, float]:
        stored = self._tables[table].get(_key(key))
        units = max(1, -(-(stored.size if stored else 0) // _READ_UNIT)) * (1.0 if consistent else 0.5)
        self.read_units[table] += units
        return (stored.item if stored else None), units


def _key(item: Item) -> tuple[str, str]:
    return item["c"]["S"], item["r"]["S"] if "r" in item else ""


def _key_of(plan: _Plan, parameters: list[dict[str, Any]]) -> tuple[str, str]:
    if plan.inserts:
        return _key(dict(zip(plan.inserts, parameters, strict=True)))
    return _key(dict(zip(plan.conditions, parameters[len(plan.sets) :], strict=True)))


@lru_cache(maxsize=256)
def _plan(text: str) -> _Plan:
    insert = _INSERT.fullmatch(text)
    if insert is not None:
        return _Plan(insert[1], tuple(_PAIR.findall(insert[2])), (), (), ())
    update = _UPDATE.fullmatch(text)
    if update is None:
        raise RefusalError("com.amazon.coral.validate#ValidationException", f"This stub does not understand: {text}")
    return _Plan(
        update[1],
        (),
        tuple(_SET.findall(update[2])),
        tuple(_REMOVE.findall(update[2])),
        tuple(_EQUALS.findall(update[3])),
    )


def _size(item: Item) -> int:
    """Return an item's bytes as the service counts them: names, texts in UTF-8, a number by its digits."""
    size = 0
    for name, value in item.items():
        ((kind, content),) = value.items()
        if kind == "B":
            length = 3 * (len(content) // 4) - content.count("=", -2)
        elif kind == "N":
            length = (len(content.strip("0").replace(".", "")) + 1) // 2 + 1
        else:
            length = len(content.encode())
        size += len(name) + length
    return size
