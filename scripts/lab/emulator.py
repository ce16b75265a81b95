"""AWS on loopback for development and tests: SQS, S3, Cognito, CloudFormation (ministack), DynamoDB (DynamoDB Local).

    scripts/emulator run -- COMMAND...    on a free port; the command finds it by its environment, and it ends with it
    scripts/emulator start | stop | status    on 127.0.0.1:4566, where config/localstack.toml looks

Everything is in memory. Where java or npm is missing, ministack's own DynamoDB takes the part of DynamoDB Local, and
standard error says so. The emulator ends with what started it, even when that was killed.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NoReturn

import uvloop

from lab import dynamodb_local
from lab.emulator_front import Front, ministack

_HOST = "127.0.0.1"
ENDPOINT = "RECEIPTD_AWS__ENDPOINT_URL"
"""The one endpoint setting, as a variable."""
_PORT = 4566
_STATE = dynamodb_local.CACHE / "running.json"
_LOG = dynamodb_local.CACHE / "emulator.log"
_START_MAX_S = 400.0
_STOP_MAX_S = 10.0


def environment(endpoint: str) -> dict[str, str]:
    """Return the variables by which a command finds the emulator: the one endpoint setting, and made-up credentials."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return kept | {
        ENDPOINT: endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


class Emulator:
    """A running emulator as a child of this process. It ends with ``close``, or when this process does."""

    def __init__(self, *, port: int = 0, dynamodb: str = "local", authorize: bool = False) -> None:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: it did not come up; its standard error says why.
        """
        command = [sys.executable, "-m", "lab.emulator", "serve", "--port", str(port), "--dynamodb", dynamodb]
        command += ["--with-parent", *(["--authorize"] if authorize else [])]
        path = f"{Path(__file__).parents[2]}:{Path(__file__).parents[1]}"
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # an interrupt from the keyboard is the command's; the emulator ends after it
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the emulator did not start (exit status {self._process.wait()})")
        self.facts: dict[str, Any] = json.loads(line)

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return str(self.facts["endpoint"])

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def close(self) -> None:
        """End it, and what it started."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_MAX_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


@cache
def shared_endpoint() -> str:
    """Return the endpoint that the environment names, or that of one emulator, started once, for this process.

    Raises:
        RuntimeError: it did not come up.
    """
    named = os.environ.get(ENDPOINT)
    if named:
        return named
    emulator = Emulator()
    atexit.register(emulator.close)
    return emulator.endpoint


