"""Delivery: the webhook that a terminal receipt owes its client (Standard Webhooks 1.0, invariant 10).

Bounded in all and per client, so that one client's slow endpoint stalls nobody else; what does not fit, and every
retry, waits in the durable ``webhooks`` queue. The ``webhook-id`` is made from the receipt's id: it stays the same over
retries, replays and crashes.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import orjson

from receiptd.domain.errors import DeniedAddressError, OutboundError, StorageError, UnknownReceiptError
from receiptd.domain.lifecycle import WEBHOOK_QUEUE, Delivered, DeliveryFailed
from receiptd.domain.receipt import DeliveryState, Receipt, RegistrationState
from receiptd.domain.retry import Schedule
from receiptd.domain.signatures import sign
from receiptd.domain.timestamps import timestamp
from receiptd.pipeline.consumer import consume
from receiptd.pipeline.fair_queue import FairQueue
from receiptd.pipeline.outbox import Outbox
from receiptd.pipeline.registration import retry_after_s, traceparent
from receiptd.pipeline.work import WorkItem
from receiptd.pipeline.writer import Writer
from receiptd.ports import Clock, Contracts, HttpCall, HttpClient, Message, WorkQueue
from receiptd.runtime import crash
from receiptd.settings import WebhookSettings

_log = logging.getLogger("receiptd.delivery")
_REPLY_MAX_BYTES = 4_096
_RETRY_AFTER_MAX_S = 86_400.0
_CROWDED_MIN_S, _CROWDED_MAX_S = 2.0, 900.0
_PARKED_PER_S = 20.0
_PULL_MAX = 100
_EARLY_S = 1.0
_GONE = 410
_REASON_MAX = 200


class Delivery:
    """Posts webhooks and records what came of them."""

    def __init__(
        self,
        *,
        settings: WebhookSettings,
        http: HttpClient,
        contracts: Contracts,
        writer: Writer,
        queue: WorkQueue,
        outbox: Outbox,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._schedule = Schedule(tuple(settings.schedule_s))
        self._http = http
        self._contracts = contracts
        self._writer = writer
        self._queue = queue
        self._outbox = outbox
        self._clock = clock
        self._waiting: FairQueue[Receipt] = FairQueue(settings.concurrency_per_client)
        self._held: set[str] = set()
        self._per_client: Counter[str] = Counter()
        self._parked: dict[str, int] = {}
        """Webhooks of each client that wait in the durable queue for room, as far as this process knows."""
        self.outcomes: Counter[str] = Counter()
        """Calls so far by what came of them, for the metrics."""
        self.faults = 0

    @property
    def depth(self) -> int:
        """Webhooks in memory."""
        return len(self._held)

    def offer(self, receipt: Receipt) -> None:
        """Take a receipt whose webhook is due, or let it wait in the durable queue when there is no room."""
        receipt_id, client_id = receipt.receipt_id, receipt.client_id
        if receipt_id in self._held:
            return
        if (
            len(self._held) >= self._settings.queue_max
            or self._per_client[client_id] >= self._settings.queue_max_per_client
        ):
            # The more of a client's webhooks wait, the less often each of them asks for room.
            parked = self._parked[client_id] = self._parked.get(client_id, 0) + 1
            delay_s = min(max(parked / _PARKED_PER_S, _CROWDED_MIN_S), _CROWDED_MAX_S) * (0.5 + random.random())  # noqa: S311
            self._outbox.put(WorkItem(client_id, receipt_id).message(WEBHOOK_QUEUE, self._clock.now() + delay_s))
            return
        self._held.add(receipt_id)
        self._per_client[client_id] += 1
        self._waiting.put(client_id, receipt)

    def resume(self, receipt: Receipt, now: float) -> None:
        """Take up a webhook that is due and in nobody's hands: after a crash, or back from the durable queue."""
        delivery = receipt.delivery
        if delivery is not None and delivery.state is DeliveryState.OWED and delivery.due_at <= now:
            self.offer(receipt)

    def tasks(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        """Return the core tasks by name."""
        workers = {f"delivery.{n}": self._work for n in range(self._settings.concurrency)}
        return {**workers, "pull.webhooks": self._pull}

    async def _work(self) -> None:
        while True:
            receipt = await self._waiting.get()
            try:
                await self._deliver(receipt)
            except (StorageError, UnknownReceiptError) as error:
                _log.warning("webhook left to recovery", extra={"receipt": receipt.receipt_id, "reason": str(error)})
            except Exception:  # noqa: BLE001 - the root of one delivery, logged as a fault
                # Invariant 12: a fault over one webhook must not take the others' worker with it.
                self.faults += 1
                _log.exception("fault in a delivery", extra={"receipt": receipt.receipt_id})
            finally:
                self._waiting.done(receipt.client_id)
                self._held.discard(receipt.receipt_id)
                self._per_client[receipt.client_id] -= 1
                if not self._per_client[receipt.client_id]:
                    del self._per_client[receipt.client_id]

    async def _deliver(self, receipt: Receipt) -> None:
        crash.point("before-webhook")
        event = await self._post(receipt)
        crash.point("after-webhook")
        self.outcomes[type(event).__name__] += 1
        await self._writer.note(receipt.client_id, receipt.receipt_id, event)

    async def _post(self, receipt: Receipt) -> Delivered | DeliveryFailed:
        contract = await self._contracts.get(receipt.client_id)
        if contract is None or not contract.webhook_secrets:
            return DeliveryFailed(self._clock.now(), 0, "the contract has no webhook secret to sign with", None)
        now = self._clock.now()
        body = webhook_body(receipt)
        webhook_id = f"msg_{receipt.receipt_id}"
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "receiptd",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(now)),
            "webhook-signature": sign(contract.webhook_secrets, webhook_id, int(now), body),
            "traceparent": traceparent(receipt.submission.trace_id),
        }
        call = HttpCall(
            method="POST",
            url=receipt.submission.webhook_url,
            headers=headers,
            body=body,
            timeout_s=self._settings.timeout_s,
            reply_max_bytes=_REPLY_MAX_BYTES,
        )
        try:
            reply = await self._http.send(call)
        except DeniedAddressError as error:
            return DeliveryFailed(self._clock.now(), 0, str(error)[:_REASON_MAX], None, gone=True)
        except (OutboundError, ValueError) as error:
            return self._failed(receipt, 0, str(error)[:_REASON_MAX])
        if 200 <= reply.status < 300:  # noqa: PLR2004 - RFC 9110, section 15.3
            return Delivered(self._clock.now(), reply.status)
        if reply.status == _GONE:
            return DeliveryFailed(self._clock.now(), reply.status, "the endpoint is gone", None, gone=True)
        wait_s = retry_after_s(reply.headers, _RETRY_AFTER_MAX_S)
        return self._failed(receipt, reply.status, f"the endpoint answered {reply.status}", wait_s)

    def _failed(self, receipt: Receipt, status: int, reason: str, wait_s: float = 0.0) -> DeliveryFailed:
        attempts = receipt.delivery.attempts + 1 if receipt.delivery else 1
        now = self._clock.now()
        delay_s = self._schedule.delay_s(attempts)
        return DeliveryFailed(now, status, reason, None if delay_s is None else now + max(delay_s, wait_s))

    async def _pull(self) -> None:
        """Bring waiting webhooks back while there is room."""
        await consume(self._queue, WEBHOOK_QUEUE, self._room, self._take_back)

    def _room(self) -> int:
        return min(_PULL_MAX, self._settings.queue_max // 2 - len(self._held))

    async def _take_back(self, item: WorkItem) -> Message | None:
        parked = self._parked.pop(item.client_id, 0)
        if parked > 1:
            self._parked[item.client_id] = parked - 1
        committed, receipt = await self._writer.read(item.client_id, item.receipt_id)
        if committed is None or not committed.terminal:
            return None  # a webhook never goes out before the end that it tells of is durable
        if receipt is None or receipt.delivery is None:
            return None
        now, due_at = self._clock.now(), receipt.delivery.due_at
        if now < due_at <= now + _EARLY_S:
            return item.message(WEBHOOK_QUEUE, due_at)  # a former try's message, or this one's by a clock that is ahead
        self.resume(receipt, now)
        return None


def webhook_body(receipt: Receipt) -> bytes:
    """Return the webhook's JSON body: the event's type and time, and the receipt without its document."""
    submission = receipt.submission
    return orjson.dumps(
        {
            "type": f"receipt.{receipt.state.lower()}",
            "timestamp": timestamp(_ended_at(receipt)),
            "data": {
                "receipt_id": submission.receipt_id,
                "type": f"{submission.type_id}@{submission.type_version}",
                "state": receipt.state,
                "accepted_at": timestamp(submission.accepted_at),
                "registrations": [
                    {"registrar": r.registrar, "state": r.state, "reference": r.reference}
                    for r in receipt.registrations
                ],
                "findings": [
                    {"code": f.code, "message": f.message, "where": f.where, "severity": f.severity}
                    for f in receipt.findings
                ],
            },
        }
    )


def _ended_at(receipt: Receipt) -> float:
    """Return when the receipt became terminal: at its first rejection, or else at its last confirmation.

    The receipt's own ``updated_at`` moves on with each attempt to deliver, and an event must not change in retries.
    """
    rejected = [r.updated_at for r in receipt.registrations if r.state is RegistrationState.REJECTED]
    if rejected:
        return min(rejected)
    return max((r.updated_at for r in receipt.registrations), default=receipt.submission.accepted_at)
