"""``receiptd serve``: the daemon."""

from __future__ import annotations

from typing import Annotated

import typer

from receiptd.cli import support

_STATUS = "Exit status: 0 after a drain that SIGTERM or SIGINT asked for, 1 after a fault, 2 for a wrong setting."


def serve(
    config: support.ConfigOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check settings, registrars and receipt types, and exit.")
    ] = False,
) -> None:
    """Run the daemon in the foreground until SIGTERM or SIGINT.

    The address it listens on is the first line on standard output; logs go to standard error. SIGHUP reloads the
    receipt types.
    """
    configuration = support.configuration(config)

    import uvloop

    from receiptd import app
    from receiptd.telemetry import logs

    if check:
        registrars = frozenset(registrar.id for registrar in configuration.registrars)
        types = app.load_types(configuration.settings, registrars)
        types.compile()
        print(f"settings: {configuration.file or 'built-in'}")
        print(f"registrars: {', '.join(r.id for r in configuration.registrars) or 'none'}")
        print(f"receipt types: {', '.join(type_.name for type_ in types) or 'none'}")
        return

    sink = logs.configure(configuration.settings.log)
    try:
        status = uvloop.run(app.serve(configuration, announce=lambda url: print(f"listening on {url}", flush=True)))
    finally:
        sink.close()
    raise typer.Exit(status)


def register(root: typer.Typer) -> None:
    """Add the command."""
    epilog = support.example(
        "receiptd serve",
        "receiptd serve --config /etc/receiptd/settings.toml --check",
        "RECEIPTD_HTTP__PORT=9000 receiptd serve",
    )
    root.command(name="serve", epilog=f"{_STATUS}\n\n{epilog}")(serve)
