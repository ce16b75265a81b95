"""Access through the public face: tokens, contracts, limits, and what one client can learn of another."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
from uuid import uuid4

import aiohttp
import pytest
from acceptance_tools import eventually
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from receiptd.domain.contract import Access

OWN_TOKENS = pytest.mark.embedded("the tokens of this backend are Cognito's, and so is the endpoint that gives them")
CHALLENGE = 'Bearer realm="receiptd"'


@pytest.fixture
async def session(daemon):
    """Plain HTTP, without a token."""
    async with aiohttp.ClientSession(daemon.url) as plain:
        yield plain


async def ask_token(session, form: dict[str, str] | bytes, **headers: str) -> tuple[int, dict, dict[str, str]]:
    async with session.post("/oauth2/token", data=form, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None), dict(answer.headers)


def basic(name: str, secret: str) -> dict[str, str]:
    return {"Authorization": aiohttp.encode_basic_auth(name, secret)}


async def with_token(client, token: str, method: str = "GET", path: str = "/v1/receipts") -> tuple[int, dict, dict]:
    return await client.json(method, path, headers={"Authorization": token})


# -- the token endpoint (RFC 6749, sections 4.4 and 5.2) ---------------------------------------------------------------


@OWN_TOKENS
async def test_a_token_is_given_for_credentials_in_the_header_or_in_the_body(session, credentials):
    grant = {"grant_type": "client_credentials"}
    in_body = {**grant, "client_id": credentials.client_id, "client_secret": credentials.client_secret}
    for form, headers in ((grant, basic(credentials.client_id, credentials.client_secret)), (in_body, {})):
        status, token, answered = await ask_token(session, form, **headers)
        assert (status, token["token_type"], token["scope"]) == (200, "Bearer", "receipts/read receipts/write")
        assert token["expires_in"] > 0
        assert (answered["Cache-Control"], answered["Pragma"]) == ("no-store", "no-cache")


@OWN_TOKENS
async def test_refused_grants_have_the_codes_of_the_standard(session, credentials):
    good = basic(credentials.client_id, credentials.client_secret)
    grant = {"grant_type": "client_credentials"}
    for form, headers, status, error in (
        ({}, good, 400, "invalid_request"),
        ({"grant_type": "password"}, good, 400, "unsupported_grant_type"),
        ({**grant, "scope": "receipts/erase"}, good, 400, "invalid_scope"),
        (b"grant_type=client_credentials&grant_type=client_credentials", good, 400, "invalid_request"),
        (grant, {}, 401, "invalid_client"),
        (grant, basic(credentials.client_id, "guess"), 401, "invalid_client"),
        (grant, basic("nobody", credentials.client_secret), 401, "invalid_client"),
        (grant, {"Authorization": "Basic !!!"}, 401, "invalid_client"),
        (json.dumps(grant).encode(), {**good, "Content-Type": "application/json"}, 400, "invalid_request"),
    ):
        sent = {"Content-Type": "application/x-www-form-urlencoded", **headers} if isinstance(form, bytes) else headers
        answered, problem, told = await ask_token(session, form, **sent)
        assert (answered, problem["error"]) == (status, error), form
        assert ("WWW-Authenticate" in told) == (status == 401)


@OWN_TOKENS
async def test_guessing_secrets_is_limited(session, credentials):
    guesses = [
        ask_token(session, {"grant_type": "client_credentials"}, **basic(credentials.client_id, f"{n}"))
        for n in range(70)
    ]
    answers = await asyncio.gather(*guesses)
    limited = [headers for status, _, headers in answers if status == 429]
    assert limited
    assert all(int(headers["Retry-After"]) >= 1 for headers in limited)
    assert {status for status, _, _ in answers} == {401, 429}


# -- tokens (RFC 6750) -------------------------------------------------------------------------------------------------


def recoded(token: str, header: dict | None = None, claims: dict | None = None) -> tuple[str, str]:
    """Return a token's header and claims, changed and encoded again; ``None`` as a value drops a field."""
    parts = [json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]
    changed = [
        {name: value for name, value in {**part, **(change or {})}.items() if value is not None}
        for part, change in zip(parts, (header, claims), strict=True)
    ]
    head, body = (base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in changed)
    return head, body


