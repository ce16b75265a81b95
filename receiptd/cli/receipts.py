"""``receiptd receipts``: what operators ask about receipts, and what they do about parked ones.

A command never changes a receipt: the running daemon does, told so by a message in the registrar's durable queue. The
message takes the place of the parked receipt's dead letter, and waits there while no daemon runs.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from receiptd.cli import support
from receiptd.domain.errors import ConfigurationError, ReceiptdError
from receiptd.domain.receipt import Receipt, ReceiptState, RegistrationState

if TYPE_CHECKING:
    from receiptd.pipeline.work import WorkItem
    from receiptd.stores import Store

_PAGE = 500
_DEAD_MAX = 10_000
_APPLY_WAIT_S = 5.0
_APPLY_POLL_S = 0.1

IdArgument = Annotated[str, typer.Argument(metavar="RECEIPT_ID", help="The receipt's id.")]
ClientOption = Annotated[str, typer.Option("--client", metavar="CLIENT_ID", help="Only this client's receipts.")]

receipts = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


def register(root: typer.Typer) -> None:
    """Add the commands."""
    root.add_typer(receipts, name="receipts", help="Look at receipts; redrive or abandon parked ones.")


@dataclass(frozen=True, slots=True)
class Order:
    """What an operator asks of one registration: a message to its registrar's lane."""

    registrar: str
    item: WorkItem

    @property
    def key(self) -> tuple[str, str]:
        """The receipt and the registrar."""
        return self.item.receipt_id, self.registrar


@receipts.command(
    name="list",
    epilog=support.example(
        "receiptd receipts list --parked",
        "receiptd receipts list --client corner-shop-4f7k2m9q --state FAILED --json",
    ),
)
def list_some(
    *,
    client: ClientOption = "",
    state: Annotated[ReceiptState | None, typer.Option(help="Only receipts in this state.")] = None,
    parked: Annotated[bool, typer.Option("--parked", help="Only receipts that wait for an operator.")] = False,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1)] = 50,
    config: support.ConfigOption = None,
    as_json: support.JsonOption = False,
) -> None:
    """List receipts of the hot days, by client, day and id."""

    async def work() -> list[Receipt]:
        async with support.open_store(config) as store:
            if parked:
                orders = await _parked(store, support.registrar_ids(config))
                found = await _read(store, {(order.item.client_id, order.item.receipt_id) for order in orders})
            else:
                found = await _scan(store, client, state, limit + 1)
        return [r for r in found if (not client or r.client_id == client) and (state is None or r.state is state)]

    found = support.run(work())
    if as_json:
        support.print_json([_as_json(receipt) for receipt in found[:limit]])
    else:
        rows = [
            (
                receipt.receipt_id,
                receipt.client_id,
                receipt.submission.type_id,
                support.stamp(receipt.submission.accepted_at),
                receipt.state.value,
                " ".join(f"{r.registrar}={r.state.value}" for r in receipt.registrations) or "-",
            )
            for receipt in found[:limit]
        ]
        support.print_table(("receipt", "client", "type", "accepted", "state", "registrations"), rows)
    if len(found) > limit:
        support.note(f"There are more than {limit}: raise --limit, or name a --client or --state.")


@receipts.command(
    epilog=support.example(
        "receiptd receipts show 20260131-0123456789abcdef01234567",
        "receiptd receipts show 20260131-0123456789abcdef01234567 --document > receipt.xml",
    )
)
def show(
    receipt_id: IdArgument,
    *,
    client: ClientOption = "",
    document: Annotated[bool, typer.Option("--document", help="Print the received bytes, and nothing else.")] = False,
    config: support.ConfigOption = None,
    as_json: support.JsonOption = False,
) -> None:
    """Show one receipt: its state, registrations, findings and webhook."""

    async def work() -> Receipt:
        async with support.open_store(config) as store:
            return await _find(store, receipt_id, client)

    receipt = support.run(work())
    if document:
        sys.stdout.buffer.write(receipt.submission.document)
        sys.stdout.buffer.flush()
    elif as_json:
        support.print_json(_as_json(receipt))
    else:
        _print(receipt)


