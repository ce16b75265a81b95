"""One receipt: post it, ask where it stands, read it back."""

from __future__ import annotations

import base64
from functools import lru_cache

import orjson

from receiptd.domain.addresses import origin
from receiptd.domain.contract import Contract
from receiptd.domain.errors import OverloadedError
from receiptd.domain.identifiers import RECEIPT_ID
from receiptd.domain.receipt import Receipt, ReceiptState
from receiptd.http import fields, representations
from receiptd.http.answers import JSON_NO_STORE, JSON_PRIVATE, PRIVATE
from receiptd.http.message import Request, Response
from receiptd.http.problems import ProblemError, problem
from receiptd.pipeline.intake import Accepted, Intake, Posting
from receiptd.pipeline.watch import Watch
from receiptd.ports import Clock, Ledger

_JSON = ("application/json",)
_REPLAYED = b"Idempotent-Replayed: true\r\n"
_PATIENCE = ((10.0, b"Retry-After: 1\r\n"), (60.0, b"Retry-After: 5\r\n"), (3600.0, b"Retry-After: 30\r\n"))
"""How often to ask about a receipt of an age in seconds: most end within one, the rest may take hours."""
_LONG_PATIENCE = b"Retry-After: 300\r\n"


def require_json(request: Request) -> None:
    """Raise ProblemError (406) when the caller accepts no JSON."""
    accept = request.headers.get("accept")
    if accept is not None and fields.negotiate(accept, _JSON) is None:
        raise not_acceptable(_JSON)


def not_acceptable(offers: tuple[str, ...]) -> ProblemError:
    """Return the 406 that names what there is."""
    return ProblemError("not-acceptable", f"There is {' and '.join(offers)}; let the Accept header allow it.")


def no_receipt() -> ProblemError:
    """Return the 404 for a receipt that is unknown, malformed, or another client's: the three look alike."""
    return ProblemError("receipt-not-found", "This client has no receipt of this id.")


class Receipts:
    """The calls about one receipt."""

    def __init__(self, intake: Intake, watch: Watch, ledger: Ledger, clock: Clock, wait_max_s: float) -> None:
        self._intake = intake
        self._watch = watch
        self._ledger = ledger
        self._clock = clock
        self._wait_max_s = wait_max_s

    async def post(self, request: Request, contract: Contract) -> Response:
        """Take a receipt in; answer 202 once it is durable (invariant 1), 200 when the wait saw its end, or 422."""
        headers = request.headers
        require_json(request)
        wait_s = fields.wait_s(headers.get("prefer"), self._wait_max_s)
        accepted = await self._intake.submit(_posting(request, contract))
        receipt = accepted.receipt
        replayed = _REPLAYED if accepted.replayed else b""
        if receipt.state is ReceiptState.FAILED and not receipt.registrations:
            return _invalid(receipt, replayed)
        if wait_s:
            return await self._waited(accepted, wait_s, replayed)
        return _accepted(receipt, replayed)

    async def status(self, request: Request, contract: Contract) -> Response:
        """Say where a receipt stands; with ``Prefer: wait=N`` once it is terminal, or N seconds later."""
        headers = request.headers
        require_json(request)
        receipt_id = request.params[0]
        wait_s = fields.wait_s(headers.get("prefer"), self._wait_max_s)
        applied = b""
        if wait_s and RECEIPT_ID.match(receipt_id):
            receipt, applied = await self._wait(contract.client_id, receipt_id, wait_s)
        else:
            receipt = await self._find(contract, receipt_id)
        if receipt is None:
            raise no_receipt()
        validators = b'ETag: "%b.%d"\r\n' % (receipt_id.encode(), receipt.version) + applied
        if not receipt.terminal:
            validators += self._retry_after(receipt)
        if_none_match = headers.get("if-none-match")
        if if_none_match is not None and fields.none_match(if_none_match, f'"{receipt_id}.{receipt.version}"'):
            return Response(304, headers=PRIVATE + validators)
        return Response(200, orjson.dumps(representations.status(receipt)), JSON_PRIVATE + validators)

    async def receipt(self, request: Request, contract: Contract) -> Response:
        """Give the status, the canonical receipt and the facts of the document."""
        require_json(request)
        receipt = await self._find(contract, request.params[0])
        etag = f'"{receipt.receipt_id}.{receipt.version}"'
        validators = f"ETag: {etag}\r\n".encode()
        if fields.none_match(request.headers.get("if-none-match"), etag):
            return Response(304, headers=PRIVATE + validators)
        return Response(200, orjson.dumps(representations.full(receipt)), JSON_PRIVATE + validators)

    async def document(self, request: Request, contract: Contract) -> Response:
        """Give the received bytes (invariant 9) with their content type and digest (RFC 9530)."""
        submission = (await self._find(contract, request.params[0])).submission
        content_type = submission.content_type or "application/octet-stream"
        essence = content_type.partition(";")[0].strip().lower()
        if fields.negotiate(request.headers.get("accept"), (essence,)) is None:
            raise not_acceptable((essence,))
        etag = f'"{submission.digest}"'
        if fields.none_match(request.headers.get("if-none-match"), etag):
            return Response(304, headers=PRIVATE + f"ETag: {etag}\r\n".encode())
        suffix = "xml" if essence.endswith("xml") else "json"
        digest = base64.b64encode(bytes.fromhex(submission.digest)).decode()
        lines = (
            f"Content-Type: {content_type}\r\n"
            f'Content-Disposition: attachment; filename="{submission.receipt_id}.{suffix}"\r\n'
            "Content-Security-Policy: default-src 'none'; sandbox\r\n"
            f"Repr-Digest: sha-256=:{digest}:\r\n"
            f"ETag: {etag}\r\n"
        )
        return Response(200, submission.document, PRIVATE + lines.encode("latin-1"))

    async def _find(self, contract: Contract, receipt_id: str) -> Receipt:
        receipt = await self._ledger.get(contract.client_id, receipt_id) if RECEIPT_ID.match(receipt_id) else None
        if receipt is None:
            raise no_receipt()
        return receipt

    async def _wait(self, client_id: str, receipt_id: str, wait_s: int) -> tuple[Receipt | None, bytes]:
        """Return the receipt, terminal or as it stands when time is up, and the Preference-Applied line.

        When too many wait already the receipt is given as it stands: a preference may be left aside (RFC 7240,
        section 2), and a posted receipt is durable whether or not anyone waits for it.
        """
        try:
            receipt = await self._watch.terminal(client_id, receipt_id, wait_s)
        except OverloadedError:
            return await self._ledger.get(client_id, receipt_id), b""
        return receipt, b"Preference-Applied: wait=%d\r\n" % wait_s

    async def _waited(self, accepted: Accepted, wait_s: int, replayed: bytes) -> Response:
        receipt = accepted.receipt
        standing, applied = await self._wait(receipt.client_id, receipt.receipt_id, wait_s)
        if standing is None or not standing.terminal:
            return _accepted(receipt, applied + replayed)
        location = f"/v1/receipts/{receipt.receipt_id}/status\r\n"
        lines = f'Location: {location}Content-Location: {location}ETag: "{receipt.receipt_id}.{standing.version}"\r\n'
        body = orjson.dumps(representations.status(standing))
        return Response(200, body, JSON_NO_STORE + lines.encode() + applied + replayed)

    def _retry_after(self, receipt: Receipt) -> bytes:
        age_s = self._clock.now() - receipt.submission.accepted_at
        for limit_s, line in _PATIENCE:
            if age_s < limit_s:
                return line
        return _LONG_PATIENCE