@pytest.fixture
async def forgeries(client, daemon) -> dict[str, str]:
    """Tokens that are wrong in one way each."""
    token = client.token
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    kid = json.loads(base64.urlsafe_b64decode(head + "=="))["kid"]
    async with daemon.store() as store:
        ours = store.issuer.jwks()["keys"][0]
        signing = store.issuer._signing_key()[1]
    theirs = RSAKey.generate_key(2048)
    jwk = theirs.as_dict(private=False)
    now = int(time.time())

    def minted(changes: dict | None = None, *, key=signing, **header) -> str:
        fields = {"alg": "RS256", "kid": kid, "typ": "at+jwt", **header}
        kept = {name: value for name, value in {**claims, **(changes or {})}.items() if value is not None}
        return jwt.encode({name: value for name, value in fields.items() if value}, kept, key, [fields["alg"]])

    assert (await with_token(client, f"Bearer {minted()}"))[0] == 200  # so each of these fails for its own reason
    public_pem = RSAKey.import_key(ours).as_pem(private=False)
    none_head, none_body = recoded(token, {"alg": "none"})
    confused_head, _ = recoded(token, {"alg": "HS256"})
    mac = hmac.digest(public_pem, f"{confused_head}.{body}".encode(), "sha256")
    return {
        "alg none": f"{none_head}.{none_body}.",
        "alg none, signed": f"{none_head}.{none_body}.{signature}",
        "alg HS256 with our public key": (
            f"{confused_head}.{body}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
        ),
        "alg HS256": jwt.encode(
            {"alg": "HS256", "kid": kid, "typ": "at+jwt"}, claims, OctKey.import_key("s" * 32), ["HS256"]
        ),
        "alg PS256": minted(alg="PS256"),
        "foreign key under our kid": minted(key=theirs),
        "foreign kid": minted(key=theirs, kid="theirs"),
        "foreign kid over our key": minted(kid="theirs"),
        "no kid": minted(kid=""),
        "its own jwk": minted(key=theirs, jwk=jwk),
        "its own jku": minted(key=theirs, kid="theirs", jku="https://keys.example/"),
        "another type": minted(typ="JWT"),
        "expired": minted({"exp": now - 60, "nbf": now - 120, "iat": now - 120}),
        "not yet valid": minted({"nbf": now + 3600}),
        "no expiry": minted({"exp": None}),
        "another issuer": minted({"iss": "https://issuer.example"}),
        "another audience": minted({"aud": "elsewhere"}),
        "no client": minted({"client_id": None, "sub": None}),
        "changed claims": f"{head}.{recoded(token, None, {'client_id': 'another'})[1]}.{signature}",
        "changed signature": f"{head}.{body}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}",
        "no signature": f"{head}.{body}.",
        "two parts": f"{head}.{body}",
        "five parts": f"{token}.x.y",
        "no token": "nonsense",
        "huge": "x" * 7_000,
    }


@OWN_TOKENS
async def test_forged_and_stale_tokens_are_refused(client, forgeries):
    for what, token in forgeries.items():
        status, headers, problem = await with_token(client, f"Bearer {token}")
        assert (status, problem["code"]) == (401, "invalid-token"), what
        assert headers["www-authenticate"] == f'{CHALLENGE}, error="invalid_token"'
        assert token not in json.dumps(problem)


