"""Posting a receipt, asking where it stands, reading it back."""

from __future__ import annotations

import asyncio
import base64
import hashlib

import pytest

from receiptd.domain.lifecycle import Refused


async def test_a_posted_receipt_is_stored_before_the_202_names_it_invariant_1(face):
    answer = await face.post(idempotency_key='"order-1"')
    receipt_id = answer.json["id"]
    assert answer.status == 202
    assert answer.json == {
        "id": receipt_id,
        "status": "PROCESSING",
        "type": "till",
        "accepted_at": "2027-01-15T08:00:00.250Z",
    }
    assert answer.headers["location"] == f"/v1/receipts/{receipt_id}/status"
    assert answer.headers["retry-after"] == "1"
    assert "idempotent-replayed" not in answer.headers
    stored = face.ledger.receipts[receipt_id].submission
    assert (stored.idempotency_key, stored.document) == ("order-1", b'{"n":1}')


async def test_headers_reach_the_submission(face):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    receipt_id = await face.posted(
        receipt_type="retail",
        webhook_url="https://hooks.shop.example:443/other?x=1",
        traceparent=f"00-{trace}-00f067aa0ba902b7-01",
    )
    stored = face.ledger.receipts[receipt_id].submission
    assert (stored.type_id, stored.trace_id) == ("retail", trace)
    assert stored.webhook_url == "https://hooks.shop.example:443/other?x=1"


async def test_without_headers_the_contract_names_the_webhook_and_a_trace_id_is_made(face):
    stored = face.ledger.receipts[await face.posted()].submission
    assert stored.webhook_url == "https://hooks.shop.example/r"
    assert len(bytes.fromhex(stored.trace_id)) == 16


async def test_a_replay_gets_the_first_answer_again_even_when_the_receipt_has_moved_on_invariant_4(face):
    first = await face.post(idempotency_key="k")
    await face.confirm(first.json["id"])
    second = await face.post(idempotency_key='"k"')
    assert (second.status, second.body) == (202, first.body)
    assert second.headers.pop("idempotent-replayed") == "true"
    for answer in (first, second):
        answer.headers.pop("ratelimit")
    assert second.headers == first.headers


async def test_fifty_posts_at_once_under_one_key_are_one_receipt_invariant_4(face):
    face.intake._in_flight_max = 50
    answers = await asyncio.gather(*(face.post(idempotency_key="k") for _ in range(50)))
    assert {answer.status for answer in answers} == {202}
    assert len({answer.body for answer in answers}) == 1
    assert len(face.ledger.receipts) == 1


async def test_the_same_key_with_another_document_is_refused_invariant_4(face):
    await face.posted(idempotency_key="k")
    answer = await face.post(b'{"n":2}', idempotency_key="k")
    assert (answer.status, answer.code) == (422, "idempotency-key-reused")


async def test_an_invalid_receipt_is_refused_with_its_findings_again_and_again_invariant_3(face):
    first = await face.post(b'{"bad":true}', idempotency_key="k", prefer="wait=1")
    assert (first.status, first.code) == (422, "receipt-invalid")
    assert first.json["findings"] == [
        {"code": "rule:bad", "message": "it is bad", "where": "/bad", "severity": "error"}
    ]
    assert first.json["instance"] == f"/v1/receipts/{first.json['id']}"
    assert first.json["type"] == "urn:receiptd:problem:receipt-invalid"
    second = await face.post(b'{"bad":true}', idempotency_key="k")
    assert (second.status, second.body, second.headers["idempotent-replayed"]) == (422, first.body, "true")
    assert face.ledger.receipts[first.json["id"]].registrations == ()


async def test_a_malformed_document_is_refused_and_nothing_is_stored_invariant_3(face):
    answer = await face.post(b"{")
    assert (answer.status, answer.code) == (400, "json-malformed")
    assert answer.json["findings"][0]["where"] == "line 1, column 1"
    assert not face.ledger.receipts