@receipts.command(
    epilog=support.example(
        "receiptd receipts redrive 20260131-0123456789abcdef01234567",
        "receiptd receipts redrive --registrar tax --all",
    )
)
def redrive(
    receipt_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[RECEIPT_ID]...", help="Receipts that are parked.")
    ] = None,
    *,
    registrar: Annotated[str, typer.Option(help="Only the registration with this one.", metavar="ID")] = "",
    every: Annotated[bool, typer.Option("--all", help="Everything that is parked (with --registrar).")] = False,
    client: ClientOption = "",
    config: support.ConfigOption = None,
    as_json: support.JsonOption = False,
) -> None:
    """Send parked registrations round again, with their retries renewed."""
    if bool(receipt_ids) == every or (every and not registrar):
        raise ConfigurationError("name receipts, or a registrar with --registrar ID --all")
    _refuse_unknown(registrar, support.registrar_ids(config))

    async def work() -> list[dict[str, Any]]:
        from receiptd.pipeline.work import WorkItem

        async with support.open_store(config) as store:
            if every:
                waiting = [o for o in await _parked(store, [registrar]) if not client or o.item.client_id == client]
            else:
                waiting = [o for each in receipt_ids or () for o in await _parked_in(store, each, client, registrar)]
            orders = [Order(o.registrar, WorkItem(o.item.client_id, o.item.receipt_id, "redrive")) for o in waiting]
            return await _give(store, orders)

    _tell(support.run(work()), as_json=as_json)


@receipts.command(
    epilog=support.example(
        "receiptd receipts abandon 20260131-0123456789abcdef01234567 --registrar tax --reason 'till was a test device'"
    )
)
def abandon(
    receipt_id: IdArgument,
    *,
    registrar: Annotated[str, typer.Option(help="The registrar it is parked for.", metavar="ID")],
    reason: Annotated[str, typer.Option(help="Why: becomes a finding that the client sees.", metavar="TEXT")],
    client: ClientOption = "",
    config: support.ConfigOption = None,
    as_json: support.JsonOption = False,
) -> None:
    """Give a parked registration up: it counts as rejected, and the receipt becomes FAILED."""
    if not reason.strip():
        raise ConfigurationError("--reason: say why; the client will read it")
    _refuse_unknown(registrar, support.registrar_ids(config))

    async def work() -> list[dict[str, Any]]:
        from receiptd.pipeline.work import WorkItem

        async with support.open_store(config) as store:
            (order,) = await _parked_in(store, receipt_id, client, registrar)
            item = WorkItem(order.item.client_id, receipt_id, "abandon", reason.strip())
            return await _give(store, [Order(registrar, item)])

    _tell(support.run(work()), as_json=as_json)


def _refuse_unknown(registrar: str, known: Sequence[str]) -> None:
    if registrar and registrar not in known:
        raise ConfigurationError(f"--registrar: there is no registrar {registrar}; there are {', '.join(known)}")


async def _give(store: Store, orders: Sequence[Order]) -> list[dict[str, Any]]:
    """Send the orders, and watch for a while what the daemon makes of them."""
    from receiptd.domain.lifecycle import registrar_queue

    now = time.time()
    await store.queue.send([order.item.message(registrar_queue(order.registrar), now) for order in orders])
    for registrar in {order.registrar for order in orders}:
        # Where messages of one key do not replace one another, the letter would stay behind.
        letters = [order.item.receipt_id for order in orders if order.registrar == registrar]
        await store.queue.drop(registrar_queue(registrar), letters)
    results: dict[tuple[str, str], dict[str, Any]] = {}
    deadline = time.monotonic() + _APPLY_WAIT_S
    while True:
        for order in orders:
            if not results.get(order.key, {}).get("applied"):
                results[order.key] = await _outcome(store, order)
        if all(result["applied"] for result in results.values()) or time.monotonic() > deadline:
            return list(results.values())
        await asyncio.sleep(_APPLY_POLL_S)


async def _outcome(store: Store, order: Order) -> dict[str, Any]:
    receipt_id, registrar = order.key
    receipt = await store.ledger.get(order.item.client_id, receipt_id)
    registration = receipt.registration(registrar) if receipt is not None else None
    return {
        "receipt_id": receipt_id,
        "registrar": registrar,
        "applied": registration is None or registration.state is not RegistrationState.PARKED,
        "registration": registration.state.value if registration is not None else "",
        "receipt": receipt.state.value if receipt is not None else "",
    }


