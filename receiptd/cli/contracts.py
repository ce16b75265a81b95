"""``receiptd contracts``: who may call, what they may do, and where their webhooks go.

They change the store directly. A running daemon notices within seconds, and a revocation well within a minute.
"""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from receiptd.cli import support
from receiptd.domain.contract import PARTITIONS_MAX, Access, Contract
from receiptd.domain.errors import ConfigurationError, ReceiptdError

if TYPE_CHECKING:
    from pathlib import Path

    from receiptd.ports import ClientCredentials
    from receiptd.stores import Store

_CLIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DEFAULTS = Contract(client_id="")

_PARTITIONS = typer.Option(
    help="Partitions of its receipts on DynamoDB: one for every 200 receipts a second.", min=1, max=PARTITIONS_MAX
)

ClientArgument = Annotated[str, typer.Argument(metavar="CLIENT_ID", help="The client's id.")]

contracts = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


def register(root: typer.Typer) -> None:
    """Add the commands."""
    root.add_typer(contracts, name="contracts", help="Who may call: add, list, show, revoke, restore, rotate secrets.")


@contracts.command(
    epilog=support.example(
        "receiptd contracts add 'Corner shop'",
        "receiptd contracts add Till --webhook-url https://shop.example/hooks --rate-per-s 50 --type retail-receipt",
    )
)
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What people call the client.")],
    *,
    client_id: Annotated[
        str, typer.Option(help="The client's id, where it can be chosen. Default: one is made.", show_default=False)
    ] = "",
    access: Annotated[Access, typer.Option(help="What the contract grants.")] = _DEFAULTS.access,
    webhook_url: Annotated[str, typer.Option(help="Where webhooks go.", metavar="URL", show_default=False)] = "",
    webhook_origin: Annotated[
        list[str] | None,
        typer.Option(help="A further origin that a request's Webhook-Url may name; repeat it.", metavar="ORIGIN"),
    ] = None,
    rate_per_s: Annotated[float, typer.Option(help="Posts a second, on average.", min=0.001)] = _DEFAULTS.rate_per_s,
    burst: Annotated[int, typer.Option(help="Posts at once.", min=1)] = _DEFAULTS.burst,
    receipt_type: Annotated[
        list[str] | None,
        typer.Option("--type", help="A receipt type that may be posted; repeat it. Default: all.", metavar="TYPE"),
    ] = None,
    partitions: Annotated[int, _PARTITIONS] = 1,
    config: support.ConfigOption = None,
    as_json: support.JsonOption = False,
) -> None:
    """Add a contract, and print its secrets: this once, they are not shown again."""
    from receiptd.domain.signatures import new_secret

    contract = Contract(
        client_id=_checked_id(client_id),
        name=name,
        access=access,
        rate_per_s=rate_per_s,
        burst=burst,
        webhook_url=_checked_url(webhook_url, "--webhook-url"),
        webhook_origins=tuple(_checked_url(each, "--webhook-origin") for each in webhook_origin or ()),
        webhook_secrets=(new_secret(),),
        receipt_types=_known_types(receipt_type or [], config),
        partitions=(("", partitions),) if partitions > 1 else (),
    )

    async def work() -> tuple[ClientCredentials, str]:
        async with support.open_store(config) as store:
            if client_id and await store.contracts.get(client_id) is not None:
                raise ReceiptdError(f"there is a contract of {client_id} already; see: receiptd contracts list")
            clients = await store.clients()
            made = await clients.add(client_id, name, access)  # without a contract it may do nothing yet
            await store.contracts.put(replace(contract, client_id=made.client_id))
            return made, clients.token_url

    made, token_url = support.run(work())
    issued = {
        "client_id": made.client_id,
        "client_secret": made.client_secret,
        "webhook_secret": f"whsec_{contract.webhook_secrets[0]}",
        **({"token_url": token_url} if token_url else {}),
    }
    if as_json:
        support.print_json(issued)
    else:
        support.print_fields(list(issued.items()))
        support.note("Keep the two secrets now: they are not shown again.")


@contracts.command(name="list", epilog=support.example("receiptd contracts list", "receiptd contracts list --json"))
def list_all(config: support.ConfigOption = None, as_json: support.JsonOption = False) -> None:
    """List the contracts."""

    async def work() -> list[Contract]:
        async with support.open_store(config) as store:
            return list(await store.contracts.list())

    found = support.run(work())
    if as_json:
        support.print_json([_as_json(contract) for contract in found])
        return
    rows = [
        (
            contract.client_id,
            contract.name,
            contract.access.value if contract.active else "revoked",
            f"{contract.rate_per_s:g}/s",
            ",".join(contract.receipt_types) or "all",
            contract.webhook_url or "-",
        )
        for contract in found
    ]
    support.print_table(("client id", "name", "access", "rate", "types", "webhook"), rows)


@contracts.command(epilog=support.example("receiptd contracts show corner-shop-4f7k2m9q"))
def show(client_id: ClientArgument, config: support.ConfigOption = None, as_json: support.JsonOption = False) -> None:
    """Show one contract, without its secrets."""

    async def work() -> Contract:
        async with support.open_store(config) as store:
            return await _find(store, client_id)

    facts = _as_json(support.run(work()))
    if as_json:
        support.print_json(facts)
    else:
        support.print_fields([(name, support.plain(value)) for name, value in facts.items()])


