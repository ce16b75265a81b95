"""The table of calls: what the router routes, and what the OpenAPI description tells. One place, so they agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from receiptd.http.auth import READ, WRITE
from receiptd.http.paging import NDJSON
from receiptd.http.problems import DOCUMENT_KINDS

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
SMALL_BODY_MAX_BYTES = 65_536
_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Answer:
    """A success: its status, what it means, its schema (a key of schemas.SCHEMAS), media types and headers."""

    status: int
    description: str
    schema: str = ""
    media_types: tuple[str, ...] = (JSON,)
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call. ``parameters`` are keys of schemas.PARAMETERS, ``problems`` codes of problems.CATALOGUE.

    ``scope`` is what a token must hold; without one the call needs no bearer token. ``body`` maps media types to
    schemas. ``body_max_bytes`` 0 takes the setting for receipts.
    """

    name: str
    method: str
    path: str
    tag: str
    summary: str
    description: str = ""
    scope: str = ""
    parameters: tuple[str, ...] = ()
    body: Mapping[str, str] = field(default_factory=lambda: _NONE)
    body_max_bytes: int = SMALL_BODY_MAX_BYTES
    answers: tuple[Answer, ...]
    problems: tuple[str, ...] = ()

    @property
    def query(self) -> tuple[str, ...]:
        """The names of the query parameters."""
        return tuple(name.removeprefix("query.") for name in self.parameters if name.startswith("query."))

    @property
    def all_problems(self) -> tuple[str, ...]:
        """The codes of its own, and those that every call of its kind may answer."""
        codes = [*_EVERY_CALL, *self.problems]
        if self.scope:
            codes += _CLIENT_CALLS
        if self.scope == WRITE:
            codes.append("contract-read-only")
        return tuple(codes)


_EVERY_CALL = ("path-malformed", "parameter-unknown", "parameter-malformed", "body-too-large")
_CLIENT_CALLS = (
    "token-missing",
    "invalid-token",
    "contract-inactive",
    "insufficient-scope",
    "not-acceptable",
    "rate-limited",
    "overloaded",
    "storage-unavailable",
)
_LIMITS = ("RateLimit-Policy", "RateLimit")
_NOT_MODIFIED = Answer(304, "What the caller has is still right.", headers=("ETag", *_LIMITS))
_PAGE_HEADERS = ("Link", "Vary", *_LIMITS)

