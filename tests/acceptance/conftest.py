"""Fixtures that start real processes: daemon and stand-ins, real sockets, a real store, nothing of ours replaced.

Teardown ends each process by its id; a failed test shows its daemon's log.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest

from receiptd.cli.demo import configuration
from receiptd.cli.demo.client import Client
from receiptd.cli.demo.documents import retail_receipt
from receiptd.cli.demo.endpoint import Endpoint
from receiptd.cli.demo.processes import Process, environment
from receiptd.domain.contract import Access, Contract
from receiptd.domain.signatures import new_secret
from receiptd.settings import load
from receiptd.stores import Store, opened

sys.path.append(str(Path(__file__).parent))  # the suite's own modules: acceptance_tools, backends

from backends import BACKENDS, Backend


@dataclass(frozen=True)
class Credentials:
    """A contract's id and secrets. ``webhook_secret`` begins with ``whsec_``."""

    client_id: str
    client_secret: str
    webhook_secret: str
    token_url: str = ""
    """Where the client gets tokens; empty: from the daemon."""


class Simulator:
    """The stand-ins for ``tax`` and ``warehouse``."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.url = process.url()

    def turn(self, **knobs: Any) -> None:
        """Turn knobs of every registrar, such as ``down=True``; each test begins with those of a good registrar."""
        self.control({"registrars": {"*": knobs}})

    def control(self, patch: Mapping[str, Any]) -> Any:
        """Send a patch of the knobs, of any shape that ``receiptd simulate`` takes."""
        request = urllib.request.Request(f"{self.url}/_control", json.dumps(patch).encode(), method="PUT")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def effects(self, receipt_id: str = "") -> list[dict[str, Any]]:
        """Return what the registrars hold: everything, or what concerns one receipt."""
        with urllib.request.urlopen(f"{self.url}/_effects?limit=10000", timeout=10) as answer:
            found = [json.loads(line) for line in answer]
        return [effect for effect in found if receipt_id in ("", effect["key"])]


@dataclass
class Daemon:
    """A running daemon, and what its operators and clients need to reach it."""

    process: Process
    url: str
    settings: Path
    variables: dict[str, str] = field(repr=False)
    backend: Backend = field(repr=False)

    @property
    def storage(self) -> Path:
        return Path(self.variables["RECEIPTD_STORAGE__PATH"])

    def cli(self, *arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line with the daemon's own settings."""
        return subprocess.run(
            [sys.executable, "-m", "receiptd", *arguments, "--config", str(self.settings)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**environment(self.variables), **variables},
        )

    def log_tail(self) -> str:
        return self.process.log.read_text(errors="replace")[-8_000:]

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        """Open the daemon's store beside it, as commands do."""
        with patch.dict(os.environ, self.variables):
            async with opened(load(self.settings)) as store:
                yield store

    async def contract(self, client_id: str, **terms: Any) -> Credentials:
        """Add a contract; ``terms`` are fields of ``Contract``. Its id is another one where it cannot be chosen."""
        secret = new_secret()
        async with self.store() as store:
            clients = await store.clients()
            access = Access(terms.get("access", Access.READ_WRITE))
            made = await clients.add(client_id if self.backend.own_issuer else "", client_id, access)
            await store.contracts.put(Contract(client_id=made.client_id, webhook_secrets=(secret,), **terms))
            return Credentials(made.client_id, made.client_secret, f"whsec_{secret}", clients.token_url)

    async def change(self, client_id: str, **terms: Any) -> None:
        """Change the terms of a contract."""
        async with self.store() as store:
            contract = await store.contracts.get(client_id)
            assert contract is not None
            await store.contracts.put(replace(contract, **terms))

    def client(self, credentials: Credentials) -> Client:
        """Return a client, to be entered with ``async with``."""
        return Client(self.url, credentials.client_id, credentials.client_secret, credentials.token_url)


