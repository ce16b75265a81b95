"""Registrars through the public face: every way in which they answer, misbehave, and come back."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import shutil
import time
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from acceptance_tools import Customs, eventually

TYPES = Path(__file__).parents[2] / "receiptd" / "receipt_types"


def copied(settings: Path, directory: Path, replacements: dict[str, tuple[str, str]]) -> Path:
    """Copy the settings, with texts replaced in the registrars' files; return the copy's settings file."""
    registrars = Path(shutil.copytree(settings.parent / "registrars", directory / "registrars"))
    for name, (old, new) in replacements.items():
        for file in registrars.glob("*.toml" if name == "both" else f"{name}.toml"):
            assert old in file.read_text()
            file.write_text(file.read_text().replace(old, new))
    return Path(shutil.copy(settings, directory))


@pytest.fixture(scope="module")
def daemon_settings(settings: Path, tmp_path_factory) -> Path:
    """Registrars that are not waited for as long as usual."""
    directory = tmp_path_factory.mktemp("impatient")
    file = copied(settings, directory, {"both": ("timeout_s = 2\n", "timeout_s = 1\n")})
    for one in (directory / "registrars").glob("*.toml"):
        one.write_text(one.read_text().replace("deadline_s = 2\n", "deadline_s = 0.7\n"))
    file.write_text(file.read_text().replace("[recovery]\ndelay_s = 2\n", "[recovery]\ndelay_s = 0.3\n"))
    return file


@pytest.fixture
def reconfigured(daemon_settings: Path, tmp_path: Path):
    """Copy the settings with ``tax=(old, new)``, ``warehouse=…`` or ``both=…`` in the registrars' files."""

    def copy(**replacements: tuple[str, str]) -> Path:
        (tmp_path / "config").mkdir()
        return copied(daemon_settings, tmp_path / "config", replacements)

    return copy


async def complete(client, body: bytes, wait_s: int = 25) -> dict:
    """Post a receipt and return its status once it is COMPLETE."""
    _, _, accepted = await client.post(body)
    return await completed(client, accepted["id"], wait_s)


async def completed(client, receipt_id: str, wait_s: int = 25) -> dict:
    ended = await client.status(receipt_id, wait_s)
    assert ended["status"] == "COMPLETE", ended
    return ended


def registrations(status: dict) -> dict[str, dict]:
    return {one["registrar"]: one for one in status["registrations"]}


def assert_one_effect_each(simulator, receipt_id: str, registrars=("tax", "warehouse")) -> None:
    """Invariant 5: each registrar holds the receipt once, under its one key."""
    held = simulator.effects(receipt_id)
    assert sorted(one["registrar"] for one in held) == sorted(registrars)
    assert all((one["effects"], one["receipt_ids"], one["key"]) == (1, [receipt_id], receipt_id) for one in held)
    assert all(len(one["digests"]) == 1 for one in held)


# -- ways to answer ----------------------------------------------------------------------------------------------------


async def test_a_registrar_may_answer_at_once(client, simulator, document):
    simulator.turn(answers="synchronous")
    ended = await complete(client, document())
    assert_one_effect_each(simulator, ended["id"])


@pytest.mark.parametrize(
    "fault",
    ["error", "throttle", "timeout_before_effect", "timeout_after_effect", "garbage", "huge", "reset"],
)
async def test_a_fault_of_the_answer_converges(client, simulator, document, fault):
    """Invariant 5: a call whose outcome is unknown is made again under the same key, and has its effect once."""
    for registrar in ("tax", "warehouse"):
        simulator.control({"registrars": {registrar: {f"{fault}_rate": 1, "hang_s": 2, "never_callback_rate": 1}}})
    _, _, accepted = await client.post(document())

    async def tried() -> bool:
        return all(one["attempts"] >= 1 for one in (await client.status(accepted["id"]))["registrations"])

    await eventually(tried)
    assert (await client.status(accepted["id"]))["status"] == "PROCESSING"
    simulator.turn(**{f"{fault}_rate": 0, "never_callback_rate": 0})
    await completed(client, accepted["id"])
    assert_one_effect_each(simulator, accepted["id"])


