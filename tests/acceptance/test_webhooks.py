"""Webhooks through the public face, received by an endpoint that verifies with the public ``standardwebhooks``."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import standardwebhooks
from acceptance_tools import eventually
from aiohttp import web

SCHEDULE_S = [0.4, 0.8]


@pytest.fixture(scope="module")
def daemon_settings(settings: Path, tmp_path_factory) -> Path:
    """Settings with a schedule that a test can wait for."""
    directory = tmp_path_factory.mktemp("webhooks")
    shutil.copytree(settings.parent / "registrars", directory / "registrars")
    file = Path(shutil.copy(settings, directory))
    text = file.read_text()
    assert "schedule_s = [1, 5, 30]" in text
    text = text.replace("schedule_s = [1, 5, 30]", f"schedule_s = {SCHEDULE_S}\ntimeout_s = 2")
    file.write_text(text.replace("delay_s = 2", "delay_s = 0.5"))
    return file


@dataclass(frozen=True)
class Attempt:
    """One request that came, and when (monotonic seconds)."""

    at: float
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict:
        return json.loads(self.body)

    def verify(self, *secrets: str) -> None:
        """Hold it against each secret, as a client would; raises when one does not fit."""
        for secret in secrets:
            standardwebhooks.Webhook(secret).verify(self.body, self.headers)


class Hooks:
    """An endpoint that answers what ``script`` gives, attempt by attempt; the last entry stays."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.script: list[Callable[[], web.Response] | web.Response] = [web.Response(status=204)]
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/hooks"

    async def stop(self) -> None:
        await self._runner.cleanup()

    def answers(self, *statuses: int, **headers: str) -> None:
        """Answer with these statuses in turn; ``headers`` go with each that is no success."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.script = [
            lambda status=status: web.Response(status=status, headers=named if status >= 300 else {})
            for status in statuses
        ]

    async def came(self, count: int = 1, timeout_s: float = 15.0) -> list[Attempt]:
        await eventually(lambda: len(self.attempts) >= count, timeout_s)
        return self.attempts

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.attempts.append(Attempt(time.monotonic(), request.path, dict(request.headers), body))
        entry = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        answer = entry() if callable(entry) else entry
        return await answer if asyncio.iscoroutine(answer) else answer


@pytest.fixture
async def hooks():
    """The client's endpoint."""
    serving = Hooks()
    await serving.start()
    yield serving
    await serving.stop()


@pytest.fixture
async def shop(daemon, simulator, hooks):
    """A client with that endpoint, and its webhook secret."""
    credentials = await daemon.contract(f"shop-{uuid4().hex[:12]}", webhook_url=hooks.url)
    async with daemon.client(credentials) as client:
        client.webhook_secret = credentials.webhook_secret
        yield client


async def deliveries(client) -> dict[str, dict]:
    status, _, page = await client.json("GET", "/v1/webhooks/deliveries")
    assert status == 200
    return {one["receipt_id"]: one for one in page["deliveries"]}


async def delivery(client, receipt_id: str, *states: str, timeout_s: float = 15.0) -> dict:
    """Return the delivery of a receipt once it is in one of ``states``."""

    async def found() -> dict | None:
        one = (await deliveries(client)).get(receipt_id)
        return one if one is not None and one["state"] in states else None

    return await eventually(found, timeout_s)


# -- what comes --------------------------------------------------------------------------------------------------------


async def test_a_receipts_end_is_told_and_verifies(shop, hooks, document):
    """Invariant 10."""
    _, _, ended = await shop.post(document(), Prefer="wait=20")
    (attempt,) = await hooks.came()
    attempt.verify(shop.webhook_secret)
    assert attempt.headers["webhook-id"] == f"msg_{ended['id']}"
    assert abs(int(attempt.headers["webhook-timestamp"]) - time.time()) < 30
    assert attempt.headers["Content-Type"] == "application/json"
    event = attempt.event
    assert (event["type"], event["data"]["receipt_id"], event["data"]["state"]) == (
        "receipt.complete",
        ended["id"],
        "COMPLETE",
    )
    assert {one["registrar"]: one["reference"] for one in event["data"]["registrations"]} == {
        one["registrar"]: one["reference"] for one in ended["registrations"]
    }
    told = await delivery(shop, ended["id"], "DELIVERED")
    assert (told["attempts"], told["last_status"], told["url"]) == (1, 204, hooks.url)
    assert (await shop.status(ended["id"]))["webhook"]["state"] == "DELIVERED"


async def test_a_failure_is_told_with_its_findings(shop, hooks, document):
    await shop.post(document(f"{uuid4().hex}-REJECT-TAX"))
    (attempt,) = await hooks.came()
    attempt.verify(shop.webhook_secret)
    assert (attempt.event["type"], attempt.event["data"]["state"]) == ("receipt.failed", "FAILED")
    assert [one["code"] for one in attempt.event["data"]["findings"]] == ["registrar:tax"]


