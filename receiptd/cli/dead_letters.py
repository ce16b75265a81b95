"""``receiptd dlq``: the dead letters of every durable queue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from receiptd.cli import support
from receiptd.domain.errors import ConfigurationError, ReceiptdError

if TYPE_CHECKING:
    from receiptd.ports import Message, QueueDepth

_DEAD_MAX = 10_000

QueueArgument = Annotated[str, typer.Argument(metavar="QUEUE", help="recovery, webhooks or registrar.ID.")]

dlq = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


def register(root: typer.Typer) -> None:
    """Add the commands."""
    root.add_typer(dlq, name="dlq", help="Durable queues and their dead letters: list, show, redrive, drop.")


@dlq.command(name="list", epilog=support.example("receiptd dlq list", "receiptd dlq list registrar.tax --json"))
def list_some(
    queue: Annotated[str, typer.Argument(metavar="[QUEUE]", help="One queue. Default: how much waits in each.")] = "",
    limit: Annotated[int, typer.Option(help="How many at most.", min=1)] = 100,
    config: support.ConfigOption = None,
    as_json: support.JsonOption = False,
) -> None:
    """Tell how much waits in each queue, or list the dead letters of one."""
    if queue:
        _list_letters(queue, limit, config, as_json=as_json)
    else:
        _list_queues(config, as_json=as_json)


@dlq.command(epilog=support.example("receiptd dlq show registrar.tax 20260131-0123456789abcdef01234567"))
def show(
    queue: QueueArgument,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The message's key: a receipt id.")],
    config: support.ConfigOption = None,
) -> None:
    """Show one dead letter, as JSON."""
    for letter in _letters(queue, _DEAD_MAX, config):
        if letter.key == key:
            support.print_json(_as_json(letter))
            return
    raise ReceiptdError(f"{queue} has no dead letter {key}")


@dlq.command(
    epilog=support.example(
        "receiptd dlq redrive recovery", "receiptd dlq redrive webhooks 20260131-0123456789abcdef01234567"
    )
)
def redrive(
    queue: QueueArgument,
    keys: Annotated[list[str] | None, typer.Argument(metavar="[KEY]...", help="Default: every dead letter.")] = None,
    config: support.ConfigOption = None,
    as_json: support.JsonOption = False,
) -> None:
    """Make dead letters live again. A parked receipt needs more: receiptd receipts redrive."""
    _refuse_unknown(queue, config)

    async def work() -> int:
        async with support.open_store(config) as store:
            return await store.queue.redrive(queue, keys or None)

    _tell(queue, "redriven", support.run(work()), keys, as_json=as_json)


@dlq.command(
    epilog=support.example(
        "receiptd dlq drop webhooks 20260131-0123456789abcdef01234567", "receiptd dlq drop recovery --yes"
    )
)
def drop(
    queue: QueueArgument,
    keys: Annotated[list[str] | None, typer.Argument(metavar="[KEY]...", help="Default: every dead letter.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: support.ConfigOption = None,
    as_json: support.JsonOption = False,
) -> None:
    """Remove dead letters for good.

    The receipts that they name stay as they are; but one that is unsettled is not brought back without its letter in
    recovery.
    """
    _refuse_unknown(queue, config)
    if not yes:
        what = f"{len(set(keys))} dead letters" if keys else "every dead letter"
        typer.confirm(f"Remove {what} of {queue} for good?", abort=True, err=True)

    async def work() -> int:
        async with support.open_store(config) as store:
            return await store.queue.drop(queue, keys or None)

    _tell(queue, "dropped", support.run(work()), keys, as_json=as_json)


def _tell(queue: str, done: str, number: int, keys: list[str] | None, *, as_json: bool) -> None:
    """Print how many were done. Raises ReceiptdError when some of those that were named are not there."""
    if as_json:
        support.print_json({"queue": queue, done: number})
    else:
        print(f"{queue}: {number} {done}")
    if keys and number < len(set(keys)):
        raise ReceiptdError(f"{len(set(keys)) - number} of them are no dead letters of {queue}")


def _queues(config: Path | None) -> list[str]:
    from receiptd.domain.lifecycle import RECOVERY_QUEUE, WEBHOOK_QUEUE, registrar_queue

    return [RECOVERY_QUEUE, WEBHOOK_QUEUE, *(registrar_queue(name) for name in support.registrar_ids(config))]


def _refuse_unknown(queue: str, config: Path | None) -> None:
    known = _queues(config)
    if queue not in known:
        raise ConfigurationError(f"there is no queue {queue}; there are {', '.join(known)}")


def _letters(queue: str, limit: int, config: Path | None) -> list[Message]:
    _refuse_unknown(queue, config)

    async def work() -> list[Message]:
        async with support.open_store(config) as store:
            return list(await store.queue.dead_letters(queue, limit))

    return support.run(work())


def _list_letters(queue: str, limit: int, config: Path | None, *, as_json: bool) -> None:
    letters = _letters(queue, limit, config)
    if as_json:
        support.print_json([_as_json(letter) for letter in letters])
    else:
        rows = [(letter.key, support.stamp(letter.visible_at), letter.body) for letter in letters]
        support.print_table(("key", "due", "body"), rows)


def _list_queues(config: Path | None, *, as_json: bool) -> None:
    async def work() -> dict[str, QueueDepth]:
        async with support.open_store(config) as store:
            return {name: await store.queue.depth(name) for name in _queues(config)}

    depths = support.run(work())
    if as_json:
        support.print_json({n: {"ready": d.ready, "delayed": d.delayed, "dead": d.dead} for n, d in depths.items()})
    else:
        rows = [(name, str(depth.ready), str(depth.delayed), str(depth.dead)) for name, depth in depths.items()]
        support.print_table(("queue", "ready", "delayed", "dead"), rows)


def _as_json(letter: Message) -> dict[str, Any]:
    return {"queue": letter.queue, "key": letter.key, "body": letter.body, "due": support.stamp(letter.visible_at)}
