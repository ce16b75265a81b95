"""What botocore lends: credentials that are renewed, regions, endpoints."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from receiptd.adapters.aws import session as session_module
from receiptd.adapters.aws.errors import AwsError
from receiptd.adapters.aws.session import AwsSession
from receiptd.adapters.aws.signing import Keys
from receiptd.domain.errors import ConfigurationError

VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
)


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """Nothing of this machine's own settings."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


@pytest.fixture
def write_keys(bare):
    def write(access_key):
        text = f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = secret\n"
        (bare / "credentials").write_text(text)

    return write


@pytest.fixture
def open_session(http, usage):
    def open_(**facts):
        return AwsSession(http, usage, **{"region": "eu-central-1", **facts})

    return open_


@pytest.fixture
async def role(monkeypatch):
    """A metadata service that gives a role's credentials, each time others, for ``lives_s`` seconds."""

    class Role:
        lives_s = 3600.0
        given = 0
        down = False

    async def handle(_):
        if Role.down:
            return web.Response(status=500)
        Role.given += 1
        until = datetime.now(UTC) + timedelta(seconds=Role.lives_s)
        content = {
            "AccessKeyId": f"ROLE{Role.given}",
            "SecretAccessKey": "secret",
            "Token": "token",
            "Expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        return web.json_response(content)

    runner = web.ServerRunner(web.Server(handle, access_log=None), shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{port}/")
    yield Role
    await runner.cleanup()


async def test_keys_come_from_the_chain(open_session, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert await open_session().credentials.keys() == Keys("AKID", "secret", "")


async def test_no_credentials_may_pass(open_session, write_keys):
    session = open_session()
    with pytest.raises(AwsError) as raised:
        await session.credentials.keys()
    assert (raised.value.code, raised.value.passing, raised.value.unknown) == ("NoCredentials", True, False)


async def test_refused_keys_are_looked_for_anew_once_for_all(open_session, write_keys):
    write_keys("OLD")
    credentials = open_session().credentials
    old = await credentials.keys()
    write_keys("NEW")
    assert await credentials.keys() == old
    many = await asyncio.gather(*(credentials.keys(old) for _ in range(50)))
    assert {keys.access_key for keys in many} == {"NEW"}
    assert (await credentials.keys(old)).access_key == "NEW"


async def test_keys_that_nothing_renews_are_looked_for_at_a_bounded_rate(open_session, write_keys, monkeypatch):
    write_keys("ONLY")
    credentials = open_session().credentials
    only = await credentials.keys()
    looks = []
    made = session_module.get_session
    monkeypatch.setattr(session_module, "get_session", lambda: looks.append(1) or made())
    assert {await credentials.keys(only) for _ in range(20)} == {only}
    assert len(looks) == 1


async def test_a_roles_keys_are_kept_and_renewed_before_they_expire(open_session, role, monkeypatch):
    monkeypatch.setattr(session_module, "_LOOK_EVERY_S", 0.05)
    credentials = open_session().credentials
    assert (await credentials.keys()).access_key == "ROLE1"
    await asyncio.sleep(0.1)
    assert (await credentials.keys()).access_key == "ROLE1"

    role.lives_s = 120.0  # within the time in which botocore renews
    soon = await credentials.keys(await credentials.keys())
    assert soon.access_key != "ROLE1"
    await asyncio.sleep(0.1)
    assert await credentials.keys() != soon


async def test_keys_at_hand_serve_while_the_role_cannot_be_asked(open_session, role, monkeypatch):
    monkeypatch.setattr(session_module, "_LOOK_EVERY_S", 0.05)
    role.lives_s = 120.0
    credentials = open_session().credentials
    keys = await credentials.keys()
    role.down = True
    await asyncio.sleep(0.1)
    begun = time.monotonic()
    assert (await credentials.keys()).access_key == keys.access_key
    assert time.monotonic() - begun < session_module._RESOLVE_MAX_S + 1


async def test_a_region_is_needed(open_session, monkeypatch):
    with pytest.raises(ConfigurationError, match="region"):
        open_session(region="")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-south-1")
    assert open_session(region="").region == "ap-south-1"


@pytest.mark.parametrize(
    ("service", "region", "url"),
    [
        ("sqs", "eu-central-1", "https://sqs.eu-central-1.amazonaws.com:443/"),
        ("dynamodb", "eu-central-1", "https://dynamodb.eu-central-1.amazonaws.com:443/"),
        ("sqs", "cn-north-1", "https://sqs.cn-north-1.amazonaws.com.cn:443/"),
    ],
)
async def test_endpoints_are_botocores(open_session, write_keys, service, region, url):
    write_keys("AKID")
    wire = await open_session(region=region).wire(service)
    assert wire._url == url


async def test_one_endpoint_serves_all(open_session, write_keys):
    write_keys("AKID")
    session = open_session(endpoint_url="http://127.0.0.1:4566")
    assert (await session.wire("sqs"))._url == (await session.wire("dynamodb"))._url == "http://127.0.0.1:4566/"
    async with session.client("s3") as client:
        url = await client.generate_presigned_url("get_object", Params={"Bucket": "exports", "Key": "a"})
    assert url.startswith("http://127.0.0.1:4566/exports/a?X-Amz-Algorithm=AWS4-HMAC-SHA256")


async def test_what_does_not_speak_json_has_no_wire(open_session, write_keys):
    write_keys("AKID")
    with pytest.raises(ConfigurationError, match="JSON"):
        await open_session().wire("s3")
    with pytest.raises(ConfigurationError, match="path"):
        await open_session(endpoint_url="http://127.0.0.1:4566/aws").wire("sqs")
