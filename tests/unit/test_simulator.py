"""The stand-ins behave as a good registrar does, and misbehave as their knobs ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
import typer
from typer.testing import CliRunner

from receiptd.adapters.outbound.client import OutboundClient
from receiptd.cli.simulate import register
from receiptd.domain import signatures
from receiptd.domain.addresses import OPERATOR
from receiptd.domain.errors import ConfigurationError, OutboundError
from receiptd.http.message import Request, Response
from receiptd.http.server import HttpServer
from receiptd.ports import HttpCall, HttpReply
from receiptd.simulation import Knobs, Simulator, SimulatorOptions
from receiptd.simulation.registrar import verdict_on

SECRET = "whsec_dGF4LWNhbGxiYWNrLXNlY3JldC1mb3ItZGV2ZWxvcG1lbnQ="
DOCUMENT = b'{"number":"R-1"}'


@dataclass
class Daemon:
    """Takes callbacks as the daemon would: verified, answered with ``statuses`` in turn (then 200)."""

    statuses: list[int] = field(default_factory=list)
    callbacks: list[dict[str, Any]] = field(default_factory=list)
    forged: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def admit(self, *_: object) -> None:
        return None

    def refuse(self, status: int, *_: object) -> Response:
        return Response(status)

    async def handle(self, request: Request) -> Response:
        try:
            signatures.verify([SECRET], request.headers, request.body, time.time())
        except signatures.SignatureError:
            self.forged += 1
            return Response(401)
        status = self.statuses.pop(0) if self.statuses else 200
        self.callbacks.append({**orjson.loads(request.body), "answered": status})
        self.arrived.set()
        return Response(status)

    async def until(self, count: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(5):
            while len(self.callbacks) < count:
                self.arrived.clear()
                await self.arrived.wait()
        return self.callbacks


@dataclass
class World:
    simulator: Simulator
    client: OutboundClient
    daemon: Daemon
    daemon_url: str

    async def call(self, method: str, path: str, body: bytes = b"", **headers: str) -> HttpReply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = self.simulator.url + path
        return await self.client.send(
            HttpCall(method=method, url=url, headers=named, body=body, timeout_s=2, reply_max_bytes=1_000_000)
        )

    async def submit(self, key: str = "id-1", body: bytes = DOCUMENT, registrar: str = "tax") -> HttpReply:
        url = f"{self.daemon_url}/v1/callbacks/{registrar}/token"
        return await self.call(
            "POST", f"/{registrar}/receipts", body, Idempotency_Key=key, Receipt_Id=key, Callback_Url=url
        )

    async def turn(self, **tax: Any) -> None:
        reply = await self.call("PUT", "/_control", orjson.dumps({"registrars": {"tax": tax}}))
        assert reply.status == 200, reply.body

    async def listed(self, name: str, query: str = "") -> list[dict[str, Any]]:
        reply = await self.call("GET", f"/{name}{query}")
        return [orjson.loads(line) for line in reply.body.splitlines()]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    daemon = Daemon()
    server = HttpServer(daemon)
    await server.start()
    knobs = Knobs().merged({"registrars": {"*": {"callback_delay_s": 0, "callback_retry_s": 0.01, "hang_s": 5}}})
    secrets = {"tax": [SECRET], "warehouse": [SECRET]}
    simulator = Simulator(SimulatorOptions(port=0, seed=7, keep=50, knobs=knobs, callback_secrets=secrets))
    await simulator.start()
    client = OutboundClient(OPERATOR)
    yield World(simulator, client, daemon, f"http://127.0.0.1:{server.port}")
    await client.close()
    await simulator.stop(0.05)
    await server.drain(0.05)


async def test_a_submission_is_taken_and_its_verdict_called_back(world: World):
    reply = await world.submit()
    assert reply.status == 202
    reference = orjson.loads(reply.body)["reference"]
    (callback,) = await world.daemon.until(1)
    assert (callback["status"], callback["reference"], callback["receipt_id"]) == ("registered", reference, "id-1")


async def test_a_repeat_has_one_effect_the_same_reference_and_the_callback_again(world: World):
    first, second = await world.submit(), None
    await world.daemon.until(1)
    second = await world.submit()
    await world.daemon.until(2)
    assert orjson.loads(first.body) == orjson.loads(second.body)
    (effect,) = await world.listed("_effects")
    assert (effect["effects"], effect["requests"], effect["number"]) == (1, 2, "R-1")
    assert effect["receipt_ids"] == ["id-1"]
    assert len(effect["digests"]) == 1
    assert effect["first_seen"] <= effect["verdict_taken_at"] <= time.time()


async def test_synchronous_answers_carry_the_verdict(world: World):
    await world.turn(answers="synchronous")
    good = await world.submit("id-1")
    bad = await world.submit("id-2", b'{"number":"R-2-REJECT"}')
    assert (good.status, orjson.loads(good.body)["status"]) == (200, "registered")
    assert (bad.status, orjson.loads(bad.body)["status"]) == (200, "rejected")
    assert orjson.loads(bad.body)["reason"]
    assert world.daemon.callbacks == []


async def test_a_document_may_be_rejected_by_one_registrar_alone(world: World):
    document = b"<Receipt><Number>R-3-REJECT-TAX</Number></Receipt>"
    await world.submit(body=document)
    await world.submit(body=document, registrar="warehouse")
    await world.daemon.until(2)
    verdicts = {effect["registrar"]: effect["verdict"] for effect in await world.listed("_effects")}
    assert verdicts == {"tax": "rejected", "warehouse": "registered"}


@pytest.mark.parametrize("encoding", ["utf-8", "windows-1251", "utf-16"])
def test_the_mark_of_rejection_is_found_in_any_encoding(encoding: str):
    document = "<Number>ЛВ-7-REJECT-TAX</Number>".encode(encoding)
    assert verdict_on("tax", document) == "rejected"
    assert verdict_on("warehouse", document) == "registered"
    assert verdict_on("tax", "<Number>ЛВ-7</Number>".encode(encoding)) == "registered"


async def test_status_tells_never_seen_undecided_and_verdict(world: World):
    assert (await world.call("GET", "/tax/receipts/id-1")).status == 404
    await world.turn(callback_delay_s=60)
    await world.submit("id-1")
    assert (await world.call("GET", "/tax/receipts/id-1")).status == 202
    await world.turn(answers="synchronous")
    await world.submit("id-2")
    reply = await world.call("GET", "/tax/receipts/id-2")
    assert (reply.status, orjson.loads(reply.body)["status"]) == (200, "registered")


@pytest.mark.parametrize(
    ("knob", "status", "effects"),
    [("error_rate", 500, 0), ("throttle_rate", 429, 0), ("garbage_rate", 200, 1)],
)
async def test_faults_of_the_answer(world: World, knob: str, status: int, effects: int):
    await world.turn(**{knob: 1, "retry_after_s": 2.5})
    reply = await world.submit()
    assert reply.status == status
    assert reply.headers.get("retry-after") == ("3" if status == 429 else None)
    assert len(await world.listed("_effects")) == effects
    if knob == "garbage_rate":
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(reply.body)


@pytest.mark.parametrize(("knob", "effects"), [("timeout_before_effect_rate", 0), ("timeout_after_effect_rate", 1)])
async def test_a_timeout_is_before_or_after_the_effect(world: World, knob: str, effects: int):
    await world.turn(**{knob: 1, "hang_s": 0.2})
    started = time.monotonic()
    with pytest.raises(OutboundError):
        await world.submit()
    assert time.monotonic() - started >= 0.2
    assert len(await world.listed("_effects")) == effects


async def test_a_huge_reply_is_longer_than_clients_take(world: World):
    await world.turn(huge_rate=1)
    with pytest.raises(OutboundError, match="longer"):
        await world.submit()


async def test_a_reset_comes_at_once_and_after_the_effect(world: World):
    await world.turn(reset_rate=1)
    with pytest.raises(OutboundError):
        await world.submit()
    assert len(await world.listed("_effects")) == 1


async def test_down_refuses_everything_and_holds_callbacks_back(world: World):
    await world.turn(down=True, retry_after_s=1)
    assert (await world.submit()).status == 503
    assert (await world.call("GET", "/tax/receipts/id-1")).status == 503
    await world.turn(down=False, callback_delay_s=0.05)
    await world.submit()
    await world.turn(down=True)
    await asyncio.sleep(0.1)
    assert world.daemon.callbacks == []
    await world.turn(down=False)
    await world.daemon.until(1)


async def test_an_early_callback_comes_before_the_answer(world: World):
    await world.turn(early_callback_rate=1, callback_delay_s=30)
    await world.submit()
    assert len(world.daemon.callbacks) == 1


async def test_a_callback_is_tried_again_until_it_is_taken(world: World):
    world.daemon.statuses = [503, 500, 429]
    await world.submit()
    answered = [callback["answered"] for callback in await world.daemon.until(4)]
    assert answered == [503, 500, 429, 200]


async def test_a_refused_callback_is_counted_and_not_repeated(world: World):
    world.daemon.statuses = [404]
    await world.submit()
    await world.daemon.until(1)
    await asyncio.sleep(0.05)
    (effect,) = await world.listed("_effects")
    assert (effect["callbacks_refused"], effect["verdict_taken_at"], len(world.daemon.callbacks)) == (1, 0, 1)


async def test_duplicate_forged_and_contradicting_callbacks(world: World):
    await world.turn(duplicate_callback_rate=1, forged_callback_rate=1, contradict_callback_rate=1)
    await world.submit()
    statuses = [callback["status"] for callback in await world.daemon.until(3)]
    assert statuses == ["registered", "registered", "rejected"]
    assert world.daemon.forged == 1
    await asyncio.sleep(0.02)
    (effect,) = await world.listed("_effects")
    assert (effect["forged_taken"], effect["callbacks_taken"], effect["contradicted"]) == (0, 3, True)


async def test_a_verdict_that_is_never_reported_can_be_asked_for(world: World):
    await world.turn(never_callback_rate=1)
    await world.submit()
    await asyncio.sleep(0.05)
    assert world.daemon.callbacks == []
    assert (await world.call("GET", "/tax/receipts/id-1")).status == 200
    await world.turn(never_callback_rate=0)
    await world.submit()
    await world.daemon.until(1)


async def test_reordered_callbacks_overtake_each_other(world: World):
    await world.turn(reorder_callback_rate=0.5, reorder_delay_s=0.1)
    keys = [f"id-{n}" for n in range(20)]
    for key in keys:
        await world.submit(key)
    arrived = [callback["receipt_id"] for callback in await world.daemon.until(20)]
    assert sorted(arrived) == sorted(keys)
    assert arrived != keys


async def test_a_registrar_without_a_known_secret_says_so(world: World):
    reply = await world.submit(registrar="customs")
    assert (reply.status, b"--config" in reply.body) == (500, True)
    assert (await world.call("POST", "/tax/receipts", DOCUMENT)).status == 400


# -- knobs -----------------------------------------------------------------------------------------------------------


async def test_knobs_are_merged_kept_within_bounds_and_reset(world: World):
    await world.turn(error_rate=0.25)
    await world.call("PUT", "/_control", b'{"registrars":{"*":{"latency_s":0.001}},"hooks":{"gone":true}}')
    state = orjson.loads((await world.call("GET", "/_control")).body)
    assert state["registrars"]["tax"]["error_rate"] == 0.25
    assert state["registrars"]["tax"]["latency_s"] == 0.001, "the star is for every registrar"
    assert state["registrars"]["*"]["error_rate"] == 0
    assert state["hooks"]["gone"] is True
    for wrong in (
        b"[]",
        b"nonsense",
        b'{"registrars":{"tax":{"error_rate":1.5}}}',
        b'{"registrars":{"tax":{"mood":1}}}',
    ):
        assert (await world.call("PUT", "/_control", wrong)).status == 400
    over = await world.call("PUT", "/_control", b'{"registrars":{"tax":{"error_rate":0.6,"reset_rate":0.6}}}')
    assert (over.status, b"add up to 1.2" in over.body) == (400, True)
    reply = await world.call("PUT", "/_control", b'{"reset":true}')
    assert "tax" not in orjson.loads(reply.body)["registrars"]


def test_secrets_are_not_shown():
    knobs = Knobs().merged({"webhook_secrets": {"shop": [SECRET]}})
    assert SECRET not in repr(knobs)
    assert knobs.merged({"webhook_secrets": {"rival": ["x"]}}).webhook_secrets.keys() == {"shop", "rival"}
    with pytest.raises(ConfigurationError):
        knobs.merged({"secrets": {}})


# -- records ---------------------------------------------------------------------------------------------------------


async def test_effects_are_paged_and_the_oldest_forgotten(world: World):
    for n in range(60):
        await world.submit(f"id-{n}")
    page = await world.listed("_effects", "?after=0&limit=20")
    assert [effect["serial"] for effect in page] == list(range(11, 31)), "ten of sixty are forgotten"
    rest = await world.listed("_effects", f"?after={page[-1]['serial']}&limit=100")
    assert [effect["serial"] for effect in rest] == list(range(31, 61))
    assert (await world.call("GET", "/_effects?limit=0")).status == 400


# -- webhooks --------------------------------------------------------------------------------------------------------


async def deliver(
    world: World, *, secret: str = SECRET, at: float | None = None, webhook_id: str = "msg_id-1"
) -> HttpReply:
    body = b'{"type":"receipt.complete","data":{"receipt_id":"id-1","state":"COMPLETE"}}'
    timestamp = int(at or time.time())
    headers = {
        "webhook_id": webhook_id,
        "webhook_timestamp": str(timestamp),
        "webhook_signature": signatures.sign([secret], webhook_id, timestamp, body),
    }
    return await world.call("POST", "/hooks/shop", body, **headers)


async def test_webhooks_are_verified_and_recorded(world: World):
    await world.call("PUT", "/_control", orjson.dumps({"webhook_secrets": {"shop": [SECRET]}}))
    assert (await deliver(world)).status == 204
    assert (await deliver(world, secret=signatures.new_secret())).status == 401
    assert (await deliver(world, at=time.time() - 3600)).status == 401
    (hook,) = await world.listed("_hooks")
    assert (hook["client"], hook["webhook_id"], hook["judged"]) == ("shop", "msg_id-1", True)
    assert (hook["attempts"], hook["taken"], hook["signatures_bad"], hook["last_status"]) == (3, 1, 2, 401)
    assert (hook["types"], hook["receipt_ids"], hook["states"]) == (["receipt.complete"], ["id-1"], ["COMPLETE"])


async def test_without_a_secret_a_webhook_is_taken_unjudged(world: World):
    assert (await deliver(world)).status == 204
    (hook,) = await world.listed("_hooks")
    assert hook["judged"] is False


@pytest.mark.parametrize(
    ("knobs", "status"), [({"fail_rate": 1}, 500), ({"throttle_rate": 1}, 503), ({"gone": True}, 410)]
)
async def test_endpoints_misbehave_as_asked(world: World, knobs: dict[str, Any], status: int):
    await world.call("PUT", "/_control", orjson.dumps({"hooks": knobs}))
    reply = await deliver(world)
    assert reply.status == status
    assert ("retry-after" in reply.headers) is (status == 503)
    (hook,) = await world.listed("_hooks")
    assert (hook["taken"], hook["last_status"]) == (0, status)


# -- command line ----------------------------------------------------------------------------------------------------


def test_the_command_explains_itself_and_refuses_nonsense():
    app = typer.Typer()
    register(app)
    app.callback()(lambda: None)
    runner = CliRunner()
    shown = runner.invoke(app, ["simulate", "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert "--timeout-after-effect-rate" in shown.output
    assert runner.invoke(app, ["simulate", "--error-rate", "2"]).exit_code == 2
    refused = runner.invoke(app, ["simulate", "--error-rate", "0.7", "--reset-rate", "0.7"])
    assert isinstance(refused.exception, ConfigurationError)
    assert runner.invoke(app, ["simulate", "--webhook-secret", "no-secret"]).exit_code == 2