async def test_retry_after_is_honoured(client, simulator, document):
    simulator.turn(throttle_rate=1, retry_after_s=2)
    _, _, accepted = await client.post(document())

    async def tried() -> bool:
        return all(one["attempts"] for one in (await client.status(accepted["id"]))["registrations"])

    await eventually(tried)
    tried_at = time.time()
    simulator.turn(throttle_rate=0)
    await completed(client, accepted["id"])
    assert min(one["first_seen"] for one in simulator.effects(accepted["id"])) > tried_at + 1.5  # 0.1 s without it


# -- callbacks (invariant 8) -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "knobs",
    [
        {"duplicate_callback_rate": 1},
        {"early_callback_rate": 1},
        {"reorder_callback_rate": 1, "reorder_delay_s": 0.3},
        {"early_callback_rate": 1, "reset_rate": 1},
        {"forged_callback_rate": 1},
        {"contradict_callback_rate": 1},
    ],
    ids="+".join,
)
async def test_callbacks_may_misbehave(client, simulator, document, knobs):
    simulator.turn(**knobs)
    ended = await complete(client, document())

    def reported() -> bool:
        held = simulator.effects(ended["id"])
        wanted = 2 if "duplicate_callback_rate" in knobs or "contradict_callback_rate" in knobs else 1
        return all(one["callbacks_taken"] >= wanted for one in held)

    await eventually(reported)
    assert (await client.status(ended["id"]))["status"] == "COMPLETE"
    assert_one_effect_each(simulator, ended["id"])
    assert all((one["forged_taken"], one["callbacks_refused"]) == (0, 0) for one in simulator.effects(ended["id"]))


async def test_a_callback_that_never_comes_is_asked_for_at_its_deadline(client, simulator, document):
    simulator.turn(never_callback_rate=1)
    _, _, accepted = await client.post(document())
    await asyncio.gather(*[completed(client, accepted["id"]) for _ in range(2)])
    held = simulator.effects(accepted["id"])
    assert {(one["callbacks_taken"], one["requests"]) for one in held} == {(0, 1)}  # asked, not submitted again


async def test_without_a_place_to_ask_the_submission_is_repeated(start_daemon, simulator, reconfigured, document):
    simulator.turn(never_callback_rate=1)
    daemon = start_daemon(reconfigured(both=("status_url", "#")))
    async with daemon.client(await daemon.contract("shop")) as client:
        _, _, accepted = await client.post(document())
        await eventually(lambda: any(one["requests"] >= 2 for one in simulator.effects(accepted["id"])))
        simulator.turn(never_callback_rate=0)
        await completed(client, accepted["id"])
    assert_one_effect_each(simulator, accepted["id"])


SECRET = base64.b64encode(b"customs-callback-secret-of-the-tests").decode()
CUSTOMS = """
url = "{url}"
answers = "callback"
sends = "canonical"
timeout_s = 2

[auth]
type = "header"
header = "X-Api-Key"
token = "env:CUSTOMS_KEY"

[callback]
secrets = ["{secret}"]
deadline_s = 60
"""


@pytest.fixture
async def customs():
    """A third registrar's server."""
    serving = Customs()
    await serving.start()
    yield serving
    await serving.stop()


@pytest.fixture
async def border(start_daemon, reconfigured, customs, tmp_path):
    """A daemon with a third registrar, and a receipt type that asks for it alone: two files, and no code."""
    settings = reconfigured()
    (settings.parent / "registrars" / "customs.toml").write_text(CUSTOMS.format(url=customs.url, secret=SECRET))
    folder = Path(shutil.copytree(TYPES / "retail-receipt", tmp_path / "types" / "export-receipt"))
    for file in (folder / "type.yaml", folder / "schema.json"):
        text = file.read_text().replace("[tax, warehouse]", "[customs]").replace("retail-receipt", "export-receipt")
        file.write_text(text)
    daemon = start_daemon(
        settings, CUSTOMS_KEY="k3y-of-customs", RECEIPTD_RECEIPT_TYPES__ROOTS=json.dumps([str(tmp_path / "types")])
    )
    async with daemon.client(await daemon.contract(f"border-{uuid4().hex[:8]}")) as client:
        yield client


def export(document) -> bytes:
    return document().replace(b"retail-receipt", b"export-receipt")