async def test_without_a_token_the_challenge_is_bare(session, document):
    for headers in ({}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer"}, {"Authorization": ""}):
        async with session.post("/v1/receipts", data=document(), headers=headers) as answer:
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"].startswith(CHALLENGE)
            assert (await answer.json(content_type=None))["code"] in ("token-missing", "invalid-token")


async def test_the_scheme_is_read_without_regard_to_case(client):
    assert (await with_token(client, f"bearer {client.token}"))[0] == 200


async def test_a_scope_narrows(client, document):
    await client.renew("receipts/read")
    status, headers, problem = await client.post(document())
    assert (status, problem["code"]) == (403, "insufficient-scope")
    assert 'error="insufficient_scope", scope="receipts/write"' in headers["www-authenticate"]
    assert (await client.json("GET", "/v1/receipts"))[0] == 200
    await client.renew("receipts/write")
    assert (await client.post(document()))[0] == 202
    status, headers, _ = await client.json("GET", "/v1/receipts")
    assert status == 403
    assert 'scope="receipts/read"' in headers["www-authenticate"]


# -- contracts ---------------------------------------------------------------------------------------------------------


async def test_a_contract_may_grant_reading_only(daemon, session, document):
    credentials = await daemon.contract(f"auditor-{uuid4().hex[:8]}", access="read")
    async with daemon.client(credentials) as client:
        assert (await client.json("GET", "/v1/receipts"))[0] == 200
        status, _, problem = await client.post(document())
        assert status == 403
        assert problem["code"] in ("insufficient-scope", "contract-read-only")
    grant = {"grant_type": "client_credentials", "scope": "receipts/write"}
    async with session.post(
        client.token_url, data=grant, headers=basic(credentials.client_id, credentials.client_secret)
    ) as answer:
        assert answer.status == 400
        assert (await answer.json(content_type=None))["error"] in ("invalid_scope", "invalid_grant")


async def test_a_contract_made_read_only_outranks_a_token_that_may_write(daemon, client, credentials, document):
    assert (await client.post(document()))[0] == 202
    await daemon.change(credentials.client_id, access=Access.READ)

    async def refused() -> bool:
        status, _, answer = await client.post(document())
        return (status, answer.get("code")) == (403, "contract-read-only")

    await eventually(refused)
    assert (await client.json("GET", "/v1/receipts"))[0] == 200


async def test_a_revoked_contract_is_denied_soon(daemon, client, document):
    _, _, accepted = await client.post(document(), Prefer="wait=20")
    done = await asyncio.to_thread(daemon.cli, "contracts", "revoke", client.client_id)
    assert done.returncode == 0
    revoked_at = time.monotonic()

    async def denied() -> bool:
        status, _, answer = await client.json("GET", f"/v1/receipts/{accepted['id']}/status")
        return (status, answer.get("code")) == (403, "contract-inactive")

    await eventually(denied, timeout_s=20)
    assert time.monotonic() - revoked_at < 20  # a minute is promised; the cache is 5 s
    assert (await client.post(document()))[0] == 403


async def test_another_clients_receipt_is_not_there(daemon, client, document):
    """404, not 403: nobody learns whether it exists."""
    _, _, mine = await client.post(document(), Prefer="wait=20")
    async with daemon.client(await daemon.contract(f"other-{uuid4().hex[:8]}")) as other:
        for what in ("", "/status", "/document"):
            got = await other.json("GET", f"/v1/receipts/{mine['id']}{what}")
            absent = await other.json("GET", f"/v1/receipts/20260101-{'0' * 24}{what}")
            assert (got[0], got[2]) == (absent[0], absent[2])
            assert got[0] == 404
        status, _, problem = await other.json("POST", f"/v1/webhooks/deliveries/{mine['id']}/replay")
        assert (status, problem["code"]) == (404, "receipt-not-found")
        _, _, page = await other.json("GET", "/v1/receipts")
        assert page["receipts"] == []


async def test_a_contract_may_name_its_receipt_types(daemon, document):
    one = await daemon.contract(f"one-{uuid4().hex[:8]}", receipt_types=("prro-check",))
    async with daemon.client(one) as client:
        status, _, problem = await client.post(document())
        assert (status, problem["code"]) == (422, "receipt-type-mismatch")
        status, _, problem = await client.post(document(), Receipt_Type="retail-receipt")
        assert (status, problem["code"]) == (403, "receipt-type-not-allowed")
    two = await daemon.contract(f"two-{uuid4().hex[:8]}", receipt_types=("prro-check", "retail-receipt"))
    async with daemon.client(two) as client:
        status, _, problem = await client.post(document())
        assert (status, problem["code"]) == (400, "receipt-type-required")
        assert (await client.post(document(), Receipt_Type="retail-receipt"))[0] == 202


async def test_each_client_has_its_rate(daemon, client, document):
    """Invariant 13, and 12: the other client does not notice."""
    slow = await daemon.contract(f"slow-{uuid4().hex[:8]}", rate_per_s=0.5, burst=5)
    async with daemon.client(slow) as limited:
        answers = await asyncio.gather(*[limited.post(document()) for _ in range(8)])
        refused = [(headers, answer) for status, headers, answer in answers if status == 429]
        taken = [headers for status, headers, _ in answers if status == 202]
        assert (len(taken), len(refused)) == (5, 3)
        assert all(headers["ratelimit-policy"] == '"write";q=5;w=10' for headers in taken)
        assert {headers["ratelimit"].split("r=")[1] for headers in taken} == set("01234")
        for headers, answer in refused:
            assert answer["code"] == "rate-limited"
            assert 1 <= int(headers["retry-after"]) <= 2
            assert "r=0" in headers["ratelimit"]
        assert (await limited.json("GET", "/v1/receipts"))[0] == 200  # reading has a bucket of its own
        assert (await client.post(document()))[0] == 202

        async def again() -> bool:
            return (await limited.post(document()))[0] == 202

        await eventually(again)
