"""The OpenAPI description: valid, and the same as what is routed."""

from __future__ import annotations

import orjson
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from receiptd.http.calls import CALLS
from receiptd.http.message import Request, Response
from receiptd.http.openapi import describe
from receiptd.http.problems import CATALOGUE
from receiptd.http.router import Route, Router

DESCRIPTION = describe()
OPERATIONS = {
    (method.upper(), path): operation
    for path, operations in DESCRIPTION["paths"].items()
    for method, operation in operations.items()
}


def test_the_description_is_valid_openapi_3_1():
    OpenAPIV31SpecValidator(orjson.loads(orjson.dumps(DESCRIPTION))).validate()


def test_every_routed_call_is_described_and_the_reverse():
    router = Router()
    for call in CALLS:
        route = Route(name=call.name, handler=None, query=call.query, body_max_bytes=1)
        router.add(call.method, call.path, route)
    for (method, path), operation in OPERATIONS.items():
        request = Request(method, path.replace("{", "").replace("}", ""), "", {})
        assert router.match(request).name == operation["operationId"]
        assert len(request.params) == path.count("{")
    assert set(OPERATIONS) == {(call.method, call.path) for call in CALLS}
    assert isinstance(router.match(Request("OPTIONS", "/livez", "", {})), Response)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_a_call_tells_its_problems_its_scope_and_its_path_parameters(call):
    operation = OPERATIONS[call.method, call.path]
    for code in call.all_problems:
        answer = operation["responses"][str(CATALOGUE[code].status)]
        assert f"`{code}`" in answer["description"]
        assert "application/problem+json" in answer["content"]
    scopes = [scope for scheme in operation["security"] for scope in scheme.get("oauth2", [])]
    assert scopes == ([call.scope] if call.scope else [])
    named = [name.removeprefix("path.") for name in call.parameters if name.startswith("path.")]
    assert [part[1:-1] for part in call.path.split("/") if part.startswith("{")] == named


def test_each_code_of_the_catalogue_is_told_of_somewhere():
    told = {code for call in CALLS for code in call.all_problems}
    of_the_server = {
        "bad-request",
        "not-found",
        "method-not-allowed",
        "request-timeout",
        "uri-too-long",
        "expectation-failed",
        "headers-too-large",
        "internal",
    }
    assert told | of_the_server == set(CATALOGUE)


def test_both_webhooks_are_described():
    assert set(DESCRIPTION["webhooks"]) == {"receipt.complete", "receipt.failed"}
