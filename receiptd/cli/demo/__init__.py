"""``receiptd demo``: daemon and stand-ins as processes, a client that posts receipts, and the books at the end.

The demo speaks to the daemon over HTTP and through the command line only, as any client and operator would.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from receiptd.cli import support

_STATUS = "Exit status: 0 when the books balance, 1 when they do not or something broke down."


def demo(
    leave: Annotated[
        bool, typer.Option("--exit", help="Stop when all receipts have ended; the last line is the books, as JSON.")
    ] = False,
    port: Annotated[
        int, typer.Option(help="The daemon's port; a free one where it is taken.", min=0, max=65535)
    ] = 8080,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="A settings file for another backend than the embedded one, such as config/localstack.toml.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Start the daemon and the stand-ins, post receipts of every kind, show how each ended, and go on serving."""
    from receiptd.cli.demo.run import run

    raise typer.Exit(support.run(run(port=port, leave=leave, config=config)))


def register(root: typer.Typer) -> None:
    """Add the command."""
    epilog = support.example(
        "receiptd demo", "receiptd demo --exit --port 9000", "receiptd demo --config config/localstack.toml"
    )
    root.command(name="demo", epilog=f"{_STATUS}\n\n{epilog}")(demo)
