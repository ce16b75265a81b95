"""Operations through the public face: health, metrics, signals, settings, logs, and hostile connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from acceptance_tools import eventually, exchange
from openapi_spec_validator import OpenAPIV31SpecValidator
from prometheus_client.parser import text_string_to_metric_families

TYPES = Path(__file__).parents[2] / "receiptd" / "receipt_types"


# -- health, metrics, description --------------------------------------------------------------------------------------


async def test_health_needs_no_token_and_tells_of_each_part(client):
    client.token = "none"
    assert (await client.json("GET", "/livez"))[::2] == (200, {"status": "live"})
    status, _, ready = await client.json("GET", "/readyz")
    assert (status, ready["status"]) == (200, "ready")
    assert ready["checks"]["store"] == "ok"
    assert {"registrar.tax", "registrar.warehouse"} <= set(ready["checks"])


async def test_the_description_is_openapi_and_its_page_is_served(client):
    status, headers, description = await client.json("GET", "/openapi.json")
    assert (status, description["openapi"][:3]) == (200, "3.1")
    OpenAPIV31SpecValidator(description).validate()
    again, _, body = await client.request("GET", "/openapi.json", headers={"If-None-Match": headers["etag"]})
    assert (again, body) == (304, b"")
    status, headers, page = await client.request("GET", "/docs")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"openapi.json" in page


async def samples(client) -> dict[str, float]:
    """Scrape the metrics; samples by name, those with labels summed up and also by ``name{value,value}``."""
    status, headers, text = await client.request("GET", "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain")
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
            if sample.labels:
                found[f"{sample.name}{{{','.join(sample.labels.values())}}}"] = sample.value
    return found


async def test_the_books_balance_in_the_metrics(start_daemon, simulator, document):
    """Invariant 16: accepted = complete + failed + processing, at any time."""
    daemon = start_daemon()
    async with daemon.client(await daemon.contract("shop")) as client:

        async def books() -> tuple[int, int, int]:
            seen = await samples(client)
            accepted = seen["receiptd_receipts_accepted_total"]
            complete = seen["receiptd_receipts_ended_total{COMPLETE}"]
            failed = seen["receiptd_receipts_ended_total{FAILED}"]
            _, _, page = await client.json("GET", "/v1/receipts?status=PROCESSING&limit=1000")
            assert accepted == complete + failed + len(page["receipts"])
            return int(accepted), int(complete), int(failed)

        body = document()
        for _ in range(3):
            await client.post(body, Prefer="wait=20")  # replays count once
        await client.post(document(f"{uuid4().hex}-REJECT"), Prefer="wait=20")
        assert (await client.post(json.dumps({**json.loads(body), "total": 1}).encode()))[0] == 422
        assert (await client.post(b"{"))[0] == 400
        simulator.turn(callback_delay_s=2)
        waiting = [(await client.post(document()))[2]["id"] for _ in range(3)]
        assert await books() == (5, 1, 1)
        for receipt_id in waiting:
            await client.status(receipt_id, wait_s=20)
        assert await books() == (5, 4, 1)
        seen = await samples(client)
        assert seen["receiptd_receipts_invalid_total"] == 1
        assert seen["receiptd_http_requests_total{postReceipt,202}"] == 3
        assert not [name for name in seen if "shop" in name]


# -- signals -----------------------------------------------------------------------------------------------------------


async def test_sigterm_drains_in_bounded_time_and_loses_nothing(start_daemon, simulator, document):
    """With a receipt in a registrar's hands, an idle connection, a request half sent, and a long poll pending."""
    simulator.turn(latency_s=0.5, callback_delay_s=60)
    daemon = start_daemon(RECEIPTD_SHUTDOWN__DEADLINE_S="3")
    credentials = await daemon.contract("shop")
    parts = urlsplit(daemon.url)
    async with daemon.client(credentials) as client:
        _, idle = await asyncio.open_connection(parts.hostname, parts.port)
        reader, half = await asyncio.open_connection(parts.hostname, parts.port)
        half.write(b"POST /v1/receipts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nContent-Length: 10\r\n\r\n{")
        ids = [answer["id"] for _, _, answer in await asyncio.gather(*[client.post(document()) for _ in range(10)])]
        poll = asyncio.create_task(client.status(ids[0], wait_s=25))
        await eventually(lambda: len({one["key"] for one in simulator.effects()} & set(ids)) == len(ids))
        os.kill(daemon.process.pid, signal.SIGTERM)
        asked_at = time.monotonic()
        assert (await asyncio.wait_for(poll, 10))["status"] == "PROCESSING"  # answered, not cut off
        assert await asyncio.to_thread(daemon.process.stop) == 0, daemon.log_tail()
        assert time.monotonic() - asked_at < 15
        for writer in (idle, half):
            writer.close()
        del reader
    log = daemon.log_tail()
    assert '"draining"' in log
    assert '"stopped"' in log

    simulator.turn(callback_delay_s=0, latency_s=0)
    async with start_daemon(RECEIPTD_RECOVERY__DELAY_S="0.5").client(credentials) as client:
        for receipt_id in ids:  # their verdicts are a minute away for the stand-in: they are there, and owed
            assert (await client.status(receipt_id))["status"] == "PROCESSING"
        _, _, fresh = await client.post(document(), Prefer="wait=20")
        assert fresh["status"] == "COMPLETE"


