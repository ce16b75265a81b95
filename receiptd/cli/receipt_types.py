"""``receiptd types``: the receipt types that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from receiptd.cli import support
from receiptd.domain.errors import ReceiptdError

if TYPE_CHECKING:
    from receiptd.documents.receipt_type import ReceiptType

types = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


def register(root: typer.Typer) -> None:
    """Add the commands."""
    root.add_typer(types, name="types", help="Receipt types: list, show.")


@types.command(name="list", epilog=support.example("receiptd types list", "receiptd types list --json"))
def list_all(config: support.ConfigOption = None, as_json: support.JsonOption = False) -> None:
    """List the receipt types."""
    found = list(support.receipt_types(config))
    if as_json:
        support.print_json([_as_json(one) for one in found])
    else:
        rows = [(o.id, str(o.version), o.format.value, ", ".join(o.registrars) or "-", o.title) for o in found]
        support.print_table(("type", "version", "format", "registrars", "title"), rows)


@types.command(epilog=support.example("receiptd types show retail-receipt"))
def show(
    type_id: Annotated[str, typer.Argument(metavar="TYPE", help="The receipt type.")],
    config: support.ConfigOption = None,
    as_json: support.JsonOption = False,
) -> None:
    """Show one receipt type."""
    one = support.receipt_types(config).get(type_id)
    if one is None:
        raise ReceiptdError(f"there is no receipt type {type_id}; see: receiptd types list")
    facts = _as_json(one)
    if as_json:
        support.print_json(facts)
    else:
        support.print_fields([(name, support.plain(value)) for name, value in facts.items()])


def _as_json(one: ReceiptType) -> dict[str, Any]:
    return {
        "id": one.id,
        "version": one.version,
        "title": one.title,
        "format": one.format.value,
        "media_types": list(one.media_types),
        "registrars": list(one.registrars),
        "body_max_bytes": one.body_max_bytes,
        "folder": str(one.folder),
    }
