"""The embedded issuer and what its verifier refuses (adapters.embedded.issuer, adapters.tokens; RFC 6749, RFC 9068)."""

from __future__ import annotations

import base64
import hmac
import json
import time

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from joserfc import jws, jwt
from joserfc.jwk import RSAKey

from receiptd.adapters import tokens
from receiptd.adapters.embedded.store import EmbeddedStore
from receiptd.adapters.tokens import LEEWAY_S
from receiptd.domain.contract import Access, Contract
from receiptd.domain.errors import GrantError, TokenError
from receiptd.settings import AuthSettings

BOTH = "receipts/read receipts/write"
FOREIGN_KEY = RSAKey.generate_key(2048)


@pytest.fixture
async def issuer(store):
    await store.contracts.put(Contract(client_id="shop"))
    await store.contracts.put(Contract(client_id="reader", access=Access.READ))
    await store.contracts.put(Contract(client_id="former", active=False))
    return store.issuer


@pytest.fixture
async def token(issuer):
    return (await issuer.mint("shop"))["access_token"]


@pytest.fixture
def key(issuer):
    (key,) = issuer._keys.values()
    return key


def b64(value):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def parts_of(token):
    return [json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]


def signed(token, key, *, header=None, claims=None):
    """Sign the token's content again, some of it changed (None: left out), however little sense that makes."""
    changed = [
        {name: value for name, value in {**old, **(new or {})}.items() if value is not None}
        for old, new in zip(parts_of(token), (header, claims), strict=True)
    ]
    content = ".".join(map(b64, changed))
    return f"{content}.{b64(signature_of(content.encode(), key, changed[0].get('alg')))}"


def signature_of(content, key, algorithm):
    if isinstance(key, bytes):
        return hmac.digest(key, content, "sha256")
    digest = hashes.SHA512() if algorithm == "RS512" else hashes.SHA256()
    return key.private_key.sign(content, padding.PKCS1v15(), digest)


async def refused(issuer, token):
    with pytest.raises(TokenError) as raised:
        await issuer.verify(token)
    assert len(token) < 20 or token not in str(raised.value), "invariant 14"
    return str(raised.value)


# -- grants --------------------------------------------------------------------------------------------------------


async def test_a_client_with_its_secret_gets_a_token(issuer, clock):
    secret = await issuer.create_secret("shop")
    response = await issuer.issue("shop", secret)
    assert {k: response[k] for k in ("token_type", "expires_in", "scope")} == {
        "token_type": "Bearer",
        "expires_in": 3600,
        "scope": BOTH,
    }
    header, claims = parts_of(response["access_token"])
    assert (header["typ"], header["alg"]) == ("at+jwt", "RS256")
    assert header["kid"] == issuer.jwks()["keys"][0]["kid"]
    assert claims.pop("jti")
    assert claims == {
        "iss": "urn:receiptd:embedded",
        "sub": "shop",
        "client_id": "shop",
        "aud": "receiptd",
        "scope": BOTH,
        "iat": int(clock.now()),
        "nbf": int(clock.now()),
        "exp": int(clock.now()) + 3600,
    }


async def test_any_verifier_of_the_world_can_check_the_token_by_the_published_keys(issuer, token):
    (published,) = issuer.jwks()["keys"]
    assert published["use"] == "sig"
    assert "d" not in published
    assert jwt.decode(token, RSAKey.import_key(published), ["RS256"]).claims["sub"] == "shop"


@pytest.mark.parametrize(
    ("client_id", "asked", "granted"),
    [
        ("shop", "", BOTH),
        ("shop", "receipts/read", "receipts/read"),
        ("shop", "receipts/write receipts/read", BOTH),
        ("reader", "", "receipts/read"),
        ("reader", BOTH, "receipts/read"),
    ],
)
async def test_the_scope_is_what_is_asked_for_and_granted(issuer, client_id, asked, granted):
    response = await issuer.issue(client_id, await issuer.create_secret(client_id), asked)
    assert response["scope"] == granted
    assert (await issuer.verify(response["access_token"])).scopes == set(granted.split())


@pytest.mark.parametrize(
    ("client_id", "asked"), [("reader", "receipts/write"), ("shop", "admin"), ("shop", "receipts/read admin")]
)
async def test_a_scope_that_is_not_granted_is_refused(issuer, client_id, asked):
    secret = await issuer.create_secret(client_id)
    with pytest.raises(GrantError) as raised:
        await issuer.issue(client_id, secret, asked)
    assert raised.value.error == "invalid_scope"


async def test_who_shows_no_good_secret_is_refused(issuer):
    secret = await issuer.create_secret("shop")
    others = await issuer.create_secret("reader")
    for client_id, shown in (
        ("shop", ""),
        ("shop", secret[:-1]),
        ("shop", others),
        ("nobody", secret),
        ("", ""),
        ("shop", "\udcff"),
    ):
        with pytest.raises(GrantError) as raised:
            await issuer.issue(client_id, shown)
        assert raised.value.error == "invalid_client"


