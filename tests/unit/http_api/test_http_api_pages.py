"""Pages of receipts and of webhook deliveries."""

from __future__ import annotations

import asyncio
import base64
import re

import orjson
import pytest

from receiptd.http.paging import LIMIT_MAX

HOUR = 3600.0


async def posted_each_hour(face, count, **headers):
    start, ids = face.now, []
    for number in range(count):
        face.now = start + number * HOUR
        body = orjson.dumps({"n": number, **headers})
        ids.append(await face.posted(body, **headers))
    face.now = start
    return sorted(ids)


def next_of(answer):
    return re.fullmatch(r'<(.+)>; rel="next"', answer.headers["link"])[1]


async def walk(face, target):
    pages = []
    while target:
        answer = await face.call("GET", target)
        assert answer.status == 200, answer.body
        pages.append([item["id"] for item in answer.json["receipts"]])
        assert (answer.json["next"] is None) == ("link" not in answer.headers)
        target = next_of(answer) if answer.json["next"] else ""
    return pages


async def test_pages_hold_every_receipt_once_and_in_order(face):
    ids = await posted_each_hour(face, 7)
    face.contract("other")
    await face.posted(token="other:rw")
    pages = await walk(face, "/v1/receipts?limit=3")
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [receipt_id for page in pages for receipt_id in page] == ids


async def test_filters_narrow_the_page_and_the_cursor_brings_them_along(face):
    await posted_each_hour(face, 6)
    wanted = await posted_each_hour(face, 6, receipt_type="kiosk")
    await face.confirm(wanted[0])
    window = "from=2027-01-15T09:30:00%2B01:00&to=2027-01-15T12:00:00.500+00:00"
    pages = await walk(face, f"/v1/receipts?{window}&type=kiosk&status=processing&limit=2")
    listed = [receipt_id for page in pages for receipt_id in page]
    assert len(listed) in {3, 4}
    for receipt_id in listed:
        submission = face.ledger.receipts[receipt_id].submission
        assert submission.type_id == "kiosk"
        assert 1_800_001_800 <= submission.accepted_at < 1_800_014_400.5
    complete = await walk(face, "/v1/receipts?status=COMPLETE")
    assert complete == [[wanted[0]]]
    assert await walk(face, "/v1/receipts?to=2027-01-15") == [[]]
    assert await walk(face, "/v1/receipts?to=1969-01-01") == [[]]


async def test_the_same_filters_may_stand_beside_the_cursor_and_others_may_not(face):
    await posted_each_hour(face, 3)
    first = await face.call("GET", "/v1/receipts?status=PROCESSING&limit=1")
    cursor = first.json["next"]
    assert (await face.call("GET", f"/v1/receipts?status=PROCESSING&cursor={cursor}")).status == 200
    refused = await face.call("GET", f"/v1/receipts?status=FAILED&cursor={cursor}")
    assert (refused.status, refused.code) == (400, "parameter-malformed")
    assert "'cursor'" in refused.json["detail"]


async def test_ndjson_has_a_receipt_a_line_and_the_next_page_in_its_link(face):
    ids = await posted_each_hour(face, 3)
    answer = await face.call("GET", "/v1/receipts?limit=2", accept="application/x-ndjson, application/json;q=0.5")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [orjson.loads(line)["id"] for line in answer.body.splitlines()] == ids[:2]
    assert answer.body.endswith(b"\n")
    last = await face.call("GET", next_of(answer), accept="application/x-ndjson")
    assert [orjson.loads(line)["id"] for line in last.body.splitlines()] == ids[2:]
    assert "link" not in last.headers
    assert (await face.call("GET", "/v1/receipts", accept="text/csv")).code == "not-acceptable"


def cursor_of(*content):
    return base64.urlsafe_b64encode(orjson.dumps(content)).decode().rstrip("=")


