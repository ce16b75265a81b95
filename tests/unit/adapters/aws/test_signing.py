"""Signatures are, byte for byte, those of botocore."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest import mock

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from receiptd.adapters.aws.signing import Keys, Signer
from receiptd.adapters.aws.wire import CONTENT_TYPE

TEXT = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=60)
NAME = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,30}", fullmatch=True)
TIMES = st.integers(0, 4_000_000_000)
HOSTS = st.sampled_from([
    ("https://sqs.eu-central-1.amazonaws.com/", "sqs.eu-central-1.amazonaws.com"),
    ("http://127.0.0.1:4566/", "127.0.0.1:4566"),
    ("https://sqs.example:8443/", "sqs.example:8443"),
])  # fmt: skip


def botocore_headers(where, url, keys, target, body, now):  # noqa: PLR0917 - likewise
    headers = {"Content-Type": CONTENT_TYPE, "X-Amz-Target": target}
    request = AWSRequest("POST", url, data=body, headers=headers)
    credentials = Credentials(keys.access_key, keys.secret_key, keys.token or None)
    moment = datetime.fromtimestamp(now, UTC)
    with mock.patch("botocore.auth.get_current_datetime", return_value=moment.replace(tzinfo=None)):
        SigV4Auth(credentials, *where).add_auth(request)
    return dict(request.headers.items())


@settings(max_examples=300, deadline=None)
@given(
    keys=st.builds(Keys, TEXT, TEXT, st.just("") | TEXT),
    host=HOSTS,
    where=st.tuples(NAME, NAME),
    target=NAME,
    body=st.binary(max_size=2000),
    now=TIMES,
)
def test_a_signature_is_botocores(keys, host, where, target, body, now):  # noqa: PLR0917 - what a signature is made of
    url, authority = host
    ours = Signer(*where, authority).headers(keys, target, CONTENT_TYPE, body, now)
    theirs = botocore_headers(where, url, keys, target, body, now)
    assert ours == theirs


@settings(max_examples=60, deadline=None)
@given(calls=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.binary(max_size=50)), max_size=8))
def test_a_kept_key_serves_its_day_and_secret_only(calls):
    signer = Signer("sqs", "eu-central-1", "sqs.example")
    for secret, day, body in calls:
        keys, now = Keys("AKID", secret), 86_400 * day + 5
        ours = signer.headers(keys, "AmazonSQS.X", CONTENT_TYPE, body, now)
        where = ("sqs", "eu-central-1")
        assert ours == botocore_headers(where, "https://sqs.example/", keys, "AmazonSQS.X", body, now)


def test_keys_do_not_show_their_secrets_invariant_14():
    assert repr(Keys("AKID", "hidden", "hidden")) == "Keys(access_key='AKID')"
