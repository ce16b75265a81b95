"""The command line beside a running daemon: what operators do, and what it tells them when they err."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import typer.main

from receiptd.cli import receipts
from receiptd.cli.demo.client import Client
from receiptd.cli.demo.processes import Process, ProcessError, environment
from receiptd.cli.main import app, main

HEAVY = {"aiohttp", "cryptography", "joserfc", "lxml", "orjson", "pydantic", "structlog", "uvloop", "zstandard"}


@pytest.fixture
def cli(daemon, monkeypatch, capsys):
    """Run a command in this process, as ``daemon.cli`` does in another: an interpreter's start takes half a second."""

    def call(*arguments: str, on=daemon, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patch, ThreadPoolExecutor(1) as thread:
            for name, value in {**on.variables, **variables}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["receiptd", *arguments, "--config", str(on.settings)])
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            capsys.readouterr()
            error = thread.submit(main).exception()
        assert isinstance(error, SystemExit | None), error
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, (error and error.code) or 0, said.out, said.err)

    return call


def _commands(group, path=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name), command


def test_help_imports_nothing_heavy():
    program = f"import sys, receiptd.cli; print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("path", "command"), [pytest.param(p, c, id=" ".join(p)) for p, c in _commands(typer.main.get_command(app))]
)
def test_every_command_has_a_help_with_an_example(path, command):
    assert command.help
    if path != ("simulate",):
        assert f"receiptd {' '.join(path)}" in command.epilog


def test_the_version_is_told(daemon):
    done = subprocess.run([sys.executable, "-m", "receiptd", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("receiptd 0.")


# -- serve -------------------------------------------------------------------------------------------------------------


def test_serve_check_names_what_it_found(daemon):
    done = daemon.cli("serve", "--check")
    assert done.returncode == 0, done.stderr
    assert "registrars: tax, warehouse" in done.stdout
    assert "retail-receipt" in done.stdout


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"RECEIPTD_HTTP__PORT": "http"}, "http.port"),
        ({"RECEIPTD_HTTP__PROT": "80"}, "http.prot"),
        ({"RECEIPTD_HTPT__PORT": "80"}, "RECEIPTD_HTPT__PORT"),
        ({"RECEIPTD_REGISTRARS_DIR": "/nowhere"}, "registrars_dir"),
    ],
)
def test_a_wrong_setting_is_named_without_a_traceback(cli, variables, named):
    done = cli("serve", **variables)
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.embedded("two daemons may share what this backend keeps")
def test_a_second_daemon_on_the_same_store_is_refused(daemon):
    done = daemon.cli("serve")
    assert done.returncode == 2
    assert "in use by another receiptd daemon" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_with_status_0(start_daemon, number):
    daemon = start_daemon()
    os.kill(daemon.process.pid, number)
    assert daemon.process.stop() == 0
    assert '"draining"' in daemon.log_tail()


# -- contracts and token -----------------------------------------------------------------------------------------------


async def test_a_contract_from_add_to_revoke_and_restore(daemon, cli, simulator, document):
    added = daemon.cli("contracts", "add", "Corner shop", "--webhook-origin", "https://shop.example", "--json")
    assert added.returncode == 0, added.stderr
    issued = json.loads(added.stdout)
    client_id, secret = issued["client_id"], issued["client_secret"]
    assert client_id.startswith("corner-shop-") or not daemon.backend.own_issuer
    assert issued["webhook_secret"].startswith("whsec_")

    got = daemon.cli("token", client_id, "--url", daemon.url, CLIENT_SECRET=secret)
    assert got.returncode == 0, got.stderr
    async with Client(daemon.url, client_id, secret, issued.get("token_url", "")) as client:
        client.token = got.stdout.strip()
        assert (await client.post(document()))[0] == 202

        assert cli("contracts", "revoke", client_id).returncode == 0
        await _until_posting_gives(client, document(), 403)
        if daemon.backend.own_issuer:  # Cognito's tokens are given all the same, and refused with 403
            assert cli("token", client_id, "--url", daemon.url, stdin=f"{secret}\n").returncode == 1

        assert cli("contracts", "restore", client_id).stdout == f"{client_id}: active\n"
        assert json.loads(cli("contracts", "show", client_id, "--json").stdout)["active"]


