"""What is told of each receipt: counters that balance (invariant 16), latencies, and one wide event when it settles.

The event holds nothing of the document (invariant 14), unless the operator asks for a few facts of the canonical
receipt; then without what its type calls personal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson
import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram

from receiptd.documents import ReceiptTypes
from receiptd.documents.personal import mask
from receiptd.domain.lifecycle import Effect
from receiptd.domain.receipt import Receipt, ReceiptState, Submission
from receiptd.settings import LogSettings

_TEXTS: Final = ("number", "seller")
"""Facts that may be personal; masked when the type, which would know, is not loaded any more."""
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600, 86_400)


class ReceiptTelemetry:
    """A writer's listener that counts and logs. ``types`` gives the receipt types in force."""

    def __init__(self, registry: CollectorRegistry, types: Callable[[], ReceiptTypes], settings: LogSettings) -> None:
        self._types = types
        self._with_facts = settings.facts
        ended = Counter(
            "receiptd_receipts_ended", "Accepted receipts that reached a terminal state.", ["state"], registry=registry
        )
        self._ended = {state: ended.labels(state.value) for state in (ReceiptState.COMPLETE, ReceiptState.FAILED)}
        self._accepted = Counter("receiptd_receipts_accepted", "Receipts answered 202 or 200.", registry=registry)
        self._refused = Counter("receiptd_receipts_invalid", "Receipts stored as FAILED by checks.", registry=registry)
        self._duration = Histogram(
            "receiptd_receipt_duration_seconds",
            "Time from acceptance to the terminal state.",
            registry=registry,
            buckets=_BUCKETS_S,
        )
        self._log = structlog.get_logger() if settings.receipts else None

    def committed(self, before: Receipt | None, receipt: Receipt, effects: tuple[Effect, ...]) -> None:
        """Hear of a commit."""
        del effects
        if before is None:
            if receipt.state is ReceiptState.FAILED and not receipt.registrations:
                self._refused.inc()
            else:
                self._accepted.inc()
        if not receipt.terminal:
            return
        if receipt.registrations and (before is None or not before.terminal):
            self._ended[receipt.state].inc()
            self._duration.observe(max(0.0, receipt.updated_at - receipt.submission.accepted_at))
        if self._log is not None and receipt.settled and (before is None or not before.settled):
            self._log.info("receipt", **self._wide(receipt))

    def _wide(self, receipt: Receipt) -> dict[str, Any]:
        submission, delivery = receipt.submission, receipt.delivery
        return {
            "ts": round(receipt.updated_at, 3),
            "receipt": submission.receipt_id,
            "client": submission.client_id,
            "type": f"{submission.type_id}@{submission.type_version}",
            **(self._facts(submission) if self._with_facts and submission.canonical else {}),
            "bytes": len(submission.document),
            "trace": submission.trace_id,
            "state": receipt.state,
            "seconds": round(receipt.updated_at - submission.accepted_at, 4),
            "findings": [finding.code for finding in receipt.findings],
            "registrations": {r.registrar: {"state": r.state, "attempts": r.attempts} for r in receipt.registrations},
            "webhook": None if delivery is None else {"state": delivery.state, "attempts": delivery.attempts},
        }

    def _facts(self, submission: Submission) -> dict[str, Any]:
        """Return what operators look for in the canonical receipt; ``total`` is in minor units of the currency."""
        canonical = orjson.loads(submission.canonical)
        type_ = self._types().get(submission.type_id, submission.type_version)
        facts = {name: canonical[name] for name in (*_TEXTS, "currency", "total")}
        personal = _TEXTS if type_ is None else type_.personal
        return {**(mask(facts, personal) if personal else facts), "lines": len(canonical["lines"])}
