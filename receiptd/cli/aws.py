"""``receiptd aws provision``: what the AWS backend keeps its data in, for development."""

from __future__ import annotations

import typer

from receiptd.cli import support

aws = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


def register(root: typer.Typer) -> None:
    """Add the commands."""
    root.add_typer(aws, name="aws", help="The AWS account or emulator that the settings name.")


@aws.command(
    epilog=support.example(
        "receiptd aws provision --config config/localstack.toml",
        "RECEIPTD_AWS__PREFIX=receiptd-ann receiptd aws provision --config config/aws.toml",
    )
)
def provision(config: support.ConfigOption = None, as_json: support.JsonOption = False) -> None:
    """Make the tables, queues, bucket and user pool that are missing, and bring the others to their attributes.

    They are those of cloudformation/data.yaml, which production deploys as a stack. Run again it changes nothing.
    """
    from receiptd import accounts

    steps = support.run(accounts.provision(support.configuration(config), support.note))
    if as_json:
        support.print_json([{"kind": s.kind, "name": s.name, "outcome": s.outcome, "changes": s.detail} for s in steps])
    else:
        support.print_table(
            ("kind", "name", "outcome", "changes"), [(s.kind, s.name, s.outcome, s.detail) for s in steps]
        )
