"""DynamoDB on an emulator, directly and behind a proxy that does harm on command."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

import pytest
from aiohttp import web

from lab.emulator import shared_endpoint

sys.path.append(str(Path(__file__).parent))  # faulty_proxy
sys.path.append(str(Path(__file__).parents[4] / "contract"))  # contract_makers, aws_ledger_backend

from aws_ledger_backend import open_tables
from faulty_proxy import FaultyProxy


@pytest.fixture(scope="session")
def dynamodb_url():
    return shared_endpoint()


@pytest.fixture
async def proxy(dynamodb_url):
    made = FaultyProxy(dynamodb_url)
    runner = web.ServerRunner(web.Server(made.handle, access_log=None), shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    yield made
    await runner.cleanup()
    await made.close()


@pytest.fixture
async def tables(proxy):
    """Two tables of the test's own, reached through the proxy."""
    made = await open_tables(f"test-{uuid.uuid4().hex[:12]}", proxy.url)
    proxy.requests.clear()
    yield made
    await made.http.close()
