"""The AWS store as one thing: what it needs at start, and that the embedded one does without its libraries."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import pytest
from aiohttp import web

from lab.emulator import environment
from receiptd import accounts
from receiptd import settings as settings_module
from receiptd.adapters.aws.app_clients import AppClients
from receiptd.adapters.aws.session import AwsSession
from receiptd.domain.contract import Access
from receiptd.domain.errors import ConfigurationError, ReceiptdError, StorageError
from receiptd.stores import open_store


@pytest.fixture
def configured(emulator, tmp_path, monkeypatch):
    """Makes the configuration of a prefix on the emulator."""
    (tmp_path / "registrars").mkdir()
    (tmp_path / "registrars" / "tax.toml").write_text('url = "http://127.0.0.1:1/"\nanswers = "synchronous"\n')
    for name, value in environment(emulator.endpoint).items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)

    def make(prefix, endpoint=emulator.endpoint):
        file = tmp_path / f"{prefix}.toml"
        file.write_text(f'[storage]\nbackend = "aws"\n[aws]\nprefix = "{prefix}"\nendpoint_url = "{endpoint}"\n')
        return settings_module.load(file)

    return make


async def test_a_daemon_opens_what_was_provisioned_and_verifies_tokens(configured):
    configuration = configured("whole")
    await accounts.provision(configuration, lambda _: None)
    store = await open_store(configuration, daemon=True)
    try:
        assert store.issuer is None
        assert store.token_url.endswith("/oauth2/token")
        assert set(store.tasks()) == {"identity"}
        assert store.checks() == {"identity": "failing"}, "it has no keys yet"
        await store.identity.refresh()
        assert store.checks() == {"identity": "ok"}
        depth = await store.queue.depth("registrar.tax")
        assert (depth.ready, depth.delayed, depth.dead) == (0, 0, 0)
        assert store.usage.requests["sqs", "GetQueueAttributes"] == 2
        assert sum(store.usage.read_units.values()) > 0
    finally:
        await store.close()


async def test_without_its_resources_a_daemon_does_not_start_and_says_what_makes_them(configured):
    with pytest.raises(ConfigurationError, match="receiptd aws provision makes it"):
        await open_store(configured("nothing"), daemon=True)


@pytest.mark.parametrize("dead", [False, True])
async def test_without_one_of_its_queues_a_daemon_does_not_start(configured, dead):
    configuration = configured(f"queueless{dead:d}")
    await accounts.provision(configuration, lambda _: None)
    store = await open_store(configuration, daemon=False)
    try:
        url = await store.queue._urls.of("registrar.tax", dead=dead)
        await store.queue._sqs._wire.call("DeleteQueue", {"QueueUrl": url}, timeout_s=5)
    finally:
        await store.close()
    missing = "registrar-tax-dlq" if dead else "registrar-tax"
    with pytest.raises(ConfigurationError, match=f"no queue .*{missing}: receiptd aws provision makes it"):
        await open_store(configuration, daemon=True)


async def test_an_endpoint_where_nobody_answers_is_told(configured):
    with pytest.raises(StorageError):
        await open_store(configured("nobody", "http://127.0.0.1:1"), daemon=True)


async def test_a_command_opens_without_a_pool_and_misses_it_when_needed(configured):
    store = await open_store(configured("poolless"), daemon=False)
    try:
        with pytest.raises(ConfigurationError, match="no user pool poolless"):
            await store.clients()
    finally:
        await store.close()


async def test_expiry_marks_what_settles_and_deletes_nothing(configured):
    store = await open_store(configured("kept"), daemon=False)
    try:
        kept = store.ledger._keep_days
        assert kept("any") is None, "for ever, until told otherwise"
        today = datetime.now(UTC).date()
        assert await store.expire(today - timedelta(days=35), {"fiscal": None, "short": today - timedelta(days=1)}) == 0
        assert [kept(name) for name in ("any", "fiscal", "short")] == [35.0, None, 1.0]
        assert await store.expire(None, {"old": date(2020, 1, 1)}) == 0
        assert kept("any") is None
    finally:
        await store.close()


# -- what the embedded daemon does without -----------------------------------------------------------------------------

_OPEN_EMBEDDED = """
import asyncio, sys
from pathlib import Path
from receiptd import app, settings, stores