async def _until_posting_gives(client: Client, body: bytes, status: int) -> None:
    deadline = time.monotonic() + 15  # "within a minute" is promised; the cache is 5 s
    while (got := (await client.post(body))[0]) != status:
        assert time.monotonic() < deadline, f"still {got}"
        await asyncio.sleep(0.2)


@pytest.mark.embedded("no emulator of Cognito keeps two secrets of a client")
async def test_rotated_secrets_overlap_unless_the_old_ones_are_dropped(daemon, cli, credentials):
    name, old = credentials.client_id, credentials.client_secret

    def works(secret: str) -> bool:
        return cli("token", name, "--url", daemon.url, CLIENT_SECRET=secret).returncode == 0

    second = json.loads(cli("contracts", "rotate-client-secret", name, "--json").stdout)["client_secret"]
    assert works(old)
    assert works(second)
    third = json.loads(cli("contracts", "rotate-client-secret", name, "--drop-old", "--json").stdout)
    assert works(third["client_secret"])
    assert not works(second)

    assert cli("contracts", "rotate-webhook-secret", name).returncode == 0
    shown = json.loads(cli("contracts", "show", name, "--json").stdout)
    assert shown["webhook_secrets"] == 2
    assert cli("contracts", "rotate-webhook-secret", name, "--drop-old").returncode == 0
    shown = cli("contracts", "show", name, "--json").stdout
    assert json.loads(shown)["webhook_secrets"] == 1
    assert credentials.webhook_secret[6:] not in shown


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("contracts", "show", "nobody"), 1, "no contract of nobody"),
        (("contracts", "add", "X", "--client-id", "a b"), 2, "--client-id"),
        (("contracts", "add", "X", "--webhook-url", "shop.example"), 2, "--webhook-url"),
        (("contracts", "add", "X", "--type", "till-roll"), 2, "there is no receipt type till-roll"),
        (("receipts", "show", "20260131"), 2, "is no receipt id"),
        (("receipts", "show", "20260131-0123456789abcdef01234567"), 1, "there is no receipt"),
        (("receipts", "redrive"), 2, "--all"),
        (("receipts", "redrive", "--registrar", "customs", "--all"), 2, "no registrar customs"),
        (("dlq", "list", "letters"), 2, "there is no queue letters"),
        (("types", "show", "till-roll"), 1, "no receipt type till-roll"),
    ],
)
def test_an_error_is_told_in_plain_words(cli, arguments, status, told):
    done = cli(*arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert told in done.stderr
    assert done.stderr.startswith("receiptd: ")


def test_types_are_listed(cli):
    listed = json.loads(cli("types", "list", "--json").stdout)
    assert {"retail-receipt", "retail-receipt-xml", "prro-check"} <= {one["id"] for one in listed}


# -- receipts ----------------------------------------------------------------------------------------------------------


async def test_receipts_are_listed_and_shown_with_their_very_bytes(cli, client: Client, document):
    body = document()
    status, _, answer = await client.post(body, Prefer="wait=10")
    assert (status, answer["status"]) == (200, "COMPLETE")

    listed = json.loads(cli("receipts", "list", "--client", client.client_id, "--json").stdout)
    assert [(one["id"], one["status"], one["client_id"]) for one in listed] == [
        (answer["id"], "COMPLETE", client.client_id)
    ]
    assert json.loads(cli("receipts", "list", "--client", client.client_id, "--state", "FAILED", "--json").stdout) == []
    shown = cli("receipts", "show", answer["id"])
    assert "REGISTERED" in shown.stdout
    assert cli("receipts", "show", answer["id"], "--document").stdout.encode() == body


@pytest.fixture
def impatient(settings: Path, tmp_path: Path) -> Path:
    """Settings whose registrars are parked after two failed calls."""
    copy = Path(shutil.copytree(settings.parent / "registrars", tmp_path / "impatient" / "registrars"))
    for file in copy.glob("*.toml"):
        file.write_text(file.read_text().replace("[retry]\n", "[retry]\nmax_attempts = 2\n"))
    return Path(shutil.copy(settings, copy.parent))


async def _parked(daemon, client: Client, body: bytes) -> str:
    _, _, answer = await client.post(body)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        receipt = await client.status(answer["id"])
        if all(registration["state"] == "PARKED" for registration in receipt["registrations"]):
            return receipt["id"]
        await asyncio.sleep(0.05)
    raise AssertionError(f"not parked: {receipt}")


async def test_parked_receipts_are_redriven_or_abandoned(start_daemon, cli, simulator, impatient: Path, document):
    daemon = start_daemon(impatient)
    cli = partial(cli, on=daemon)
    simulator.turn(down=True)
    async with daemon.client(await daemon.contract("shop")) as client:
        redriven, abandoned = await _parked(daemon, client, document()), await _parked(daemon, client, document())
        parked = json.loads(cli("receipts", "list", "--parked", "--json").stdout)
        assert {one["id"] for one in parked} == {redriven, abandoned}
        depths = json.loads(cli("dlq", "list", "--json").stdout)
        assert depths["registrar.tax"]["dead"] == 2
        shown = json.loads(cli("dlq", "show", "registrar.tax", redriven).stdout)
        assert shown["key"] == redriven
        assert f"{redriven} " in cli("dlq", "list", "registrar.tax").stdout

        simulator.turn(down=False)
        done = cli("receipts", "redrive", redriven, "--json")
        assert [one["applied"] for one in json.loads(done.stdout)] == [True, True], done.stderr
        assert (await client.status(redriven, 10))["status"] == "COMPLETE"

        reason = "the till was a test device"
        done = cli("receipts", "abandon", abandoned, "--registrar", "tax", "--reason", reason, "--json")
        assert [one["receipt"] for one in json.loads(done.stdout)] == ["FAILED"], done.stderr
        assert (await client.status(abandoned))["findings"][0]["message"] == reason

        again = cli("receipts", "abandon", abandoned, "--registrar", "tax", "--reason", reason)
        assert again.returncode == 1
        assert "tax is REJECTED" in again.stderr
        rest = cli("receipts", "redrive", "--registrar", "warehouse", "--all", "--json")
        assert [(one["receipt_id"], one["applied"]) for one in json.loads(rest.stdout)] == [(abandoned, True)]
        assert json.loads(cli("receipts", "list", "--parked", "--json").stdout) == []


async def test_a_redrive_waits_for_the_daemon(*, start_daemon, cli, simulator, impatient: Path, document, monkeypatch):
    monkeypatch.setattr(receipts, "_APPLY_WAIT_S", 0.3)
    daemon = start_daemon(impatient)
    cli = partial(cli, on=daemon)
    simulator.turn(down=True)
    credentials = await daemon.contract("shop")
    async with daemon.client(credentials) as client:
        receipt_id = await _parked(daemon, client, document())
    assert daemon.process.stop() == 0
    simulator.turn(down=False)
    done = cli("receipts", "redrive", receipt_id)
    assert done.returncode == 0
    assert "2 not applied yet" in done.stderr
    async with start_daemon(impatient).client(credentials) as client:
        assert (await client.status(receipt_id, 10))["status"] == "COMPLETE"


def test_a_process_that_does_not_start_is_told_with_its_log(tmp_path: Path):
    process = Process("daemon", ["serve", "--config", str(tmp_path / "none.toml")], tmp_path)
    with process, pytest.raises(ProcessError, match=r"none\.toml: cannot be read"):
        process.url()


def test_exported_settings_do_not_reach_our_processes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECEIPTD_HTTP__PORT", "1")
    assert "RECEIPTD_HTTP__PORT" not in environment()