def _tell(results: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        support.print_json(results)
        return
    rows = [(r["receipt_id"], r["registrar"], r["registration"], r["receipt"]) for r in results]
    support.print_table(("receipt", "registrar", "registration", "state"), rows)
    waiting = sum(not result["applied"] for result in results)
    if waiting:
        support.note(f"{waiting} not applied yet: stored, and done as soon as the daemon runs and the registrar is up.")


async def _parked(store: Store, registrars: Sequence[str]) -> list[Order]:
    """Return what waits for an operator: the dead letters of the registrars' queues."""
    from receiptd.domain.lifecycle import registrar_queue
    from receiptd.pipeline.work import WorkItem

    orders = [
        Order(registrar, WorkItem.parse(letter))
        for registrar in registrars
        for letter in await store.queue.dead_letters(registrar_queue(registrar), _DEAD_MAX)
    ]
    return list({order.key: order for order in orders}.values())  # a letter that was renewed is there twice


async def _parked_in(store: Store, receipt_id: str, client: str, registrar: str) -> list[Order]:
    """Return the parked registrations of one receipt. Raises ReceiptdError when there is none."""
    from receiptd.pipeline.work import WorkItem

    receipt = await _find(store, receipt_id, client)
    wanted = [r for r in receipt.registrations if registrar in ("", r.registrar)]
    found = [r for r in wanted if r.state is RegistrationState.PARKED]
    if not found:
        states = ", ".join(f"{r.registrar} is {r.state.value}" for r in wanted) or f"{registrar} is not asked for"
        raise ReceiptdError(f"{receipt_id} is not parked: {states}")
    return [Order(r.registrar, WorkItem(receipt.client_id, receipt_id)) for r in found]


async def _find(store: Store, receipt_id: str, client: str) -> Receipt:
    """Find a receipt by its id alone: every client is asked, which takes microseconds each."""
    from receiptd.domain.identifiers import RECEIPT_ID

    if not RECEIPT_ID.match(receipt_id):
        raise ConfigurationError(f"{receipt_id} is no receipt id; one looks like 20260131-0123456789abcdef01234567")
    for client_id in [client] if client else [contract.client_id for contract in await store.contracts.list()]:
        receipt = await store.ledger.get(client_id, receipt_id)
        if receipt is not None:
            return receipt
    raise ReceiptdError(f"there is no receipt {receipt_id}" + (f" of {client}" if client else ""))


async def _read(store: Store, names: set[tuple[str, str]]) -> list[Receipt]:
    found = [await store.ledger.get(client_id, receipt_id) for client_id, receipt_id in sorted(names)]
    return [receipt for receipt in found if receipt is not None]


async def _scan(store: Store, client: str, state: ReceiptState | None, limit: int) -> list[Receipt]:
    from receiptd.ports import PageQuery

    found: list[Receipt] = []
    for client_id in [client] if client else [contract.client_id for contract in await store.contracts.list()]:
        after = ""
        while len(found) < limit:
            query = PageQuery(client_id=client_id, after=after, limit=min(_PAGE, limit - len(found)), state=state)
            page = await store.ledger.page(query)
            found += page.receipts
            after = page.next_after
            if not after:
                break
    return found


def _as_json(receipt: Receipt) -> dict[str, Any]:
    from receiptd.http import representations

    return {"client_id": receipt.client_id, **representations.full(receipt)}


def _print(receipt: Receipt) -> None:
    submission = receipt.submission
    support.print_fields(
        [
            ("receipt", receipt.receipt_id),
            ("client", receipt.client_id),
            ("type", f"{submission.type_id} version {submission.type_version}"),
            ("state", receipt.state.value),
            ("accepted", support.stamp(submission.accepted_at)),
            ("updated", support.stamp(receipt.updated_at)),
            ("document", f"{len(submission.document)} bytes, {submission.content_type or 'no content type'}"),
            ("trace", submission.trace_id),
        ]
    )
    if receipt.registrations:
        print()
        rows = [(r.registrar, r.state.value, str(r.attempts), r.reference, r.reason) for r in receipt.registrations]
        support.print_table(("registrar", "state", "failures", "reference", "reason"), rows)
    if receipt.findings:
        print()
        support.print_table(
            ("finding", "severity", "where", "message"),
            [(f.code, f.severity.value, f.where, f.message) for f in receipt.findings],
        )
    if receipt.delivery is not None:
        print()
        owed = receipt.delivery
        support.print_table(
            ("webhook", "attempts", "last status", "next attempt", "reason"),
            [(owed.state.value, str(owed.attempts), str(owed.last_status), support.stamp(owed.due_at), owed.reason)],
        )
