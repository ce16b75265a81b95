"""The whole HTTP face over the real pipeline, with stand-ins for the ports and the receipt types.

Every answer is held against the OpenAPI description: its status, its headers, its body.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import ClassVar
from urllib.parse import unquote

import jsonschema
import orjson
import pytest
from prometheus_client import CollectorRegistry

from receiptd.documents import DocumentError
from receiptd.domain.contract import Contract
from receiptd.domain.errors import GrantError, StorageError, TokenError
from receiptd.domain.lifecycle import Confirmed
from receiptd.domain.receipt import Finding, ReceiptState
from receiptd.http.api import Api
from receiptd.http.message import Request
from receiptd.http.openapi import describe
from receiptd.pipeline.callbacks import Callbacks
from receiptd.pipeline.intake import Intake
from receiptd.pipeline.watch import Watch
from receiptd.pipeline.writer import Writer
from receiptd.ports import Page, Principal
from receiptd.settings import HttpSettings, RecoverySettings, RegistrarSettings, WriterSettings

DESCRIPTION = describe()
CALLBACK_SECRET = "whsec_dGVzdC1zZWNyZXQtb2YtdGhlLXRheC1zdGFuZC1pbg=="
UNDECLARED = {"content-type", "x-content-type-options", "cache-control", "accept-encoding"}
"""Headers that any answer may have."""


class MemoryLedger:
    def __init__(self):
        self.receipts = {}
        self.broken = False
        self.paging = None

    async def commit(self, changes):
        if self.broken:
            raise StorageError("disk full")
        results = []
        for change in changes:
            standing = self.receipts.get(change.receipt.receipt_id)
            if (standing.version if standing else None) == change.expected_version:
                standing = self.receipts[change.receipt.receipt_id] = change.receipt
            results.append(standing)
        return results

    async def get(self, client_id, receipt_id):
        if self.broken:
            raise StorageError("disk full")
        receipt = self.receipts.get(receipt_id)
        return receipt if receipt and receipt.client_id == client_id else None

    async def page(self, query):
        if self.paging:
            await self.paging.wait()
        found = [
            receipt
            for receipt_id, receipt in sorted(self.receipts.items())
            if receipt.client_id == query.client_id
            and query.start <= receipt.submission.accepted_at < query.end
            and receipt_id > query.after
            and query.state in (None, receipt.state)
            and query.type_id in ("", receipt.submission.type_id)
            and (receipt.delivery or not query.with_delivery)
        ]
        more = len(found) > query.limit
        found = found[: query.limit]
        return Page(tuple(found), found[-1].receipt_id if more else "")


class Checking:
    """Takes JSON objects; ``{"bad": true}`` is invalid; the hint, or "till", is the type."""

    async def check(self, body, content_type, hint):
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise DocumentError(400, "json-malformed", "the document is not JSON", "line 1, column 1") from error
        invalid = document.get("bad", False)
        return SimpleNamespace(
            type_id=hint or "till",
            type_version=1,
            canonical=b"" if invalid else body,
            registrars=() if hint == "note" else ("tax",),
            findings=(Finding("rule:bad", "it is bad", "/bad"),) if invalid else (),
            valid=not invalid,
        )


class MemoryContracts:
    def __init__(self):
        self.contracts = {}

    async def get(self, client_id):
        return self.contracts.get(client_id)


class Tokens:
    """A token is ``<client>:<scopes>``, with ``rw``, ``r`` or ``w`` for the scopes."""

    SCOPES: ClassVar = {"r": "receipts/read", "w": "receipts/write"}

    async def verify(self, token):
        client_id, colon, letters = token.partition(":")
        if not colon:
            raise TokenError("malformed")
        return Principal(client_id, frozenset(self.SCOPES[letter] for letter in letters), 2e9)

    async def issue(self, client_id, client_secret, scope=""):
        if client_secret != "s3cret +":
            raise GrantError("the secret is wrong", error="invalid_client")
        if scope not in ("", "receipts/read"):
            raise GrantError("no such scope", error="invalid_scope")
        return {"access_token": f"{client_id}:r", "token_type": "Bearer", "expires_in": 3600, "scope": "receipts/read"}


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return orjson.loads(self.body)

    @property
    def code(self):
        assert self.headers["content-type"] == "application/problem+json"
        assert self.json["status"] == self.status
        return self.json["code"]


@dataclass
class Face:
    """The face, and what stands behind it."""

    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    contracts: MemoryContracts = field(default_factory=MemoryContracts)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    settings: HttpSettings = field(default_factory=lambda: HttpSettings(in_flight_max=2, wait_max_s=5, waiters_max=2))
    now: float = 1_800_000_000.25
    monotonic_now: float = 0.0
    ready: tuple[bool, dict[str, str]] = (True, {"writer": "ok"})
    callback_secret: str = CALLBACK_SECRET

    def __post_init__(self):
        clock = SimpleNamespace(now=lambda: self.now)
        writer_settings = WriterSettings(linger_ms=0, lazy_linger_ms=0)
        self.writer = Writer(self.ledger, clock, writer_settings, RecoverySettings())
        self.watch = Watch(self.ledger, self.settings.waiters_max)
        self.writer.listen(self.watch.committed)
        self.intake = Intake(self.settings, Checking(), self.writer, clock)
        registrar = RegistrarSettings(id="tax", url="http://tax", callback={"secrets": (CALLBACK_SECRET,)})
        self.api = Api(
            intake=self.intake,
            watch=self.watch,
            callbacks=Callbacks((registrar,), self.writer, clock),
            writer=self.writer,
            ledger=self.ledger,
            contracts=self.contracts,
            identity=Tokens(),
            issuer=Tokens(),
            clock=clock,
            settings=self.settings,
            registry=self.registry,
            readiness=lambda: self.ready,
            monotonic=lambda: self.monotonic_now,
        )
        self.contract("shop")

    def contract(self, client_id, **terms):
        terms = {"rate_per_s": 1000, "burst": 10_000, "webhook_url": "https://hooks.shop.example/r", **terms}
        self.contracts.contracts[client_id] = Contract(client_id=client_id, **terms)

    async def call(self, method, target, body=b"", *, token="shop:rw", admit=True, **headers):
        """Send a request as the server would; ``_`` in the names of headers stands for a hyphen."""
        path, _, query = target.partition("?")
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            names["authorization"] = f"Bearer {token}"
        request = Request(method, path, query, names, body, "127.0.0.1")
        response = self.api.admit(request, len(body)) if admit else None
        if response is None:
            response = await self.api.handle(request)
        lines = response.headers.decode("latin-1").split("\r\n")
        assert lines.pop() == ""
        pairs = [line.split(": ", 1) for line in lines]
        assert len({name.lower() for name, _ in pairs}) == len(pairs), "no header twice"
        answer = Answer(response.status, {name.lower(): value for name, value in pairs}, response.body)
        _check_declared(method, path, answer)
        return answer

    async def post(self, body=b'{"n":1}', **headers):
        return await self.call("POST", "/v1/receipts", body, **{"content_type": "application/json", **headers})

    async def posted(self, body=b'{"n":1}', **headers):
        """Post a receipt and return its id."""
        answer = await self.post(body, **headers)
        assert answer.status == 202, answer.body
        return answer.json["id"]

    async def confirm(self, receipt_id, client_id="shop"):
        await self.writer.apply(client_id, receipt_id, Confirmed("tax", self.now, "T-1"))


def _check_declared(method, path, answer):
    assert answer.headers.get("x-content-type-options") == "nosniff"
    operation = _operation("GET" if method == "HEAD" else method, unquote(path))
    if operation is None:
        assert answer.status in {204, 400, 404, 405}
        schema = {"$ref": "#/components/schemas/Problem"}
    else:
        declared = operation["responses"].get(str(answer.status))
        assert declared, f"{operation['operationId']} does not declare {answer.status}: {answer.body}"
        undeclared = set(answer.headers) - {name.lower() for name in declared.get("headers", {})} - UNDECLARED
        assert not undeclared, f"{operation['operationId']} {answer.status} does not declare {undeclared}"
        content = declared.get("content", {})
        media_type = answer.headers.get("content-type", "").partition(";")[0]
        assert bool(answer.body) <= bool(content)
        schema = (content.get(media_type) or content.get("*/*") or {}).get("schema", {})
    if answer.headers.get("content-type", "").endswith("json"):
        validator = jsonschema.Draft202012Validator({**schema, "components": DESCRIPTION["components"]})
        for part in answer.body.splitlines() if answer.headers["content-type"].endswith("ndjson") else [answer.body]:
            validator.validate(orjson.loads(part))


def _operation(method, path):
    for template, operations in DESCRIPTION["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path) and method.lower() in operations:
            return operations[method.lower()]
    return None


@pytest.fixture
async def face():
    face = Face()
    running = asyncio.create_task(face.writer.run())
    yield face
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert not [r for r in face.ledger.receipts.values() if r.state is ReceiptState.PROCESSING and not r.registrations]