def serve(options: argparse.Namespace) -> int:
    """Run the emulator in this process until a signal, or until standard input ends."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_HOST, options.port))
    except OSError as error:
        print(f"emulator: cannot listen on {_HOST}:{options.port}: {error.strerror}", file=sys.stderr)
        return 1
    port: int = listener.getsockname()[1]
    child: subprocess.Popen[bytes] | None = None
    dynamodb_port = None
    if options.dynamodb == "local":
        try:
            child, dynamodb_port = dynamodb_local.start()
        except dynamodb_local.UnavailableError as error:
            print(f"emulator: no DynamoDB Local ({error}): ministack's own DynamoDB is used", file=sys.stderr)
    facts = {
        "endpoint": f"http://{_HOST}:{port}",
        "pid": os.getpid(),
        "dynamodb": "DynamoDB Local" if child else "ministack",
        "dynamodb_pid": child.pid if child else None,
    }
    front = Front(ministack(port, authorize=options.authorize), dynamodb_port)

    async def work() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if options.with_parent:
            loop.add_reader(sys.stdin.fileno(), _on_input, stop.set)
        await front.serve(listener, ready=lambda: print(json.dumps(facts), flush=True), stop=stop)

    try:
        uvloop.run(work())
    finally:
        if child is not None:
            child.kill()
            child.wait()
    return 0


def _on_input(ended: Callable[[], None]) -> None:
    """Notice the end of standard input: the parent is gone."""
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        ended()


def run(options: argparse.Namespace) -> int:
    """Run a command beside an emulator of its own; return the command's exit status."""
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        print("emulator: run what? emulator run -- COMMAND...", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    emulator = Emulator(port=options.port, dynamodb=options.dynamodb, authorize=options.authorize)
    print(f"emulator: {emulator.endpoint}, DynamoDB: {emulator.facts['dynamodb']}", file=sys.stderr, flush=True)
    try:
        child = subprocess.Popen(
            command,
            env=environment(emulator.endpoint),
            preexec_fn=partial(dynamodb_local.die_with, os.getpid()),  # noqa: PLW1509 - this process has one thread
        )
        try:
            status = _wait(child)
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
    finally:
        emulator.close()
    return status if status >= 0 else 128 - status


def _leave(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _wait(child: subprocess.Popen[bytes]) -> int:
    """Wait for the command; an interrupt from the keyboard is its own, and it decides when to end."""
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue


def start(options: argparse.Namespace) -> int:
    """Start one in the background."""
    if facts := _running():
        print(f"emulator: already running at {facts['endpoint']} (pid {facts['pid']})", file=sys.stderr)
        return 0
    dynamodb_local.CACHE.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "lab.emulator", "serve", "--port", str(options.port)]
    command += ["--dynamodb", options.dynamodb, *(["--authorize"] if options.authorize else [])]
    with _LOG.open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        )
    assert process.stdout is not None
    with process.stdout:
        line = process.stdout.readline()
    if not line:
        print(_LOG.read_text(errors="replace")[-2000:] or "emulator: it did not start", file=sys.stderr)
        return 1
    sys.stderr.write(_LOG.read_text(errors="replace"))
    _STATE.write_bytes(line)
    facts = json.loads(line)
    print(f"{facts['endpoint']} (pid {facts['pid']}, DynamoDB: {facts['dynamodb']})")
    return 0


def stop(_options: argparse.Namespace) -> int:
    """Stop the one in the background."""
    facts = _running()
    if facts is None:
        print("emulator: not running", file=sys.stderr)
        return 0
    os.kill(facts["pid"], signal.SIGTERM)
    deadline = time.monotonic() + _STOP_MAX_S
    while _running() and time.monotonic() < deadline:
        time.sleep(0.05)
    if _running():
        os.kill(facts["pid"], signal.SIGKILL)
    _STATE.unlink(missing_ok=True)
    return 0


def status(_options: argparse.Namespace) -> int:
    """Tell whether one runs in the background; exit status 1 when none does."""
    facts = _running()
    print(json.dumps(facts) if facts else "not running")
    return 0 if facts else 1


def _running() -> dict[str, Any] | None:
    """Return what ``start`` wrote down, when that process still lives and is an emulator."""
    try:
        facts: dict[str, Any] = json.loads(_STATE.read_bytes())
        command = subprocess.run(
            ["ps", "-o", "stat=,args=", "-p", str(facts["pid"])],  # noqa: S607 - ps is where the PATH has it
            capture_output=True,
            text=True,
            check=False,
        ).stdout
    except (OSError, ValueError):
        return None
    return facts if "lab.emulator" in command and not command.startswith("Z") else None


def main() -> int:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(
        prog="emulator", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(dest="part", required=True)
    for name, work in (("run", run), ("start", start), ("stop", stop), ("status", status), ("serve", serve)):
        part = parts.add_parser(name, help=work.__doc__)
        part.set_defaults(work=work)
        if name in {"run", "start", "serve"}:
            port = _PORT if name == "start" else 0
            part.add_argument("--port", type=int, default=port, help="0: a free one. Default: %(default)s.")
            part.add_argument("--dynamodb", choices=("local", "ministack"), default="local")
            part.add_argument(
                "--authorize", action="store_true", help="Hold calls against IAM policies (not DynamoDB)."
            )
        if name == "serve":
            part.add_argument("--with-parent", action="store_true", help="End when standard input does.")
        if name == "run":
            part.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    return int(options.work(options))


if __name__ == "__main__":
    sys.exit(main())