async def main():
    configuration = settings.load(Path(sys.argv[1]))
    await (await stores.open_store(configuration, daemon=True)).close()

asyncio.run(main())
print(sorted({name.partition(".")[0] for name in sys.modules} & {"botocore", "aiobotocore", "boto3"}))
print([name for name in sys.modules if name.startswith("receiptd.adapters.aws")])
"""


def test_the_embedded_daemon_imports_nothing_of_aws(tmp_path):
    (tmp_path / "registrars").mkdir()
    file = tmp_path / "settings.toml"
    file.write_text(f'[storage]\npath = "{tmp_path}/data"\n')
    done = subprocess.run(
        [sys.executable, "-c", _OPEN_EMBEDDED, str(file)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.split("\n")[:2] == ["[]", "[]"], done.stdout + done.stderr


# -- app clients -------------------------------------------------------------------------------------------------------


class Cognito:
    """A pool's client as Cognito keeps it: two secrets at most, and always one. No emulator does."""

    def __init__(self):
        self.secrets = {"first": 1.0}
        self.made = 1

    async def handle(self, request):
        operation = request.headers["X-Amz-Target"].rpartition(".")[2]
        sent = await request.json()
        if sent["ClientId"] != "known":
            return self.refuse("ResourceNotFoundException")
        match operation:
            case "ListUserPoolClientSecrets":
                listed = [{"ClientSecretId": k, "ClientSecretCreateDate": at} for k, at in self.secrets.items()]
                return web.json_response({"ClientSecrets": listed})
            case "AddUserPoolClientSecret" if len(self.secrets) < 2:
                self.made += 1
                name = f"secret{self.made}"
                self.secrets = {name: float(self.made), **self.secrets}
                made = {"ClientSecretId": name, "ClientSecretValue": f"value-of-{name}"}
                return web.json_response({"ClientSecretDescriptor": made})
            case "DeleteUserPoolClientSecret" if len(self.secrets) > 1:
                del self.secrets[sent["ClientSecretId"]]
                return web.json_response({})
        return self.refuse("LimitExceededException")

    def refuse(self, code):
        return web.json_response({"__type": code, "message": "no"}, status=400)


@pytest.fixture
async def cognito(configured):
    standing = Cognito()
    runner = web.ServerRunner(web.Server(standing.handle, access_log=None), shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    standing.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    yield standing
    await runner.cleanup()


@pytest.fixture
def app_clients(cognito, http, usage):
    session = AwsSession(http, usage, region="eu-central-1", endpoint_url=cognito.url)
    return AppClients(session, "eu-central-1_abc", "receipts", "")


async def test_a_new_secret_leaves_the_one_before_it_and_ends_any_older(app_clients, cognito):
    assert await app_clients.rotate("known", drop_old=False) == "value-of-secret2"
    assert set(cognito.secrets) == {"first", "secret2"}
    await app_clients.rotate("known", drop_old=False)
    assert set(cognito.secrets) == {"secret2", "secret3"}


@pytest.mark.parametrize("rotations_before", [0, 1])
async def test_a_leaked_secret_is_dropped_once_there_is_another(app_clients, cognito, rotations_before):
    for _ in range(rotations_before):
        await app_clients.rotate("known", drop_old=False)
    secret = await app_clients.rotate("known", drop_old=True)
    assert [f"value-of-{name}" for name in cognito.secrets] == [secret]


async def test_an_unknown_client_is_told(app_clients):
    with pytest.raises(ReceiptdError, match="ResourceNotFound"):
        await app_clients.rotate("unknown", drop_old=False)


async def test_ids_are_cognitos_to_make(app_clients):
    with pytest.raises(ConfigurationError, match="cannot be chosen"):
        await app_clients.add("mine", "Shop", Access.READ)