async def test_a_drained_receipt_ends_in_the_next_life(start_daemon, simulator, document):
    simulator.turn(never_callback_rate=1)
    daemon = start_daemon()
    credentials = await daemon.contract("shop")
    async with daemon.client(credentials) as client:
        ids = [answer["id"] for _, _, answer in await asyncio.gather(*[client.post(document()) for _ in range(10)])]
    assert await asyncio.to_thread(daemon.process.stop) == 0
    async with start_daemon(RECEIPTD_RECOVERY__DELAY_S="0.5").client(credentials) as client:
        for receipt_id in ids:
            assert (await client.status(receipt_id, wait_s=20))["status"] == "COMPLETE"


async def test_readiness_fails_before_the_listener_closes(start_daemon, simulator, document):
    daemon = start_daemon(RECEIPTD_SHUTDOWN__READINESS_DELAY_S="3")
    async with daemon.client(await daemon.contract("shop")) as client:
        os.kill(daemon.process.pid, signal.SIGTERM)

        async def draining() -> bool:
            status, headers, ready = await client.json("GET", "/readyz")
            return (status, ready["checks"]["draining"], "retry-after" in headers) == (503, "yes", True)

        await eventually(draining, timeout_s=3)
        assert (await client.post(document()))[0] == 202  # who has not noticed yet is served
    assert await asyncio.to_thread(daemon.process.stop) == 0


async def test_sighup_takes_new_types_and_keeps_the_old_ones_when_they_are_broken(
    start_daemon, simulator, document, tmp_path
):
    root = tmp_path / "types"
    root.mkdir()
    daemon = start_daemon(RECEIPTD_RECEIPT_TYPES__ROOTS=json.dumps([str(root)]))

    def reload(expected: str) -> object:
        seen = daemon.process.log.read_text().count(expected)
        os.kill(daemon.process.pid, signal.SIGHUP)
        return eventually(lambda: daemon.process.log.read_text().count(expected) > seen)

    async with daemon.client(await daemon.contract("shop")) as client:
        body = document().replace(b"retail-receipt", b"market-receipt")
        assert (await client.post(body))[2]["code"] == "unknown-receipt-type"
        folder = Path(shutil.copytree(TYPES / "retail-receipt", root / "market-receipt"))
        for file in (folder / "type.yaml", folder / "schema.json"):
            file.write_text(file.read_text().replace("retail-receipt", "market-receipt"))
        await reload('"receipt types reloaded"')
        assert (await client.post(body))[0] == 202

        for broken in ("id: [", (folder / "type.yaml").read_text().replace("tax, warehouse", "customs")):
            (folder / "type.yaml").write_text(broken)
            await reload("receipt types not reloaded, the old ones stay")
            assert (await client.post(body + b" "))[0] == 202
        assert "customs" in daemon.log_tail()
        assert (await client.post(document()))[0] == 202


async def test_versions_of_a_type_side_by_side(start_daemon, simulator, document, tmp_path):
    """A stored receipt keeps the version that judged it, also when that version is gone."""
    root = tmp_path / "types"
    shutil.copytree(TYPES / "retail-receipt", root / "retail-receipt-2")
    file = root / "retail-receipt-2" / "type.yaml"
    file.write_text(file.read_text().replace("version: 1", "version: 2"))
    daemon = start_daemon(RECEIPTD_RECEIPT_TYPES__ROOTS=json.dumps([str(root)]))
    async with daemon.client(await daemon.contract("shop")) as client:
        ids = []
        for header, version in (("", 2), ("retail-receipt@1", 1), ("retail-receipt", 2), ("retail-receipt@2", 2)):
            headers = {"Receipt-Type": header} if header else {}
            status, _, answer = await client.post(document(), Prefer="wait=10", **headers)
            assert (status, answer["status"]) == (200, "COMPLETE")
            assert (await client.json("GET", f"/v1/receipts/{answer['id']}"))[2]["type_version"] == version
            ids.append(answer["id"])
        assert (await client.post(document(), **{"Receipt-Type": "retail-receipt@3"}))[0] == 422

        shutil.rmtree(root / "retail-receipt-2")
        os.kill(daemon.process.pid, signal.SIGHUP)
        await eventually(lambda: '"receipt types reloaded"' in daemon.process.log.read_text())
        kept = [(await client.json("GET", f"/v1/receipts/{id_}"))[2]["type_version"] for id_ in ids]
        assert kept == [2, 1, 2, 2]


