"""The OpenAPI 3.1 description, made from the table of calls."""

from __future__ import annotations

from typing import Any

from receiptd import __version__
from receiptd.http.auth import READ, WRITE
from receiptd.http.calls import CALLS, Answer, Call
from receiptd.http.problems import CATALOGUE
from receiptd.http.schemas import HEADERS, PARAMETERS, SCHEMAS, Json, ref

_PROBLEM_HEADERS = {
    401: ("WWW-Authenticate",),
    403: ("WWW-Authenticate",),
    422: ("Idempotent-Replayed", "RateLimit-Policy", "RateLimit"),
    429: ("Retry-After", "RateLimit-Policy", "RateLimit"),
    503: ("Retry-After",),
}
_ABOUT = (
    "Takes receipts, registers each with every registrar of its type, and keeps them. Refusals are problem documents "
    "(RFC 9457); `default` stands for what the server refuses before any call: 400, 408, 413, 414, 417, 431, 500, 503. "
    "Every path answers OPTIONS with the methods it knows, and HEAD as GET."
)


def describe(token_url: str = "") -> Json:
    """Return the description of every call, with its answers and problems.

    ``token_url`` says where clients get tokens; empty: from this service's own call, which is described only then.
    """
    paths: dict[str, Json] = {}
    for call in CALLS:
        if call.name == "issueToken" and token_url:
            continue
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "receiptd",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "webhooks": {event: _webhook(event) for event in ("receipt.complete", "receipt.failed")},
        "components": {
            "schemas": SCHEMAS,
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "securitySchemes": {
                "oauth2": {
                    "type": "oauth2",
                    "flows": {
                        "clientCredentials": {
                            "tokenUrl": token_url or "/oauth2/token",
                            "scopes": {READ: "Read one's own receipts.", WRITE: "Post receipts, replay webhooks."},
                        }
                    },
                },
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _operation(call: Call) -> Json:
    operation: Json = {
        "operationId": call.name,
        "tags": [call.tag],
        "summary": call.summary,
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in call.parameters],
        "responses": _responses(call),
        "security": _security(call),
    }
    if call.description:
        operation["description"] = call.description
    if call.body:
        content = {media_type: {"schema": ref(schema)} for media_type, schema in call.body.items()}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _security(call: Call) -> list[dict[str, list[str]]]:
    if call.scope:
        return [{"oauth2": [call.scope]}, {"bearer": []}]
    return [{"basic": []}, {}] if call.name == "issueToken" else []


def _responses(call: Call) -> Json:
    responses: Json = {str(answer.status): _answer(answer) for answer in call.answers}
    codes: dict[int, list[str]] = {}
    for code in call.all_problems:
        codes.setdefault(CATALOGUE[code].status, []).append(code)
    for status, names in codes.items():
        problem = _problem(status, names)
        standing = responses.setdefault(str(status), problem)
        if standing is not problem:  # an answer of the call's own has this status, too
            standing["description"] += f" Or a problem: {problem['description']}"
            standing.setdefault("content", {}).update(problem["content"])
            standing.setdefault("headers", {}).update(problem["headers"])
    responses["default"] = {"description": "A problem of the server's own.", "content": _problem_content()}
    return dict(sorted(responses.items()))


def _answer(answer: Answer) -> Json:
    described: Json = {"description": answer.description, "headers": _headers(answer.headers)}
    if answer.schema:
        described["content"] = {
            media_type: {"schema": ref(_row(answer.schema) if media_type.endswith("ndjson") else answer.schema)}
            for media_type in answer.media_types
        }
    return described


def _row(page: str) -> str:
    return page.removesuffix("Page")


def _problem(status: int, codes: list[str]) -> Json:
    lines = "; ".join(f"`{code}`: {CATALOGUE[code].title}" for code in codes)
    return {
        "description": f"{lines}.",
        "headers": _headers(_PROBLEM_HEADERS.get(status, ())),
        "content": _problem_content(),
    }


def _problem_content() -> dict[str, Any]:
    return {"application/problem+json": {"schema": ref("Problem")}}


def _headers(names: tuple[str, ...]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _webhook(event: str) -> Json:
    return {
        "post": {
            "operationId": event,
            "tags": ["webhooks"],
            "summary": f"A receipt has become {event.removeprefix('receipt.').upper()}",
            "description": (
                "Signed by Standard Webhooks 1.0 with the contract's secrets. Sent at least once, always under the "
                "same webhook-id; 410 ends it, redirects are not followed."
            ),
            "parameters": [
                {"$ref": f"#/components/parameters/webhook-{part}"} for part in ("id", "timestamp", "signature")
            ],
            "requestBody": {"required": True, "content": {"application/json": {"schema": ref("WebhookEvent")}}},
            "responses": {
                "2XX": {"description": "Taken."},
                "410": {"description": "Gone: send this one no more."},
                "default": {"description": "It is sent again on the schedule; Retry-After is honoured."},
            },
            "security": [],
        }
    }