async def test_prefer_wait_answers_200_once_the_receipt_has_ended(face):
    posting = asyncio.create_task(face.post(prefer="respond-async, wait=5"))
    while not face.watch._waiting:
        await asyncio.sleep(0.001)
    (receipt_id,) = face.ledger.receipts
    await face.confirm(receipt_id)
    answer = await posting
    assert (answer.status, answer.json["status"]) == (200, "COMPLETE")
    assert answer.headers["preference-applied"] == "wait=5"
    assert answer.headers["content-location"] == answer.headers["location"]
    assert answer.json["registrations"][0]["reference"] == "T-1"
    replayed = await face.post(prefer="wait=1")
    assert (replayed.status, replayed.headers["idempotent-replayed"]) == (200, "true")


async def test_prefer_wait_answers_202_when_time_is_up_or_too_many_wait(face):
    answer = await face.post(prefer='wait="1"')
    assert (answer.status, answer.headers["preference-applied"]) == (202, "wait=1")
    face.watch._count = face.settings.waiters_max
    answer = await face.post(b'{"n":2}', prefer="wait=5")
    assert answer.status == 202
    assert "preference-applied" not in answer.headers


async def test_a_type_without_registrars_is_complete_at_once(face):
    answer = await face.post(receipt_type="note")
    assert (answer.status, answer.json["status"]) == (202, "COMPLETE")
    answer = await face.post(receipt_type="note", prefer="wait=1")
    assert (answer.status, answer.json["status"]) == (200, "COMPLETE")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"idempotency_key": ""}, 400, "idempotency-key-malformed"),
        ({"idempotency_key": '"a'}, 400, "idempotency-key-malformed"),
        ({"content_type": "json"}, 415, "content-type-malformed"),
        ({"content_encoding": "gzip"}, 415, "content-encoding-unsupported"),
        ({"accept": "text/html"}, 406, "not-acceptable"),
        ({"webhook_url": "https://evil.example/"}, 422, "webhook-url-not-allowed"),
        ({"webhook_url": "https://hooks.shop.example@evil.example/"}, 422, "webhook-url-not-allowed"),
        ({"webhook_url": "http://hooks.shop.example/"}, 422, "webhook-url-not-allowed"),
        ({"webhook_url": ""}, 422, "webhook-url-not-allowed"),
    ],
)
async def test_bad_headers_are_refused_before_any_work_invariant_13(face, headers, status, code):
    answer = await face.post(**headers)
    assert (answer.status, answer.code) == (status, code)
    assert not face.ledger.receipts


async def test_a_webhook_url_may_lie_under_any_origin_that_the_contract_names(face):
    face.contract("shop", webhook_origins=("https://b.example:8443", "https://c.example"))
    await face.posted(webhook_url="https://b.example:8443/x")
    await face.posted(b'{"n":2}', webhook_url="https://c.example/y")
    answer = await face.post(b'{"n":3}', webhook_url="https://b.example/x")
    assert answer.code == "webhook-url-not-allowed"


async def test_storage_failure_is_503_and_the_outcome_unknown_invariant_1(face):
    face.ledger.broken = True
    answer = await face.post()
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "storage-unavailable", "2")


async def test_a_full_intake_is_503_before_the_body_is_read_invariant_13(face):
    face.intake.in_flight = face.settings.in_flight_max
    answer = await face.post(token="")
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "overloaded", "1")
    answer = await face.post(admit=False)
    assert answer.code == "overloaded"


async def test_the_status_says_where_the_receipt_stands(face):
    receipt_id = await face.posted()
    answer = await face.call("GET", f"/v1/receipts/{receipt_id}/status")
    assert answer.status == 200
    assert answer.json == {
        "id": receipt_id,
        "status": "PROCESSING",
        "type": "till",
        "accepted_at": "2027-01-15T08:00:00.250Z",
        "updated_at": "2027-01-15T08:00:00.250Z",
        "registrations": [
            {
                "registrar": "tax",
                "state": "PENDING",
                "attempts": 0,
                "reference": "",
                "reason": "",
                "updated_at": "2027-01-15T08:00:00.250Z",
            }
        ],
        "findings": [],
        "webhook": None,
    }
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["retry-after"] == "1"
    await face.confirm(receipt_id)
    answer = await face.call("GET", f"/v1/receipts/{receipt_id}/status")
    assert (answer.json["status"], answer.json["webhook"]["state"]) == ("COMPLETE", "OWED")
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize(("age_s", "retry_after"), [(9, "1"), (59, "5"), (3599, "30"), (86_400, "300")])
async def test_an_older_receipt_asks_for_more_patience(face, age_s, retry_after):
    receipt_id = await face.posted()
    face.now += age_s
    answer = await face.call("GET", f"/v1/receipts/{receipt_id}/status")
    assert answer.headers["retry-after"] == retry_after