async def test_a_type_that_does_not_compile_fails_readiness_and_harms_only_itself(
    start_daemon, simulator, document, tmp_path
):
    """Invariant 12: the others are served; what is refused is refused as passing, and is taken once it is mended."""
    folder = Path(shutil.copytree(TYPES / "retail-receipt", tmp_path / "types" / "market-receipt"))
    for path in (folder / "type.yaml", folder / "schema.json"):
        path.write_text(path.read_text().replace("retail-receipt", "market-receipt"))
    schema = (folder / "schema.json").read_text()
    (folder / "schema.json").write_text(schema.replace('"object"', '"objekt"', 1))
    daemon = start_daemon(RECEIPTD_RECEIPT_TYPES__ROOTS=json.dumps([str(tmp_path / "types")]))
    async with daemon.client(await daemon.contract("shop")) as client:

        async def ready() -> tuple[int, str]:
            status, _, answer = await client.json("GET", "/readyz")
            return status, answer["checks"]["receipt_types"]

        await eventually(lambda: "a receipt type does not compile" in daemon.process.log.read_text())
        assert await ready() == (503, "broken: market-receipt@1")
        assert (await client.post(document()))[0] == 202
        body = document().replace(b"retail-receipt", b"market-receipt")
        status, headers, answer = await client.post(body)
        assert (status, answer["code"], "retry-after" in headers) == (503, "receipt-type-broken", True)

        (folder / "schema.json").write_text(schema)
        os.kill(daemon.process.pid, signal.SIGHUP)
        await eventually(lambda: '"receipt types reloaded"' in daemon.process.log.read_text())
        assert await ready() == (200, "ok")
        assert (await client.post(body))[0] == 202