CALLS: tuple[Call, ...] = (
    Call(
        name="postReceipt",
        method="POST",
        path="/v1/receipts",
        tag="receipts",
        summary="Post a receipt",
        description=(
            "The raw document is the body. An answer of 202 means that the receipt is durable; it will reach COMPLETE "
            "or FAILED. When no answer comes, repeat the request under the same Idempotency-Key: it names one receipt "
            "for at least 24 hours. Without the header, the document's digest is the key."
        ),
        scope=WRITE,
        parameters=("Idempotency-Key", "Receipt-Type", "Webhook-Url", "Prefer", "traceparent"),
        body=MappingProxyType({JSON: "Document", "application/xml": "DocumentText", "*/*": "DocumentText"}),
        body_max_bytes=0,
        answers=(
            Answer(
                202,
                "The receipt is durable and will be registered.",
                "Accepted",
                headers=("Location", "Retry-After", "Idempotent-Replayed", "Preference-Applied", *_LIMITS),
            ),
            Answer(
                200,
                "The wait saw the receipt's end.",
                "Status",
                headers=(
                    "Location",
                    "Content-Location",
                    "ETag",
                    "Idempotent-Replayed",
                    "Preference-Applied",
                    *_LIMITS,
                ),
            ),
        ),
        problems=(
            "idempotency-key-malformed",
            "receipt-type-required",
            "receipt-type-not-allowed",
            "content-type-malformed",
            "content-encoding-unsupported",
            "receipt-invalid",
            "idempotency-key-reused",
            "webhook-url-not-allowed",
            *DOCUMENT_KINDS,
        ),
    ),
    Call(
        name="listReceipts",
        method="GET",
        path="/v1/receipts",
        tag="receipts",
        summary="Page through receipts",
        description=(
            "In order of the day of acceptance (UTC), then of the id. The next page is at `next`, and in the Link "
            "header; the last page has neither."
        ),
        scope=READ,
        parameters=("query.from", "query.to", "query.type", "query.status", "query.limit", "query.cursor"),
        answers=(Answer(200, "A page.", "ReceiptPage", (JSON, NDJSON), _PAGE_HEADERS),),
        problems=("page-in-hand",),
    ),
    Call(
        name="getStatus",
        method="GET",
        path="/v1/receipts/{id}/status",
        tag="receipts",
        summary="Ask where a receipt stands",
        description="With `Prefer: wait=N` the answer comes once the receipt has ended, or after N seconds.",
        scope=READ,
        parameters=("path.id", "Prefer", "If-None-Match"),
        answers=(
            Answer(200, "Where it stands.", "Status", headers=("ETag", "Retry-After", "Preference-Applied", *_LIMITS)),
            Answer(
                304,
                "What the caller has is still right.",
                headers=("ETag", "Retry-After", "Preference-Applied", *_LIMITS),
            ),
        ),
        problems=("receipt-not-found",),
    ),
    Call(
        name="getReceipt",
        method="GET",
        path="/v1/receipts/{id}",
        tag="receipts",
        summary="Read a receipt",
        scope=READ,
        parameters=("path.id", "If-None-Match"),
        answers=(
            Answer(200, "Its status and its canonical form.", "Receipt", headers=("ETag", *_LIMITS)),
            _NOT_MODIFIED,
        ),
        problems=("receipt-not-found",),
    ),
    Call(
        name="getDocument",
        method="GET",
        path="/v1/receipts/{id}/document",
        tag="receipts",
        summary="Read a receipt's document",
        description="The bytes that were posted, unchanged, with their content type.",
        scope=READ,
        parameters=("path.id", "If-None-Match"),
        answers=(
            Answer(
                200,
                "The document.",
                "DocumentText",
                ("*/*",),
                ("Content-Disposition", "Content-Security-Policy", "Repr-Digest", "ETag", *_LIMITS),
            ),
            _NOT_MODIFIED,
        ),
        problems=("receipt-not-found",),
    ),
    Call(
        name="receiveCallback",
        method="POST",
        path="/v1/callbacks/{registrar}/{token}",
        tag="callbacks",
        summary="Report a registrar's verdict",
        description="For registrars. Signed by Standard Webhooks 1.0 with the registrar's callback secret.",
        parameters=("path.registrar", "path.token", "webhook-id", "webhook-timestamp", "webhook-signature"),
        body=MappingProxyType({JSON: "Verdict"}),
        answers=(Answer(200, "The verdict is durable; repeating it changes nothing.", "CallbackResult"),),
        problems=(
            "callback-malformed",
            "callback-mismatch",
            "callback-signature",
            "callback-unknown",
            "content-encoding-unsupported",
            "overloaded",
            "storage-unavailable",
        ),
    ),
    Call(
        name="listDeliveries",
        method="GET",
        path="/v1/webhooks/deliveries",
        tag="webhooks",
        summary="Page through webhook deliveries",
        scope=READ,
        parameters=("query.from", "query.to", "query.limit", "query.cursor"),
        answers=(Answer(200, "A page.", "DeliveryPage", headers=_PAGE_HEADERS),),
        problems=("page-in-hand",),
    ),
    Call(
        name="replayDelivery",
        method="POST",
        path="/v1/webhooks/deliveries/{id}/replay",
        tag="webhooks",
        summary="Send a receipt's webhook once more",
        description="Under the same webhook-id, with a fresh timestamp and signature, and its retries renewed.",
        scope=WRITE,
        parameters=("path.id",),
        answers=(Answer(202, "It will be sent.", "Delivery", headers=_LIMITS),),
        problems=("receipt-not-found", "no-webhook", "content-encoding-unsupported"),
    ),
    Call(
        name="issueToken",
        method="POST",
        path="/oauth2/token",
        tag="access",
        summary="Get an access token",
        description=(
            "The client credentials grant (RFC 6749, section 4.4). The credentials come by HTTP Basic or in the body. "
            "Only where the service issues its own tokens."
        ),
        body=MappingProxyType({FORM: "TokenRequest"}),
        answers=(
            Answer(200, "A token.", "Token", headers=("Pragma",)),
            Answer(400, "The request is refused (RFC 6749, section 5.2).", "TokenError", headers=("Pragma",)),
            Answer(401, "The client is refused.", "TokenError", headers=("Pragma", "WWW-Authenticate")),
        ),
        problems=("content-encoding-unsupported", "rate-limited", "overloaded", "storage-unavailable"),
    ),
    Call(
        name="livez",
        method="GET",
        path="/livez",
        tag="operations",
        summary="Whether the process lives",
        answers=(Answer(200, "It does.", "Live"),),
    ),
    Call(
        name="readyz",
        method="GET",
        path="/readyz",
        tag="operations",
        summary="Whether the process can take work",
        answers=(
            Answer(200, "It can.", "Ready"),
            Answer(503, "It cannot, or it is about to stop.", "Ready", headers=("Retry-After",)),
        ),
    ),
    Call(
        name="metrics",
        method="GET",
        path="/metrics",
        tag="operations",
        summary="Metrics for Prometheus",
        answers=(Answer(200, "The metrics.", "Text", ("text/plain", "application/openmetrics-text")),),
    ),
    Call(
        name="openapi",
        method="GET",
        path="/openapi.json",
        tag="operations",
        summary="This description",
        parameters=("If-None-Match",),
        answers=(
            Answer(200, "OpenAPI 3.1.", "Object", headers=("ETag",)),
            Answer(304, "What the caller has is still right.", headers=("ETag",)),
        ),
    ),
    Call(
        name="docs",
        method="GET",
        path="/docs",
        tag="operations",
        summary="This description as a page",
        answers=(
            Answer(200, "A page.", "Text", ("text/html",), headers=("Content-Security-Policy", "Referrer-Policy")),
        ),
    ),
)
