"""Documents made to hurt: each gets its 4xx at once, memory stays flat, and the daemon goes on serving."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from uuid import uuid4

import pytest
from acceptance_tools import exchange

JSON, XML = "application/json", "application/xml"
BODY_MAX = 262_144
"""What the bundled types take."""
QUICK_S = 0.5
"""A document's own cost is far less; a shared machine may be busy."""


def xml(text: str, encoding: str = "utf-8", declared: str = "") -> bytes:
    return f'<?xml version="1.0" encoding="{declared or encoding}"?>{text}'.encode(encoding)


def entities(levels: int) -> str:
    lines = [f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "lol"}">' for n in range(levels)]
    return f"<!DOCTYPE r [{''.join(lines)}]><r>&e{levels - 1};</r>"


NAMESPACE = "urn:receiptd:retail-receipt:1"

HOSTILE: dict[str, tuple[str, bytes, set[str]]] = {
    # XML
    "doctype": (XML, xml("<!DOCTYPE r><r/>"), {"doctype-forbidden"}),
    "doctype in lower case": (XML, xml("<!doctype r><r/>"), {"doctype-forbidden", "xml-malformed"}),
    "doctype in UTF-16": (XML, xml("<!DOCTYPE r><r/>", "utf-16"), {"doctype-forbidden"}),
    "doctype after a long comment": (XML, xml(f"<!--{'x' * 100_000}--><!DOCTYPE r><r/>"), {"doctype-forbidden"}),
    "entity expansion": (XML, xml(entities(10)), {"doctype-forbidden"}),
    "external entity": (
        XML,
        xml('<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r>&x;</r>'),
        {"doctype-forbidden"},
    ),
    "parameter entity": (
        XML,
        xml('<!DOCTYPE r [<!ENTITY % x SYSTEM "http://127.0.0.1:1/x.dtd">%x;]><r/>'),
        {"doctype-forbidden"},
    ),
    "undeclared entity": (XML, xml("<r>&nothing;</r>"), {"xml-malformed"}),
    "XInclude": (
        XML,
        xml(
            f'<Receipt xmlns="{NAMESPACE}"><xi:include xmlns:xi="http://www.w3.org/2001/XInclude" '
            'href="/etc/passwd" parse="text"/></Receipt>'
        ),
        {"receipt-invalid"},
    ),
    "a schema of its own": (
        XML,
        xml(
            f'<Receipt xmlns="{NAMESPACE}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
            f'xsi:schemaLocation="{NAMESPACE} http://127.0.0.1:1/any.xsd"/>'
        ),
        {"receipt-invalid"},
    ),
    "XML nested deep": (XML, b"<a>" * 37_000 + b"</a>" * 37_000, {"document-too-complex"}),
    "many attributes": (
        XML,
        b"<a " + b" ".join(b'a%d=""' % n for n in range(25_000)) + b"/>",
        {"document-too-complex", "unknown-receipt-type"},
    ),
    "many elements": (XML, b"<a>" + b"<b/>" * 60_000 + b"</a>", {"document-too-complex", "unknown-receipt-type"}),
    "many namespaces": (
        XML,
        b"<a " + b" ".join(b'xmlns:a%d="u%d"' % (n, n) for n in range(10_000)) + b"/>",
        {"document-too-complex", "unknown-receipt-type", "xml-malformed"},
    ),
    "truncated XML": (XML, xml(f'<Receipt xmlns="{NAMESPACE}"><Number>1'), {"xml-malformed"}),
    "NUL in XML": (XML, xml("<r>\0</r>"), {"xml-malformed"}),
    "character reference to NUL": (XML, xml("<r>&#0;</r>"), {"xml-malformed"}),
    "bytes that are not UTF-8": (XML, b"<r>\xff\xfe\xfd</r>", {"xml-malformed", "encoding-unsupported"}),
    "declared as UTF-16, sent as UTF-8": (
        XML,
        xml("<r/>", "utf-8", "utf-16"),
        {"xml-malformed", "encoding-unsupported", "unknown-receipt-type"},
    ),
    "unknown encoding": (XML, xml("<r/>", "utf-8", "utf-7"), {"encoding-unsupported", "xml-malformed"}),
    "EBCDIC": (
        XML,
        '<?xml version="1.0" encoding="cp037"?><r/>'.encode("cp037"),
        {"encoding-unsupported", "xml-malformed"},
    ),
    "UTF-32": (XML, xml("<r/>", "utf-32"), {"encoding-unsupported", "xml-malformed"}),
    # JSON
    "JSON nested deep": (JSON, b"[" * 100_000 + b"]" * 100_000, {"json-too-deep", "document-too-complex"}),
    "objects nested deep": (
        JSON,
        b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
        {"json-too-deep", "document-too-complex"},
    ),
    "an open end": (JSON, b"[" * 200_000, {"json-too-deep", "document-too-complex", "json-malformed"}),
    "duplicate keys": (JSON, b'{"type": "retail-receipt", "total": 1, "total": 2}', {"json-duplicate-key"}),
    "escaped duplicate keys": (
        JSON,
        b'{"type": "retail-receipt", "total": 1, "t\\u006ftal": 2}',
        {"json-duplicate-key"},
    ),
    "NaN": (JSON, b'{"type": "retail-receipt", "total": NaN}', {"json-malformed"}),
    "Infinity": (JSON, b'{"type": "retail-receipt", "total": -Infinity}', {"json-malformed"}),
    "a number beyond floats": (JSON, b'{"type": "retail-receipt", "total": 1e999}', {"json-malformed", "json-number"}),
    "a long number": (
        JSON,
        b'{"type": "retail-receipt", "total": ' + b"9" * 200_000 + b"}",
        {"json-number", "json-malformed"},
    ),
    "long numbers": (
        JSON,
        b'{"type": "retail-receipt", "n": [' + b",".join([b"12345678901234567"] * 12_000) + b"]}",
        {"document-too-complex"},
    ),
    "a lone surrogate": (JSON, b'{"type": "retail-receipt", "number": "\\ud800"}', {"json-malformed"}),
    "a surrogate as bytes": (JSON, b'{"type": "retail-receipt", "number": "\xed\xa0\x80"}', {"json-malformed"}),
    "NUL after the document": (JSON, b'{"type": "retail-receipt"}\0', {"json-malformed"}),
    "NUL in a string": (JSON, b'{"type": "retail-receipt", "number": "\0"}', {"json-malformed"}),
    "an escaped NUL": (JSON, b'{"type": "retail-receipt", "number": "\\u0000"}', {"receipt-invalid"}),
    "truncated JSON": (JSON, b'{"type": "retail-receipt", "number": "1', {"json-malformed"}),
    "JSON in UTF-16": (JSON, '{"type": "retail-receipt"}'.encode("utf-16"), {"json-malformed", "encoding-unsupported"}),
    "JSON in windows-1251": (JSON, '{"type": "чек"}'.encode("cp1251"), {"json-malformed"}),
    "many keys": (
        JSON,
        json.dumps({"type": "retail-receipt", **{f"k{n}": n for n in range(15_000)}}).encode(),
        {"receipt-invalid"},
    ),
    "many wrong lines": (
        JSON,
        json.dumps({"type": "retail-receipt", "lines": [{"x": 1}] * 15_000}).encode(),
        {"receipt-invalid"},
    ),
    "too large": (JSON, b'{"type": "retail-receipt"}' + b" " * BODY_MAX, {"document-too-large"}),
    "no object": (JSON, b'"retail-receipt"', {"unknown-receipt-type"}),
    "another format": (JSON, b"<r/>", {"json-malformed"}),
}


