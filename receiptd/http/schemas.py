"""The reusable parts of the OpenAPI description: schemas (JSON Schema 2020-12), parameters and response headers.

The fields are those that representations.py writes.
"""

from __future__ import annotations

from typing import Any

from receiptd.domain.receipt import DeliveryState, ReceiptState, RegistrationState, Severity
from receiptd.http.paging import LIMIT_DEFAULT, LIMIT_MAX

Json = dict[str, Any]


def _text(description: str = "", **more: Any) -> Json:
    return {"type": "string", **({"description": description} if description else {}), **more}


def _number(description: str = "", **more: Any) -> Json:
    return {"type": "integer", **({"description": description} if description else {}), **more}


def _object(**properties: Json) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(name: str) -> Json:
    return {"type": "array", "items": ref(name)}


def ref(name: str) -> Json:
    """Return a reference to a schema of this description."""
    return {"$ref": f"#/components/schemas/{name}"}


_ID = _text("The receipt's id.", pattern="^[0-9]{8}-[0-9a-f]{24}$")
_STATE = _text(enum=[state.value for state in ReceiptState])
_TIME = _text(format="date-time")
_NEXT = {"type": ["string", "null"], "description": "The cursor of the next page; null on the last one."}
_URL = _text(format="uri")

_STATUS: dict[str, Json] = {
    "id": _ID,
    "status": _STATE,
    "type": _text("The receipt type."),
    "accepted_at": _TIME,
    "updated_at": _TIME,
    "registrations": _list("Registration"),
    "findings": _list("Finding"),
    "webhook": {"oneOf": [ref("Webhook"), {"type": "null"}]},
}
_WEBHOOK: dict[str, Json] = {
    "state": _text(enum=[state.value for state in DeliveryState]),
    "attempts": _number(minimum=0),
    "last_status": _number("The endpoint's last HTTP status; 0 when none came."),
}
_CREDENTIALS = {"client_id": _text(), "client_secret": _text(format="password")}

SCHEMAS: dict[str, Json] = {
    "Document": {"description": "A document of any receipt type that the service knows."},
    "DocumentText": _text("A document of any receipt type that the service knows."),
    "Accepted": _object(id=_ID, status=_STATE, type=_text(), accepted_at=_TIME),
    "Status": _object(**_STATUS),
    "Receipt": _object(
        **_STATUS,
        type_version=_number(),
        document=_object(
            content_type=_text(), sha256=_text("Of the received bytes, in hex."), bytes=_number(minimum=0)
        ),
        receipt={"type": ["object", "null"], "description": "The canonical receipt; null when it could not be mapped."},
    ),
    "Registration": _object(
        registrar=_text(),
        state=_text(enum=[state.value for state in RegistrationState]),
        attempts=_number("Calls that failed, or whose outcome is unknown.", minimum=0),
        reference=_text("The registrar's own number; empty until it gave one."),
        reason=_text("Why it was rejected or parked, or the last failure."),
        updated_at=_TIME,
    ),
    "Finding": _object(
        code=_text("Stable, for machines: `schema`, `rule:…`, `registrar:…`."),
        message=_text(),
        where=_text("A JSON Pointer, an XPath, or empty for the whole document."),
        severity=_text(enum=[severity.value for severity in Severity]),
    ),
    "Webhook": _object(**_WEBHOOK),
    "ReceiptPage": _object(receipts=_list("Receipt"), next=_NEXT),
    "DeliveryPage": _object(deliveries=_list("Delivery"), next=_NEXT),
    "Delivery": _object(
        receipt_id=_ID,
        webhook_id=_text("The `webhook-id`, the same at every attempt."),
        event=_text(enum=["receipt.complete", "receipt.failed"]),
        url=_URL,
        **_WEBHOOK,
        reason=_text("Why the last attempt failed."),
        updated_at=_TIME,
        next_attempt_at={"type": ["string", "null"], "format": "date-time"},
    ),
    "Verdict": {
        "type": "object",
        "properties": {
            "status": _text(enum=["registered", "rejected"]),
            "reference": _text(),
            "reason": _text(),
            "receipt_id": _ID,
        },
        "required": ["status"],
    },
    "CallbackResult": _object(
        result=_text(
            "`duplicate`: the same verdict stood already; `ignored`: another one did, and the first is final.",
            enum=["applied", "duplicate", "ignored"],
        )
    ),
    "WebhookEvent": _object(
        type=_text(enum=["receipt.complete", "receipt.failed"]),
        timestamp=_TIME,
        data=_object(
            receipt_id=_ID,
            type=_text(),
            state=_STATE,
            accepted_at=_TIME,
            registrations={
                "type": "array",
                "items": _object(registrar=_text(), state=_text(), reference=_text()),
            },
            findings=_list("Finding"),
        ),
    ),
    "TokenRequest": {
        "type": "object",
        "properties": {"grant_type": _text(const="client_credentials"), "scope": _text(), **_CREDENTIALS},
        "required": ["grant_type"],
    },
    "Token": _object(access_token=_text(), token_type=_text(const="Bearer"), expires_in=_number(), scope=_text()),
    "TokenError": _object(error=_text(), error_description=_text()),
    "Live": _object(status=_text(const="live")),
    "Ready": _object(
        status=_text(enum=["ready", "not ready"]),
        checks={"type": "object", "additionalProperties": _text()},
    ),
    "Text": _text(),
    "Object": {"type": "object"},
    "Problem": {
        "type": "object",
        "description": "RFC 9457.",
        "properties": {
            "type": _text("`urn:receiptd:problem:` and the code.", format="uri"),
            "title": _text(),
            "status": _number(),
            "detail": _text("What is wrong, where, and how to mend it."),
            "code": _text("Stable, for machines."),
            "instance": _text("The receipt that it is about.", format="uri-reference"),
            "id": _ID,
            "findings": _list("Finding"),
        },
        "required": ["type", "title", "status", "detail", "code"],
        "additionalProperties": False,
    },
}


