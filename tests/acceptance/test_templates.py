"""What a type says of its receipts: what is sent to whom, what is personal, how long they stay. On a real daemon."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import time
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from acceptance_tools import eventually
from aiohttp import web

from receiptd.adapters.embedded.store import EmbeddedStore
from receiptd.cli.demo import configuration
from receiptd.domain.lifecycle import refuse
from receiptd.domain.receipt import Submission
from receiptd.runtime.clock import SystemClock

SLIP = {
    "id": "slip",
    "version": 1,
    "title": "A slip",
    "format": "json",
    "schema": "schema.json",
    "registrars": [
        {"id": "tax", "sends": "tax.xml.j2"},
        {"id": "warehouse", "sends": "warehouse.json.j2"},
        {"id": "ledger", "sends": "original"},
        "archive",
    ],
    "personal": ["number", "seller", "buyer", "lines.description", "lines.category", "lines.sku"],
    "recognise": [{"pointer": "/kind", "equals": "slip"}],
    "mapping": {
        "number": "/no",
        "issued_at": "/at",
        "seller": "/seller",
        "buyer": "/buyer",
        "currency": "/currency",
        "total": "/total",
        "lines": {
            "each": "/lines",
            "description": "/name",
            "category": "/group",
            "sku": "/sku",
            "amount": "/sum",
        },
    },
    "rules": [
        {
            "id": "total-equals-lines",
            "that": "sum(receipt.lines.map(l, l.amount)) == receipt.total",
            "message": "{receipt.number} of {receipt.seller} does not add up to {money(receipt.total)}",
        }
    ],
}
SCHEMA = {"properties": {"kind": {"const": "slip"}, "note": {"maxLength": 40}}}
WAREHOUSE = """\
{"ref": {{ receipt.number }}, "receipt": {{ id }}, "total": {{ receipt.total | money | number }},
 "items": [{% for line in receipt.lines %}{"name": {{ line.description }}, "price": {{ line.amount | money }}}
   {%- if not loop.last %},{% endif %}{% endfor %}]}
"""
TAX = """\
<?xml version="1.0" encoding="UTF-8"?>
<Receipt type="{{ type }}" at="{{ accepted_at }}">
  {% for line in receipt.lines %}<Line>{{ line.description }}</Line>{% endfor %}
</Receipt>
"""


class Recorder:
    """Registrars that answer at once, ``/{name}``, and keep what they were sent."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: dict[str, tuple[int, object]] = {}
        self.url = ""

    async def __aenter__(self):
        application = web.Application()
        application.router.add_post("/{name}", self._take)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        name, body = request.match_info["name"], await request.read()
        self.calls.append((name, {key.lower(): value for key, value in request.headers.items()}, body))
        status, answer = self.answers.get(name, (200, {"status": "registered", "reference": "r-1"}))
        return web.json_response(answer, status=status)

    def sent(self, name: str, receipt_id: str) -> list[tuple[dict[str, str], bytes]]:
        return [
            (headers, body) for to, headers, body in self.calls if to == name and headers["receipt-id"] == receipt_id
        ]


@pytest.fixture
async def recorder():
    async with Recorder() as running:
        yield running


