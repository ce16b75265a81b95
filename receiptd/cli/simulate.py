"""``receiptd simulate``: registrar stand-ins and webhook endpoints over real HTTP, with a knob for every fault."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from receiptd.cli import support

if TYPE_CHECKING:
    from receiptd.simulation import SimulatorOptions

_KNOBS = frozenset(
    {
        "answers",
        "down",
        "error_rate",
        "throttle_rate",
        "timeout_before_effect_rate",
        "timeout_after_effect_rate",
        "garbage_rate",
        "huge_rate",
        "reset_rate",
        "duplicate_callback_rate",
        "early_callback_rate",
        "reorder_callback_rate",
        "never_callback_rate",
        "forged_callback_rate",
        "contradict_callback_rate",
    }
)
"""The options that are knobs of a registrar under the same name."""

_LINES = (
    "receiptd simulate",
    "receiptd simulate --latency 0.2 --error-rate 0.1 --duplicate-callback-rate 0.5",
    """curl -X PUT http://127.0.0.1:8090/_control -d '{"registrars": {"tax": {"down": true}}}'""",
)


def _rate(text: str) -> Any:
    return typer.Option(help=text, min=0.0, max=1.0, metavar="RATE")


def _pause(text: str) -> Any:
    return typer.Option(help=text, min=0.0, max=3600.0, metavar="SECONDS")


def simulate(  # noqa: PLR0917 - one parameter for each knob, passed by name
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 takes a free one and says which.", min=0, max=65535)
    ] = 8090,
    config: support.ConfigOption = None,
    webhook_secret: Annotated[
        list[str] | None,
        typer.Option(
            help="A client and the secret that its webhooks are signed with; repeat it.", metavar="CLIENT=SECRET"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the drawn faults.")] = 0,
    keep: Annotated[
        int, typer.Option(help="Registrations, and webhooks, to remember.", min=1, max=10_000_000)
    ] = 100_000,
    answers: Annotated[
        str, typer.Option(help="How registrars report verdicts: callback or synchronous.", metavar="MODE")
    ] = "callback",
    down: Annotated[bool, typer.Option("--down", help="Start with every registrar down (503).")] = False,
    latency: Annotated[float, _pause("Time to answer a submission.")] = 0.0,
    jitter: Annotated[float, _pause("Up to so much is added to the latency.")] = 0.0,
    callback_delay: Annotated[float, _pause("From the submission to the verdict.")] = 0.02,
    callback_jitter: Annotated[float, _pause("Up to so much is added to the callback delay.")] = 0.0,
    retry_after: Annotated[float, _pause("What a 429 or 503 asks for.")] = 1.0,
    error_rate: Annotated[float, _rate("Answered 500, nothing registered.")] = 0.0,
    throttle_rate: Annotated[float, _rate("Answered 429 with Retry-After, nothing registered.")] = 0.0,
    timeout_before_effect_rate: Annotated[float, _rate("Never answered, nothing registered.")] = 0.0,
    timeout_after_effect_rate: Annotated[float, _rate("Never answered, but registered.")] = 0.0,
    garbage_rate: Annotated[float, _rate("Registered, then an answer that is not JSON.")] = 0.0,
    huge_rate: Annotated[float, _rate("Registered, then an answer of 4 MiB.")] = 0.0,
    reset_rate: Annotated[float, _rate("Registered, then the connection is reset.")] = 0.0,
    duplicate_callback_rate: Annotated[float, _rate("Callback: reported twice.")] = 0.0,
    early_callback_rate: Annotated[float, _rate("Callback: reported before the submission is answered.")] = 0.0,
    reorder_callback_rate: Annotated[float, _rate("Callback: held back, so that others overtake it.")] = 0.0,
    never_callback_rate: Annotated[float, _rate("Callback: never reported.")] = 0.0,
    forged_callback_rate: Annotated[float, _rate("Callback: a forged opposite comes first.")] = 0.0,
    contradict_callback_rate: Annotated[float, _rate("Callback: the signed opposite comes afterwards.")] = 0.0,
    hook_fail_rate: Annotated[float, _rate("A webhook is answered 500.")] = 0.0,
    hook_throttle_rate: Annotated[float, _rate("A webhook is answered 503 with Retry-After.")] = 0.0,
    hook_latency: Annotated[float, _pause("Time to answer a webhook.")] = 0.0,
    hook_gone: Annotated[bool, typer.Option("--hook-gone", help="Answer webhooks 410.")] = False,
) -> None:
    """Run stand-ins for registrars (tax, warehouse, any id) and for clients' webhook endpoints.

    POST /{registrar}/receipts takes a submission, GET /{registrar}/receipts/{id} tells its verdict, POST
    /hooks/{client} takes a webhook. Registrars sign callbacks with the secrets that the settings of --config hold.

    A document that holds "-REJECT" (say, a number that ends so) is rejected; "-REJECT-TAX" is rejected by the
    registrar "tax" alone. At most one of the faults of an answer is drawn for a submission, so their rates add up to
    1 at most; the faults of a callback are drawn one by one.

    GET /_effects and GET /_hooks list what came, as NDJSON (?after=SERIAL&limit=N). GET /_control shows the knobs, and
    PUT /_control turns them at run time; "*" stands for every registrar, and {"reset": true} returns to the options of
    this command.
    """
    registrar = {name: value for name, value in locals().items() if name in _KNOBS}
    registrar |= {"latency_s": latency, "jitter_s": jitter, "retry_after_s": retry_after}
    registrar |= {"callback_delay_s": callback_delay, "callback_jitter_s": callback_jitter}
    hooks = {"fail_rate": hook_fail_rate, "throttle_rate": hook_throttle_rate, "gone": hook_gone}
    hooks |= {"latency_s": hook_latency, "retry_after_s": retry_after}

    from receiptd.simulation import Knobs, SimulatorOptions

    secrets = _client_secrets(webhook_secret or [])
    options = SimulatorOptions(
        host=host,
        port=port,
        seed=seed,
        keep=keep,
        knobs=Knobs().merged({"registrars": {"*": registrar}, "hooks": hooks, "webhook_secrets": secrets}),
        callback_secrets={
            registrar.id: tuple([secret.get_secret_value() for secret in registrar.callback.secrets])
            for registrar in support.configuration(config).registrars
        },
    )
    raise typer.Exit(_run(options))


def register(root: typer.Typer) -> None:
    """Add the command."""
    root.command(name="simulate", epilog=support.example(*_LINES))(simulate)


def _client_secrets(pairs: list[str]) -> dict[str, list[str]]:
    secrets: dict[str, list[str]] = {}
    for pair in pairs:
        client, separator, secret = pair.partition("=")
        if not (client and separator and secret):
            raise typer.BadParameter("write it as CLIENT=SECRET", param_hint="--webhook-secret")
        secrets.setdefault(client, []).append(secret)
    return secrets


def _run(options: SimulatorOptions) -> int:
    """Serve until SIGINT or SIGTERM; return the exit status."""
    import uvloop

    from receiptd.simulation import Simulator

    async def serve() -> int:
        simulator = Simulator(options)
        try:
            await simulator.start()
        except OSError as error:
            typer.echo(f"cannot listen on {options.host} port {options.port}: {error.strerror or error}", err=True)
            return 1
        typer.echo(f"stand-ins for {', '.join(options.callback_secrets) or 'registrars'} listen on {simulator.url}")
        stopping = asyncio.Event()
        for signum in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signum, stopping.set)
        await stopping.wait()
        await simulator.stop()
        return 0

    return int(uvloop.run(serve()))
