"""Receipts through the public face: posted, checked, answered, read back, and posted again."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from pathlib import Path

import pytest
from acceptance_tools import eventually

TYPES = Path(__file__).parents[2] / "receiptd" / "receipt_types"
VALID = {
    path: path.read_bytes() for path in sorted(TYPES.glob("*/samples/valid/*")) if path.suffix in (".json", ".xml")
}
CORPUS = Path(__file__).parents[3] / "shared" / "corpora" / "prro-check" / "valid"
BOTH = {"tax", "warehouse"}


def media_type(path: Path) -> str:
    return "application/json" if path.suffix == ".json" else "application/xml"


def sample_id(path: Path) -> str:
    return f"{path.parents[2].name}/{path.stem}"


# -- from the post to the end ------------------------------------------------------------------------------------------


async def test_a_receipt_is_accepted_and_then_complete(client, simulator, document):
    """Invariant 6: COMPLETE means that every registrar of the type confirmed."""
    status, headers, accepted = await client.post(document())
    assert status == 202
    assert accepted["status"] == "PROCESSING"
    assert headers["location"] == f"/v1/receipts/{accepted['id']}/status"
    assert int(headers["retry-after"]) >= 1

    ended = await client.status(accepted["id"], wait_s=20)
    assert ended["status"] == "COMPLETE"
    assert {one["registrar"]: one["state"] for one in ended["registrations"]} == dict.fromkeys(BOTH, "REGISTERED")
    held = {effect["registrar"]: effect for effect in simulator.effects(accepted["id"])}
    assert {one["registrar"]: one["reference"] for one in ended["registrations"]} == {
        name: effect["reference"] for name, effect in held.items()
    }


@pytest.mark.parametrize("path", VALID, ids=sample_id)
async def test_every_sample_goes_all_the_way_and_its_bytes_come_back(client, simulator, path: Path):
    """Invariant 9, in UTF-8, UTF-16 and windows-1251."""
    body, content_type = VALID[path], media_type(path)
    status, _, ended = await client.post(body, content_type, Prefer="wait=20")
    assert (status, ended["status"], ended["type"]) == (200, "COMPLETE", path.parents[2].name)

    status, headers, stored = await client.request("GET", f"/v1/receipts/{ended['id']}/document")
    assert (status, stored, headers["content-type"]) == (200, body, content_type)
    sha256 = hashlib.sha256(body)
    assert headers["repr-digest"] == f"sha-256=:{base64.b64encode(sha256.digest()).decode()}:"
    assert headers["etag"] == f'"{sha256.hexdigest()}"'

    sent = {effect["registrar"]: effect["digests"] for effect in simulator.effects(ended["id"])}
    assert sent["tax"] == [sha256.hexdigest()]
    _, _, whole = await client.json("GET", f"/v1/receipts/{ended['id']}")
    assert whole["document"] == {"content_type": content_type, "sha256": sha256.hexdigest(), "bytes": len(body)}
    assert whole["receipt"]["lines"] is not None


def test_the_samples_cover_the_encodings():
    assert any(body.startswith(b"\xff\xfe") for body in VALID.values())
    assert any(b"windows-1251" in body for body in VALID.values())


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpora are not beside this repository")
async def test_the_fiscal_documents_of_the_corpus_pass(client):
    for path in sorted(CORPUS.glob("*-CHECK.*.xml")):
        status, _, ended = await client.post(path.read_bytes(), "application/xml", Prefer="wait=20")
        assert (status, ended["status"], ended["type"]) == (200, "COMPLETE", "prro-check"), path.name


async def test_a_charset_beside_the_media_type_is_kept(client, document):
    _, _, ended = await client.post(document(), "application/json; charset=utf-8", Prefer="wait=20")
    _, headers, _ = await client.request("GET", f"/v1/receipts/{ended['id']}/document")
    assert headers["content-type"] == "application/json; charset=utf-8"


async def test_a_registrar_that_refuses_fails_the_receipt(client, document):
    _, _, accepted = await client.post(document(f"{client.client_id}-REJECT-TAX"))
    ended = await client.status(accepted["id"], wait_s=20)
    assert ended["status"] == "FAILED"
    assert [one["code"] for one in ended["findings"]] == ["registrar:tax"]
    assert {one["registrar"]: one["state"] for one in ended["registrations"]}["tax"] == "REJECTED"


# -- invalid documents -------------------------------------------------------------------------------------------------


async def test_an_invalid_document_is_answered_with_findings_that_stay(client, simulator, document):
    """Invariant 3: nothing answered 4xx is ever registered."""
    wrong = json.loads(document())
    wrong["total"] = 1
    status, headers, problem = await client.post(json.dumps(wrong).encode(), Idempotency_Key="wrong")
    assert (status, headers["content-type"]) == (422, "application/problem+json")
    assert problem["code"] == "receipt-invalid"
    assert "rule:total-equals-lines" in [one["code"] for one in problem["findings"]]

    stored = await client.status(problem["id"])
    assert (stored["status"], stored["registrations"]) == ("FAILED", [])
    assert stored["findings"] == problem["findings"]
    _, _, body = await client.request("GET", f"/v1/receipts/{problem['id']}/document")
    assert json.loads(body) == wrong

    again = await client.post(json.dumps(wrong).encode(), Idempotency_Key="wrong")
    assert (again[0], again[2]["id"], again[1]["idempotent-replayed"]) == (422, problem["id"], "true")
    assert await client.status((await client.post(document(), Prefer="wait=20"))[2]["id"])  # later work has ended
    assert simulator.effects(problem["id"]) == []


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"", "application/json", 400, "document-empty"),
        (b'{"type": "retail-receipt"', "application/json", 400, "json-malformed"),
        (b"<Receipt>", "application/xml", 400, "xml-malformed"),
        (b'{"type": "shopping-list"}', "application/json", 422, "unknown-receipt-type"),
        (b"{}", "image/png", 415, "media-type-unsupported"),
        (b"{}", "no media type", 415, "content-type-malformed"),
    ],
)
async def test_what_is_no_receipt_is_refused_and_not_stored(client, body, content_type, status, code):
    answered, headers, problem = await client.post(body, content_type)
    assert (answered, problem["code"]) == (status, code)
    assert headers["content-type"] == "application/problem+json"
    assert "id" not in problem
    _, _, page = await client.json("GET", "/v1/receipts")
    assert page["receipts"] == []


# -- waiting, and reading ----------------------------------------------------------------------------------------------


async def test_a_wait_that_is_over_too_early_is_a_202(client, simulator, document):
    simulator.turn(callback_delay_s=3)
    status, headers, accepted = await client.post(document(), Prefer="wait=1")
    assert (status, headers["preference-applied"]) == (202, "wait=1")
    status, headers, standing = await client.json(
        "GET", f"/v1/receipts/{accepted['id']}/status", headers={"Prefer": "wait=1"}
    )
    assert (status, standing["status"], headers["preference-applied"]) == (200, "PROCESSING", "wait=1")
    assert (await client.status(accepted["id"], wait_s=20))["status"] == "COMPLETE"


async def test_a_long_poll_is_answered_when_the_receipt_ends(client, simulator, document):
    simulator.turn(callback_delay_s=1)
    _, _, accepted = await client.post(document())
    started = asyncio.get_running_loop().time()
    pollers = [client.status(accepted["id"], wait_s=25) for _ in range(5)]
    assert {one["status"] for one in await asyncio.gather(*pollers)} == {"COMPLETE"}
    assert asyncio.get_running_loop().time() - started < 20


async def test_validators_save_the_body(client, document):
    _, _, ended = await client.post(document(), Prefer="wait=20")
    for what in ("", "/status", "/document"):
        path = f"/v1/receipts/{ended['id']}{what}"
        _, headers, body = await client.request("GET", path)
        for known in (headers["etag"], f'"other", W/{headers["etag"]}', "*"):
            status, again, nothing = await client.request("GET", path, headers={"If-None-Match": known})
            assert (status, again["etag"], nothing) == (304, headers["etag"], b""), (path, known)
        status, _, again = await client.request("GET", path, headers={"If-None-Match": '"other"'})
        assert (status, again) == (200, body)


async def test_the_validator_changes_with_the_state(client, simulator, document):
    simulator.turn(callback_delay_s=1)
    _, _, accepted = await client.post(document())
    path = f"/v1/receipts/{accepted['id']}/status"
    _, early, _ = await client.json("GET", path)
    await client.status(accepted["id"], wait_s=20)
    status, late, ended = await client.json("GET", path, headers={"If-None-Match": early["etag"]})
    assert (status, ended["status"]) == (200, "COMPLETE")
    assert late["etag"] != early["etag"]
    assert "retry-after" in early
    assert "retry-after" not in late


async def test_a_status_sees_what_was_just_acknowledged(client, document):
    """Invariant 15: a status read sees the last acknowledged write."""

    async def post_and_look() -> None:
        status, _, accepted = await client.post(document())
        assert status == 202
        assert (await client.status(accepted["id"]))["id"] == accepted["id"]

    await asyncio.gather(*[post_and_look() for _ in range(30)])


async def test_pages_hold_each_receipt_once(client, document):
    posted = [await client.post(document(), Prefer="wait=20") for _ in range(5)]
    wrong = json.loads(document())
    wrong["total"] = 1
    _, _, invalid = await client.post(json.dumps(wrong).encode())
    ids = {answer["id"] for _, _, answer in posted} | {invalid["id"]}

    seen, path = [], "/v1/receipts?limit=2"
    while path:
        status, headers, page = await client.json("GET", path)
        assert status == 200
        assert len(page["receipts"]) <= 2
        seen += [one["id"] for one in page["receipts"]]
        path = page["next"] and f"/v1/receipts?limit=2&cursor={page['next']}"
        assert ("link" in headers) == bool(path)
    assert len(seen) == len(ids)
    assert set(seen) == ids

    _, _, failed = await client.json("GET", "/v1/receipts?status=FAILED&type=retail-receipt")
    assert [one["id"] for one in failed["receipts"]] == [invalid["id"]]
    _, headers, lines = await client.request(
        "GET", "/v1/receipts?status=COMPLETE", headers={"Accept": "application/x-ndjson"}
    )
    assert headers["content-type"] == "application/x-ndjson"
    assert {json.loads(line)["id"] for line in lines.splitlines()} == ids - {invalid["id"]}


async def test_unknown_and_malformed_ids_look_alike(client):
    for receipt_id in ("20260131-0123456789abcdef01234567", "nonsense", "20260131-0123456789ABCDEF01234567"):
        for what in ("", "/status", "/document"):
            status, _, problem = await client.json("GET", f"/v1/receipts/{receipt_id}{what}")
            assert (status, problem["code"]) == (404, "receipt-not-found")


# -- idempotency (invariant 4) -----------------------------------------------------------------------------------------


async def test_the_same_key_and_body_replay_and_another_body_is_refused(client, document):
    body = document()
    first = await client.post(body, Idempotency_Key='"order-1"')
    assert first[0] == 202
    assert "idempotent-replayed" not in first[1]
    again = await client.post(body, Idempotency_Key="order-1")  # the bare form names the same key
    assert (again[0], again[1]["idempotent-replayed"]) == (202, "true")
    assert again[2] == first[2]

    await client.status(first[2]["id"], wait_s=20)
    assert (await client.post(body, Idempotency_Key="order-1"))[2] == first[2]
    other = await client.post(document(), Idempotency_Key="order-1")
    assert (other[0], other[2]["code"]) == (422, "idempotency-key-reused")
    assert (await client.status(first[2]["id"]))["status"] == "COMPLETE"


async def test_without_a_key_the_document_is_the_key(client, document):
    body = document()
    first, again, other = await client.post(body), await client.post(body), await client.post(body + b"\n")
    assert again[2]["id"] == first[2]["id"]
    assert again[1]["idempotent-replayed"] == "true"
    assert other[2]["id"] != first[2]["id"]


async def test_fifty_at_once_are_one_receipt_and_one_effect_per_registrar(client, simulator, document):
    """Invariants 4 and 5."""
    body = document()
    answers = await asyncio.gather(*[client.post(body, Idempotency_Key="rush") for _ in range(50)])
    assert {status for status, _, _ in answers} == {202}
    assert len({answer["id"] for _, _, answer in answers}) == 1
    assert sum("idempotent-replayed" not in headers for _, headers, _ in answers) == 1

    receipt_id = answers[0][2]["id"]
    assert (await client.status(receipt_id, wait_s=20))["status"] == "COMPLETE"
    held = simulator.effects(receipt_id)
    assert {(one["registrar"], one["effects"]) for one in held} == {("tax", 1), ("warehouse", 1)}
    assert all(one["receipt_ids"] == [receipt_id] for one in held)
    number = json.loads(body)["number"]
    assert len([one for one in simulator.effects() if one["number"] == number]) == 2


async def test_fifty_bodies_under_one_key_are_one_receipt(client, document):
    answers = await asyncio.gather(*[client.post(document(), Idempotency_Key="race") for _ in range(50)])
    assert sorted(status for status, _, _ in answers) == [202, *[422] * 49]


async def test_a_key_belongs_to_its_client(daemon, client, document):
    body = document()
    _, _, mine = await client.post(body, Idempotency_Key="shared")
    async with daemon.client(await daemon.contract(f"{client.client_id}-other")) as other:
        status, headers, theirs = await other.post(body, Idempotency_Key="shared")
        assert status == 202
        assert theirs["id"] != mine["id"]
        assert "idempotent-replayed" not in headers


@pytest.mark.parametrize("key", ["", '"', '"a" b', "a,b", "x" * 256, '"' + "x" * 256 + '"', "naïve"])
async def test_a_malformed_key_is_refused(client, document, key):
    status, _, problem = await client.post(document(), Idempotency_Key=key)
    assert (status, problem["code"]) == (400, "idempotency-key-malformed")


async def test_effects_stay_one_when_a_client_retries_for_long(client, simulator, document):
    """Invariant 5: one idempotency key towards each registrar, whatever the client repeats."""
    body = document()
    _, _, first = await client.post(body, Idempotency_Key="retry")
    for _ in range(5):
        await client.post(body, Idempotency_Key="retry")

    async def ended() -> bool:
        return (await client.status(first["id"]))["status"] == "COMPLETE"

    await eventually(ended)
    assert {one["key"] for one in simulator.effects() if one["number"] == json.loads(body)["number"]} == {first["id"]}
