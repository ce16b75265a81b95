"""A proxy before an emulated service. It passes everything on, until it is told of a fault."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp
import orjson
from aiohttp import web

JSON = "application/x-amz-json-1.0"


@dataclass
class FaultyProxy:
    """Passes requests on to ``target``; ``before`` and ``after`` may give another answer.

    ``before(operation, body)`` returns an answer in place of the service's, or None. ``after(operation, body, answer)``
    returns what is answered in place of the service's own answer, which has taken effect; ``LOST`` breaks the
    connection. ``failing(statement)`` returns the code that one statement of a batch fails with, undone, or None.
    """

    target: str
    url: str = ""
    requests: list[tuple[str, dict]] = field(default_factory=list)
    before: Callable = lambda *_: None
    after: Callable = lambda *given: given[-1]
    failing: Callable = lambda _: None
    _session: aiohttp.ClientSession | None = None

    async def handle(self, request):
        raw = await request.content.read()  # of any size
        operation = request.headers["X-Amz-Target"].rpartition(".")[2]
        body = orjson.loads(raw)
        self.requests.append((operation, body))
        answer, status = self.before(operation, body), 200
        if answer is None:
            answer, status = await self._forward(request.headers, operation, body)
            if status == 200:
                answer = self.after(operation, body, answer)
        if answer is LOST:
            request.transport.abort()
            return web.Response()
        if isinstance(answer, Refusal):
            answer, status = {"__type": f"x#{answer.code}", "message": "told to"}, answer.status
        return web.Response(status=status, body=orjson.dumps(answer), content_type=JSON)

    async def _forward(self, headers, operation, body):
        statements = body.get("Statements", ())
        codes = [self.failing(statement) for statement in statements]
        rest = [statement for statement, code in zip(statements, codes, strict=True) if code is None]
        answer, status = {"Responses": []}, 200
        if rest or operation != "BatchExecuteStatement":
            self._session = self._session or aiohttp.ClientSession()
            kept = {name: headers[name] for name in ("X-Amz-Target", "Content-Type", "Authorization")}
            data = io.BytesIO(orjson.dumps({**body, "Statements": rest} if statements else body))
            async with self._session.post(self.target, data=data, headers=kept) as reply:
                answer, status = await reply.json(content_type=None), reply.status
        if any(codes) and "Responses" in answer:
            done = iter(answer["Responses"])
            answer["Responses"] = [
                next(done) if code is None else {"Error": {"Code": code, "Message": "told to"}} for code in codes
            ]
        return answer, status

    def count(self, operation):
        return sum(name == operation for name, _ in self.requests)

    async def close(self):
        if self._session is not None:
            await self._session.close()


@dataclass(frozen=True)
class Refusal:
    """A whole call refused."""

    code: str
    status: int = 400


LOST = object()


def once(answer, operation):
    """Give ``answer`` to the first call of ``operation``; for ``before``."""
    left = [answer]

    def give(name, body):
        del body
        return left.pop() if name == operation and left else None

    return give


def lost_once(operation):
    """Lose the first answer of ``operation``, which has taken effect; for ``after``."""
    left = [LOST]

    def give(name, body, answer):
        del body
        return left.pop() if name == operation and left else answer

    return give
