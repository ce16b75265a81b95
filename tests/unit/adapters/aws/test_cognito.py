"""Cognito's tokens against a key set on a real socket (adapters.aws.cognito; RFC 7517)."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time

import pytest
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey

from receiptd.adapters.aws.cognito import CognitoIdentity, Issuer, discover
from receiptd.domain.errors import ConfigurationError, StorageError, TokenError
from receiptd.runtime.clock import SystemClock

POOL = "eu-central-1_Abc123"
ISSUER = f"https://cognito-idp.eu-central-1.amazonaws.com/{POOL}"
KEYS = {kid: RSAKey.generate_key(2048) for kid in ("one", "two+/=")}


def published(*kids):
    return {"keys": [{**KEYS[kid].as_dict(private=False), "kid": kid, "use": "sig", "alg": "RS256"} for kid in kids]}


class Pool:
    """Publishes ``answer``: a JSON value, bytes, or a status. Counts how often it was asked."""

    def __init__(self):
        self.answer = published("one")
        self.asked = 0
        self.delay_s = 0.0
        self.url = ""

    async def handle(self, request):
        self.asked += 1
        await asyncio.sleep(self.delay_s)
        if isinstance(self.answer, int):
            return web.Response(status=self.answer, body=json.dumps(published("one")).encode())
        return web.Response(body=self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode())


@pytest.fixture
async def pool():
    pool = Pool()
    runner = web.ServerRunner(web.Server(pool.handle, access_log=None), shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    pool.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    yield pool
    await runner.cleanup()


@pytest.fixture
async def make(pool, http):
    made = []

    def make_(**paces):
        made.append(CognitoIdentity(http, SystemClock(), Issuer(ISSUER, f"{pool.url}/keys", ""), "receiptd", **paces))
        return made[-1]

    yield make_
    for each in made:
        await each.close()


@pytest.fixture
def identity(make):
    return make()


def token(kid="one", *, key=None, header=None, **changes):
    """An access token as Cognito's are: no ``typ``, no ``aud``."""
    now = int(time.time())
    claims = {
        "sub": "4pvb",
        "token_use": "access",
        "scope": "receiptd/write receiptd/read",
        "iss": ISSUER,
        "client_id": "4pvb",
        "version": 2,
        "jti": "j",
        "iat": now,
        "exp": now + 3600,
        **changes,
    }
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode({"kid": kid, "alg": "RS256", **(header or {})}, claims, key or KEYS[kid], ["RS256"])


async def test_an_access_token_speaks_for_its_client_with_our_scopes(identity):
    principal = await identity.verify(token())
    assert principal.client_id == "4pvb"
    assert principal.scopes == {"receipts/read", "receipts/write"}
    assert principal.expires_at > time.time() + 3000


@pytest.mark.parametrize(
    ("scope", "ours"),
    [
        ("receiptd/read", {"receipts/read"}),
        ("receipts/write other/read receiptd/erase aws.cognito.signin.user.admin", set()),
        ("", set()),
    ],
)
async def test_scopes_of_other_resource_servers_count_for_nothing(identity, scope, ours):
    assert (await identity.verify(token(scope=scope))).scopes == ours


def unsigned():
    parts = token().split(".")
    header = base64.urlsafe_b64encode(b'{"kid":"one","alg":"none"}').decode().rstrip("=")
    return f"{header}.{parts[1]}."


def confused():
    """HS256, with the public key's own bytes as the secret."""
    parts = token().split(".")
    header = base64.urlsafe_b64encode(b'{"kid":"one","alg":"HS256"}').decode().rstrip("=")
    mac = hmac.digest(KEYS["one"].as_pem(private=False), f"{header}.{parts[1]}".encode(), "sha256")
    return f"{header}.{parts[1]}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


FORGERIES = {
    "another pool's": lambda: token(iss=f"{ISSUER}x"),
    "an id token": lambda: token(token_use="id"),
    "no use": lambda: token(token_use=None),
    "no client": lambda: token(client_id=None),
    "expired": lambda: token(exp=int(time.time()) - 60),
    "no expiry": lambda: token(exp=None),
    "not yet": lambda: token(iat=int(time.time()) + 600),
    "another key under the kid": lambda: token(key=KEYS["two+/="]),
    "no kid": lambda: token(key=KEYS["one"], kid=""),
    "its own key": lambda: token("x", key=KEYS["two+/="], header={"jwk": KEYS["two+/="].as_dict(private=False)}),
    "alg none": unsigned,
    "alg HS256": confused,
    "garbage": lambda: "a.b.c",
}