async def test_systemd_is_notified(start_daemon, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(15)
        daemon = start_daemon(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000")
        seen = [await asyncio.to_thread(listener.recv, 100) for _ in range(4)]
        assert seen.count(b"READY=1") == 1
        assert seen.count(b"WATCHDOG=1") == 3
        assert await asyncio.to_thread(daemon.process.stop) == 0
        listener.setblocking(False)
        rest = []
        with contextlib.suppress(BlockingIOError):
            while True:
                rest.append(listener.recv(100))
        assert rest.count(b"STOPPING=1") == 1
        assert b"READY=1" not in rest


# -- settings ----------------------------------------------------------------------------------------------------------


async def test_a_wrong_setting_is_named_and_the_status_is_2(daemon, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    cases = [
        ({"RECEIPTD_HTTP__PORT": "70000"}, "http.port"),
        ({"RECEIPTD_HTTP__BODY_MAX": "1"}, "http.body_max"),
        ({"RECEIPTD_HPPT__PORT": "1"}, "RECEIPTD_HPPT__PORT"),
        ({"RECEIPTD_WEBHOOKS__SCHEDULE_S": "[5, -1]"}, "webhooks.schedule_s"),
        ({"RECEIPTD_REGISTRARS_DIR": str(tmp_path / "none")}, "registrars_dir"),
        (
            {
                "RECEIPTD_HTTP__PORT": daemon.url.rpartition(":")[2],
                "RECEIPTD_STORAGE__PATH": str(tmp_path / "other"),
            },
            "http.port",
        ),
    ]
    if daemon.backend.own_issuer:
        cases += [
            ({"RECEIPTD_STORAGE__PATH": str(blocked / "data")}, str(blocked)),
            ({}, "in use by another receiptd daemon"),
        ]
    else:
        cases += [({"RECEIPTD_AWS__PREFIX": "missing"}, "receiptd aws provision makes it")]
    done = await asyncio.gather(
        *[asyncio.to_thread(daemon.cli, "serve", **{**daemon.variables, **variables}) for variables, _ in cases]
    )
    for (variables, told), one in zip(cases, done, strict=True):
        assert one.returncode == 2, (variables, one.stderr)
        assert told in one.stderr
        assert "Traceback" not in one.stderr


# -- what is not in the log (invariant 14) -----------------------------------------------------------------------------


async def test_no_secret_and_no_document_is_in_the_log(start_daemon, simulator, settings, endpoint, document):
    """Invariant 14, at the most talkative level, with everything going wrong that a client can bring about."""
    daemon = start_daemon(RECEIPTD_LOG__LEVEL="debug")
    marker = "Zx9Marker"
    credentials = await daemon.contract("shop", webhook_url=f"{endpoint.url}?token={marker}query")
    endpoint.secrets = [credentials.webhook_secret]
    simulator.turn(error_rate=0.3, garbage_rate=0.3, forged_callback_rate=0.5, duplicate_callback_rate=0.5)
    async with daemon.client(credentials) as client:
        token = client.token
        for _ in range(10):
            await client.post(
                document(f"{marker}-{uuid4().hex}"), Prefer="wait=20", Idempotency_Key=marker + uuid4().hex
            )
        wrong = {**json.loads(document(marker)), "total": 1, "seller": {"name": marker}}
        for body, content_type in (
            (json.dumps(wrong).encode(), "application/json"),
            (f'{{"type": "{marker}"'.encode(), "application/json"),
            (f"<!DOCTYPE {marker}><{marker}/>".encode(), "application/xml"),
            (f"<{marker}>".encode(), "application/xml"),
        ):
            assert (await client.post(body, content_type))[0] in (400, 422)
        await client.json("POST", f"/v1/callbacks/tax/{marker}", body=b"{}")
        for scheme in ("Basic", "Bearer"):
            await client.json("GET", "/v1/receipts", headers={"Authorization": f"{scheme} {marker}"})
        client._client_secret = f"{marker}secret"
        with contextlib.suppress(Exception):
            await client.renew()
    for sent in MALFORMED:
        await exchange(daemon.url, sent.replace(b"MARK", marker.encode()))
    assert await asyncio.to_thread(daemon.process.stop) == 0

    log = daemon.process.log.read_text()
    assert log.count('"event":"receipt"') >= 10
    registrars = "".join(file.read_text() for file in (settings.parent / "registrars").glob("*.toml"))
    callback_secrets = [part.split('"')[0] for part in registrars.split("whsec_")[1:]]
    assert callback_secrets
    for secret in (
        marker,
        token,
        token.rpartition(".")[2],
        credentials.client_secret,
        credentials.webhook_secret.removeprefix("whsec_"),
        *callback_secrets,
    ):
        assert secret not in log


# -- malformed requests ------------------------------------------------------------------------------------------------

MALFORMED = (
    b"MARK\r\n\r\n",
    b"GET /livez\r\n\r\n",  # HTTP/0.9
    b"GET /livez?MARK HTTP/0.9\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nAuthorization: Bearer MARK\r\n\r\n",  # no Host
    b"GET /livez HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer MARK\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer MARK\r\n folded\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer MARK\0\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nMARK\r\n\r\n",
    b"GET /liv ez/MARK HTTP/1.1\r\nHost: x\r\n\r\n",
    b"G\x01T /MARK HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /livez HTTP/9.9\r\nHost: x\r\nX: MARK\r\n\r\n",
    b"POST /v1/receipts HTTP/1.1\r\nHost: x\r\nContent-Length: MARK\r\n\r\n",
    b"POST /v1/receipts HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nMARK",
    b"POST /v1/receipts HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\nMARK",
    b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\nAuthorization: MARK\r\nTransfer-Encoding: chunked\r\n\r\nMARK\r\n",
    b"POST /v1/receipts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: MARK\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"MARK" * 20_000 + b"\r\n\r\n",
    b"GET /" + b"MARK" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03MARK",  # TLS
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nMARK",
)


async def test_malformed_requests_get_a_problem_document_without_echo(daemon):
    answers = await asyncio.gather(*[exchange(daemon.url, sent + b"\r\n\r\n") for sent in MALFORMED])
    for sent, answer in zip(MALFORMED, answers, strict=True):
        assert b"MARK" not in answer, sent[:100]
        if answer:
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith((b"HTTP/1.1 4", b"HTTP/1.1 505", b"HTTP/1.1 501")), (sent[:100], head)
            assert b"application/problem+json" in head
            assert json.loads(body)["status"] == int(head[9:12])


async def test_after_all_of_it_the_daemon_serves(client, document):
    assert (await client.post(document(), Prefer="wait=20"))[2]["status"] == "COMPLETE"
