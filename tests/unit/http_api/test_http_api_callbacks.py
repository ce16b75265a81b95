"""The way in for registrars' verdicts."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest
from standardwebhooks import Webhook

from receiptd.pipeline.callback_tokens import CallbackTokens


@pytest.fixture
def send(face):
    async def send(receipt_id, verdict, **more):
        body = orjson.dumps(verdict)
        token = CallbackTokens("tax", (face.callback_secret,)).make("shop", receipt_id)
        at = datetime.fromtimestamp(int(face.now), UTC)
        headers = {
            "webhook_id": "msg_1",
            "webhook_timestamp": str(int(face.now)),
            "webhook_signature": Webhook(face.callback_secret).sign("msg_1", at, body.decode()),
            **more,
        }
        return await face.call("POST", f"/v1/callbacks/tax/{token}", body, token="", **headers)

    return send


async def test_a_verdict_is_durable_before_its_200_and_a_second_one_changes_nothing_invariant_8(face, send):
    receipt_id = await face.posted()
    answer = await send(receipt_id, {"status": "registered", "reference": "T-7"})
    assert (answer.status, answer.json) == (200, {"result": "applied"})
    assert face.ledger.receipts[receipt_id].state == "COMPLETE"
    assert (await send(receipt_id, {"status": "registered"})).json == {"result": "duplicate"}
    assert (await send(receipt_id, {"status": "rejected"})).json == {"result": "ignored"}
    assert face.ledger.receipts[receipt_id].state == "COMPLETE"


async def test_a_forged_or_malformed_callback_is_refused_invariant_8(face, send):
    receipt_id = await face.posted()
    forged = await send(receipt_id, {"status": "registered"}, webhook_signature="v1,AAAA")
    assert (forged.status, forged.code) == (401, "callback-signature")
    assert forged.headers["www-authenticate"].startswith("StandardWebhooks ")
    malformed = await send(receipt_id, {"status": "perhaps"})
    assert (malformed.status, malformed.code) == (400, "callback-malformed")
    mismatched = await send(receipt_id, {"status": "registered", "receipt_id": "another"})
    assert (mismatched.status, mismatched.code) == (400, "callback-mismatch")
    unknown = await send("20260101-" + "0" * 24, {"status": "registered"})
    assert (unknown.status, unknown.code) == (404, "callback-unknown")
    elsewhere = await face.call("POST", "/v1/callbacks/nobody/x%2Fy", b"{}", token="")
    assert (elsewhere.status, elsewhere.code) == (404, "callback-unknown")
    assert face.ledger.receipts[receipt_id].state == "PROCESSING"


async def test_a_callback_that_cannot_be_stored_is_asked_for_again(face, send):
    receipt_id = await face.posted()
    face.ledger.broken = True
    answer = await send(receipt_id, {"status": "registered"})
    assert (answer.status, answer.code) == (503, "storage-unavailable")
    assert answer.headers["retry-after"]


async def test_a_large_callback_is_refused_by_its_head_and_by_its_body_invariant_13(face):
    for admit in (True, False):
        answer = await face.call("POST", "/v1/callbacks/tax/x", b" " * 65_537, token="", admit=admit)
        assert (answer.status, answer.code) == (413, "body-too-large")
