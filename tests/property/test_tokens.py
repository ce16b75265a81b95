"""Whatever is sent as a token, the verifier answers with a verdict and not with a fault."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import RSAKey

from receiptd.adapters.tokens import TokenVerifier
from receiptd.domain.errors import TokenError
from receiptd.ports import Principal
from receiptd.runtime.clock import SystemClock

KEY = RSAKey.generate_key(2048)


async def find_key(kid):
    return KEY if kid == "ours" else None


VERIFIER = TokenVerifier(SystemClock(), find_key, issuer="urn:issuer")

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
headers = st.fixed_dictionaries(
    {"alg": st.just("RS256") | anything, "kid": st.just("ours") | anything},
    optional=dict.fromkeys(("typ", "crit", "jwk", "jku", "b64", "x5c", "other"), anything),
)
claims = st.fixed_dictionaries(
    {"iss": st.just("urn:issuer") | anything, "exp": st.just(4e9) | anything, "client_id": st.just("shop") | anything},
    optional=dict.fromkeys(("nbf", "iat", "scope", "aud", "token_use"), anything),
)


def b64(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@given(st.text() | st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*", fullmatch=True))
def test_text_is_refused(token):
    with pytest.raises(TokenError):
        asyncio.run(VERIFIER.verify(token))


@given(headers | anything, claims | anything, st.sampled_from(["", "AAAA", "A" * 342]))
def test_content_that_nobody_signed_is_refused(header, content, signature):
    with pytest.raises(TokenError):
        asyncio.run(VERIFIER.verify(f"{b64(header)}.{b64(content)}.{signature}"))


@given(claims | anything)
def test_content_that_we_signed_gets_a_verdict(content):
    token = jws.serialize_compact({"alg": "RS256", "kid": "ours"}, json.dumps(content), KEY, algorithms=["RS256"])
    try:
        principal = asyncio.run(VERIFIER.verify(token))
    except TokenError:
        return
    assert isinstance(principal, Principal)
    assert principal.client_id == content["client_id"]
    assert content["iss"] == "urn:issuer"
