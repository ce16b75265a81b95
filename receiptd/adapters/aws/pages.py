"""Pages of a client's receipts: a Query for each of its partitions, merged into one order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from receiptd.adapters.aws.dynamodb import DynamoDb, Item
from receiptd.adapters.aws.items import LETTERS
from receiptd.adapters.records import day_stamp
from receiptd.domain.receipt import Receipt
from receiptd.ports import Page, PageQuery

_QUERY_S: Final = 10.0
_QUERIES_MAX: Final = 100
"""Calls of 1 MB for one page; where a filter leaves little of so much, the page is short but says where to go on."""
_DAY_S: Final = 86_400.0

Decode = Callable[[str, Sequence[Item]], Awaitable[list[Receipt]]]
"""Turns a client's items into receipts. Raises StorageError."""


class PageReader:
    """Reads pages from a table."""

    def __init__(self, dynamodb: DynamoDb, table: str, decode: Decode) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._decode = decode

    async def read(self, query: PageQuery, partitions: Sequence[str]) -> Page:
        """Return the page that ``query`` asks for, out of the client's partitions. Raises AwsError, StorageError."""
        low, high = day_stamp(query.start), f"{day_stamp(query.end)}."  # "." is after the "-" that follows the day
        if query.after:
            low = max(low, f"{query.after}!")  # the least that is after it and before any other id
        if low > high or query.start >= query.end:
            return Page(())
        request = _request(query, low, high)
        streams = [_Stream(self._dynamodb, self._table, partition, request) for partition in partitions]
        found, next_after = await _merge(streams, query.limit, filtered=_is_selective(query))
        return Page(tuple(await self._decode(query.client_id, found)), next_after)


class _Stream:
    """One partition's items in order, as far as they have been read."""

    def __init__(self, dynamodb: DynamoDb, table: str, partition: str, request: dict[str, Any]) -> None:
        values = {**request["ExpressionAttributeValues"], ":c": {"S": partition}}
        self._dynamodb = dynamodb
        self._table = table
        self._request = {**request, "ExpressionAttributeValues": values}
        self.items: deque[Item] = deque()
        self.ended = False
        self.read_to = ""
        """Every receipt up to this id has been read."""

    async def fill(self, limit: int | None) -> None:
        """Read on by one call, over ``limit`` items at most."""
        request = self._request if limit is None else {**self._request, "Limit": limit}
        answer = await self._dynamodb.query(self._table, request, timeout_s=_QUERY_S)
        self.items.extend(answer["Items"])
        last = answer.get("LastEvaluatedKey")
        if last is None:
            self.ended = True
        else:
            self._request = {**self._request, "ExclusiveStartKey": last}
            self.read_to = last["r"]["S"]


async def _merge(streams: Sequence[_Stream], limit: int, *, filtered: bool) -> tuple[list[Item], str]:
    """Return the first ``limit`` items over all streams, and the id to go on after (empty: there are no more)."""
    found: list[Item] = []
    calls = 0
    while len(found) <= limit:
        dry = [stream for stream in streams if not stream.items and not stream.ended]
        if dry and calls >= _QUERIES_MAX:
            return _cut(streams, found, limit)
        if dry:
            # One more than is wanted tells whether there is a next page; a filter may leave little of what is read.
            share = None if filtered else (limit + 1 - len(found)) // len(streams) + 1
            await asyncio.gather(*(stream.fill(share) for stream in dry))
            calls += len(dry)
            continue
        ready = [stream for stream in streams if stream.items]
        if not ready:
            return found, ""
        found.append(min(ready, key=_head).items.popleft())
    return found[:limit], _id(found[limit - 1])


def _cut(streams: Sequence[_Stream], found: list[Item], limit: int) -> tuple[list[Item], str]:
    """End a page early: with what is known up to the id to which every stream has been read."""
    bound = min(stream.read_to for stream in streams if not stream.ended)
    rest = sorted((item for stream in streams for item in stream.items if _id(item) <= bound), key=_id)
    found = [*found, *rest]
    return (found[:limit], _id(found[limit - 1])) if len(found) > limit else (found, bound)


def _id(item: Item) -> str:
    receipt_id: str = item["r"]["S"]
    return receipt_id


def _head(stream: _Stream) -> str:
    return _id(stream.items[0])


def _request(query: PageQuery, low: str, high: str) -> dict[str, Any]:
    conditions, names = [], {}
    values: dict[str, Any] = {":low": {"S": low}, ":high": {"S": high}}
    if query.start % _DAY_S or query.start < 0:
        conditions.append("a >= :start")
        values[":start"] = {"N": repr(query.start)}
    conditions.append("a < :end")
    values[":end"] = {"N": repr(query.end)}
    if query.state is not None:
        conditions.append("#s = :state")
        names["#s"], values[":state"] = "s", {"S": LETTERS[query.state]}
    if query.type_id:
        conditions.append("#t = :type")
        names["#t"], values[":type"] = "t", {"S": query.type_id}
    if query.with_delivery:
        conditions.append("attribute_exists(d)")
    request = {
        "KeyConditionExpression": "c = :c AND r BETWEEN :low AND :high",
        "FilterExpression": " AND ".join(conditions),
        "ExpressionAttributeValues": values,
        "ConsistentRead": True,
    }
    return {**request, "ExpressionAttributeNames": names} if names else request


def _is_selective(query: PageQuery) -> bool:
    return query.state is not None or bool(query.type_id) or query.with_delivery