async def test_a_client_without_an_active_contract_is_refused(issuer):
    for client_id in ("former", "stranger"):
        secret = await issuer.create_secret(client_id)
        with pytest.raises(GrantError) as raised:
            await issuer.issue(client_id, secret)
        assert raised.value.error == "invalid_client"


async def test_secrets_are_rotated_two_at_a_time_and_revoked_together(issuer, clock):
    first, second, third = [await _after_a_second(issuer, clock) for _ in range(3)]
    with pytest.raises(GrantError):
        await issuer.issue("shop", first)
    for secret in (second, third):
        assert await issuer.issue("shop", secret)
    assert await issuer.revoke_secrets("shop") == 2
    for secret in (second, third):
        with pytest.raises(GrantError):
            await issuer.issue("shop", secret)


async def _after_a_second(issuer, clock):
    clock.time += 1
    return await issuer.create_secret("shop")


async def test_secrets_are_not_kept_in_clear_invariant_14(issuer, store, directory):
    secret = await issuer.create_secret("shop")
    await store.close()
    assert secret.encode() not in (directory / "receiptd.db").read_bytes()


# -- keys ----------------------------------------------------------------------------------------------------------


async def test_the_first_start_makes_a_key_that_stays(tmp_path, clock):
    keys = []
    for _ in range(2):
        store = await EmbeddedStore.open(tmp_path / "new", clock)
        keys.append(store.issuer.jwks())
        await store.close()
    assert keys[0] == keys[1]
    assert len(keys[0]["keys"]) == 1


async def test_after_a_rotation_the_new_key_signs_and_the_old_one_still_verifies(issuer, token, clock):
    clock.time += 1
    kid = await issuer.rotate_key()
    response = await issuer.mint("shop")
    assert parts_of(response["access_token"])[0]["kid"] == kid
    assert issuer.jwks()["keys"][0]["kid"] == kid
    for each in (token, response["access_token"]):
        assert (await issuer.verify(each)).client_id == "shop"


async def test_a_key_goes_when_its_last_token_has_expired(issuer, clock):
    (old,) = issuer.jwks()["keys"]
    await issuer.rotate_key()
    clock.time += 1_800
    await issuer.rotate_key()
    assert old in issuer.jwks()["keys"], "its tokens may live for another half hour"
    clock.time += 3_600
    await issuer.rotate_key()
    assert old not in issuer.jwks()["keys"]
    assert len(issuer.jwks()["keys"]) == 3


async def test_a_rotation_by_a_command_is_noticed(issuer, store, directory, clock):
    clock.time += 10
    command = await EmbeddedStore.open(directory, clock, daemon=False)
    kid = await command.issuer.rotate_key()
    token = (await command.issuer.mint("shop"))["access_token"]
    await command.close()
    assert (await issuer.verify(token)).client_id == "shop"
    clock.time += 61
    assert parts_of((await issuer.mint("shop"))["access_token"])[0]["kid"] == kid


# -- verdicts ------------------------------------------------------------------------------------------------------


async def test_expiry_is_checked_at_every_use(issuer, token, clock):
    principal = await issuer.verify(token)
    clock.time = principal.expires_at + LEEWAY_S - 0.1
    assert await issuer.verify(token) == principal
    clock.time = principal.expires_at + LEEWAY_S
    await refused(issuer, token)
    await refused(issuer, token)
    assert issuer._verifier._verdicts == {}


async def test_verdicts_are_kept_within_bounds_and_refusals_not_at_all_invariant_13(issuer, monkeypatch):
    monkeypatch.setattr(tokens, "_VERDICTS_MAX", 3)
    for n in range(5):
        await issuer.verify((await issuer.mint("shop"))["access_token"])
        await refused(issuer, f"garbage-{n}")
    assert len(issuer._verifier._verdicts) == 3


async def test_a_known_token_costs_next_to_nothing(issuer, token):
    await issuer.verify(token)
    begun = time.process_time()
    for _ in range(2_000):
        await issuer.verify(token)
    assert (time.process_time() - begun) / 2_000 < 20e-6


# -- refusals ------------------------------------------------------------------------------------------------------


async def test_alg_none_is_refused(issuer, token):
    _, claims = parts_of(token)
    kid = issuer.jwks()["keys"][0]["kid"]
    for alg in ("none", "None", "NONE", ""):
        head = b64({"alg": alg, "typ": "at+jwt", "kid": kid})
        await refused(issuer, f"{head}.{b64(claims)}.")
        await refused(issuer, f"{head}.{b64(claims)}.{token.split('.')[2]}")


async def test_a_token_signed_with_the_public_key_as_a_secret_is_refused(issuer, token, key):
    for secret in (key.as_pem(private=False), json.dumps(key.as_dict(private=False)).encode()):
        forged = signed(token, secret, header={"alg": "HS256"})
        assert "RS256" in await refused(issuer, forged)