StartDaemon = Callable[..., Daemon]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, Daemon):
                report.sections.append((f"log of {name}", value.log_tail()))
    return report


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "embedded(reason): the test is about what the embedded backend alone has")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--backend") == "embedded":
        return
    for item in items:
        marker = item.get_closest_marker("embedded")
        if marker is not None:
            item.add_marker(pytest.mark.skip(reason=marker.args[0]))


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> Backend:
    """What the daemons keep their data in."""
    chosen: Backend = BACKENDS[request.config.getoption("--backend")]()
    return chosen


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A settings file, with registrars whose stand-ins are those of ``simulator``."""
    port = configuration.free_port(0)
    directory = tmp_path_factory.mktemp("settings")
    return configuration.write(directory, port=0, simulator_url=f"http://127.0.0.1:{port}")


@pytest.fixture(scope="session")
def shared_simulator(settings: Path) -> Iterator[Simulator]:
    port = (settings.parent / "registrars" / "tax.toml").read_text().split("127.0.0.1:")[1].split("/")[0]
    with Process("simulate", ["simulate", "--port", port, "--config", str(settings)], settings.parent) as process:
        yield Simulator(process)


@pytest.fixture
def simulator(shared_simulator: Simulator) -> Simulator:
    """The stand-ins, with the knobs of good registrars at the beginning of the test."""
    shared_simulator.control({"reset": True})
    return shared_simulator


def _start(settings: Path, directory: Path, backend: Backend, **variables: str) -> Daemon:
    variables = {
        **backend.variables(directory),
        "RECEIPTD_HTTP__PORT": "0",
        "RECEIPTD_LOG__FORMAT": "json",
        **variables,
    }
    backend.prepare(settings, variables)
    process = Process("daemon", ["serve", "--config", str(settings)], directory, variables)
    try:
        return Daemon(process, process.url(), settings, variables, backend)
    except BaseException:
        process.kill()
        raise


@pytest.fixture(scope="module")
def daemon_settings(settings: Path) -> Path:
    """The settings file of ``daemon``, for modules to override."""
    return settings


@pytest.fixture(scope="module")
def daemon(
    daemon_settings: Path, shared_simulator: Simulator, backend: Backend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    """A daemon that the tests of a module share.

    When they have ended it must still run and drain in good order, and must have answered as its description says.
    """
    running = _start(daemon_settings, tmp_path_factory.mktemp("daemon"), backend)
    try:
        yield running
        assert running.process.running, running.log_tail()
        assert not _undeclared_answers(running.url)
    finally:
        status = running.process.stop()
    assert status == 0, running.log_tail()


def _undeclared_answers(url: str) -> set[tuple[str, str]]:
    """Return the calls and statuses that the daemon has answered and its OpenAPI description does not declare."""
    with urllib.request.urlopen(f"{url}/openapi.json", timeout=10) as answer:
        paths = json.load(answer)["paths"].values()
    declared = {
        (call["operationId"], status) for path in paths for call in path.values() for status in call["responses"]
    }
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    answered = set(re.findall(r'^receiptd_http_requests_total{call="(\w+)",status="(\d+)"}', metrics, re.MULTILINE))
    assert answered
    return {(call, status) for call, status in answered if call != "none"} - declared


@pytest.fixture
def start_daemon(settings: Path, simulator: Simulator, backend: Backend, tmp_path: Path) -> Iterator[StartDaemon]:
    """Start daemons of the test's own: ``start_daemon(RECEIPTD_HTTP__IN_FLIGHT_MAX="10")``.

    Started twice, the second finds the first one's store (when that was stopped or killed). ``settings=`` names
    another settings file.
    """
    started: list[Daemon] = []

    def start(settings: Path = settings, **variables: str) -> Daemon:
        started.append(_start(settings, tmp_path, backend, **variables))
        return started[-1]

    yield start
    for one in started:
        one.process.stop()


@pytest.fixture
async def credentials(daemon: Daemon) -> Credentials:
    """A contract of the test's own with the shared daemon, without a webhook URL."""
    return await daemon.contract(f"test-{uuid4().hex[:12]}")


@pytest.fixture
async def client(daemon: Daemon, simulator: Simulator, credentials: Credentials) -> AsyncIterator[Client]:
    """A client of the shared daemon, with a token."""
    async with daemon.client(credentials) as speaking:
        yield speaking


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    """A webhook endpoint; ``endpoint.url`` is to be put into a contract, its secret into ``endpoint.secrets``."""
    listening = Endpoint()
    await listening.start()
    yield listening
    await listening.stop()


@pytest.fixture
def document() -> Callable[..., bytes]:
    """Make valid retail receipts (JSON), each under a number of its own; ``document("X-REJECT-TAX")`` names one."""
    return lambda number="": retail_receipt(number or uuid4().hex)
