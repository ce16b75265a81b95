"""Documents made to hurt: each gets its 4xx at once, memory stays flat, and the daemon goes on serving."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from uuid import uuid4

import pytest
from acceptance_tools import exchange

JSON, XML = "application/json", "application/xml"
BODY_MAX = 262_144
"""What the bundled types take."""
QUICK_S = 0.1
"""Of the daemon's CPU time, for a request with a hostile document."""


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
    "billion laughs in UTF-16": (XML, xml(entities(20), "utf-16"), {"doctype-forbidden"}),
    "a doctype that UTF-7 hides": (
        XML,
        b'<?xml version="1.0" encoding="utf-7"?>+ADwAIQ-DOCTYPE r+AD4-<r/>',
        {"encoding-unsupported", "xml-malformed"},
    ),
    "attributes as far as a body goes": (
        XML,
        b"<a " + b" ".join(b'a%d=""' % n for n in range(23_000)) + b"/>",
        {"document-too-complex", "unknown-receipt-type"},
    ),
    "half UTF-8, half windows-1251": (
        XML,
        "<r>Ж".encode() + "Ж</r>".encode("cp1251"),
        {"xml-malformed", "unknown-receipt-type"},
    ),
    "UTF-16 cut in the middle of a character": (XML, xml("<r/>", "utf-16")[:-1], {"xml-malformed"}),
    "XML of nothing": (XML, b"", {"document-empty", "body-missing"}),
    "XML of spaces": (XML, b" \n" * 1_000, {"document-empty"}),
    "two roots": (XML, b"<r/><r/>", {"xml-malformed"}),
    # JSON
    "many duplicate keys": (
        JSON,
        b'{"type":"retail-receipt",' + b",".join(b'"k%d":1' % n for n in range(15_000)) + b',"\\u006b7":2}',
        {"json-duplicate-key"},
    ),
    "a duplicate key, deep": (JSON, b'{"a":' * 60 + b'{"\\u0062":1,"b":2}' + b"}" * 60, {"json-duplicate-key"}),
    "many small numbers, one long": (
        JSON,
        b'{"type": "retail-receipt", "n": [12345678901234567' + b",1.50" * 40_000 + b"]}",
        {"receipt-invalid"},
    ),
    "more values than a document has": (
        JSON,
        b'{"type": "retail-receipt", "n": [1' + b",1" * 101_000 + b"]}",
        {"document-too-complex"},
    ),
    "minus zero": (JSON, b'{"type": "retail-receipt", "total": -0}', {"receipt-invalid"}),
    "a number that is none to floats": (
        JSON,
        b'{"type": "retail-receipt", "total": 1e-999999}',
        {"json-number"},
    ),
    "an exponent of six digits": (JSON, b'{"type": "retail-receipt", "total": 1e999999}', {"json-malformed"}),
    "a huge string": (JSON, b'{"type": "retail-receipt", "number": "' + b"9" * 200_000 + b'"}', {"receipt-invalid"}),
    "a huge key": (JSON, b'{"type": "retail-receipt", "' + b"k" * 200_000 + b'": 1}', {"receipt-invalid"}),
    "surrogates in the wrong order": (
        JSON,
        b'{"type": "retail-receipt", "number": "\\ude00\\ud83d"}',
        {"json-malformed"},
    ),
    "JSON in UTF-32": (JSON, '{"type": "retail-receipt"}'.encode("utf-32"), {"encoding-unsupported"}),
    "JSON of a charset": ("application/json; charset=utf-16", '{"a": 1}'.encode("utf-16"), {"charset-unsupported"}),
    "JSON of nothing": (JSON, b"", {"document-empty", "body-missing"}),
    "JSON of spaces": (JSON, b" " * 200_000, {"document-empty"}),
    "two documents": (JSON, b'{"type": "retail-receipt"}{"type": "retail-receipt"}', {"json-malformed"}),
    "100,000 documents": (JSON, b"1 " * 100_000, {"json-malformed"}),
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


def cpu_s(daemon) -> float:
    """Return the CPU time of the daemon's event loop, in seconds."""
    return int(Path(f"/proc/{daemon.process.pid}/schedstat").read_text().split()[0]) / 1e9


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_document_gets_its_4xx_at_once(daemon, client, document, name):
    content_type, body, codes = HOSTILE[name]
    took_s = []
    for _ in range(3):
        began_s = cpu_s(daemon)
        status, headers, problem = await client.post(body, content_type, Idempotency_Key=uuid4().hex)
        took_s.append(cpu_s(daemon) - began_s)
        assert 400 <= status < 500, problem
        assert problem["status"] == status
        assert problem["code"] in codes
        assert problem["title"]
        assert problem["detail"]
        assert headers["content-type"] == "application/problem+json"
        assert len(problem.get("findings", ())) <= 50
        assert len(json.dumps(problem)) < 80_000
        assert "root:" not in json.dumps(problem)
    assert min(took_s) < QUICK_S
    status, _, _ = await client.post(document(), Idempotency_Key=uuid4().hex)
    assert status == 202


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


@pytest.mark.parametrize(
    "hint", [f"retail-receipt@{'9' * 5_000}", "retail-receipt@٣", "@", "retail-receipt@-1", "x" * 6_000]
)
async def test_a_hostile_hint_gets_its_4xx(client, document, hint):
    status, _, problem = await client.post(document(), **{"Receipt-Type": hint})
    assert (status, problem["code"]) == (422, "unknown-receipt-type")
    assert len(problem["detail"]) < 1_000


@pytest.mark.parametrize("text", ["\\u0000", "\\u0001\\u001d", "\\u2028\\ufeff\\u202e", "\\ud83d\\ude00"])
async def test_rare_characters_in_a_receipt_survive_or_are_found(client, document, text):
    body = document().replace(b'"description": "', b'"description": "' + text.encode(), 1)
    assert text.encode() in body
    status, headers, answer = await client.post(body, Prefer="wait=20", Idempotency_Key=uuid4().hex)
    if text == "\\u0000":  # JSON may hold it, and no XML or database text
        assert (status, answer["code"]) == (422, "receipt-invalid")
        assert {finding["code"] for finding in answer["findings"]} >= {"mapping:lines.description"}
        return
    assert answer["status"] == "COMPLETE"
    _, _, kept = await client.request("GET", f"{headers['location'].removesuffix('/status')}/document")
    assert kept == body


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


def test_the_log_tells_of_no_fault(daemon):
    """What clients send is no fault of the daemon; it runs last, after all of the above."""
    log = daemon.process.log.read_text(errors="replace")
    assert "Traceback" not in log
    assert [line for line in log.splitlines() if '"level":"error"' in line.replace('": "', '":"')] == []
