"""Lanes: one for each registrar, so that a slow one stalls only itself (invariant 12).

A lane is a bounded queue in memory and a fixed number of workers, behind the registrar's rate limit and its circuit
breaker. What does not fit, what comes while the circuit is open, and what must wait long goes to the registrar's own
durable queue, and comes back from there when there is room. The receipt's recovery message stands behind all of it.

What comes back takes turns with what is new, so that a backlog of days drains beside the day's own traffic, and neither
keeps the other out.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any

from receiptd.domain.errors import StorageError, UnknownReceiptError
from receiptd.domain.lifecycle import Abandoned, AttemptFailed, Event, Redriven, registrar_queue
from receiptd.domain.receipt import Receipt, Registration, RegistrationState
from receiptd.pipeline.consumer import consume
from receiptd.pipeline.fair_queue import FairQueue
from receiptd.pipeline.limits import BreakerState, CircuitBreaker, TokenBucket
from receiptd.pipeline.outbox import Outbox
from receiptd.pipeline.registration import NotSent, RegistrarClient
from receiptd.pipeline.work import WorkItem
from receiptd.pipeline.writer import Writer
from receiptd.ports import Clock, WorkQueue
from receiptd.runtime import crash
from receiptd.settings import RegistrarSettings

_log = logging.getLogger("receiptd.lanes")
_PULL_MAX = 100
_FULL_DELAY_S = 1.0
_EARLY_S = 1.0
_RESERVE = 50
"""Room for what recovery brings back that pulling leaves."""
_BYTES_MAX = 67_108_864
_PARKED_MAX = 50_000
_BACKLOG = "\nbacklog"
"""Ends the name under which a client's receipts from the durable queue take their turns; no client id holds it."""
_OPEN = (RegistrationState.PENDING, RegistrationState.SUBMITTED)