async def test_the_status_has_a_strong_etag_that_changes_with_the_receipt_invariant_15(face):
    path = f"/v1/receipts/{await face.posted()}/status"
    first = await face.call("GET", path)
    etag = first.headers["etag"]
    assert etag.startswith('"')
    unchanged = await face.call("GET", path, if_none_match=f'"x", W/{etag}')
    assert (unchanged.status, unchanged.body, unchanged.headers["etag"]) == (304, b"", etag)
    await face.confirm(first.json["id"])
    changed = await face.call("GET", path, if_none_match=etag)
    assert (changed.status, changed.json["status"]) == (200, "COMPLETE")
    assert changed.headers["etag"] != etag


async def test_the_status_can_be_waited_for(face):
    receipt_id = await face.posted()
    polling = asyncio.create_task(face.call("GET", f"/v1/receipts/{receipt_id}/status", prefer="wait=60"))
    while not face.watch._waiting:
        await asyncio.sleep(0.001)
    await face.writer.apply("shop", receipt_id, Refused("tax", face.now, "unknown seller"))
    answer = await polling
    assert (answer.json["status"], answer.headers["preference-applied"]) == ("FAILED", "wait=5")
    assert answer.json["findings"][0]["code"] == "registrar:tax"


async def test_the_receipt_holds_its_canonical_form(face):
    receipt_id = await face.posted(b'{"total": 1.50}')
    answer = await face.call("GET", f"/v1/receipts/{receipt_id}")
    assert answer.json["receipt"] == {"total": 1.5}
    assert b'"receipt":{"total": 1.50}' in answer.body
    assert answer.json["document"]["bytes"] == 15
    assert (await face.call("GET", f"/v1/receipts/{receipt_id}", if_none_match="*")).status == 304


async def test_an_unmapped_receipt_has_no_canonical_form(face):
    refused = await face.post(b'{"bad":true}')
    answer = await face.call("GET", refused.json["instance"])
    assert (answer.json["receipt"], answer.json["status"]) == (None, "FAILED")


async def test_the_document_comes_back_byte_for_byte_invariant_9(face):
    body = ' {"name" : "Кав’ярня"}\r\n'.encode()
    receipt_id = await face.posted(body, content_type="application/vnd.shop+json; charset=utf-8")
    answer = await face.call("GET", f"/v1/receipts/{receipt_id}/document")
    assert answer.body == body
    assert answer.headers["content-type"] == "application/vnd.shop+json; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="{receipt_id}.json"'
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    assert answer.headers["repr-digest"] == f"sha-256=:{digest}:"
    again = await face.call("GET", f"/v1/receipts/{receipt_id}/document", if_none_match=answer.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    refused = await face.call("GET", f"/v1/receipts/{receipt_id}/document", accept="application/xml")
    assert (refused.status, refused.code) == (406, "not-acceptable")


@pytest.mark.parametrize("tail", ["", "/status", "/document"])
async def test_anothers_receipt_an_unknown_and_a_malformed_id_look_alike(face, tail):
    face.contract("other")
    receipt_id = await face.posted(token="other:rw")
    answers = [
        await face.call("GET", f"/v1/receipts/{unknown}{tail}", prefer="wait=1")
        for unknown in (receipt_id, "20260101-" + "0" * 24, "nonsense", "..%2F..", "%D9%A3")
    ]
    assert {(answer.status, answer.body) for answer in answers} == {(404, answers[0].body)}
    assert answers[0].code == "receipt-not-found"
