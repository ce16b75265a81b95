"""The writer: the only place where receipts change, and the only one that commits.

Events are applied to the newest known state at once and become durable in groups: a group closes when its oldest
change has waited for the linger, or when it is full. A second change to a receipt that still waits merges into the
first. One group is in flight at a time, so commits of one receipt never race within the process; another process is
noticed by the version, and the events are applied anew to what stands there.

What follows from a change (calls, webhooks, waiting clients) is told to the listeners after its commit only.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

from receiptd.domain.errors import StorageError, UnknownReceiptError
from receiptd.domain.lifecycle import Effect, Event, Owe, advance, opening_effects
from receiptd.domain.receipt import Receipt
from receiptd.pipeline.live import Live, LiveReceipts, Pending
from receiptd.pipeline.settled import SettledVersions
from receiptd.pipeline.work import WorkItem
from receiptd.ports import Change, Clock, Ledger, Message
from receiptd.runtime import crash
from receiptd.settings import RecoverySettings, WriterSettings

_log = logging.getLogger("receiptd.writer")

Listener: TypeAlias = Callable[[Receipt | None, Receipt, tuple[Effect, ...]], None]
"""Told of each commit: the receipt before (None: it is new) and after, and the effects of the events between the two.

Must neither wait nor raise.
"""


class Writer:
    """Applies events to receipts and commits them in groups."""

    def __init__(self, ledger: Ledger, clock: Clock, settings: WriterSettings, recovery: RecoverySettings) -> None:
        self._ledger = ledger
        self._clock = clock
        self._linger_s = settings.linger_ms / 1000
        self._lazy_linger_s = settings.lazy_linger_ms / 1000
        self._batch_max = settings.batch_max
        self._recovery_delay_s = recovery.delay_s
        self._live = LiveReceipts(settings.live_max, settings.live_max_bytes)
        self._dirty: dict[str, Live] = {}
        self._listeners: list[Listener] = []
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._urgent = False
        self._flight: asyncio.Future[None] | None = None
        self.settled = SettledVersions()
        """What this process committed as settled."""
        self.failed_at = -math.inf
        """When a commit, or most of one over several clients, last failed; by the monotonic clock."""

    def listen(self, listener: Listener) -> None:
        """Tell ``listener`` of every commit from now on."""
        self._listeners.append(listener)

    @property
    def backlog(self) -> int:
        """Receipts with changes that are not durable yet."""
        return len(self._dirty)

    async def create(self, receipt: Receipt) -> Receipt:
        """Commit a new receipt; return it, or the one that already stands under its id.

        Raises:
            StorageError: whether it was stored is unknown; a retry under the same key converges.
        """
        live = self._live.get(receipt.receipt_id)
        if live is not None and live.idle:
            live = await self._refresh(live)
        if live is None:
            live = Live(None, receipt)
            self._live.remember(live)
            effects = opening_effects(receipt, self._clock.now() + self._recovery_delay_s)
            self._pend(live, lazy=False).effects.extend(effects)
        return await self._durable(live)

    async def apply(self, client_id: str, receipt_id: str, event: Event) -> Receipt:
        """Apply ``event`` and return the receipt once that is durable; an event that changes nothing is, too.

        Raises:
            UnknownReceiptError: there is no such receipt of this client.
            StorageError: whether it was stored is unknown.
        """
        live = self._known(client_id, receipt_id)
        if live is None:
            live = await self._find(client_id, receipt_id)
            self._stage(live, event, lazy=False)
        elif not self._stage(live, event, lazy=False) and live.idle:
            # Another process may have brought it to where the event matters.
            live = await self._refresh(live) or await self._find(client_id, receipt_id)
            self._stage(live, event, lazy=False)
        return await self._durable(live)

    async def note(self, client_id: str, receipt_id: str, event: Event) -> Receipt:
        """Apply ``event`` without waiting for its commit; return the receipt as it will be.

        For outcomes that a repeated call would bring again, so that losing one in a crash costs that call only.
        Raises UnknownReceiptError.
        """
        live = self._known(client_id, receipt_id) or await self._find(client_id, receipt_id)
        self._stage(live, event, lazy=True)
        return live.head

    async def current(self, client_id: str, receipt_id: str) -> Receipt | None:
        """Return the receipt with every event applied so far, durable or not, or None."""
        live = self._known(client_id, receipt_id)
        if live is not None:
            return live.head
        try:
            return (await self._find(client_id, receipt_id, keep=False)).head
        except UnknownReceiptError:
            return None

    async def read(self, client_id: str, receipt_id: str) -> tuple[Receipt | None, Receipt | None]:
        """Return the receipt as it is durable, and with every event applied so far here.

        What this process remembers is read anew, because another one may have brought it further. The first is None
        when there is no such receipt of this client, or it is just being created; the second in the former case only.
        Raises StorageError.
        """
        live = self._known(client_id, receipt_id)
        if live is not None and live.idle:
            live = await self._refresh(live)
        if live is not None:
            return live.base, live.head
        receipt = await self._ledger.get(client_id, receipt_id)
        return receipt, receipt

    async def standing(self, client_id: str, receipt_id: str) -> Receipt | None:
        """Return the durable receipt, or None; one that is just being created is waited for.

        Raises:
            StorageError: whether it was stored is unknown.
        """
        live = self._live.get(receipt_id)
        if live is not None and live.base is None:
            return await self._durable(live)
        return await self._ledger.get(client_id, receipt_id)

    async def run(self) -> None:
        """Commit groups for ever."""
        while True:
            await self._due.wait()
            self._due.clear()
            self._timer, self._urgent = None, False
            self._flight = asyncio.ensure_future(self._commit_group())
            await asyncio.shield(self._flight)

    async def flush(self) -> None:
        """Commit everything that waits; the last step of a shutdown, after ``run`` has been cancelled."""
        if self._flight is not None:
            await asyncio.gather(self._flight, return_exceptions=True)  # its fault, if any, is the supervisor's
        while self._dirty:
            await self._commit_group()

    # -- staging ---------------------------------------------------------------------------------------------------

    def _known(self, client_id: str, receipt_id: str) -> Live | None:
        live = self._live.get(receipt_id)
        return live if live is not None and live.head.submission.client_id == client_id else None

    async def _find(self, client_id: str, receipt_id: str, *, keep: bool = True) -> Live:
        live = self._live.get(receipt_id)
        if live is None:
            receipt = await self._ledger.get(client_id, receipt_id)
            live = self._live.get(receipt_id)  # another task may have come first while we read
            if live is None:
                if receipt is None:
                    raise UnknownReceiptError(f"there is no receipt {receipt_id}")
                live = Live(receipt, receipt)
                if keep:
                    self._live.remember(live)
        if live.head.client_id != client_id:
            raise UnknownReceiptError(f"there is no receipt {receipt_id}")
        return live

    async def _refresh(self, live: Live) -> Live | None:
        """Read an idle receipt anew; return it as it is known then, None when there is none. Raises StorageError."""
        receipt_id = live.head.receipt_id
        row = await self._ledger.get(live.head.client_id, receipt_id)
        known = self._live.get(receipt_id)
        if known is not None and not (known is live and live.idle):
            return known  # it has gone on meanwhile
        self._live.forget(receipt_id)
        if row is None:
            return None
        fresh = Live(row, row)
        if row.settled:
            self.settled.note(row)
        else:
            self._live.remember(fresh)
        return fresh

    def _stage(self, live: Live, event: Event, *, lazy: bool) -> bool:
        """Apply ``event``; say whether it changed anything."""
        head, effects = advance(live.head, event)
        if head is live.head:
            self._live.release(live)
            return False
        live.head = head
        pending = self._pend(live, lazy=lazy)
        pending.events.append(event)
        pending.effects.extend(effects)
        return True

    def _pend(self, live: Live, *, lazy: bool) -> Pending:
        pending = live.pending
        if pending is None:
            pending = live.pending = Pending()
            self._dirty[live.head.receipt_id] = live
            self._live.remember(live)
        self._schedule(lazy=lazy)
        return pending

    def _schedule(self, *, lazy: bool = False, at_once: bool = False) -> None:
        """See to it that the next group closes in time; a lazy change is content with any closing that is due."""
        at_once = at_once or len(self._dirty) >= self._batch_max
        if at_once:
            delay_s = 0.0
        elif self._urgent or (lazy and self._timer is not None):
            return
        else:
            delay_s = self._lazy_linger_s if lazy else self._linger_s
        self._urgent = not lazy
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._due.set)

    def _durable(self, live: Live) -> asyncio.Future[Receipt]:
        """Return a future of the receipt, done once all that is applied so far is durable."""
        waiter: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        carrier = live.pending or live.flying
        if carrier is None:
            waiter.set_result(live.head)
        else:
            carrier.waiters.append(waiter)
            if carrier is live.pending:
                self._schedule()
        return waiter

    # -- committing ------------------------------------------------------------------------------------------------

    async def _commit_group(self) -> None:
        group = [self._dirty.pop(key) for key in list(self._dirty)[: self._batch_max]]
        if not group:
            return
        overflow = bool(self._dirty)  # what comes while the group flies has its own time
        changes = [self._take(live) for live in group]
        crash.point("before-commit")
        try:
            results = await self._ledger.commit(changes)
        except StorageError as error:
            self.failed_at = time.monotonic()
            _log.error("commit failed", extra={"receipts": len(group), "reason": str(error)})
            for live in group:
                self._fail(live, error)
        except BaseException:
            # A fault of ours: the process drains, and nobody may wait for an answer that will not come.
            for live in group:
                self._fail(live, StorageError("the commit was interrupted"))
            raise
        else:
            crash.point("after-commit")
            self._land(group, changes, results)
        if overflow and self._dirty:
            self._schedule(at_once=True)

    def _land(
        self, group: Sequence[Live], changes: Sequence[Change], results: Sequence[Receipt | StorageError | None]
    ) -> None:
        """Tell everyone what became of the group's changes, each for itself (invariant 12)."""
        failures: list[StorageError] = []
        clients: set[str] = set()
        for live, change, result in zip(group, changes, results, strict=True):
            if result is change.receipt:
                self._succeed(live, change.receipt)
            elif isinstance(result, StorageError):
                failures.append(result)
                clients.add(change.receipt.client_id)
                self._fail(live, result)
            else:
                self._rebase(live, change, result)
        if failures:
            counts = {"receipts": len(failures), "of": len(group), "clients": len(clients)}
            _log.error("changes failed", extra={**counts, "reason": str(failures[0])})
            if len(clients) > 1 and 2 * len(failures) > len(group):
                # One client's trouble, however loud, says nothing about the store.
                self.failed_at = time.monotonic()

    def _take(self, live: Live) -> Change:
        pending, head, base = live.pending, live.head, live.base
        assert pending is not None, "a dirty receipt has something pending"
        live.flying, live.pending = pending, None
        version = 0 if base is None else base.version
        receipt = live.head = Receipt(
            head.submission,
            head.state,
            head.registrations,
            head.findings,
            head.delivery,
            head.updated_at,
            version + 1,
        )
        messages = tuple([_message(receipt, effect) for effect in pending.effects if isinstance(effect, Owe)])
        return Change(receipt, None if base is None else version, messages)

    def _succeed(self, live: Live, receipt: Receipt) -> None:
        flying = live.flying
        assert flying is not None, "only what flies can land"
        before, live.base, live.flying = live.base, receipt, None
        if receipt.settled:
            self.settled.note(receipt)
        effects = tuple(flying.effects)
        for listener in self._listeners:
            listener(before, receipt, effects)
        for waiter in flying.waiters:
            if not waiter.done():
                waiter.set_result(receipt)
        self._live.release(live)

    def _rebase(self, live: Live, change: Change, standing: Receipt | None) -> None:
        """Another process changed the receipt first: apply our events to what stands there now."""
        flying, pending = live.flying, live.pending
        assert flying is not None, "only what flies can be refused"
        if standing is None:
            self._fail(live, UnknownReceiptError(f"there is no receipt {change.receipt.receipt_id} any more"))
            return
        events = flying.events + (pending.events if pending else [])
        waiters = flying.waiters + (pending.waiters if pending else [])
        live.base = live.head = standing
        live.flying = live.pending = None
        self._dirty.pop(standing.receipt_id, None)
        for event in events:
            self._stage(live, event, lazy=False)
        carrier = self._dirty.get(standing.receipt_id, live).pending
        if carrier is not None:
            carrier.waiters.extend(waiters)
            return
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(standing)
        self._live.release(live)

    def _fail(self, live: Live, error: Exception) -> None:
        """Forget a receipt whose durable state is unknown; it is read again when somebody asks."""
        receipt_id = live.head.receipt_id
        self._live.forget(receipt_id)
        self._dirty.pop(receipt_id, None)
        for part in (live.flying, live.pending):
            for waiter in part.waiters if part else ():
                if not waiter.done():
                    waiter.set_exception(error)


def _message(receipt: Receipt, owed: Owe) -> Message:
    item = WorkItem(receipt.client_id, receipt.receipt_id, version=receipt.version)
    return item.message(owed.queue, owed.at, dead=owed.dead)