@pytest.mark.parametrize("what", FORGERIES)
async def test_what_is_no_access_token_of_the_pool_is_refused(identity, what):
    await identity.verify(token())
    with pytest.raises(TokenError):
        await identity.verify(FORGERIES[what]())


async def test_a_storm_of_unknown_keys_fetches_once(identity, pool):
    await identity.verify(token())
    assert pool.asked == 1
    storm = [identity.verify(token(f"made-up-{n}", key=KEYS["one"])) for n in range(50)]
    assert all(isinstance(each, TokenError) for each in await asyncio.gather(*storm, return_exceptions=True))
    assert pool.asked == 1, "the keys were fetched within the last 30 s"


async def test_a_storm_when_a_fetch_is_due_makes_one_and_all_wait_for_it(make, pool):
    identity = make(unknown_key_every_s=0.2)
    await identity.verify(token())
    await asyncio.sleep(0.2)
    pool.answer, pool.delay_s = published("one", "two+/="), 0.05
    storm = [identity.verify(token("two+/=")) for _ in range(50)]
    assert {principal.client_id for principal in await asyncio.gather(*storm)} == {"4pvb"}
    assert pool.asked == 2


async def test_a_rotated_key_is_found_and_a_withdrawn_one_is_over(make, pool):
    identity = make(unknown_key_every_s=0.0)
    old = token()
    await identity.verify(old)
    pool.answer = published("two+/=")
    await identity.verify(token("two+/="))
    with pytest.raises(TokenError, match="not ours"):
        await identity.verify(old)


@pytest.mark.parametrize(
    "answer",
    [
        500,
        404,
        b"<html>",
        b"",
        [],
        {},
        {"keys": 5},
        {"keys": []},
        {"keys": [None, 1, {"kty": "RSA"}, {"kty": "RSA", "kid": "one", "n": "!!", "e": "AQAB"}]},
        {"keys": [{"kty": "EC", "kid": "one", "crv": "P-256", "x": "AA", "y": "AA"}]},
        {"keys": [{**published("one")["keys"][0], "use": "enc"}]},
        {"keys": [{**published("one")["keys"][0], "alg": "PS256"}]},
        {"keys": [{**published("one")["keys"][0], "n": published("one")["keys"][0]["n"][:171]}]},
    ],
    ids=str,
)
async def test_keys_are_kept_through_an_outage_and_through_garbage(make, pool, answer):
    identity = make(unknown_key_every_s=0.0)
    await identity.verify(token())
    pool.answer = answer
    await identity.refresh()
    assert identity.health == "stale"
    await identity.verify(token(jti="another"))
    with pytest.raises(StorageError):  # it may be a new key of the pool's: no verdict
        await identity.verify(token("two+/="))
    pool.answer = published("one", "two+/=")
    await identity.verify(token("two+/="))
    assert identity.health == "ok"


async def test_without_any_key_there_is_no_verdict_and_tries_are_few(identity, pool):
    pool.answer = 503
    for _ in range(20):
        with pytest.raises(StorageError):
            await identity.verify(token())
    assert pool.asked == 1
    assert identity.health == "failing"


async def test_one_good_key_among_bad_ones_serves(identity, pool):
    pool.answer = {"keys": [{"kty": "oct", "kid": "s", "k": "AA"}, "x", *published("two+/=")["keys"]]}
    await identity.verify(token("two+/="))


async def test_the_keys_are_renewed_in_the_background(make, pool):
    identity = make(refresh_every_s=0.02)
    task = asyncio.create_task(identity.run())
    try:
        async with asyncio.timeout(5):
            while pool.asked < 3:
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_discovery_gives_the_keys_and_the_token_endpoint(http, pool):
    pool.answer = {"issuer": ISSUER, "token_endpoint": "https://x.auth.eu-central-1.amazoncognito.com/oauth2/token"}
    found = await discover(http, pool.url, POOL, emulated=False)
    assert found == Issuer(ISSUER, f"{pool.url}/{POOL}/.well-known/jwks.json", pool.answer["token_endpoint"])


async def test_aws_must_name_the_pools_own_issuer_and_an_emulator_may_name_itself(http, pool):
    pool.answer = {"issuer": "http://localhost:4566/pool"}
    with pytest.raises(ConfigurationError, match="another issuer"):
        await discover(http, pool.url, POOL, emulated=False)
    assert (await discover(http, pool.url, POOL, emulated=True)).issuer == "http://localhost:4566/pool"
