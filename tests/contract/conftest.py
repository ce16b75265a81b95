"""The adapters that the contract suite runs on. One more adapter is one more opener in ``BACKENDS``.

The suite keeps to what every adapter can do: it lives in real time, and asks a backend for its visibility timeout.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from receiptd.adapters.embedded.store import FILE_NAME, EmbeddedStore
from receiptd.ports import ClientCredentials, Clients, Contracts, Exports, Identity, Ledger, WorkQueue
from receiptd.runtime.clock import SystemClock

sys.path.append(str(Path(__file__).parent))  # the suite's own modules: contract_makers
sys.path.append(str(Path(__file__).parents[2] / "scripts"))  # lab, for crashing_process.py, which pytest does not run

VISIBILITY_S = 0.25
RECEIVES_MAX = 3


@dataclass
class Rest:
    """Adapters that few tests need, and which may take a second to open."""

    identity: Identity
    clients: Clients
    exports: Exports
    issue: Callable[[ClientCredentials], Awaitable[str]]
    """Gets a token for a client that has a contract."""
    fetch: Callable[[str], Awaitable[bytes]]
    """Gets what an export's URL names."""


@dataclass
class Backend:
    """One set of adapters, open."""

    ledger: Ledger
    queue: WorkQueue
    contracts: Contracts
    rest: Callable[[], Awaitable[Rest]]
    close: Callable[[], Awaitable[None]]
    crash_arguments: list[str]
    """What crashing_process.py needs to open the same store,"""
    crash_variables: dict[str, str] = field(default_factory=dict)
    """and in its environment."""
    visibility_s: float = VISIBILITY_S
    receives_max: int = RECEIVES_MAX
    messages_first: bool = False
    """Whether a change's messages are sent before its row is written, and so also when it is left undone."""


async def open_embedded(directory: Path) -> Backend:
    store = await EmbeddedStore.open(directory, SystemClock(), visibility_s=VISIBILITY_S, receives_max=RECEIVES_MAX)

    async def issue(credentials):
        return (await store.issuer.issue(credentials.client_id, credentials.client_secret))["access_token"]

    async def fetch(url):
        return Path(url.removeprefix("file://")).read_bytes()

    async def rest():
        return Rest(store.issuer, await store.clients(), store.exports, issue, fetch)

    return Backend(store.ledger, store.queue, store.contracts, rest, store.close, ["embedded", str(directory)])


async def open_aws(directory: Path) -> Backend:
    from aws_ledger_backend import open_aws_ledger  # noqa: PLC0415 - the emulator is not needed where only embedded runs

    return await open_aws_ledger(directory, Backend, Rest)


BACKENDS = {"aws": open_aws, "embedded": open_embedded}


@pytest.fixture(scope="session")
def store_with_key(tmp_path_factory):
    """A store that has its signing key already: making one takes as long as a dozen tests."""
    directory = tmp_path_factory.mktemp("with-key")

    async def make():
        await (await EmbeddedStore.open(directory, SystemClock())).close()

    asyncio.run(make())
    return directory / FILE_NAME


@pytest.fixture(params=sorted(BACKENDS))
async def open_backend(request, tmp_path, store_with_key):
    """Opens the backend, and again after it was closed: a process that ended and its successor."""
    shutil.copy(store_with_key, tmp_path / FILE_NAME)
    opened = []

    async def open_():
        backend = await BACKENDS[request.param](tmp_path)
        opened.append(backend)
        return backend

    yield open_
    for backend in opened:
        await backend.close()


@pytest.fixture
async def backend(open_backend):
    return await open_backend()


@pytest.fixture
def ledger(backend):
    return backend.ledger


@pytest.fixture
def queue(backend):
    return backend.queue