def _posting(request: Request, contract: Contract) -> Posting:
    """Read the headers of a POST. Raises ProblemError."""
    headers = request.headers
    content_type = headers.get("content-type", "")
    if content_type and not fields.is_media_type(content_type):
        raise ProblemError("content-type-malformed", "Content-Type must be a media type, such as application/json.")
    key = headers.get("idempotency-key", "")
    if "idempotency-key" in headers:
        try:
            key = fields.idempotency_key(key)
        except ValueError as error:
            raise ProblemError(
                "idempotency-key-malformed",
                "Idempotency-Key must be 1 to 255 visible ASCII characters, in double quotes or without any.",
            ) from error
    webhook_url = headers.get("webhook-url")
    if webhook_url is None:
        webhook_url = contract.webhook_url
    else:
        _check_webhook_url(webhook_url, contract)
    return Posting(
        contract.client_id,
        request.body,
        content_type,
        _type_hint(headers.get("receipt-type", ""), contract),
        key,
        webhook_url,
        fields.trace_id(headers.get("traceparent")),
    )


def _type_hint(hint: str, contract: Contract) -> str:
    """Return the type (``ID`` or ``ID@VERSION``) to check the document as.

    Under a contract that names types it is always one of those: a named type is not left to the document to show.
    """
    types = contract.receipt_types
    if not types or hint.partition("@")[0].strip() in types:
        return hint
    if hint:
        raise ProblemError(
            "receipt-type-not-allowed", f"This client's contract allows the receipt types {', '.join(types)}."
        )
    if len(types) > 1:
        raise ProblemError(
            "receipt-type-required",
            f"This client's contract allows several receipt types; name one in Receipt-Type: {', '.join(types)}.",
        )
    return types[0]


def _check_webhook_url(url: str, contract: Contract) -> None:
    try:
        asked = origin(url)
    except ValueError as error:
        raise ProblemError(
            "webhook-url-not-allowed", "Webhook-Url must be an absolute https URL without userinfo and fragment."
        ) from error
    if asked not in _webhook_origins(contract.webhook_url, contract.webhook_origins):
        raise ProblemError(
            "webhook-url-not-allowed", "Webhook-Url must lie under an origin that this client's contract names."
        )


@lru_cache(maxsize=1024)
def _webhook_origins(webhook_url: str, origins: tuple[str, ...]) -> frozenset[str]:
    return frozenset(origin(url) for url in (webhook_url, *origins) if url)


def _accepted(receipt: Receipt, more: bytes) -> Response:
    lines = b"Location: /v1/receipts/%b/status\r\nRetry-After: 1\r\n" % receipt.receipt_id.encode()
    return Response(202, orjson.dumps(representations.acceptance(receipt)), JSON_NO_STORE + lines + more)


def _invalid(receipt: Receipt, replayed: bytes) -> Response:
    return problem(
        "receipt-invalid",
        f"The document is well-formed but not a valid {receipt.submission.type_id}; the findings say where. Nothing "
        "was registered. Mend it, and post it as a new document.",
        receipt_id=receipt.receipt_id,
        findings=receipt.findings,
        headers=replayed,
    )
