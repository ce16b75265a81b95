"""Problem documents (RFC 9457): what every refusal looks like, and the catalogue of their codes.

The ``type`` is ``urn:receiptd:problem:<code>``; ``code`` repeats the last part for those who switch on it. Codes are
stable. ``detail`` says what is wrong, where, and how to mend it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

from receiptd.domain.errors import ReceiptdError
from receiptd.domain.receipt import Finding
from receiptd.http.answers import PROBLEM
from receiptd.http.message import Response
from receiptd.http.representations import finding

TYPE_PREFIX = "urn:receiptd:problem:"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: its HTTP status and its title, which is the same at every occurrence."""

    status: int
    title: str


DOCUMENT_KINDS: dict[str, Kind] = {
    "document-empty": Kind(400, "The document is empty"),
    "document-too-complex": Kind(400, "The document is too deep or has too many parts"),
    "encoding-unsupported": Kind(400, "The document's encoding cannot be read"),
    "json-malformed": Kind(400, "The document is not well-formed JSON"),
    "json-duplicate-key": Kind(400, "The document has a key twice in one object"),
    "json-number": Kind(400, "The document has a number that cannot be held"),
    "json-too-deep": Kind(400, "The document nests too deep"),
    "xml-malformed": Kind(400, "The document is not well-formed XML"),
    "doctype-forbidden": Kind(400, "The document has a DOCTYPE"),
    "document-too-large": Kind(413, "The document is too large for its type"),
    "charset-unsupported": Kind(415, "The charset is not supported"),
    "media-type-missing": Kind(415, "The Content-Type is missing"),
    "media-type-unsupported": Kind(415, "The media type is not supported"),
    "ambiguous-receipt-type": Kind(422, "The document could be of several receipt types"),
    "unknown-receipt-type": Kind(422, "There is no such receipt type"),
    "receipt-type-mismatch": Kind(422, "The document is not of the named receipt type"),
    "receipt-type-broken": Kind(503, "The receipt type cannot be used right now"),
}
"""The codes with which receiptd.documents refuses a document before anything is stored."""

CATALOGUE: dict[str, Kind] = {
    **DOCUMENT_KINDS,
    "bad-request": Kind(400, "The request is not well-formed HTTP"),
    "path-malformed": Kind(400, "The path is not well-formed"),
    "parameter-unknown": Kind(400, "There is no such query parameter"),
    "parameter-malformed": Kind(400, "A query parameter has a wrong value"),
    "idempotency-key-malformed": Kind(400, "The Idempotency-Key is not well-formed"),
    "receipt-type-required": Kind(400, "The Receipt-Type header is missing"),
    "callback-malformed": Kind(400, "The callback is not well-formed"),
    "callback-mismatch": Kind(400, "The callback's body and address disagree"),
    "token-missing": Kind(401, "A bearer token is needed"),
    "invalid-token": Kind(401, "The bearer token was refused"),
    "callback-signature": Kind(401, "The callback's signature was refused"),
    "insufficient-scope": Kind(403, "The token does not grant this"),
    "contract-inactive": Kind(403, "There is no active contract"),
    "contract-read-only": Kind(403, "The contract grants reading only"),
    "receipt-type-not-allowed": Kind(403, "The contract does not name this receipt type"),
    "not-found": Kind(404, "There is nothing here"),
    "receipt-not-found": Kind(404, "There is no such receipt"),
    "callback-unknown": Kind(404, "There is no such callback"),
    "method-not-allowed": Kind(405, "The resource does not know this method"),
    "not-acceptable": Kind(406, "The resource has no representation that is accepted"),
    "request-timeout": Kind(408, "The request took too long to arrive"),
    "no-webhook": Kind(409, "The receipt has no webhook to send"),
    "body-too-large": Kind(413, "The body is too large"),
    "uri-too-long": Kind(414, "The request target is too long"),
    "content-encoding-unsupported": Kind(415, "The content encoding is not supported"),
    "content-type-malformed": Kind(415, "The Content-Type is not well-formed"),
    "expectation-failed": Kind(417, "The expectation cannot be met"),
    "receipt-invalid": Kind(422, "The receipt did not pass its checks"),
    "idempotency-key-reused": Kind(422, "The Idempotency-Key was used with another document"),
    "webhook-url-not-allowed": Kind(422, "The contract does not allow this Webhook-Url"),
    "rate-limited": Kind(429, "Too many requests"),
    "page-in-hand": Kind(429, "Another page of this client is still being made"),
    "headers-too-large": Kind(431, "The head of the request is too large"),
    "internal": Kind(500, "The service failed"),
    "overloaded": Kind(503, "The service is busy"),
    "storage-unavailable": Kind(503, "The storage is not available"),
}
"""Every code that a client can meet."""


class ProblemError(ReceiptdError):
    """The request is refused with a problem document, which ``response`` holds."""

    def __init__(self, code: str, detail: str, *, headers: bytes = b"") -> None:
        super().__init__(detail)
        self.code = code
        self.response = problem(code, detail, headers=headers)


def problem(
    code: str,
    detail: str,
    *,
    status: int = 0,
    headers: bytes = b"",
    receipt_id: str = "",
    findings: Iterable[Finding] = (),
) -> Response:
    """Build a problem document.

    Args:
        code: a key of the catalogue, or any other stable code together with ``status``.
        detail: what is wrong with this request, where, and how to mend it.
        status: the HTTP status; 0 takes the catalogue's.
        headers: further header lines, such as a challenge.
        receipt_id: the receipt that it is about, if there is one: becomes ``instance`` and ``id``.
        findings: what is wrong with the document.
    """
    kind = CATALOGUE.get(code)
    status = status or (kind.status if kind else HTTPStatus.INTERNAL_SERVER_ERROR)
    content: dict[str, Any] = {
        "type": TYPE_PREFIX + code,
        "title": kind.title if kind else HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
        "code": code,
    }
    if receipt_id:
        content["instance"] = f"/v1/receipts/{receipt_id}"
        content["id"] = receipt_id
    if found := [finding(one) for one in findings]:
        content["findings"] = found
    return Response(int(status), orjson.dumps(content), PROBLEM + headers)
