"""Routing, what is refused by its head, and the calls for operators."""

from __future__ import annotations

import base64
import hashlib
import re

import orjson
import pytest

from receiptd.domain.errors import ConfigurationError
from receiptd.http.message import Request


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/receipts/", "/v1/receipts//status", "/V1/receipts", "/console", "/v1/exports", "//livez"]
)
async def test_an_unknown_path_is_404(face, path):
    answer = await face.call("GET", path)
    assert (answer.status, answer.code) == (404, "not-found")


async def test_a_path_is_percent_decoded_strictly(face):
    assert (await face.call("GET", "/v1/%72eceipts")).status == 200
    for path in ("/v1/%7", "/v1/%zz", "/v1/receipts/%FF", "/v1/receipts/a%00b", "/v1/receipts/\xe9"):
        answer = await face.call("GET", path)
        assert (answer.status, answer.code) == (400, "path-malformed")


async def test_a_method_that_the_path_does_not_know_is_405_with_allow(face):
    answer = await face.call("DELETE", "/v1/receipts")
    assert (answer.status, answer.code) == (405, "method-not-allowed")
    assert answer.headers["allow"] == "POST, GET, HEAD, OPTIONS"
    assert (await face.call("HEAD", "/oauth2/token")).headers["allow"] == "POST, OPTIONS"


async def test_options_needs_no_token_and_names_the_methods(face):
    answer = await face.call("OPTIONS", "/v1/receipts/x/status", token="")
    assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    assert (await face.call("OPTIONS", "*", token="")).status == 204
    assert (await face.call("OPTIONS", "/nowhere", token="")).status == 404


async def test_head_is_get(face):
    path = f"/v1/receipts/{await face.posted()}/status"
    head, get = await face.call("HEAD", path), await face.call("GET", path)
    head.headers.pop("ratelimit")
    get.headers.pop("ratelimit")
    assert head == get


@pytest.mark.parametrize("path", ["/livez", "/openapi.json", "/v1/receipts/x/status", "/v1/receipts?x=1"])
async def test_an_unknown_query_parameter_is_refused_by_name(face, path):
    target = path if "?" in path else f"{path}?x=1"
    answer = await face.call("GET", target)
    assert (answer.status, answer.code) == (400, "parameter-unknown")
    assert "'x'" in answer.json["detail"]


def admitted(face, method, path, length, **headers):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    response = face.api.admit(Request(method, path, "", names), length)
    return response and response.status


async def test_the_head_of_a_post_is_judged_before_its_body_invariant_13(face):
    limit = face.settings.body_max_bytes
    good = {"authorization": "Bearer x"}
    assert admitted(face, "POST", "/v1/receipts", limit, **good) is None
    assert admitted(face, "POST", "/v1/receipts", None, **good) is None
    assert admitted(face, "POST", "/v1/receipts", 0, **good) is None
    assert admitted(face, "POST", "/v1/receipts", limit + 1, **good) == 413
    assert admitted(face, "POST", "/v1/receipts", 10) == 401
    assert admitted(face, "POST", "/v1/receipts", 10, **good, content_encoding="gzip") == 415
    assert admitted(face, "POST", "/v1/receipts", 10, **good, content_encoding="Identity") is None
    assert admitted(face, "POST", "/v1/callbacks/a/b", 65_536) is None
    assert admitted(face, "POST", "/v1/callbacks/a/b", 65_537) == 413
    assert admitted(face, "GET", "/livez", 65_537) == 413
    assert admitted(face, "GET", "/livez", 0) is None
    face.intake.in_flight = face.settings.in_flight_max
    assert admitted(face, "POST", "/v1/receipts", limit + 1) == 503
    assert admitted(face, "POST", "/v1/callbacks/a/b", 10) is None


async def test_the_servers_refusals_are_problem_documents(face):
    response = face.api.refuse(431, "headers-too-large", "Too many.")
    assert orjson.loads(response.body) == {
        "type": "urn:receiptd:problem:headers-too-large",
        "title": "The head of the request is too large",
        "status": 431,
        "detail": "Too many.",
        "code": "headers-too-large",
    }


async def refuse_to_start(client_id, receipt_id):
    raise ConfigurationError("not meant for clients")


async def test_an_unforeseen_error_reaches_the_server(face):
    face.ledger.get = None
    with pytest.raises(TypeError):
        await face.call("GET", "/v1/receipts/20260101-" + "0" * 24)
    face.ledger.get = refuse_to_start
    with pytest.raises(ConfigurationError):
        await face.call("GET", "/v1/receipts/20260101-" + "0" * 24)
    metrics = (await face.call("GET", "/metrics", token="")).body.decode()
    assert 'receiptd_http_requests_total{call="getReceipt",status="500"} 2.0' in metrics


async def test_liveness_and_readiness(face):
    assert (await face.call("GET", "/livez", token="")).json == {"status": "live"}
    answer = await face.call("GET", "/readyz", token="")
    assert (answer.status, answer.json) == (200, {"status": "ready", "checks": {"writer": "ok"}})
    face.ready = (False, {"writer": "disk full"})
    answer = await face.call("GET", "/readyz", token="")
    assert (answer.status, answer.json["checks"]) == (503, {"writer": "disk full"})
    assert (await face.call("GET", "/livez", token="")).status == 200


async def test_metrics_count_the_calls_and_name_no_client(face):
    await face.post(b"{")
    await face.post()
    await face.post(b'{"n":2}', prefer="wait=0")
    await face.call("GET", "/nowhere")
    await face.post(token="")
    answer = await face.call("GET", "/metrics", token="")
    assert 'receiptd_http_requests_total{call="none",status="401"} 1.0' in answer.body.decode()
    assert answer.headers["content-type"].startswith("text/plain; version=")
    text = answer.body.decode()
    assert 'receiptd_http_requests_total{call="postReceipt",status="202"} 2.0' in text
    assert 'receiptd_http_requests_total{call="postReceipt",status="400"} 1.0' in text
    assert 'receiptd_http_requests_total{call="none",status="404"} 1.0' in text
    assert 'receiptd_http_request_duration_seconds_count{call="postReceipt"} 2.0' in text
    assert 'receiptd_http_request_duration_seconds_bucket{call="postReceipt",le="+Inf"} 2.0' in text
    assert "shop" not in text
    openmetrics = await face.call("GET", "/metrics", token="", accept="application/openmetrics-text; version=1.0.0")
    assert openmetrics.body.endswith(b"# EOF\n")


async def test_the_description_has_an_etag(face):
    answer = await face.call("GET", "/openapi.json", token="")
    assert answer.json["openapi"] == "3.1.0"
    again = await face.call("GET", "/openapi.json", token="", if_none_match=answer.headers["etag"])
    assert (again.status, again.body) == (304, b"")


async def test_the_page_of_the_description_runs_its_own_script_only(face):
    answer = await face.call("GET", "/docs", token="")
    policy = answer.headers["content-security-policy"]
    page = answer.body.decode()
    for element in ("script", "style"):
        (inline,) = re.findall(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"https?://|style=|\son\w+=|innerHTML", page)