def rss_kb(daemon) -> int:
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_document_gets_its_4xx_at_once(client, name):
    content_type, body, codes = HOSTILE[name]
    took = []
    for _ in range(3):
        began = time.perf_counter()
        status, headers, problem = await client.post(body, content_type, Idempotency_Key=uuid4().hex)
        took.append(time.perf_counter() - began)
        assert 400 <= status < 500, problem
        assert problem["code"] in codes
        assert headers["content-type"] == "application/problem+json"
        assert len(problem.get("findings", ())) <= 50
        assert len(json.dumps(problem)) < 40_000
        assert "root:" not in json.dumps(problem)
    assert min(took) < QUICK_S


async def test_memory_stays_flat_and_others_are_served_meanwhile(daemon, client, document):
    """Invariants 12 and 13."""
    bodies = [(content_type, body) for content_type, body, _ in HOSTILE.values()]
    for content_type, body in bodies:  # what is allocated once
        await client.post(body, content_type, Idempotency_Key=uuid4().hex)
    before_kb = rss_kb(daemon)
    async with daemon.client(await daemon.contract(f"good-{uuid4().hex[:8]}")) as good:
        for _ in range(4):
            attack = [client.post(body, content_type, Idempotency_Key=uuid4().hex) for content_type, body in bodies]
            *answers, ended = await asyncio.gather(*attack, good.post(document(), Prefer="wait=20"))
            assert all(400 <= status < 500 for status, _, _ in answers)
            assert ended[2]["status"] == "COMPLETE"
    assert rss_kb(daemon) - before_kb < 40_000


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
async def test_a_body_of_50_mb_is_not_read(daemon, client, declared):
    head = (
        f"POST /v1/receipts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.token}\r\n"
        f"Content-Type: {JSON}\r\n{'Content-Length: 52428800' if declared else 'Transfer-Encoding: chunked'}\r\n\r\n"
    )
    chunk = b" " * 65_536
    body = chunk * 4 if declared else (b"10000\r\n" + chunk + b"\r\n") * 24  # what comes before the refusal
    before_kb = rss_kb(daemon)
    answer = await exchange(daemon.url, head.encode() + body)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"body-too-large" in answer
    assert rss_kb(daemon) - before_kb < 20_000


async def test_a_compressed_body_is_refused(client):
    status, headers, problem = await client.json(
        "POST", "/v1/receipts", body=b"\x1f\x8b", headers={"Content-Type": JSON, "Content-Encoding": "gzip"}
    )
    assert (status, problem["code"]) == (415, "content-encoding-unsupported")
    assert headers["accept-encoding"] == "identity"


async def test_nothing_of_it_was_registered(client, simulator, document):
    """Invariant 3."""
    for content_type, body, _ in HOSTILE.values():
        await client.post(body, content_type)
    _, _, page = await client.json("GET", "/v1/receipts?limit=1000")
    assert {one["status"] for one in page["receipts"]} == {"FAILED"}
    assert all(simulator.effects(one["id"]) == [] for one in page["receipts"])
    assert (await client.post(document(), Prefer="wait=20"))[2]["status"] == "COMPLETE"
