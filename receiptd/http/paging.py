"""Pages: from query parameters or a cursor to a ``PageQuery``, and from a page to its answer.

A cursor is opaque to clients. It holds the filters and the last id seen, and nothing that grants anything: the client
id always comes from the token, so a forged cursor reaches no further than its forger's own receipts.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias
from urllib.parse import quote

import orjson

from receiptd.domain.errors import OverloadedError
from receiptd.domain.identifiers import RECEIPT_ID
from receiptd.domain.receipt import Receipt, ReceiptState
from receiptd.http import uri
from receiptd.http.answers import NO_STORE
from receiptd.http.message import Request, Response
from receiptd.http.problems import ProblemError
from receiptd.ports import Ledger, PageQuery

LIMIT_MAX = 10_000
LIMIT_DEFAULT = 100
NDJSON = "application/x-ndjson"
_ROWS_MAX = 5 * LIMIT_MAX
_SLICE = 100
"""Rows encoded before others get their turn on the event loop: about a millisecond."""
_CURSOR_VERSION = 1
_CURSOR_MAX_CHARS = 512
_TYPE_MAX_CHARS = 64
_TIME_MAX = PageQuery(client_id="").end

Represent: TypeAlias = Callable[[Receipt], Any]


def read_query(request: Request, client_id: str, *, with_delivery: bool = False) -> PageQuery:
    """Read the page that a request asks for.

    A cursor brings its filters along; a filter beside it must say the same.

    Raises:
        ProblemError: a parameter or the cursor is not well-formed (400).
    """
    known = ("from", "to", "limit", "cursor") if with_delivery else ("from", "to", "type", "status", "limit", "cursor")
    given = uri.parameters(request.query, known)
    limit = uri.integer("limit", given["limit"], 1, LIMIT_MAX) if "limit" in given else LIMIT_DEFAULT
    if "cursor" in given:
        try:
            query = decode_cursor(given["cursor"], client_id, limit, with_delivery=with_delivery)
        except (TypeError, ValueError) as error:
            raise uri.malformed("cursor", "must be one that this call gave; start over without it") from error
    else:
        query = PageQuery(client_id=client_id, limit=limit, with_delivery=with_delivery)
    start = max(0.0, uri.instant("from", given["from"])) if "from" in given else query.start
    end = max(0.0, uri.instant("to", given["to"])) if "to" in given else query.end
    if start > end:
        raise uri.malformed("to", "must not be before from")
    asked = PageQuery(
        client_id=client_id,
        start=start,
        end=end,
        after=query.after,
        limit=limit,
        state=_state(given["status"]) if "status" in given else query.state,
        type_id=_type_id(given["type"]) if "type" in given else query.type_id,
        with_delivery=with_delivery,
    )
    if "cursor" in given and asked != query:
        raise uri.malformed("cursor", "belongs to other filters; leave them out, or start over without a cursor")
    return asked


class Pages:
    """Makes pages of receipts in bounded memory: one page of a client at a time, and so many rows of all clients."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._in_hand: dict[str, int] = {}

    async def answer(self, path: str, name: str, query: PageQuery, represent: Represent, media_type: str) -> Response:
        """Return the page of ``query`` as JSON under ``name``, or as NDJSON, with a Link to the next (RFC 8288).

        Raises:
            ProblemError: another page of the client is being made (429).
            OverloadedError: too many rows are in hand.
            StorageError: the ledger cannot be read.
        """
        with self._hold(query):
            page = await self._ledger.page(query)
            rows = await _encode(page.receipts, represent)
        cursor = encode_cursor(query, page.next_after) if page.next_after else ""
        headers = NO_STORE + f"Content-Type: {media_type}\r\nVary: Accept\r\n".encode()
        if cursor:
            headers += f'Link: <{path}?cursor={quote(cursor)}&limit={query.limit}>; rel="next"\r\n'.encode()
        if media_type == NDJSON:
            return Response(200, b"".join([row + b"\n" for row in rows]), headers)
        body = b'{"%b":[%b],"next":%b}' % (name.encode(), b",".join(rows), orjson.dumps(cursor or None))
        return Response(200, body, headers)

    @contextmanager
    def _hold(self, query: PageQuery) -> Iterator[None]:
        if query.client_id in self._in_hand:
            raise ProblemError("page-in-hand", "Ask for one page at a time.", headers=b"Retry-After: 1\r\n")
        if sum(self._in_hand.values()) + query.limit > _ROWS_MAX:
            raise OverloadedError("too many pages are being made")
        self._in_hand[query.client_id] = query.limit
        try:
            yield
        finally:
            del self._in_hand[query.client_id]


async def _encode(receipts: tuple[Receipt, ...], represent: Represent) -> list[bytes]:
    rows: list[bytes] = []
    for start in range(0, len(receipts), _SLICE):
        if start:
            await asyncio.sleep(0)
        rows += [orjson.dumps(represent(receipt)) for receipt in receipts[start : start + _SLICE]]
    return rows


def encode_cursor(query: PageQuery, after: str) -> str:
    """Return the cursor of the page of ``query`` that goes on after the id ``after``."""
    content = [_CURSOR_VERSION, query.with_delivery, query.start, query.end, query.state, query.type_id, after]
    return base64.urlsafe_b64encode(orjson.dumps(content)).decode().rstrip("=")


def decode_cursor(cursor: str, client_id: str, limit: int, *, with_delivery: bool) -> PageQuery:
    """Return the page that goes on at ``cursor``. Raises ValueError or TypeError when this call did not give it."""
    if len(cursor) > _CURSOR_MAX_CHARS:
        raise ValueError("too long")
    raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    version, deliveries, start, end, state, type_id, after = orjson.loads(raw)
    well_formed = (
        (version, deliveries) == (_CURSOR_VERSION, with_delivery)
        and isinstance(start, int | float)
        and isinstance(end, int | float)
        and 0 <= start <= end <= _TIME_MAX
        and isinstance(type_id, str)
        and RECEIPT_ID.match(after)
    )
    if not well_formed:
        raise ValueError("not of this call")
    return PageQuery(
        client_id=client_id,
        start=start,
        end=end,
        after=after,
        limit=limit,
        state=None if state is None else ReceiptState(state),
        type_id=type_id,
        with_delivery=with_delivery,
    )


def _state(text: str) -> ReceiptState:
    try:
        return ReceiptState(text.upper())
    except ValueError as error:
        raise uri.malformed("status", f"must be one of {', '.join(ReceiptState)}") from error


def _type_id(text: str) -> str:
    if not 1 <= len(text) <= _TYPE_MAX_CHARS:
        raise uri.malformed("type", f"must have 1 to {_TYPE_MAX_CHARS} characters")
    return text