def _parameter(name: str, where: str, description: str, schema: Json | None = None) -> Json:
    return {
        "name": name,
        "in": where,
        "description": description,
        "required": where == "path",
        "schema": schema or _text(),
    }


PARAMETERS: dict[str, Json] = {
    "path.id": _parameter("id", "path", "The receipt's id.", _ID),
    "path.registrar": _parameter("registrar", "path", "The registrar's name."),
    "path.token": _parameter("token", "path", "From the Callback-Url that the registrar was given."),
    "query.from": _parameter(
        "from", "query", "Accepted at or after: a date (its midnight, UTC), or a date-time with its offset."
    ),
    "query.to": _parameter("to", "query", "Accepted before: likewise."),
    "query.type": _parameter("type", "query", "Only receipts of this type."),
    "query.status": _parameter("status", "query", "Only receipts of this status.", _STATE),
    "query.limit": _parameter(
        "limit", "query", "Receipts a page.", _number(minimum=1, maximum=LIMIT_MAX, default=LIMIT_DEFAULT)
    ),
    "query.cursor": _parameter(
        "cursor", "query", "Where the page before ended. It brings that page's filters along; others are refused."
    ),
    "Idempotency-Key": _parameter(
        "Idempotency-Key", "header", "1 to 255 visible ASCII characters, quoted or bare. Names the receipt."
    ),
    "Receipt-Type": _parameter(
        "Receipt-Type", "header", "The receipt type (`id` or `id@version`); without it the document shows its type."
    ),
    "Webhook-Url": _parameter(
        "Webhook-Url", "header", "Where to send this receipt's webhook: under an origin that the contract names.", _URL
    ),
    "Prefer": _parameter("Prefer", "header", "`wait=N`: answer when the receipt has ended, or in N s (RFC 7240)."),
    "If-None-Match": _parameter("If-None-Match", "header", "The ETag of what the caller has."),
    "traceparent": _parameter("traceparent", "header", "W3C Trace Context; its trace id goes on to the registrars."),
    "webhook-id": _parameter("webhook-id", "header", "Standard Webhooks: names the message."),
    "webhook-timestamp": _parameter("webhook-timestamp", "header", "Standard Webhooks: seconds since the epoch."),
    "webhook-signature": _parameter("webhook-signature", "header", "Standard Webhooks: `v1,…`, several by spaces."),
}

HEADERS: dict[str, Json] = {
    name: {"description": description, "schema": _text()}
    for name, description in {
        "Location": "Where the receipt's status is.",
        "Content-Location": "What the body is the state of.",
        "Retry-After": "Seconds after which to ask again.",
        "ETag": "For If-None-Match.",
        "Link": 'The next page (`rel="next"`).',
        "Vary": "The request headers that chose this answer.",
        "Idempotent-Replayed": "`true` when an earlier request had brought the receipt.",
        "Preference-Applied": "The wait that was kept to.",
        "RateLimit-Policy": "The client's rate: `q` calls in `w` seconds (draft-ietf-httpapi-ratelimit-headers).",
        "RateLimit": "What is left of it: `r` calls; `t`: seconds until there is one.",
        "Content-Disposition": "The document is for saving.",
        "Content-Security-Policy": "What a browser may do with the body.",
        "Referrer-Policy": "No address is passed on.",
        "Repr-Digest": "The SHA-256 of the document (RFC 9530).",
        "Pragma": "`no-cache`.",
        "WWW-Authenticate": "How to authenticate.",
    }.items()
}