class Lane:
    """Brings receipts to one registrar."""

    def __init__(
        self,
        *,
        settings: RegistrarSettings,
        client: RegistrarClient,
        writer: Writer,
        queue: WorkQueue,
        outbox: Outbox,
        clock: Clock,
    ) -> None:
        self.name = settings.id
        self.queue_name = registrar_queue(settings.id)
        self.breaker = CircuitBreaker(settings.breaker)
        self._settings = settings
        self._client = client
        self._writer = writer
        self._queue = queue
        self._outbox = outbox
        self._clock = clock
        self._started_at = clock.now()
        self._bucket = TokenBucket(settings.rate_per_s)
        self._waiting: FairQueue[tuple[str, Receipt]] = FairQueue(settings.concurrency)
        self._held: dict[str, tuple[int, bool]] = {}
        """Receipts in memory: their documents' bytes, and whether they came back from a durable queue."""
        self._held_bytes = 0
        self._returning = 0
        self._returning_max = max(1, settings.queue_max // 2)
        self._parked: dict[str, None] = {}
        """What this process has put into the durable queue and not seen again, the oldest first."""
        self.calls: dict[str, int] = {}
        """Calls so far by what came of them, for the metrics."""
        self.faults = 0

    # -- entrance --------------------------------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """Receipts in memory: waiting, being called about, or between two near tries."""
        return len(self._held)

    def offer(self, receipt: Receipt, *, returning: bool = False) -> None:
        """Take a receipt whose registration is due, or park it when there is no room or the circuit is open.

        What comes back from a durable queue (``returning``) has room of its own, half as much as what is new, so that
        neither can keep the other out.
        """
        if receipt.receipt_id in self._held:
            return
        now = time.monotonic()
        if not self.breaker.would_allow(now):
            self._park(receipt, self.breaker.retry_at - now)
        elif not self._fits(returning=returning):
            self._park(receipt, _FULL_DELAY_S)
        else:
            size = len(receipt.submission.document)
            self._held[receipt.receipt_id] = size, returning
            self._held_bytes += size
            self._returning += returning
            owner = receipt.client_id + _BACKLOG if returning else receipt.client_id
            self._waiting.put(owner, (owner, receipt))

    def _fits(self, *, returning: bool) -> bool:
        if returning:
            return self._returning < self._returning_max + _RESERVE and self._held_bytes < _BYTES_MAX / 2
        return len(self._held) - self._returning < self._settings.queue_max and self._held_bytes < _BYTES_MAX

    def _park(self, receipt: Receipt, delay_s: float) -> None:
        """Let a receipt wait in the durable queue; the spread keeps the return from being a storm."""
        self._parked[receipt.receipt_id] = None
        if len(self._parked) > _PARKED_MAX:
            del self._parked[next(iter(self._parked))]
        at = self._clock.now() + max(0.0, delay_s) + random.random()  # noqa: S311 - a spread, not a secret
        item = WorkItem(receipt.client_id, receipt.receipt_id)
        self._outbox.put(item.message(self.queue_name, at))

    # -- workers ---------------------------------------------------------------------------------------------------

    def tasks(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        """Return the lane's core tasks by name."""
        workers = {f"lane.{self.name}.{n}": self._work for n in range(self._settings.concurrency)}
        return {**workers, f"pull.{self.name}": self._pull}

    async def _work(self) -> None:
        while True:
            owner, receipt = await self._waiting.get()
            again_s: float | None = None
            try:
                again_s = await self._register(owner, receipt)
            except (StorageError, UnknownReceiptError) as error:
                # The row could not be read or has expired; the recovery message, if it still matters, comes round.
                _log.warning(
                    "registration left to recovery", extra={"receipt": receipt.receipt_id, "reason": str(error)}
                )
            except Exception:  # noqa: BLE001 - the root of one registration, logged as a fault
                # Invariant 12: a fault over one receipt must not take the others' worker with it.
                self.faults += 1
                _log.exception("fault in a registration", extra={"receipt": receipt.receipt_id, "registrar": self.name})
            finally:
                self._waiting.done(owner)
                if again_s is None:
                    size, returning = self._held.pop(receipt.receipt_id, (0, False))
                    self._held_bytes -= size
                    self._returning -= returning

    async def _register(self, owner: str, receipt: Receipt) -> float | None:
        """Make one call and apply its outcome; return the delay of a near retry that waits in memory."""
        now = time.monotonic()
        era = self.breaker.allow(now)
        if not era:
            self._park(receipt, self.breaker.retry_at - now)
            return None
        event: Event | None = None
        try:
            wait_s = self._bucket.reserve(now)
            if wait_s:
                await asyncio.sleep(wait_s)
            crash.point("before-submit")
            event = await self._client.register(receipt)
            crash.point("after-submit")
        finally:
            if event is None or isinstance(event, NotSent):
                self.breaker.given_up(era)
            elif isinstance(event, AttemptFailed):
                self.breaker.failed(era, time.monotonic())
            else:
                self.breaker.succeeded(era)
        kind = type(event).__name__
        self.calls[kind] = self.calls.get(kind, 0) + 1
        after = await self._writer.note(receipt.client_id, receipt.receipt_id, event)
        if isinstance(event, AttemptFailed) and event.retry_at is not None and not event.durable:
            registration = after.registration(self.name)
            if registration is not None and registration.state in _OPEN:
                delay_s = max(0.0, event.retry_at - self._clock.now())
                asyncio.get_running_loop().call_later(delay_s, self._waiting.put, owner, (owner, after))
                return delay_s
        return None

    # -- the durable queue -----------------------------------------------------------------------------------------

    async def _pull(self) -> None:
        """Bring parked receipts back while there is room: one as a probe, many when the circuit is closed."""
        await consume(self._queue, self.queue_name, self._room, self._take_back)

    def _room(self) -> int:
        if not self.breaker.would_allow(time.monotonic()):
            return 0
        if self.breaker.state is not BreakerState.CLOSED:
            return 0 if self._held else 1
        return max(0, min(_PULL_MAX, self._returning_max - self._returning))

    async def _take_back(self, item: WorkItem) -> None:
        now = self._clock.now()
        self._parked.pop(item.receipt_id, None)
        if item.action == "abandon":
            await self._writer.apply(item.client_id, item.receipt_id, Abandoned(self.name, now, item.reason))
        elif item.action == "redrive":
            await self._writer.apply(item.client_id, item.receipt_id, Redriven(self.name, now))
        else:
            _, receipt = await self._writer.read(item.client_id, item.receipt_id)
            if receipt is not None and self._wants_call(receipt.registration(self.name), now):
                self.offer(receipt, returning=True)

    def resume(self, receipt: Receipt, now: float) -> float | None:
        """Take up a registration after a crash or an overdue callback.

        Called by recovery. What the lane already holds, and what is not due yet, is left alone. Returns when a callback
        will be overdue (seconds since the epoch), or None when nothing here depends on being looked at in time.

        What cannot be taken now is parked once, not at every round: an outage of a day has a hundred rounds, and each
        would leave one more message in the durable queue.
        """
        registration = receipt.registration(self.name)
        if self._wants_call(registration, now):
            possible = self.breaker.state is BreakerState.CLOSED and self._fits(returning=True)
            if possible or receipt.receipt_id not in self._parked:
                self.offer(receipt, returning=True)
            return None
        if registration is not None and registration.state is RegistrationState.SUBMITTED:
            return registration.due_at
        return None

    def _wants_call(self, registration: Registration | None, now: float) -> bool:
        if registration is None:
            return False
        if registration.state is RegistrationState.PENDING:
            return registration.due_at <= now + _EARLY_S
        if registration.state is RegistrationState.SUBMITTED:
            # A callback may have come while no process listened, so what an earlier one submitted is asked about.
            return registration.due_at <= now or registration.updated_at < self._started_at
        return False
