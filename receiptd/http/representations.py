"""How a receipt looks in JSON. The one place that names the fields of the answers; schemas.py describes them.

Times are ISO 8601 in UTC with milliseconds (RFC 3339). Absent texts are empty strings, as in the domain.
"""

from __future__ import annotations

from typing import Any

import orjson

from receiptd.domain.receipt import Delivery, Finding, Receipt, ReceiptState
from receiptd.domain.timestamps import timestamp


def finding(one: Finding) -> dict[str, str]:
    """Return a finding: ``{code, message, where, severity}``."""
    return {"code": one.code, "message": one.message, "where": one.where, "severity": one.severity}


def acceptance(receipt: Receipt) -> dict[str, Any]:
    """Return what a 202 says: the facts of the moment of acceptance, so that a replay says the same (invariant 4)."""
    submission = receipt.submission
    return {
        "id": submission.receipt_id,
        "status": ReceiptState.PROCESSING if receipt.registrations else receipt.state,
        "type": submission.type_id,
        "accepted_at": timestamp(submission.accepted_at),
    }


def status(receipt: Receipt) -> dict[str, Any]:
    """Return where a receipt stands: its state, registrations, findings and webhook."""
    submission = receipt.submission
    return {
        "id": submission.receipt_id,
        "status": receipt.state,
        "type": submission.type_id,
        "accepted_at": timestamp(submission.accepted_at),
        "updated_at": timestamp(receipt.updated_at),
        "registrations": [
            {
                "registrar": one.registrar,
                "state": one.state,
                "attempts": one.attempts,
                "reference": one.reference,
                "reason": one.reason,
                "updated_at": timestamp(one.updated_at),
            }
            for one in receipt.registrations
        ],
        "findings": [finding(one) for one in receipt.findings],
        "webhook": None if receipt.delivery is None else _webhook(receipt.delivery),
    }


def full(receipt: Receipt) -> dict[str, Any]:
    """Return the status, the canonical receipt (null when it could not be mapped), and the document's facts."""
    submission = receipt.submission
    return {
        **status(receipt),
        "type_version": submission.type_version,
        "document": {
            "content_type": submission.content_type,
            "sha256": submission.digest,
            "bytes": len(submission.document),
        },
        "receipt": orjson.Fragment(submission.canonical) if submission.canonical else None,
    }


def delivery(receipt: Receipt) -> dict[str, Any]:
    """Return the webhook of a receipt that has one, with the receipt it tells of."""
    owed = receipt.delivery
    assert owed is not None, "only receipts with a delivery are listed"
    return {
        "receipt_id": receipt.receipt_id,
        "webhook_id": f"msg_{receipt.receipt_id}",
        "event": f"receipt.{receipt.state.value.lower()}",
        "url": receipt.submission.webhook_url,
        **_webhook(owed),
        "reason": owed.reason,
        "updated_at": timestamp(owed.updated_at),
        "next_attempt_at": timestamp(owed.due_at) if owed.due_at else None,
    }


def _webhook(owed: Delivery) -> dict[str, Any]:
    return {"state": owed.state, "attempts": owed.attempts, "last_status": owed.last_status}
