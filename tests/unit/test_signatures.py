"""Standard Webhooks 1.0, held against the public reference package both ways."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from receiptd.domain.signatures import SignatureError, new_secret, sign, verify

BODY = '{"type":"receipt.complete","data":{"shop":"Käse & Söhne","total":"12.30"}}'.encode()
ID = "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"
NOW = 1_700_000_000


def signed(secrets: list[str], body: bytes = BODY, at: int = NOW) -> dict[str, str]:
    return {"webhook-id": ID, "webhook-timestamp": str(at), "webhook-signature": sign(secrets, ID, at, body)}


@pytest.mark.parametrize("prefix", ["", "whsec_"])
def test_reference_package_accepts_our_signature(prefix: str) -> None:
    secret, at = prefix + new_secret(), int(time.time())
    assert Webhook(secret).verify(BODY, signed([secret], at=at)) == json.loads(BODY)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(BODY, signed([secret], at=at))


@pytest.mark.parametrize("prefix", ["", "whsec_"])
def test_we_accept_the_reference_packages_signature(prefix: str) -> None:
    secret = prefix + new_secret()
    signature = Webhook(secret).sign(ID, datetime.fromtimestamp(NOW, UTC), BODY.decode())
    assert sign([secret], ID, NOW, BODY) == signature
    verify(
        [secret], {"webhook-id": ID, "webhook-timestamp": str(NOW), "webhook-signature": signature}, BODY, float(NOW)
    )


def test_known_answer() -> None:
    """HMAC-SHA256 of ``id.timestamp.body``, computed with another tool (openssl dgst -sha256 -mac HMAC)."""
    secret = base64.b64encode(bytes(range(32))).decode()
    assert sign([secret], "msg_1", NOW, b'{"a":1}') == "v1,AMaOha7DUT/0J0JMycRuYOBSvbx3WtwLd2khXXbaVj4="


def test_every_secret_signs_and_any_of_them_verifies() -> None:
    old, new = new_secret(), new_secret()
    headers = signed([new, old])
    assert len(headers["webhook-signature"].split(" ")) == 2
    for known in ([old], [new], [new_secret(), old]):
        verify(known, headers, BODY, NOW)
    with pytest.raises(SignatureError):
        verify([new_secret()], headers, BODY, NOW)


def test_unknown_versions_are_passed_over() -> None:
    secret = new_secret()
    headers = signed([secret])
    headers["webhook-signature"] = "v1a,b3RoZXI= v2 , " + headers["webhook-signature"]
    verify([secret], headers, BODY, NOW)
    headers["webhook-signature"] = headers["webhook-signature"].replace("v1,", "v2,")
    with pytest.raises(SignatureError):
        verify([secret], headers, BODY, NOW)


@pytest.mark.parametrize("off", [-301, 301])
def test_old_and_future_messages_are_refused(off: int) -> None:
    secret = new_secret()
    with pytest.raises(SignatureError, match="too old or too new"):
        verify([secret], signed([secret], at=NOW + off), BODY, NOW)
    verify([secret], signed([secret], at=NOW + off), BODY, NOW, tolerance_s=302)


@pytest.mark.parametrize(
    "stamp",
    [
        "",
        "x",
        "-1700000000",
        "+1700000000",
        "1700000000.0",
        " 1700000000",
        "1_700_000_000",
        "\uff11" + "\uff10" * 9,
        "9" * 13,
    ],
)
def test_malformed_timestamps_are_refused(stamp: str) -> None:
    secret = new_secret()
    headers = signed([secret]) | {"webhook-timestamp": stamp}
    with pytest.raises(SignatureError):
        verify([secret], headers, BODY, NOW)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_refused(missing: str) -> None:
    secret = new_secret()
    headers = signed([secret])
    del headers[missing]
    with pytest.raises(SignatureError, match="missing"):
        verify([secret], headers, BODY, NOW)


@pytest.mark.parametrize("change", ["body", "webhook-id", "webhook-timestamp"])
def test_what_is_signed_cannot_change(change: str) -> None:
    secret = new_secret()
    headers, body = signed([secret]), BODY
    if change == "body":
        body += b" "
    else:
        headers[change] = headers[change][:-1] + "9"
    with pytest.raises(SignatureError, match="fits"):
        verify([secret], headers, body, NOW)


def test_bytes_that_are_no_text_are_signed_as_they_are() -> None:
    secret, body = new_secret(), b"\xff\xfe\x00\r\n"
    verify([secret], signed([secret], body), body, NOW)


def test_without_secrets_nothing_is_signed_or_verified() -> None:
    with pytest.raises(ValueError, match="needs a secret"):
        sign([], ID, NOW, BODY)
    with pytest.raises(SignatureError):
        verify([], signed([new_secret()]), BODY, NOW)


@pytest.mark.parametrize("size", [0, 23, 65])
def test_secrets_of_another_length_are_refused(size: int) -> None:
    secret = base64.b64encode(bytes(size)).decode()
    with pytest.raises(ValueError, match="24 to 64") as caught:
        sign([secret], ID, NOW, BODY)
    assert not secret or secret not in str(caught.value)


@pytest.mark.parametrize("secret", ["no base64!", "whsec_", "é" * 40, "A" * 41])
def test_secrets_that_are_no_base64_are_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="24 to 64"):
        verify([secret], signed([new_secret()]), BODY, NOW)


def test_new_secrets_are_random_and_long_enough() -> None:
    made = {new_secret() for _ in range(50)}
    assert len(made) == 50
    assert {len(base64.b64decode(secret, validate=True)) for secret in made} == {32}
