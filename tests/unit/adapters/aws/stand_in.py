"""A stand-in of a service, on a real socket, that answers as it is told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import orjson
from aiohttp import web

from receiptd.adapters.aws.signing import Keys


@dataclass
class Request:
    operation: str
    headers: dict[str, str]
    body: dict
    raw: bytes


@dataclass
class Service:
    """Answers each request with the next thing of ``script``: an aiohttp response, a dict (200), or a coroutine
    function of the request. With one thing left, it goes on with that one."""

    url: str
    script: list = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    fixed: dict[str, dict] = field(default_factory=dict)
    """Answers by operation that are always the same; their requests are not kept."""

    async def handle(self, request):
        raw = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen = Request(headers["x-amz-target"].rpartition(".")[2], headers, orjson.loads(raw), raw)
        if seen.operation in self.fixed:
            return as_response(self.fixed[seen.operation])
        self.requests.append(seen)
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if callable(answer):
            answer = await answer(seen)
        if answer is None:  # the connection ends, after effect
            request.transport.abort()
            return web.Response()
        return as_response(answer)


def as_response(answer):
    if isinstance(answer, dict):
        return web.Response(body=orjson.dumps(answer), content_type="application/x-amz-json-1.0")
    return answer


def refusal(code, message="no", *, status=400, **headers):
    body = orjson.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": message})
    return lambda _: _given(web.Response(status=status, body=body, headers=headers))


async def _given(response):
    return response


def status(number, body=b"<html>gateway</html>"):
    return lambda _: _given(web.Response(status=number, body=body))


def content(body, **headers):
    return lambda _: _given(web.Response(body=body, headers=headers))


async def lost(_):
    """The connection breaks once the request is there."""
    return


async def silence(_):
    await asyncio.sleep(30)


@dataclass
class GivenKeys:
    """A key source: gives the first of ``given``, and the next one each time that one is refused."""

    given: list[Keys]
    refusals: int = 0

    async def keys(self, refused=None):
        if refused is not None and self.given[0] == refused and len(self.given) > 1:
            self.refusals += 1
            del self.given[0]
        return self.given[0]