async def test_each_of_many_comes_at_least_once(shop, hooks, document):
    """Invariant 10, for more at once than one client's share of the workers."""
    answers = await asyncio.gather(*[shop.post(document()) for _ in range(60)])
    ids = {f"msg_{answer['id']}" for _, _, answer in answers}
    await eventually(lambda: {one.headers["webhook-id"] for one in hooks.attempts} == ids)
    for attempt in hooks.attempts:
        attempt.verify(shop.webhook_secret)


async def test_a_document_that_does_not_pass_owes_no_webhook(shop, hooks, document):
    wrong = {**json.loads(document()), "total": 1}
    status, _, problem = await shop.post(json.dumps(wrong).encode())
    assert status == 422
    _, _, ended = await shop.post(document(), Prefer="wait=20")
    await hooks.came()
    assert {one.headers["webhook-id"] for one in hooks.attempts} == {f"msg_{ended['id']}"}
    assert (await shop.status(problem["id"]))["webhook"] is None
    status, _, refused = await shop.json("POST", f"/v1/webhooks/deliveries/{problem['id']}/replay")
    assert (status, refused["code"]) == (409, "no-webhook")


# -- again -------------------------------------------------------------------------------------------------------------


async def test_a_failing_endpoint_is_tried_again_by_the_schedule(shop, hooks, document):
    """Invariant 10: a stable webhook-id, a fresh timestamp, a valid signature."""
    hooks.answers(500, 503, 204)
    _, _, ended = await shop.post(document(), Prefer="wait=20")
    first, second, third = await hooks.came(3)
    for attempt in hooks.attempts:
        attempt.verify(shop.webhook_secret)
    assert {one.headers["webhook-id"] for one in hooks.attempts} == {f"msg_{ended['id']}"}
    assert {one.body for one in hooks.attempts} == {first.body}
    assert second.at - first.at >= SCHEDULE_S[0] * 0.95
    assert third.at - second.at >= SCHEDULE_S[1] * 0.95
    assert int(third.headers["webhook-timestamp"]) > int(first.headers["webhook-timestamp"])
    assert (await delivery(shop, ended["id"], "DELIVERED"))["attempts"] == 3


async def test_giving_up_is_visible_and_can_be_replayed(shop, hooks, document):
    """Invariant 10."""
    hooks.answers(500)
    _, _, ended = await shop.post(document(), Prefer="wait=20")
    given_up = await delivery(shop, ended["id"], "EXHAUSTED")
    assert (given_up["attempts"], given_up["last_status"]) == (3, 500)
    assert len(hooks.attempts) == 3

    hooks.answers(204)
    status, _, owed = await shop.json("POST", f"/v1/webhooks/deliveries/{ended['id']}/replay")
    assert (status, owed["state"], owed["webhook_id"]) == (202, "OWED", f"msg_{ended['id']}")
    *_, last = await hooks.came(4)
    last.verify(shop.webhook_secret)
    assert last.headers["webhook-id"] == f"msg_{ended['id']}"
    assert last.body == hooks.attempts[0].body
    await delivery(shop, ended["id"], "DELIVERED")
    assert (await shop.status(ended["id"]))["status"] == "COMPLETE"  # invariant 7


async def test_a_delivered_webhook_can_be_replayed_too(shop, hooks, document):
    _, _, ended = await shop.post(document(), Prefer="wait=20")
    await delivery(shop, ended["id"], "DELIVERED")
    await asyncio.sleep(1.1)  # so that a timestamp made anew differs
    assert (await shop.json("POST", f"/v1/webhooks/deliveries/{ended['id']}/replay"))[0] == 202
    first, second = await hooks.came(2)
    second.verify(shop.webhook_secret)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.headers["webhook-timestamp"] < second.headers["webhook-timestamp"]


async def test_retry_after_is_honoured(shop, hooks, document):
    hooks.answers(503, 204, Retry_After="2")
    await shop.post(document())
    first, second = await hooks.came(2)
    assert second.at - first.at >= 1.9  # the schedule alone would say 0.4


async def test_gone_disables_until_it_is_replayed(shop, hooks, document):
    hooks.answers(410, 204)
    _, _, ended = await shop.post(document(), Prefer="wait=20")
    disabled = await delivery(shop, ended["id"], "DISABLED")
    assert (disabled["attempts"], disabled["last_status"], disabled["next_attempt_at"]) == (1, 410, None)
    assert "gone" in disabled["reason"]
    assert (await shop.json("POST", f"/v1/webhooks/deliveries/{ended['id']}/replay"))[0] == 202
    await delivery(shop, ended["id"], "DELIVERED")


