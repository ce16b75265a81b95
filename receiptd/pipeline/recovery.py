"""Recovery: the dead man's switch. Every unsettled receipt owes one message, and this takes up whoever's it finds.

The normal case is a receipt that is settled: the message is dropped. Otherwise whatever is due and in nobody's hands
here is taken up, and the message goes round again until the receipt is settled (invariant 11). A receipt whose open
registrations are all parked waits for an operator; its message still goes round, at the longest interval.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from receiptd.domain.lifecycle import RECOVERY_QUEUE, registrar_queue
from receiptd.domain.receipt import Receipt, RegistrationState
from receiptd.pipeline.consumer import consume
from receiptd.pipeline.delivery import Delivery
from receiptd.pipeline.lanes import Lane
from receiptd.pipeline.work import WorkItem
from receiptd.pipeline.writer import Writer
from receiptd.ports import Clock, Message, WorkQueue
from receiptd.settings import RecoverySettings

_log = logging.getLogger("receiptd.recovery")
_BATCH_MAX = 200
_SOON_S = 1.0
_WEEK_S = 7 * 86_400.0


class Recovery:
    """Consumes the recovery queue."""

    def __init__(
        self,
        *,
        settings: RecoverySettings,
        queue: WorkQueue,
        writer: Writer,
        lanes: Mapping[str, Lane],
        delivery: Delivery,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._writer = writer
        self._lanes = lanes
        self._delivery = delivery
        self._clock = clock
        self.taken_over = 0
        """Receipts found unsettled."""

    async def run(self) -> None:
        """Consume for ever."""
        await consume(self._queue, RECOVERY_QUEUE, lambda: _BATCH_MAX, self._handle)

    async def _handle(self, item: WorkItem) -> Message | None:
        if self._writer.settled.covers(item.receipt_id, item.version):
            return None  # the normal case, without a read
        committed, receipt = await self._writer.read(item.client_id, item.receipt_id)
        if committed is None or committed.version < item.version:
            return self._later(item)
        if committed.settled or receipt is None:
            return None
        self.taken_over += 1
        if committed.terminal:
            self._delivery.resume(receipt, self._clock.now())  # never before the end that it tells of is durable
        again_at = self._take_up(receipt)
        await self._remind(item, receipt, again_at)
        return item.message(RECOVERY_QUEUE, again_at)

    def _later(self, item: WorkItem) -> Message | None:
        """Return one more round for a message that came before its change, which may still be on its way.

        A store may send a change's messages before it writes the row, and its process may stall between the two. The
        next round is the last one: a change that was given up never comes.
        """
        if not item.version:
            return None
        return replace(item, version=0).message(RECOVERY_QUEUE, self._clock.now() + self._settings.delay_s)

    async def _remind(self, item: WorkItem, receipt: Receipt, again_at: float) -> None:
        """Renew the dead letters of what is parked once a week: operators find it by them, SQS keeps one for two."""
        now = self._clock.now()
        letters = [
            item.message(registrar_queue(registration.registrar), now, dead=True)
            for registration in receipt.registrations
            if registration.state is RegistrationState.PARKED
            and registration.registrar in self._lanes
            and (now - registration.updated_at) // _WEEK_S < (again_at - registration.updated_at) // _WEEK_S
        ]
        if letters:
            await self._queue.send(letters)

    def _take_up(self, receipt: Receipt) -> float:
        """Hand on what is due; return when the message should come round again (seconds since the epoch).

        Rounds are as far apart as the receipt is old, within bounds: what waits out a long outage costs ever less. A
        callback's deadline is kept whatever the round.
        """
        now, settings = self._clock.now(), self._settings
        age_s = now - receipt.submission.accepted_at
        again_at = now + min(max(age_s, settings.delay_s), settings.interval_max_s)
        for registration in receipt.registrations:
            lane = self._lanes.get(registration.registrar)
            if lane is None:
                _log.error(
                    "receipt waits for a registrar that is not configured",
                    extra={"receipt": receipt.receipt_id, "registrar": registration.registrar},
                )
                continue
            overdue_at = lane.resume(receipt, now)
            if overdue_at is not None:
                again_at = min(again_at, overdue_at + _SOON_S)
        return again_at
