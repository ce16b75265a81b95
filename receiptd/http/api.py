"""The HTTP face: what the server serves. Routes each request, guards it, and turns errors into problem documents.

An error that nobody foresaw is not caught here: it reaches the server, which logs it and answers 500.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus

from prometheus_client import CollectorRegistry

from receiptd.documents import DocumentError
from receiptd.domain.errors import (
    IdempotencyMismatchError,
    OverloadedError,
    ReceiptdError,
    StorageError,
    UnknownReceiptError,
)
from receiptd.domain.receipt import Finding
from receiptd.http import uri
from receiptd.http.answers import retry_after
from receiptd.http.auth import ClientHandler, Gate, token_missing
from receiptd.http.call_metrics import CallMetrics
from receiptd.http.callbacks import CallbackReceiver
from receiptd.http.calls import CALLS, SMALL_BODY_MAX_BYTES
from receiptd.http.deliveries import Deliveries
from receiptd.http.history import History
from receiptd.http.limits import RateLimiter
from receiptd.http.message import Handler, Request, Response
from receiptd.http.openapi import describe
from receiptd.http.operations import Operations, Readiness
from receiptd.http.paging import Pages
from receiptd.http.problems import ProblemError, problem
from receiptd.http.receipts import Receipts, no_receipt
from receiptd.http.router import Route, Router
from receiptd.http.tokens import Issuer, Tokens
from receiptd.pipeline.callbacks import Callbacks
from receiptd.pipeline.intake import Intake
from receiptd.pipeline.watch import Watch
from receiptd.pipeline.writer import Writer
from receiptd.ports import Clock, Contracts, Identity, Ledger
from receiptd.settings import HttpSettings

_RECEIPTS = "/v1/receipts"
_RETRY_S = 2.0


class Api:
    """The Application of message.py. Without an ``issuer`` there is no token endpoint but the one at ``token_url``."""

    def __init__(
        self,
        *,
        intake: Intake,
        watch: Watch,
        callbacks: Callbacks,
        writer: Writer,
        ledger: Ledger,
        contracts: Contracts,
        identity: Identity,
        issuer: Issuer | None,
        token_url: str = "",
        clock: Clock,
        settings: HttpSettings,
        registry: CollectorRegistry,
        readiness: Readiness,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._intake = intake
        self._body_max_bytes = settings.body_max_bytes
        self._metrics = CallMetrics(registry)
        gate = Gate(
            identity,
            contracts,
            writes=RateLimiter("write", monotonic=monotonic),
            reads=RateLimiter("read", monotonic=monotonic),
        )
        receipts = Receipts(intake, watch, ledger, clock, settings.wait_max_s)
        pages = Pages(ledger)
        deliveries = Deliveries(pages, writer, clock)
        operations = Operations(registry, readiness, describe(token_url))
        for_clients: dict[str, ClientHandler] = {
            "postReceipt": receipts.post,
            "listReceipts": History(pages).page,
            "getStatus": receipts.status,
            "getReceipt": receipts.receipt,
            "getDocument": receipts.document,
            "listDeliveries": deliveries.page,
            "replayDelivery": deliveries.replay,
        }
        for_all: dict[str, Handler] = {
            "receiveCallback": CallbackReceiver(callbacks).receive,
            "livez": operations.livez,
            "readyz": operations.readyz,
            "metrics": operations.metrics,
            "openapi": operations.openapi,
            "docs": operations.docs,
        }
        if issuer is not None:
            for_all["issueToken"] = Tokens(issuer, RateLimiter("token", monotonic=monotonic)).issue
        self._router = Router()
        for call in CALLS:
            if call.name not in for_clients and call.name not in for_all:
                name, handler = "none", _elsewhere(token_url)
            else:
                name = call.name
                handler = gate.guard(call.scope, for_clients[name]) if call.scope else for_all[name]
            body_max_bytes = call.body_max_bytes or settings.body_max_bytes
            route = Route(name=name, handler=handler, query=call.query, body_max_bytes=body_max_bytes)
            self._router.add(call.method, call.path, route)

    def admit(self, request: Request, content_length: int | None) -> Response | None:
        """Refuse by its head a body that would be read in vain; see ``Application.admit``."""
        try:
            self._judge(request, content_length)
        except ReceiptdError as error:
            response = _translate(error)
            self._metrics.count("none", response.status)
            return response
        return None

    def _judge(self, request: Request, content_length: int | None) -> None:
        headers = request.headers
        is_receipt = request.path == _RECEIPTS and request.method == "POST"
        if is_receipt:
            self._intake.check_capacity()
        if content_length != 0:
            limit = self._body_max_bytes if is_receipt else SMALL_BODY_MAX_BYTES
            if content_length is not None and content_length > limit:
                raise _too_large(limit)
            if headers.get("content-encoding", "identity").lower() != "identity":
                raise ProblemError(
                    "content-encoding-unsupported",
                    "Send the body as it is, without Content-Encoding.",
                    headers=b"Accept-Encoding: identity\r\n",
                )
        if is_receipt and "authorization" not in headers:
            raise token_missing()

    async def handle(self, request: Request) -> Response:
        """Answer a complete request; see ``Application.handle``."""
        started = time.perf_counter()
        call, status = "none", 500  # what an unforeseen error is counted as
        try:
            matched = self._router.match(request)
            if isinstance(matched, Route):
                call = matched.name
                if request.query and not matched.query:
                    uri.parameters(request.query, ())
                if len(request.body) > matched.body_max_bytes:
                    raise _too_large(matched.body_max_bytes)
                matched = await matched.handler(request)
            status = matched.status
        except ReceiptdError as error:
            response = _translate(error)
            status = response.status
            return response
        else:
            return matched
        finally:
            self._metrics.count(call, status)
            if "prefer" not in request.headers:
                self._metrics.observe(call, time.perf_counter() - started)

    def refuse(self, status: int, code: str, detail: str) -> Response:
        """Build the problem document for a refusal of the server's own; see ``Application.refuse``."""
        return problem(code, detail, status=status)


def _elsewhere(token_url: str) -> Handler:
    """Return what answers who asks for a token here: where they are given."""

    async def answer(_: Request) -> Response:
        where = f"by {token_url}" if token_url else "elsewhere"
        raise ProblemError("not-found", f"Tokens are given {where}, not here.")

    return answer


def _too_large(limit: int) -> ProblemError:
    return ProblemError("body-too-large", f"The body may have {limit} bytes at most.")


def _translate(error: ReceiptdError) -> Response:
    """Return the answer to an error that is part of the interface; raise any other one again."""
    match error:
        case ProblemError():
            answer = error.response
        case DocumentError():
            findings = [Finding(error.code, error.detail, error.where)] if error.where else []
            headers = retry_after(_RETRY_S) if error.status == HTTPStatus.SERVICE_UNAVAILABLE else b""
            answer = problem(error.code, error.detail, status=error.status, findings=findings, headers=headers)
        case IdempotencyMismatchError():
            answer = problem("idempotency-key-reused", f"{error}.")
        case UnknownReceiptError():
            answer = no_receipt().response
        case OverloadedError():
            answer = problem(
                "overloaded",
                f"Nothing was done: {error}. Send the same request again later.",
                headers=retry_after(error.retry_after_s),
            )
        case StorageError():
            answer = problem(
                "storage-unavailable",
                "Whether the request took effect is unknown. Send the same request again: it takes effect once.",
                headers=retry_after(_RETRY_S),
            )
        case _:
            raise error
    return answer
