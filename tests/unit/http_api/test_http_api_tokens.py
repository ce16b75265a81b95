"""The token endpoint: RFC 6749, sections 2.3, 4.4 and 5."""

from __future__ import annotations

import base64
from urllib.parse import quote_plus, urlencode

import pytest

GRANT = {"grant_type": "client_credentials"}
IN_BODY = {"client_id": "shop", "client_secret": "s3cret +"}


def basic(client_id="shop", secret="s3cret +"):
    joined = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return f"Basic {base64.b64encode(joined.encode()).decode()}"


@pytest.fixture
def ask(face):
    async def ask(form, **headers):
        body = form if isinstance(form, bytes) else urlencode(form).encode()
        headers = {"content_type": "application/x-www-form-urlencoded; charset=utf-8", **headers}
        answer = await face.call("POST", "/oauth2/token", body, token="", **headers)
        assert answer.headers["cache-control"] == "no-store"
        return answer

    return ask


async def test_credentials_come_by_basic_or_in_the_body(ask):
    for answer in (await ask({**GRANT, **IN_BODY}), await ask(GRANT, authorization=basic())):
        assert answer.status == 200
        assert answer.json == {
            "access_token": "shop:r",
            "token_type": "Bearer",
            "expires_in": 3600,
            "scope": "receipts/read",
        }
        assert answer.headers["pragma"] == "no-cache"


@pytest.mark.parametrize(
    ("form", "headers", "error"),
    [
        (IN_BODY, {}, "invalid_request"),
        ({"grant_type": "password", **IN_BODY}, {}, "unsupported_grant_type"),
        ({**GRANT, **IN_BODY}, {"content_type": "application/json"}, "invalid_request"),
        ({**GRANT, **IN_BODY}, {"authorization": basic()}, "invalid_request"),
        ({**GRANT, "client_id": "other"}, {"authorization": basic()}, "invalid_request"),
        ({**GRANT, **IN_BODY, "scope": "everything"}, {}, "invalid_scope"),
        (b"grant_type=client_credentials&grant_type=client_credentials", {}, "invalid_request"),
        (b"grant_type=%ff", {}, "invalid_request"),
        (b"grant_type=\xff", {}, "invalid_request"),
    ],
)
async def test_a_wrong_request_is_refused(ask, form, headers, error):
    answer = await ask(form, **headers)
    assert (answer.status, answer.json["error"]) == (400, error)


@pytest.mark.parametrize(
    ("form", "headers"),
    [
        (GRANT, {}),
        ({**GRANT, "client_id": "shop"}, {}),
        ({**GRANT, **IN_BODY, "client_secret": "wrong"}, {}),
        (GRANT, {"authorization": basic(secret="wrong")}),
        (GRANT, {"authorization": "Basic !"}),
        (GRANT, {"authorization": "Basic c2hvcA=="}),
        (GRANT, {"authorization": "Basic //79"}),
        (GRANT, {"authorization": "Bearer x"}),
    ],
)
async def test_a_wrong_client_is_challenged(ask, form, headers):
    answer = await ask(form, **headers)
    assert (answer.status, answer.json["error"]) == (401, "invalid_client")
    assert answer.headers["www-authenticate"].startswith("Basic ")


async def test_guessing_is_slowed_down_invariant_13(ask):
    statuses = [(await ask({**GRANT, **IN_BODY, "client_secret": "guess"})).status for _ in range(51)]
    assert statuses == [401] * 50 + [429]
    assert (await ask({**GRANT, **IN_BODY, "client_id": "another"})).status == 200


async def test_a_query_is_refused_since_credentials_must_not_stand_in_it(face):
    answer = await face.call("POST", "/oauth2/token?client_id=shop", b"", token="")
    assert (answer.status, answer.code) == (400, "parameter-unknown")
