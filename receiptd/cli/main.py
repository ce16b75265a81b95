"""The root of the command line: the commands, and what becomes of their errors.

Exit status of every command: 0 done, 1 a negative result or a fault, 2 wrong usage or configuration.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from receiptd import __version__
from receiptd.cli import aws, clients, contracts, dead_letters, demo, doctor, receipt_types, receipts, serve, simulate
from receiptd.domain.errors import ConfigurationError, ReceiptdError

app = typer.Typer(
    name="receiptd",
    help="Durable registration of receipts: the daemon, and the commands that look after it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:  # noqa: FBT001 - the shape of a typer callback
    if asked:
        print(f"receiptd {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del version


for part in (serve, demo, simulate, contracts, clients, receipts, dead_letters, receipt_types, aws, doctor):
    part.register(app)


def main() -> None:
    """Run the command that ``sys.argv`` names; an error of ours is told in plain words, never as a traceback."""
    try:
        app()
    except ReceiptdError as error:
        for line in str(error).splitlines():
            print(f"receiptd: {line}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
