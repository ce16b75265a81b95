"""What an account has once, behind the contract suite: Cognito's pool and the bucket of exports, on an emulator."""

from __future__ import annotations

import os
from unittest.mock import patch

import aiohttp

from lab.emulator import environment, shared_endpoint
from receiptd.adapters.aws import resources
from receiptd.adapters.aws.account import locate
from receiptd.adapters.aws.provision import provision
from receiptd.adapters.aws.session import AwsSession
from receiptd.adapters.aws.store import AwsStore
from receiptd.adapters.aws.usage import Usage
from receiptd.adapters.outbound.client import OutboundClient
from receiptd.domain.addresses import OPERATOR
from receiptd.runtime.clock import SystemClock
from receiptd.settings import AwsSettings

_PREFIX = "contract-suite"
_provisioned = []


async def open_account(make):
    """Open the account; ``make`` builds the suite's Rest of identity, clients, exports, and what uses them."""
    variables = {name: value for name, value in environment(shared_endpoint()).items() if name.startswith("AWS_")}
    credentials = patch.dict(os.environ, variables)
    credentials.start()
    settings = AwsSettings(endpoint_url=shared_endpoint(), prefix=_PREFIX, region="us-east-1")
    if not _provisioned:
        await _provision(settings)
        _provisioned.append(True)
    store = await AwsStore.open(settings, [], OutboundClient(OPERATOR), SystemClock())
    clients = await store.clients()

    async def issue(credentials):
        form = {"grant_type": "client_credentials"}
        basic = {"Authorization": aiohttp.encode_basic_auth(credentials.client_id, credentials.client_secret)}
        async with (
            aiohttp.ClientSession() as session,
            session.post(clients.token_url, data=form, headers=basic) as answer,
        ):
            assert answer.status == 200, await answer.text()
            return (await answer.json())["access_token"]

    async def fetch(url):
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return await answer.read()

    async def close():
        await store.close()
        credentials.stop()

    return make(store.identity, clients, store.exports, issue, fetch), close


async def _provision(settings):
    http = OutboundClient(OPERATOR)
    try:
        session = AwsSession(http, Usage(), region=settings.region, endpoint_url=settings.endpoint_url)
        names = resources.load(settings.prefix, [], await locate(session))
        async for _ in provision(session, names, lambda *_: None):
            pass
    finally:
        await http.close()