class Types:
    """A root of receipt types, for tests to change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.put("slip")

    def put(self, name: str, *, warehouse: str = WAREHOUSE, **changes: object) -> Path:
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "type.yaml").write_text(yaml.safe_dump(SLIP | changes, sort_keys=False))
        (folder / "schema.json").write_text(json.dumps(SCHEMA))
        (folder / "warehouse.json.j2").write_text(warehouse)
        (folder / "tax.xml.j2").write_text(TAX)
        return folder


@pytest.fixture
def types(tmp_path):
    return Types(tmp_path / "types")


@pytest.fixture
def own_settings(tmp_path, recorder, types):
    """Settings with four registrars that the recorder plays."""
    directory = tmp_path / "settings"
    directory.mkdir()
    file = configuration.write(directory, port=0, simulator_url=recorder.url)
    with file.open("a") as settings:
        settings.write(f'\n[receipt_types]\nroots = ["{types.root}"]\n')
    for name in ("tax", "warehouse", "ledger", "archive"):
        sends = "canonical" if name == "archive" else "original"
        (directory / "registrars" / f"{name}.toml").write_text(
            f'url = "{recorder.url}/{name}"\nanswers = "synchronous"\nsends = "{sends}"\n'
            "[retry]\nbase_s = 0.05\ncap_s = 0.2\n[breaker]\nfailures = 3\nopen_s = 60\n"
        )
    return file


def slip(**changes: object) -> bytes:
    lines = [{"name": "Tea", "sum": 1.5, "sku": "s-1", "group": "g"}, {"name": 'A "cup" </Line>', "sum": 2}]
    content = {"kind": "slip", "no": uuid4().hex, "at": "2026-01-02T03:04:05Z", "seller": "Ada", "buyer": "Bob"}
    return json.dumps({**content, "currency": "EUR", "total": 3.5, "lines": lines, **changes}).encode()


def reason(status: dict, registrar: str) -> str:
    return next(one for one in status["registrations"] if one["registrar"] == registrar).get("reason", "")


# -- what is sent to whom ----------------------------------------------------------------------------------------------


async def test_each_registrar_gets_what_the_type_says(start_daemon, own_settings, recorder):
    daemon = start_daemon(settings=own_settings)
    async with daemon.client(await daemon.contract("shop")) as client:
        body = slip(no='7","x":"')
        status, _, answer = await client.post(body, Prefer="wait=20")
    assert (status, answer["status"]) == (200, "COMPLETE")
    sent = {name: recorder.sent(name, answer["id"])[0] for name in ("tax", "warehouse", "ledger", "archive")}
    assert {name: headers["content-type"] for name, (headers, _) in sent.items()} == {
        "tax": "application/xml",
        "warehouse": "application/json",
        "ledger": "application/json",
        "archive": "application/json",
    }
    assert {headers["idempotency-key"] for headers, _ in sent.values()} == {answer["id"]}
    assert json.loads(sent["warehouse"][1]) == {
        "ref": '7","x":"',
        "receipt": answer["id"],
        "total": 3.5,
        "items": [{"name": "Tea", "price": "1.50"}, {"name": 'A "cup" </Line>', "price": "2.00"}],
    }
    assert b"<Line>Tea</Line><Line>A &#34;cup&#34; &lt;/Line&gt;</Line>" in sent["tax"][1]
    assert b'<Receipt type="slip@1" at="20' in sent["tax"][1]
    assert sent["ledger"][1] == body
    assert json.loads(sent["archive"][1])["total"] == 350


async def test_a_retry_sends_the_same_invariant_5(start_daemon, own_settings, recorder):
    recorder.answers["warehouse"] = (503, {})
    daemon = start_daemon(settings=own_settings)
    credentials = await daemon.contract("shop")
    async with daemon.client(credentials) as client:
        _, _, answer = await client.post(slip())
        await eventually(lambda: len(recorder.sent("warehouse", answer["id"])) >= 2)
        os.kill(daemon.process.pid, signal.SIGKILL)
    daemon.process.stop()
    recorder.answers.clear()
    daemon = start_daemon(settings=own_settings)
    async with daemon.client(credentials) as client:
        assert (await client.status(answer["id"], wait_s=20))["status"] == "COMPLETE"
    sent = recorder.sent("warehouse", answer["id"])
    assert len({body for _, body in sent}) == 1
    assert {headers["idempotency-key"] for headers, _ in sent} == {answer["id"]}


async def test_a_template_that_fails_holds_up_its_own_receipts_only_invariant_12(
    start_daemon, own_settings, recorder, types
):
    broken = '{"a": {{ receipt.lines[2].sku }}}'
    types.put("bad", id="bad", recognise=[], warehouse=broken)
    daemon = start_daemon(settings=own_settings)
    async with daemon.client(await daemon.contract("shop")) as client:
        bad = [(await client.post(slip(), Receipt_Type="bad"))[2]["id"] for _ in range(6)]
        waiting = "template warehouse.json.j2, line 1: it uses a name or a field that is not there"

        async def all_wait() -> bool:
            return all([reason(await client.status(one), "warehouse") == waiting for one in bad])

        await eventually(all_wait)
        _, _, answer = await client.post(slip(), Prefer="wait=20")
        assert answer["status"] == "COMPLETE", "its failures are none of the registrar's: the circuit stays closed"
        types.put("bad", id="bad", recognise=[])
        os.kill(daemon.process.pid, signal.SIGHUP)
        for one in bad:
            assert (await client.status(one, wait_s=20))["status"] == "COMPLETE"
            assert len(recorder.sent("warehouse", one)) == 1


async def test_a_type_taken_off_meanwhile_holds_its_receipts_until_it_is_back(
    start_daemon, own_settings, recorder, types, tmp_path
):
    recorder.answers = dict.fromkeys(("tax", "warehouse", "ledger", "archive"), (503, {}))
    daemon = start_daemon(settings=own_settings)
    credentials = await daemon.contract("shop")
    async with daemon.client(credentials) as client:
        _, _, answer = await client.post(slip())
        shutil.move(types.root / "slip", tmp_path / "away")
        os.kill(daemon.process.pid, signal.SIGHUP)

        async def told() -> bool:
            return "receipt type slip@1 is not loaded" in reason(await client.status(answer["id"]), "ledger")

        await eventually(lambda: "receipt types reloaded" in daemon.log_tail())
        recorder.answers.clear()
        os.kill(daemon.process.pid, signal.SIGKILL)  # a new process, whose circuits are closed
        daemon.process.stop()
        daemon = start_daemon(settings=own_settings)
    async with daemon.client(credentials) as client:
        await eventually(told)
        shutil.move(tmp_path / "away", types.root / "slip")
        os.kill(daemon.process.pid, signal.SIGHUP)
        assert (await client.status(answer["id"], wait_s=20))["status"] == "COMPLETE"


# -- personal fields, and logs -----------------------------------------------------------------------------------------


def wide_events(daemon) -> list[dict]:
    lines = [json.loads(line) for line in daemon.process.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("event") == "receipt"]


async def test_the_wide_event_may_tell_facts_and_masks_what_is_personal(start_daemon, own_settings, types, document):
    types.put("open", id="open", recognise=[{"pointer": "/kind", "equals": "open"}], personal=["seller"])
    (types.root / "open" / "schema.json").write_text("true")
    daemon = start_daemon(settings=own_settings, RECEIPTD_LOG__FACTS="true")
    async with daemon.client(await daemon.contract("shop")) as client:
        for body in (slip(no="n-1"), slip(no="n-2", kind="open"), document("n-3")):
            assert (await client.post(body, Prefer="wait=20"))[2]["status"] == "COMPLETE"
        assert (await client.post(slip(no="n-4", currency="?")))[0] == 422
        await eventually(lambda: len(wide_events(daemon)) == 4)
    hidden, some, bundled, unmapped = wide_events(daemon)
    facts = ("type", "number", "seller", "currency", "total", "lines")
    assert [hidden[name] for name in facts] == ["slip@1", "***", "***", "EUR", 350, 2]
    assert [some[name] for name in facts] == ["open@1", "n-2", "***", "EUR", 350, 2]
    assert (bundled["type"].split("@")[0], bundled["number"]) == ("retail-receipt", "n-3")
    assert "number" not in unmapped, "what could not be mapped has no facts"


async def test_the_wide_event_tells_no_facts_unless_asked_invariant_14(start_daemon, own_settings, document):
    daemon = start_daemon(settings=own_settings)
    async with daemon.client(await daemon.contract("shop")) as client:
        await client.post(document("MARKER"), Prefer="wait=20")
        (event,) = await eventually(lambda: wide_events(daemon))
    assert event["state"] == "COMPLETE"
    assert not {"number", "seller", "currency", "total", "lines"} & event.keys()


async def test_no_document_reaches_the_log_invariant_14(start_daemon, own_settings, recorder, types, endpoint):
    """Markers in every field, everything that can go wrong with them, and the log at its most talkative."""
    types.put("bad", id="bad", recognise=[], warehouse="{{ receipt.number | number }}")
    recorder.answers["archive"] = (422, {"reason": "MARKER is not known here"})
    warehouse = own_settings.parent / "registrars" / "warehouse.toml"
    warehouse.write_text(warehouse.read_text().replace("[retry]", "[retry]\nmax_attempts = 3"))  # it parks soon
    daemon = start_daemon(settings=own_settings, RECEIPTD_LOG__LEVEL="debug", RECEIPTD_LOG__FACTS="true")
    marked = {
        "no": "MARKER-no",
        "seller": "MARKER-seller",
        "buyer": "MARKER-buyer",
        "note": "MARKER-note",
        "MARKER-key": "MARKER-value",
        "lines": [{"name": "MARKER-name", "sum": 3.5, "sku": "MARKER-sku", "group": "MARKER-group"}],
    }
    credentials = await daemon.contract("shop", webhook_url=endpoint.url)
    endpoint.secrets = [credentials.webhook_secret]
    async with daemon.client(credentials) as client:
        assert (await client.post(slip(**marked), Prefer="wait=20"))[2]["status"] == "FAILED"
        waiting = (await client.post(slip(**marked, more=2), Receipt_Type="bad"))[2]["id"]
        for changes in (
            {"total": 9},
            {"note": "MARKER" * 20},
            {"at": "MARKER"},
            {"total": "MARKER"},
            {"lines": "MARKER"},
        ):
            status, _, refused = await client.post(slip(**{**marked, **changes}))
            assert (status, refused["code"]) == (422, "receipt-invalid")
        for body in (
            b'{"MARKER": MARKER',
            b'{"MARKER":1,"MARKER":2}',
            b"<MARKER><a></MARKER>",
            b"<MARKER/>",
            b"MARKER",
        ):
            assert (await client.post(body, "application/octet-stream"))[0] in (400, 415, 422)
        assert (await client.post(slip(**marked, more=1), Receipt_Type="MARKER"))[0] == 422
        await client.json("GET", "/v1/receipts?cursor=MARKER&status=MARKER&type=MARKER")

        async def stuck() -> bool:
            status = await client.status(waiting)
            parked = [one["registrar"] for one in status["registrations"] if one["state"] == "PARKED"]
            return parked == ["warehouse"] and "number takes a decimal" in reason(status, "warehouse")

        await eventually(stuck)
        await eventually(lambda: len(wide_events(daemon)) >= 6)
    assert await asyncio.to_thread(daemon.process.stop) == 0
    log = daemon.process.log.read_text()
    assert '"ready"' in log
    assert "MARKER" not in log
    assert not any(client_text in log for client_text in ("2026-01-02T03:04:05", credentials.client_secret))


# -- retention ---------------------------------------------------------------------------------------------------------


async def test_a_retention_class_without_days_is_refused_at_start(start_daemon, own_settings, types):
    types.put("slip", retention="fiscal")
    daemon = start_daemon()  # any, for its command line
    daemon.settings = own_settings
    refused = daemon.cli("serve", "--check")
    assert refused.returncode != 0
    assert f"{types.root}/slip/type.yaml:" in refused.stderr
    assert "storage.retention_days.fiscal" in refused.stderr
    with own_settings.open("a") as settings:
        settings.write("\n[storage.retention_days]\nfiscal = 3650\n")
    assert daemon.cli("serve", "--check").returncode == 0


@pytest.mark.embedded("DynamoDB deletes what is over in its own time, up to days later")
async def test_settled_receipts_go_when_their_class_says_so(start_daemon, own_settings, types, tmp_path):
    types.put("slip", retention="fiscal")
    old = time.time() - 50 * 86_400
    day = time.strftime("%Y%m%d", time.gmtime(old))
    store = await EmbeddedStore.open(tmp_path / "data", SystemClock())
    try:
        from receiptd.ports import Change  # noqa: PLC0415 - as the writer would have done it, fifty days ago

        for name, type_id in (("a" * 24, "slip"), ("b" * 24, "retail-receipt")):
            facts = Submission(f"{day}-{name}", "shop", type_id, 1, old, "application/json", "d", b"{}", b"")
            await store.ledger.commit([Change(refuse(facts, ()), None)])
    finally:
        await store.close()
    with own_settings.open("a") as settings:
        settings.write("\n[storage.retention_days]\nstandard = 35\nfiscal = 3650\n")
    daemon = start_daemon(settings=own_settings)
    async with daemon.client(await daemon.contract("shop")) as client:

        async def left() -> list[str]:
            since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(old - 86_400))
            _, _, page = await client.json("GET", f"/v1/receipts?from={since}&limit=100")
            return [receipt["type"] for receipt in page["receipts"]]

        async def only_the_fiscal_one() -> bool:
            return await left() == ["slip"]

        await eventually(only_the_fiscal_one)