def signed(body: bytes, secret: str = SECRET, at: float | None = None) -> dict[str, str]:
    """Sign as Standard Webhooks 1.0 asks, without the code under test."""
    stamp = str(int(time.time() if at is None else at))
    mac = hmac.digest(base64.b64decode(secret), b"cb_1." + stamp.encode() + b"." + body, "sha256")
    return {
        "Content-Type": "application/json",
        "webhook-id": "cb_1",
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


def verdict(status: str = "registered", **more: str) -> bytes:
    return json.dumps({"status": status, "reference": "c-1", **more}).encode()


async def test_a_third_registrar_is_a_third_file(border, customs, document):
    body = export(document)
    _, _, accepted = await border.post(body)
    assert accepted["type"] == "export-receipt"
    call = await asyncio.wait_for(customs.calls.get(), 15)
    assert call.headers["Idempotency-Key"] == call.headers["Receipt-Id"] == accepted["id"]
    assert call.headers["X-Api-Key"] == "k3y-of-customs"
    assert call.headers["Content-Type"] == "application/json"
    assert call.headers["Receipt-Type"].startswith("export-receipt@")

    path = urlsplit(call.headers["Callback-Url"]).path
    status, _, result = await border.json("POST", path, body=verdict(), headers=signed(verdict()))
    assert (status, result) == (200, {"result": "applied"})
    ended = await completed(border, accepted["id"])
    assert registrations(ended)["customs"]["reference"] == "c-1"


async def test_callbacks_are_authenticated_and_matched(border, customs, document):
    """Invariant 8, and 15: what a callback was told is what the next status says."""
    _, _, accepted = await border.post(export(document))
    path = urlsplit((await asyncio.wait_for(customs.calls.get(), 15)).headers["Callback-Url"]).path
    other = base64.b64encode(b"another-secret-of-nobody-at-all!").decode()
    token = path.rpartition("/")[2]
    flipped = ("1" if token[0] == "0" else "0") + token[1:]
    good = verdict(receipt_id=accepted["id"])

    async def call(path: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        status, _, answer = await border.json("POST", path, body=body, headers=headers)
        return status, answer.get("result") or answer["code"]

    for headers in (
        {},
        signed(good, other),
        signed(verdict("rejected")),
        signed(good, at=time.time() - 3600),
        signed(good, at=time.time() + 3600),
        {**signed(good), "webhook-id": "cb_2"},
        {**signed(good), "webhook-signature": "v1,"},
        {**signed(good), "webhook-signature": "v2," + signed(good)["webhook-signature"][3:]},
    ):
        assert await call(path, good, headers) == (401, "callback-signature")
    for wrong in (
        f"/v1/callbacks/customs/{flipped}",
        f"/v1/callbacks/customs/{token[:-2]}",
        "/v1/callbacks/customs/x",
        f"/v1/callbacks/tax/{token}",
        f"/v1/callbacks/nobody/{token}",
    ):
        assert await call(wrong, good, signed(good)) == (404, "callback-unknown")
    for malformed in (b"", b"{", b"[]", b'"registered"', verdict("perhaps"), b'{"status": ["registered"]}'):
        assert await call(path, malformed, signed(malformed)) == (400, "callback-malformed")
    elsewhere = verdict(receipt_id="20260101-0123456789abcdef01234567")
    assert await call(path, elsewhere, signed(elsewhere)) == (400, "callback-mismatch")
    assert (await border.status(accepted["id"]))["status"] == "PROCESSING"

    assert await call(path, good, signed(good)) == (200, "applied")
    assert (await border.status(accepted["id"]))["status"] == "COMPLETE"
    assert await call(path, good, signed(good)) == (200, "duplicate")
    contradiction = verdict("rejected")
    assert await call(path, contradiction, signed(contradiction)) == (200, "ignored")
    assert (await border.status(accepted["id"]))["status"] == "COMPLETE"


async def test_fifty_callbacks_at_once_are_one(border, customs, document):
    """Invariant 8: exactly one of them is the first."""
    _, _, accepted = await border.post(export(document))
    path = urlsplit((await asyncio.wait_for(customs.calls.get(), 15)).headers["Callback-Url"]).path
    yes, no = verdict(), verdict("rejected")
    bodies = [yes, no] * 25
    answers = await asyncio.gather(*[border.json("POST", path, body=body, headers=signed(body)) for body in bodies])
    state = (await border.status(accepted["id"]))["status"]
    wanted = yes if state == "COMPLETE" else no
    told = [(body is wanted, answer["result"]) for body, (_, _, answer) in zip(bodies, answers, strict=True)]
    assert {status for status, _, _ in answers} == {200}
    assert all((result == "ignored") != agrees for agrees, result in told)
    assert sum(result == "applied" for _, result in told) == 1


async def test_a_refusal_is_final(border, customs, document):
    for status in (400, 422):
        customs.status, customs.answer = status, {"reason": f"not at this border ({status})"}
        _, _, accepted = await border.post(export(document))
        ended = await border.status(accepted["id"], wait_s=20)
        assert ended["status"] == "FAILED"
        assert registrations(ended)["customs"]["reason"] == f"not at this border ({status})"
    assert customs.calls.qsize() == 2


# -- limits, outages, slow ones ----------------------------------------------------------------------------------------


async def test_a_registrars_rate_is_kept(start_daemon, simulator, reconfigured, document):
    daemon = start_daemon(reconfigured(tax=("timeout_s = 1\n", "timeout_s = 1\nrate_per_s = 5\n")))
    async with daemon.client(await daemon.contract("shop")) as client:
        ids = [answer["id"] for _, _, answer in await asyncio.gather(*[client.post(document()) for _ in range(12)])]
        await asyncio.gather(*[completed(client, one) for one in ids])
    seen = sorted(one["first_seen"] for one in simulator.effects() if one["key"] in ids and one["registrar"] == "tax")
    assert len(seen) == 12
    assert seen[-1] - seen[0] >= 1.3  # five at once, then five a second


async def test_an_outage_opens_the_circuit_which_closes_by_itself(start_daemon, simulator, reconfigured, document):
    """Everything is COMPLETE afterwards, nobody had to do anything, and each effect is one (invariants 2 and 5)."""
    daemon = start_daemon(
        reconfigured(both=("[retry]\n", "[breaker]\nfailures = 5\nopen_s = 0.3\nopen_max_s = 1\n\n[retry]\n"))
    )
    async with daemon.client(await daemon.contract("shop")) as client:

        async def circuits() -> set[str]:
            _, _, ready = await client.json("GET", "/readyz")
            return {state for name, state in ready["checks"].items() if name.startswith("registrar.")}

        simulator.turn(down=True, retry_after_s=0)
        ids = [answer["id"] for _, _, answer in await asyncio.gather(*[client.post(document()) for _ in range(60)])]

        async def open_() -> bool:
            return "closed" not in await circuits()

        await eventually(open_)
        assert (await client.json("GET", "/readyz"))[0] == 200  # a registrar's outage is not ours
        late = await client.post(document())  # taken in all the same
        assert late[0] == 202
        simulator.turn(down=False)
        for receipt_id in (*ids, late[2]["id"]):
            await completed(client, receipt_id)
            assert_one_effect_each(simulator, receipt_id)

        async def closed() -> bool:
            return await circuits() == {"closed"}

        await eventually(closed)


async def test_a_slow_registrar_does_not_stall_the_other(start_daemon, simulator, reconfigured, document):
    """Invariant 12: the warehouse hangs with more receipts than it has workers; tax goes on."""
    daemon = start_daemon(reconfigured(both=("timeout_s = 1\n", "timeout_s = 1\nconcurrency = 4\n")))
    simulator.control({"registrars": {"warehouse": {"timeout_before_effect_rate": 1, "hang_s": 30}}})
    async with daemon.client(await daemon.contract("shop")) as client:
        ids = [answer["id"] for _, _, answer in await asyncio.gather(*[client.post(document()) for _ in range(20)])]

        async def tax_is_done() -> bool:
            standing = [registrations(await client.status(one)) for one in ids]
            return all(one["tax"]["state"] == "REGISTERED" for one in standing)

        await eventually(tax_is_done)
        held = {one["key"]: one for one in simulator.effects() if one["key"] in ids}
        took = [one["verdict_taken_at"] - one["first_seen"] for one in held.values() if one["registrar"] == "tax"]
        assert max(took) < 2
        simulator.turn(timeout_before_effect_rate=0)
        for receipt_id in ids:
            await completed(client, receipt_id)
