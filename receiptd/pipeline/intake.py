"""Intake: from a posted document to its first durable record.

Decode, find the type, validate, derive the id, commit. Nothing waits in memory between a client's bytes and the answer
except the commit itself, and no more than ``http.in_flight_max`` of them at a time.
"""

from __future__ import annotations

from receiptd.documents import DocumentError
from receiptd.domain.errors import IdempotencyMismatchError, OverloadedError
from receiptd.domain.identifiers import candidate_ids, digest
from receiptd.domain.lifecycle import accept, refuse
from receiptd.domain.receipt import Receipt, Submission
from receiptd.domain.values import value
from receiptd.pipeline.checking import Checking
from receiptd.pipeline.writer import Writer
from receiptd.ports import Clock
from receiptd.runtime import crash
from receiptd.settings import HttpSettings

_DAY_S = 86_400


@value
class Posting:
    """What a client posted."""

    client_id: str
    body: bytes
    content_type: str
    type_hint: str = ""
    idempotency_key: str = ""
    webhook_url: str = ""
    trace_id: str = ""


@value
class Accepted:
    """The receipt as it stands, and whether an earlier request had already brought it."""

    receipt: Receipt
    replayed: bool


class Intake:
    """Takes receipts in, within the bounds of ``settings``."""

    def __init__(self, settings: HttpSettings, checking: Checking, writer: Writer, clock: Clock) -> None:
        self._checking = checking
        self._writer = writer
        self._clock = clock
        self._in_flight_max = settings.in_flight_max
        self._key_overlap_s = settings.key_overlap_hours * 3600
        self.in_flight = 0

    def check_capacity(self) -> None:
        """Raise OverloadedError when no further receipt can be taken now; called before any work is done."""
        if self.in_flight >= self._in_flight_max:
            raise OverloadedError("as many receipts as fit are being taken in right now", retry_after_s=1.0)

    async def submit(self, posting: Posting) -> Accepted:
        """Check the document and commit its receipt; return once that is durable (invariant 1).

        The receipt is PROCESSING, or FAILED with its findings. The same key with the same document gives the receipt
        that stands (invariant 4), also when the first one came before midnight.

        Raises:
            DocumentError: not well-formed, of no known type, or too large; nothing was stored.
            IdempotencyMismatchError: the key belongs to another document.
            OverloadedError: no room; nothing was done.
            StorageError: whether it was stored is unknown; the same request may be repeated.
        """
        self.check_capacity()
        self.in_flight += 1
        try:
            accepted = await self._submit(posting)
        finally:
            self.in_flight -= 1
        crash.point("before-answer")
        return accepted

    async def _submit(self, posting: Posting) -> Accepted:
        now = self._clock.now()
        body_digest = digest(posting.body)
        receipt_ids = candidate_ids(now, posting.client_id, posting.idempotency_key or f"sha256:{body_digest}")
        try:
            checked = await self._checking.check(posting.body, posting.content_type, posting.type_hint)
        except DocumentError:
            # The types may have changed since the same request was taken; its answer does not.
            standing = await self._standing(posting.client_id, receipt_ids)
            if standing is None or standing.submission.digest != body_digest:
                raise
            return Accepted(standing, replayed=True)
        standing = None
        if now % _DAY_S < self._key_overlap_s:
            standing = await self._standing(posting.client_id, receipt_ids[1:])
        if standing is None:
            submission = Submission(
                receipt_ids[0],
                posting.client_id,
                checked.type_id,
                checked.type_version,
                now,
                posting.content_type,
                body_digest,
                posting.body,
                checked.canonical,
                posting.webhook_url,
                posting.idempotency_key,
                posting.trace_id,
            )
            if checked.valid:
                receipt = accept(submission, checked.registrars, checked.findings)
            else:
                receipt = refuse(submission, checked.findings)
            standing = await self._writer.create(receipt)
            if standing.submission is submission:
                return Accepted(standing, replayed=False)
        if standing.submission.digest != body_digest:
            raise IdempotencyMismatchError(
                f"this idempotency key came with another document before, as receipt {standing.receipt_id};"
                " use a new key for a new document"
            )
        return Accepted(standing, replayed=True)

    async def _standing(self, client_id: str, receipt_ids: tuple[str, ...]) -> Receipt | None:
        for receipt_id in receipt_ids:
            standing = await self._writer.standing(client_id, receipt_id)
            if standing is not None:
                return standing
        return None
