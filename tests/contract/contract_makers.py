"""What the contract suite commits and sends: small made-up values, each different."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace
from datetime import UTC, datetime

from receiptd.domain.identifiers import receipt_id
from receiptd.domain.receipt import Receipt, ReceiptState, Registration, RegistrationState, Submission
from receiptd.ports import Change, Message

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC).timestamp()
DAY_S = 86_400.0
_numbers = itertools.count()


def new_receipt(*, client_id="shop", key=None, at=NOON, document=None, type_id="till", **facts):
    """Make a receipt that nobody has committed: PROCESSING, with two registrations to come, as version 1."""
    key = f"key-{next(_numbers)}" if key is None else key
    document = f'{{"number": "{key}"}}'.encode() if document is None else document
    submission = Submission(
        receipt_id=receipt_id(datetime.fromtimestamp(at, UTC).date(), client_id, key),
        client_id=client_id,
        type_id=type_id,
        type_version=1,
        accepted_at=at,
        content_type="application/json",
        digest=hashlib.sha256(document).hexdigest(),
        document=document,
        canonical=document,
        idempotency_key=key,
    )
    registrations = (Registration("tax", updated_at=at), Registration("warehouse", updated_at=at))
    return replace(Receipt(submission, ReceiptState.PROCESSING, registrations, updated_at=at, version=1), **facts)


def next_version(receipt, **facts):
    return replace(receipt, version=receipt.version + 1, updated_at=receipt.updated_at + 1, **facts)


def completed(receipt, **facts):
    """Make the next version of a receipt: COMPLETE, confirmed by everybody, owing nothing unless ``facts`` say so."""
    done = tuple(replace(r, state=RegistrationState.REGISTERED, reference="R-1") for r in receipt.registrations)
    return next_version(receipt, **{"state": ReceiptState.COMPLETE, "registrations": done, **facts})


def create(receipt, *messages):
    return Change(receipt, None, messages)


def update(receipt, *messages):
    return Change(receipt, receipt.version - 1, messages)


def message(queue, key, **facts):
    return Message(queue, key, f'{{"key":"{key}"}}', **facts)