GOOD = (1, False, 0.0, 1e12, None, "", "20260101-" + "0" * 24)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("form=2026-01-01", "form"),
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=-1", "limit"),
        ("limit=%D9%A3", "limit"),
        ("limit=1&limit=2", "limit"),
        ("limit=%zz", "limit"),
        ("from=yesterday", "from"),
        ("from=2026-02-30", "from"),
        ("from=2026-01-01T00:00:00", "from"),
        ("to=20260101", "to"),
        ("from=2026-01-02&to=2026-01-01", "to"),
        ("status=DONE", "status"),
        ("type=", "type"),
        (f"type={'x' * 65}", "type"),
        ("cursor=", "cursor"),
        ("cursor=!", "cursor"),
        (f"cursor={'A' * 600}", "cursor"),
        (f"cursor={cursor_of(1, 2)}", "cursor"),
        (f"cursor={cursor_of(*GOOD, 1)}", "cursor"),
        (f"cursor={cursor_of(2, *GOOD[1:])}", "cursor"),
        (f"cursor={cursor_of(1, True, *GOOD[2:])}", "cursor"),
        (f"cursor={cursor_of(1, False, 2**63, 2**63, *GOOD[4:])}", "cursor"),
        (f"cursor={cursor_of(1, False, 5, 1, *GOOD[4:])}", "cursor"),
        (f"cursor={cursor_of(*GOOD[:4], 'DONE', *GOOD[5:])}", "cursor"),
        (f"cursor={cursor_of(*GOOD[:6], 'x')}", "cursor"),
        (f"cursor={cursor_of(*GOOD[:6], None)}", "cursor"),
    ],
)
async def test_a_wrong_parameter_is_refused_by_name(face, query, name):
    answer = await face.call("GET", f"/v1/receipts?{query}")
    assert answer.status == 400
    assert answer.code in {"parameter-unknown", "parameter-malformed"}
    assert f"'{name}'" in answer.json["detail"]


async def test_a_well_formed_cursor_is_taken(face):
    assert (await face.call("GET", f"/v1/receipts?cursor={cursor_of(*GOOD)}")).status == 200


async def test_one_page_of_a_client_at_a_time_and_so_many_rows_of_all_invariants_12_and_13(face):
    face.ledger.paging = asyncio.Event()
    for number in range(6):
        face.contract(f"c{number}")
    calls = [
        asyncio.create_task(face.call("GET", f"/v1/receipts?limit={LIMIT_MAX}", token=f"c{number}:r"))
        for number in range(5)
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    same = await face.call("GET", "/v1/receipts", token="c0:r")
    assert (same.status, same.code, same.headers["retry-after"]) == (429, "page-in-hand", "1")
    another = await face.call("GET", "/v1/receipts", token="c5:r")
    assert (another.status, another.code) == (503, "overloaded")
    face.ledger.paging.set()
    assert [(await call).status for call in calls] == [200] * 5
    assert (await face.call("GET", "/v1/receipts", token="c0:r")).status == 200


async def test_deliveries_are_listed_and_replayed_invariant_10(face):
    first, second = await posted_each_hour(face, 2)
    await face.confirm(first)
    page = await face.call("GET", "/v1/webhooks/deliveries?limit=1")
    assert page.json == {
        "deliveries": [
            {
                "receipt_id": first,
                "webhook_id": f"msg_{first}",
                "event": "receipt.complete",
                "url": "https://hooks.shop.example/r",
                "state": "OWED",
                "attempts": 0,
                "last_status": 0,
                "reason": "",
                "updated_at": "2027-01-15T08:00:00.250Z",
                "next_attempt_at": None,
            }
        ],
        "next": None,
    }
    version = face.ledger.receipts[first].version
    face.now += 60
    replayed = await face.call("POST", f"/v1/webhooks/deliveries/{first}/replay")
    assert (replayed.status, replayed.json["updated_at"]) == (202, "2027-01-15T08:01:00.250Z")
    assert face.ledger.receipts[first].version == version + 1
    refused = await face.call("POST", f"/v1/webhooks/deliveries/{second}/replay")
    assert (refused.status, refused.code) == (409, "no-webhook")


async def test_a_delivery_of_another_client_cannot_be_replayed(face):
    face.contract("other")
    theirs = await face.posted(token="other:rw")
    await face.confirm(theirs, "other")
    for receipt_id in (theirs, "20260101-" + "0" * 24, "nonsense"):
        answer = await face.call("POST", f"/v1/webhooks/deliveries/{receipt_id}/replay")
        assert (answer.status, answer.code) == (404, "receipt-not-found")


async def test_a_cursor_of_one_call_is_no_cursor_of_the_other(face):
    await posted_each_hour(face, 2)
    cursor = (await face.call("GET", "/v1/receipts?limit=1")).json["next"]
    assert (await face.call("GET", f"/v1/webhooks/deliveries?cursor={cursor}")).code == "parameter-malformed"
    assert (await face.call("GET", "/v1/webhooks/deliveries?status=FAILED")).code == "parameter-unknown"
