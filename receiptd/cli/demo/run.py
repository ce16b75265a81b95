"""The course of the demo, from the first process to the last line."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp

from receiptd.cli.demo import configuration, next_steps
from receiptd.cli.demo.books import Outcome, balanced, books
from receiptd.cli.demo.client import Client
from receiptd.cli.demo.documents import postings
from receiptd.cli.demo.endpoint import Endpoint
from receiptd.cli.demo.processes import Process, ProcessError, environment
from receiptd.cli.demo.report import Progress, print_outcomes
from receiptd.domain.errors import ReceiptdError
from receiptd.settings import load

T = TypeVar("T")

_SIMULATOR_PORT: Final = 8090
_MISBEHAVIOUR: Final = (
    *("--latency", "0.05", "--jitter", "0.25", "--callback-delay", "0.2", "--callback-jitter", "0.8"),
    *("--error-rate", "0.08", "--throttle-rate", "0.03", "--reset-rate", "0.03"),
    *("--duplicate-callback-rate", "0.2", "--early-callback-rate", "0.1", "--forged-callback-rate", "0.1"),
    *("--never-callback-rate", "0.03", "--retry-after", "1"),
)
_POST_EVERY_S: Final = 0.06
_POST_TRIES: Final = 3
_WAIT_S: Final = 10
_END_WITHIN_S: Final = 90.0
_WEBHOOKS_WITHIN_S: Final = 30.0
_ASK_AGAIN_S: Final = 0.5
_SHOW_EVERY_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Stage:
    """What stands when the demo begins."""

    directory: Path
    settings: Path
    daemon: Process
    simulator: Process
    simulator_url: str
    endpoint: Endpoint
    client: Client


async def run(*, port: int, leave: bool, config: Path | None = None) -> int:
    """Run the demo; return its exit status. With ``leave`` it ends by itself, else on SIGINT or SIGTERM.

    ``config`` names a settings file whose backend is used; None: the embedded one.
    """
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    async with _set_stage(port, config) as stage:
        totals = await _unless(stopping, _course(stage))
        if totals is not None and not leave:
            await _unless(stopping, _serve_on(stage))
        print("\nending the processes ...", file=sys.stderr)
    if totals is None:
        return 1
    if leave:
        print(json.dumps(totals))
    return 0 if balanced(totals) else 1


async def _unless(stopping: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Do the work; give it up and return None once ``stopping`` is set."""
    task, stopped = asyncio.create_task(work), asyncio.create_task(stopping.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
        return None
    return task.result()


@asynccontextmanager
async def _set_stage(port: int, config: Path | None) -> AsyncIterator[Stage]:
    """Start everything; end it again in the reverse order, whatever happens."""
    directory = Path(tempfile.mkdtemp(prefix="receiptd-demo-"))
    async with AsyncExitStack() as stack:
        simulator_port = configuration.free_port(_SIMULATOR_PORT)
        settings = configuration.write(
            directory,
            port=configuration.free_port(port),
            simulator_url=f"http://127.0.0.1:{simulator_port}",
            like=load(config).settings if config else None,
        )
        named = ("--config", str(settings))
        if load(settings).settings.storage.backend == "aws":
            print("making the tables, queues and user pool of the demo ...", file=sys.stderr, flush=True)
            await _command("aws", "provision", *named, "--json")
        endpoint = Endpoint()
        hooks_url = await endpoint.start()
        stack.push_async_callback(endpoint.stop)
        simulator = Process("simulate", ["simulate", "--port", str(simulator_port), *named, *_MISBEHAVIOUR], directory)
        stack.callback(simulator.stop)
        daemon = Process("daemon", ["serve", *named], directory)
        stack.push_async_callback(asyncio.to_thread, daemon.stop)  # it still calls our endpoint while it drains
        simulator_url, url = await asyncio.to_thread(simulator.url), await asyncio.to_thread(daemon.url)
        print(f"daemon      {url}  (process {daemon.pid}, log {daemon.log})")
        print(f"registrars  {simulator_url}  (process {simulator.pid}: slow, failing at times, calling back twice)")
        print(f"webhooks    {hooks_url}  (in this process, which verifies their signatures)")
        contract = await _add_contract(settings, hooks_url)
        endpoint.secrets = (contract["webhook_secret"],)
        client = await stack.enter_async_context(
            Client(url, contract["client_id"], contract["client_secret"], contract.get("token_url", ""))
        )
        print(f"client      {client.client_id}, with a token from {client.token_url}\n", flush=True)
        yield Stage(directory, settings, daemon, simulator, simulator_url, endpoint, client)


async def _add_contract(settings: Path, hooks_url: str) -> dict[str, Any]:
    """Add the demo's contract by the command that an operator uses."""
    out = await _command(
        "contracts", "add", "Demo shop", "--webhook-url", hooks_url, "--config", str(settings), "--json"
    )
    contract: dict[str, Any] = json.loads(out)
    return contract


async def _command(*arguments: str) -> bytes:
    """Run a command of receiptd; return what it printed. Raises ProcessError."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "receiptd", *arguments, stdout=subprocess.PIPE, env=environment()
    )
    out, _ = await process.communicate()
    if process.returncode != 0:
        raise ProcessError(f"receiptd {' '.join(arguments[:2])} ended with status {process.returncode}")
    return out


async def _course(stage: Stage) -> dict[str, int]:
    outcomes = [Outcome(posting) for posting in postings(f"{time.time():.0f}")]
    print(f"posting {len(outcomes)} documents:", flush=True)
    verified = stage.endpoint.verified
    progress = Progress(len(outcomes))
    work = asyncio.create_task(_post_and_follow(stage, outcomes))
    try:
        while not work.done():
            progress.show(outcomes, verified)
            await asyncio.wait({work}, timeout=_SHOW_EVERY_S)
            _require_running(stage)
        work.result()
    finally:
        work.cancel()
    progress.show(outcomes, verified, final=True)
    print()
    print_outcomes(outcomes, verified)
    totals = books(outcomes, verified)
    print(f"\n{'The books balance' if balanced(totals) else 'THE BOOKS DO NOT BALANCE'}: " + _sentence(totals))
    return totals


async def _post_and_follow(stage: Stage, outcomes: list[Outcome]) -> None:
    """Post everything, wait for every end and every webhook."""
    await _post_all(stage, outcomes)
    ended = {outcome.receipt_id for outcome in outcomes if outcome.accepted and outcome.ended}
    await stage.endpoint.wait_for(ended, _WEBHOOKS_WITHIN_S)
    for outcome in outcomes:  # once more: what one registrar refused has ended while the other still decides
        if outcome.accepted:
            outcome.receipt = await stage.client.status(outcome.receipt_id)


async def _post_all(stage: Stage, outcomes: list[Outcome]) -> None:
    """Post all documents, one after the other without waiting for their end; a retry waits for its original."""
    first: dict[str, asyncio.Task[None]] = {}
    try:
        async with asyncio.TaskGroup() as group:
            for outcome in outcomes:
                key = outcome.posting.key
                task = group.create_task(_follow(stage, outcome, first.get(key)), name=outcome.posting.title)
                first.setdefault(key, task)
                await asyncio.sleep(_POST_EVERY_S)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures


async def _follow(stage: Stage, outcome: Outcome, original: asyncio.Task[None] | None) -> None:
    """Post one document and wait for its end."""
    if original is not None:
        await asyncio.wait({original})
    await _post(stage, outcome)
    deadline = time.monotonic() + _END_WITHIN_S
    while outcome.accepted and not outcome.ended and time.monotonic() < deadline:
        try:
            outcome.receipt = await stage.client.status(outcome.receipt_id, _WAIT_S)
        except aiohttp.ClientError:
            await asyncio.sleep(_ASK_AGAIN_S)
        else:
            if outcome.receipt is None:
                return


async def _post(stage: Stage, outcome: Outcome) -> None:
    """Post a document; when no answer comes, again under the same key, which names one receipt (invariant 4)."""
    posting = outcome.posting
    for tries_left in reversed(range(_POST_TRIES)):
        try:
            status, headers, answer = await stage.client.post(
                posting.body, posting.content_type, Idempotency_Key=posting.key
            )
        except aiohttp.ClientError as error:
            if not tries_left:
                raise ReceiptdError(f"{posting.title}: no answer to the POST: {error}") from error
            await asyncio.sleep(_ASK_AGAIN_S)
            continue
        outcome.replayed = headers.get("idempotent-replayed") == "true"
        outcome.answer = answer
        outcome.answered = status
        return


async def _serve_on(stage: Stage) -> None:
    """Say what to try, and go on until the demo is stopped, telling of each webhook that comes."""
    ended = stage.endpoint.verified.items()
    receipt_id = next((name for name, event in ended if event["type"] == "receipt.complete"), "RECEIPT_ID")
    next_steps.show(stage.directory, stage.settings, stage.client, stage.simulator_url, receipt_id)
    stage.endpoint.heard = _tell
    while True:
        _require_running(stage)
        await asyncio.sleep(_SHOW_EVERY_S)


def _tell(event: dict[str, Any]) -> None:
    print(f"webhook: {event['type']} {event['data']['receipt_id']}, signature verified", flush=True)


def _require_running(stage: Stage) -> None:
    for process in (stage.daemon, stage.simulator):
        if not process.running:
            raise process.failure("ended by itself")


def _sentence(totals: dict[str, int]) -> str:
    return (
        "{posted} posted = {accepted} accepted + {rejected} refused; {accepted} accepted = {complete} complete + "
        "{failed} failed + {processing} on their way; {lost} lost; {webhooks_verified} webhooks verified; "
        "{replayed} retries replayed."
    ).format(**totals)