@contracts.command(epilog=support.example("receiptd contracts revoke corner-shop-4f7k2m9q"))
def revoke(client_id: ClientArgument, config: support.ConfigOption = None) -> None:
    """Stop a client from calling, within seconds; receipts already accepted go on."""
    _set_active(client_id, config, active=False)


@contracts.command(epilog=support.example("receiptd contracts restore corner-shop-4f7k2m9q"))
def restore(client_id: ClientArgument, config: support.ConfigOption = None) -> None:
    """Let a revoked client call again."""
    _set_active(client_id, config, active=True)


@contracts.command(
    epilog=support.example(
        "receiptd contracts rotate-webhook-secret corner-shop-4f7k2m9q",
        "receiptd contracts rotate-webhook-secret corner-shop-4f7k2m9q --drop-old",
    )
)
def rotate_webhook_secret(
    client_id: ClientArgument,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Sign with the new secret alone from now on (the old one leaked).")
    ] = False,
    config: support.ConfigOption = None,
    as_json: support.JsonOption = False,
) -> None:
    """Make a new webhook secret; the one before it signs too, until the next rotation (Standard Webhooks 1.0)."""
    from receiptd.domain.signatures import new_secret

    secret = new_secret()

    async def work() -> None:
        async with support.open_store(config) as store:
            contract = await _find(store, client_id)
            kept = () if drop_old else contract.webhook_secrets[:1]
            await store.contracts.put(replace(contract, webhook_secrets=(secret, *kept)))

    support.run(work())
    _print_secret("webhook_secret", f"whsec_{secret}", as_json=as_json)


@contracts.command(
    epilog=support.example(
        "receiptd contracts rotate-client-secret corner-shop-4f7k2m9q",
        "receiptd contracts rotate-client-secret corner-shop-4f7k2m9q --drop-old",
    )
)
def rotate_client_secret(
    client_id: ClientArgument,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Let the new secret alone get tokens from now on (the old one leaked).")
    ] = False,
    config: support.ConfigOption = None,
    as_json: support.JsonOption = False,
) -> None:
    """Make a new client secret; the one before it gets tokens too, until the next rotation."""

    async def work() -> str:
        async with support.open_store(config) as store:
            await _find(store, client_id)
            return await (await store.clients()).rotate(client_id, drop_old=drop_old)

    _print_secret("client_secret", support.run(work()), as_json=as_json)


@contracts.command(epilog=support.example("receiptd contracts partition corner-shop-4f7k2m9q 4"))
def partition(
    client_id: ClientArgument,
    partitions: Annotated[
        int, typer.Argument(metavar="NUMBER", help="How many from then on.", min=1, max=PARTITIONS_MAX)
    ],
    config: support.ConfigOption = None,
    as_json: support.JsonOption = False,
) -> None:
    """Spread a client's receipts over so many partitions on DynamoDB, from the next day (UTC) on.

    One takes about 200 receipts a second. What is stored stays where it is, and is found there.
    """

    async def work() -> Contract:
        async with support.open_store(config) as store:
            contract = (await _find(store, client_id)).with_partitions(partitions, time.time())
            await store.contracts.put(contract)
            return contract

    day, number = support.run(work()).partitions[-1]
    if as_json:
        support.print_json({"client_id": client_id, "partitions": number, "from": day})
    else:
        print(f"{client_id}: {number} partitions from {day} on")


def _set_active(client_id: str, config: Path | None, *, active: bool) -> None:
    async def work() -> None:
        async with support.open_store(config) as store:
            await store.contracts.put(replace(await _find(store, client_id), active=active))

    support.run(work())
    print(f"{client_id}: {'active' if active else 'revoked'}")


async def _find(store: Store, client_id: str) -> Contract:
    contract = await store.contracts.get(client_id)
    if contract is None:
        raise ReceiptdError(f"there is no contract of {client_id}; see: receiptd contracts list")
    return contract


def _checked_id(asked: str) -> str:
    if asked and not _CLIENT_ID.fullmatch(asked):
        raise ConfigurationError(
            "--client-id: use 1 to 64 letters, digits, dots, dashes and underscores, with a letter or digit first"
        )
    return asked


def _checked_url(url: str, option: str) -> str:
    """Judge the form alone; whether its host may be called is judged at each call, when its address is known."""
    from receiptd.domain.addresses import parse_url

    if url:
        try:
            parse_url(url)
        except ValueError as error:
            raise ConfigurationError(f"{option}: {error}") from error
    return url


def _known_types(asked: list[str], config: Path | None) -> tuple[str, ...]:
    if asked:
        known = {one.id for one in support.receipt_types(config)}
        unknown = sorted(set(asked) - known)
        if unknown:
            raise ConfigurationError(
                f"--type: there is no receipt type {', '.join(unknown)}; there are {', '.join(sorted(known))}"
            )
    return tuple(asked)


def _as_json(contract: Contract) -> dict[str, Any]:
    return {
        "client_id": contract.client_id,
        "name": contract.name,
        "access": contract.access.value,
        "active": contract.active,
        "rate_per_s": contract.rate_per_s,
        "burst": contract.burst,
        "webhook_url": contract.webhook_url,
        "webhook_origins": list(contract.webhook_origins),
        "webhook_secrets": len(contract.webhook_secrets),
        "receipt_types": list(contract.receipt_types),
        "partitions": [f"{number} from {day}" if day else str(number) for day, number in contract.partitions],
    }


def _print_secret(name: str, secret: str, *, as_json: bool) -> None:
    if as_json:
        support.print_json({name: secret})
    else:
        support.print_fields([(name, secret)])
        support.note("Keep it now: it is not shown again.")