async def test_a_redirect_is_not_followed(shop, hooks, document):
    hooks.answers(307, 204, Location=f"{hooks.url}/elsewhere")
    _, _, ended = await shop.post(document(), Prefer="wait=20")
    told = await delivery(shop, ended["id"], "DELIVERED")
    assert told["attempts"] == 2  # the redirect was a failure, and the second attempt went to the same place
    assert {one.path for one in hooks.attempts} == {"/hooks"}


async def test_an_endless_answer_and_a_silent_one_hurt_nobody(shop, daemon, hooks, document):
    """Invariants 12 and 13."""

    async def silence() -> web.Response:
        await asyncio.sleep(30)
        return web.Response(status=204)

    hooks.script = [silence]
    slow = [answer["id"] for _, _, answer in await asyncio.gather(*[shop.post(document()) for _ in range(10)])]
    endless = await asyncio.start_server(_pour, "127.0.0.1", 0)
    other_hooks = Hooks()
    await other_hooks.start()
    port = endless.sockets[0].getsockname()[1]
    poured = await daemon.contract(f"poured-{uuid4().hex[:8]}", webhook_url=f"http://127.0.0.1:{port}/")
    good = await daemon.contract(f"good-{uuid4().hex[:8]}", webhook_url=other_hooks.url)
    async with endless, daemon.client(poured) as pouring, daemon.client(good) as other:
        before_kb = _rss_kb(daemon)
        _, _, ended = await pouring.post(document(), Prefer="wait=20")
        _, _, fine = await other.post(document(), Prefer="wait=20")
        assert len(await other_hooks.came()) == 1
        await delivery(other, fine["id"], "DELIVERED")
        told = await delivery(pouring, ended["id"], "DELIVERED", "EXHAUSTED", "OWED")
        assert told["last_status"] in (0, 200)
        assert _rss_kb(daemon) - before_kb < 30_000
    hooks.script = [web.Response(status=204)]
    await other_hooks.stop()
    assert set(slow) <= set(await deliveries(shop))


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer 200 with a body that does not end."""
    del reader
    try:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


def _rss_kb(daemon) -> int:
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


# -- secrets and addresses ---------------------------------------------------------------------------------------------


async def test_after_a_rotation_both_secrets_verify(shop, daemon, hooks, document):
    shop_id = shop.client_id
    rotated = await asyncio.to_thread(daemon.cli, "contracts", "rotate-webhook-secret", shop_id, "--json")
    assert rotated.returncode == 0, rotated.stderr
    newer = json.loads(rotated.stdout)["webhook_secret"]

    async def signed_twice() -> Attempt | None:
        await shop.post(document(), Prefer="wait=20")
        return next((one for one in hooks.attempts if " " in one.headers["webhook-signature"]), None)

    (await eventually(signed_twice)).verify(shop.webhook_secret, newer)  # the contract is cached for seconds


async def test_a_requests_own_url_must_lie_under_an_origin_of_the_contract(daemon, simulator, hooks, document):
    base = hooks.url.removesuffix("/hooks")
    port = int(base.rpartition(":")[2])
    credentials = await daemon.contract(
        f"shop-{uuid4().hex[:12]}", webhook_url=f"{base}/default", webhook_origins=("https://shop.example",)
    )
    async with daemon.client(credentials) as client:
        for url in (
            "https://other.example/hooks",
            "https://shop.example.evil.example/",
            "http://shop.example/",
            "https://shop.example:8443/",
            "https://shop.example@other.example/",
            f"http://127.0.0.1:{port + 1}/",
            f"http://localhost:{port}/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://１２７.0.0.1/".encode().decode("latin-1"),
            "http://[::ffff:127.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "ftp://shop.example/",
            "nonsense",
            "",
        ):
            status, _, problem = await client.post(document(), Webhook_Url=url)
            assert (status, problem["code"]) == (422, "webhook-url-not-allowed"), url
        await client.post(document(), Webhook_Url=f"{base}/its/own")
        await hooks.came()
        assert [one.path for one in hooks.attempts] == ["/its/own"]


PRIVATE = (
    "127.0.0.1",
    "localhost",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "10.0.0.1",
    "169.254.169.254",
)


async def test_without_the_setting_no_private_address_is_connected_to(start_daemon, simulator, document):
    """Invariant 14: the delivery is DISABLED with the reason, and nothing was connected."""
    daemon = start_daemon(RECEIPTD_WEBHOOKS__ALLOW_LOOPBACK="false")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        for host in PRIVATE:
            credentials = await daemon.contract(f"shop-{uuid4().hex[:12]}", webhook_url=f"https://{host}:{port}/hooks")
            async with daemon.client(credentials) as client:
                _, _, ended = await client.post(document(), Prefer="wait=20")
                assert ended["status"] == "COMPLETE"
                told = await delivery(client, ended["id"], "DISABLED")
                assert (told["attempts"], told["last_status"], bool(told["reason"])) == (1, 0, True), host
        with pytest.raises(BlockingIOError):
            listener.accept()