async def test_another_algorithm_with_our_own_key_is_refused(issuer, token, key):
    assert "RS256" in await refused(issuer, signed(token, key, header={"alg": "RS512"}))


async def test_a_foreign_key_is_refused_under_any_kid(issuer, token):
    ours = issuer.jwks()["keys"][0]["kid"]
    for kid in (ours, FOREIGN_KEY.thumbprint(), "", None, "../../etc/passwd", "' OR 1=1 --"):
        await refused(issuer, signed(token, FOREIGN_KEY, header={"kid": kid}))


@pytest.mark.parametrize("kid", [0, 1.5, True, ["a"], {"a": 1}])
async def test_a_kid_that_is_no_text_is_refused(issuer, token, kid):
    head, claims = parts_of(token)
    await refused(issuer, f"{b64({**head, 'kid': kid})}.{b64(claims)}.{token.split('.')[2]}")


async def test_keys_that_a_token_brings_along_are_not_looked_at_invariant_14(issuer, token, key):
    public = FOREIGN_KEY.as_dict(private=False)
    for extra in (
        {"jwk": public},
        {"jku": "http://127.0.0.1:9/keys"},
        {"x5u": "http://127.0.0.1:9/cert"},
        {"x5c": ["MIIB"]},
    ):
        await refused(issuer, signed(token, FOREIGN_KEY, header=extra))
        await refused(issuer, signed(token, FOREIGN_KEY, header={**extra, "kid": FOREIGN_KEY.thumbprint()}))


async def test_critical_extensions_are_refused(issuer, token, key):
    await refused(issuer, signed(token, key, header={"crit": ["exp"], "exp": 1}))
    await refused(issuer, signed(token, key, header={"crit": []}))


async def test_another_type_of_token_is_refused(issuer, token, key):
    for kind in ("JWT", "id+jwt", None, 7):
        await refused(issuer, signed(token, key, header={"typ": kind}))
    for kind in ("AT+JWT", "application/at+jwt"):
        assert await issuer.verify(signed(token, key, header={"typ": kind}))


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "urn:receiptd:other"},
        {"iss": None},
        {"aud": "other"},
        {"aud": None},
        {"aud": ["other", "another"]},
        {"exp": None},
        {"exp": "2030-01-01"},
        {"exp": True},
        {"exp": 0},
        {"nbf": 4e9},
        {"nbf": "soon"},
        {"iat": 4e9},
        {"client_id": None},
        {"client_id": ""},
        {"client_id": 7},
        {"scope": ["receipts/write"]},
        {"token_use": "id"},
    ],
)
async def test_claims_that_do_not_hold_are_refused(issuer, token, key, claims):
    await refused(issuer, signed(token, key, claims=claims))


async def test_the_same_key_signs_good_tokens_in_this_test_too(issuer, token, key):
    assert (await issuer.verify(signed(token, key, claims={"aud": ["other", "receiptd"]}))).client_id == "shop"
    assert (await issuer.verify(signed(token, key, claims={"scope": None}))).scopes == frozenset()


async def test_a_small_difference_of_clocks_is_forgiven(issuer, token, key, clock):
    ahead = signed(token, key, claims={"nbf": clock.now() + LEEWAY_S - 1, "iat": clock.now() + LEEWAY_S - 1})
    assert await issuer.verify(ahead)
    await refused(issuer, signed(token, key, claims={"nbf": clock.now() + LEEWAY_S + 1}))


async def test_a_token_that_is_too_long_is_refused_before_any_work(issuer, token, key):
    long = signed(token, key, claims={"padding": "x" * 9_000})
    assert "too long" in await refused(issuer, long)


async def test_garbage_is_refused(issuer, token):
    head, claims, signature = token.split(".")
    for garbage in (
        f"{head}.{claims}",
        f"{head}.{claims}.",
        f"{head}..{signature}",
        f".{claims}.{signature}",
        f"{head}.{claims}.{signature}.{signature}",
        f"{head}.{claims}.{signature}x",
        f"{head}.{claims}.{signature} ",
        f"{token}\n{token}",
        b64(b"[]") + f".{claims}.{signature}",
        b64(b'"alg"') + f".{claims}.{signature}",
        b64(b"{") + f".{claims}.{signature}",
        "\udcff.\udcff.\udcff",
        "🎄.🎄.🎄",
    ):
        await refused(issuer, garbage)


async def test_claims_that_are_no_object_are_refused(issuer, token, key):
    head, _ = parts_of(token)
    for payload in ("[]", "null", "7", "not json", ""):
        await refused(issuer, jws.serialize_compact(head, payload, key, algorithms=["RS256"]))


async def test_a_token_of_another_store_is_refused(issuer, tmp_path, clock):
    other = await EmbeddedStore.open(tmp_path / "other", clock, auth=AuthSettings())
    await other.contracts.put(Contract(client_id="shop"))
    foreign = (await other.issuer.mint("shop"))["access_token"]
    await other.close()
    await refused(issuer, foreign)
