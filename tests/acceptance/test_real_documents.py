"""Receipts and invoices that others wrote, through the public face, each under a type that is data alone."""

from __future__ import annotations

import json
import re
import sys
from decimal import ROUND_HALF_UP, Decimal
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import pytest

sys.path.append(str(Path(__file__).parents[1] / "corpora"))
from real_documents import ABSENT, CORPORA, Document, documents, make_root

if not CORPORA.is_dir():
    pytest.skip(ABSENT, allow_module_level=True)

CENT = Decimal("0.01")
"""Every currency of the documents has two decimals."""


@pytest.fixture(scope="module")
def daemon_settings(settings: Path, tmp_path_factory) -> Path:
    """Settings under which the types of the real documents are the only ones."""
    root = make_root(tmp_path_factory.mktemp("types"))
    file = settings.with_name("real-documents.toml")
    file.write_text(f'{settings.read_text()}\n[receipt_types]\nroots = ["{root}"]\nbundled = false\n')
    return file


async def post(client, document: Document, **headers: str):
    return await client.post(document.body, document.content_type, Idempotency_Key=uuid4().hex, **headers)


def minor(amount: Decimal) -> int:
    return int(amount.quantize(CENT, ROUND_HALF_UP) * 100)


@pytest.mark.parametrize("document", documents("valid"), ids=str)
async def test_a_valid_document_is_recognised_and_completes(client, simulator, document):
    """Invariant 9: its bytes come back. The canonical receipt says what the document states, and each registrar gets
    what its own file says (``tax`` the bytes), unless the type says otherwise, as that of UBL does.
    """
    status, _, ended = await post(client, document, Prefer="wait=20")
    assert (status, ended["status"], ended["type"]) == (200, "COMPLETE", document.type_id), ended
    assert {one["severity"] for one in ended["findings"]} <= {"warning"}

    _, _, full = await client.json("GET", f"/v1/receipts/{ended['id']}")
    receipt, stated = full["receipt"], document.stated
    assert (receipt["number"], receipt["currency"]) == (stated.number, stated.currency)
    assert receipt["issued_at"][:10] == stated.date
    assert receipt["total"] == minor(stated.total)
    assert [line["amount"] for line in receipt["lines"]] == [minor(amount) for amount in stated.lines]
    assert receipt["seller"]
    assert all(line["description"] for line in receipt["lines"])

    status, headers, stored = await client.request("GET", f"/v1/receipts/{ended['id']}/document")
    assert (status, stored, headers["content-type"]) == (200, document.body, document.content_type)

    asked = {effect["registrar"]: effect["digests"] for effect in simulator.effects(ended["id"])}
    gets_bytes = [name for name, digests in asked.items() if digests == [sha256(document.body).hexdigest()]]
    assert gets_bytes == (["warehouse"] if document.type_id == "ubl-invoice" else ["tax"])
    assert asked.keys() == ({"tax"} if document.type_id == "prro-zrep" else {"tax", "warehouse"})


@pytest.mark.parametrize("number", ["1-CHECK", "2-CHECK", "3-CHECK", "4-ZREP"])
async def test_both_encodings_are_the_same_receipt(client, simulator, number):
    """Invariant 9: each comes back in the encoding that it came in."""
    both = [document for document in documents("valid") if f"sample-{number}." in document.path.name]
    assert len(both) == 2
    found = []
    for document in both:
        _, _, ended = await post(client, document, Prefer="wait=20")
        _, _, full = await client.json("GET", f"/v1/receipts/{ended['id']}")
        found.append((full["type"], full["receipt"], full["findings"]))
    assert found[0] == found[1]
    assert "ТЕСТ" in both[0].body.decode("cp1251")
    assert both[0].body != both[1].body


@pytest.mark.parametrize("document", documents("invalid"), ids=str)
async def test_an_invalid_document_is_kept_with_its_findings_and_registered_nowhere(client, simulator, document):
    """Invariant 3, for a document in windows-1252 that lacks a ``CodiceValore`` in two lines."""
    status, headers, problem = await post(client, document)
    assert (status, headers["content-type"]) == (422, "application/problem+json")
    assert [(one["code"], one["severity"]) for one in problem["findings"]] == [("schema", "error")] * 2
    for line, one in enumerate(problem["findings"], start=1):
        assert "CodiceValore" in one["message"]
        assert f"/DettaglioLinee[{line}]/CodiceArticolo" in one["where"]

    _, _, full = await client.json("GET", f"/v1/receipts/{problem['id']}")
    assert (full["status"], full["type"], full["registrations"]) == ("FAILED", document.type_id, [])
    _, _, stored = await client.request("GET", f"/v1/receipts/{problem['id']}/document")
    assert stored == document.body
    assert simulator.effects(problem["id"]) == []


@pytest.mark.parametrize("document", documents("not-json"), ids=str)
async def test_what_does_not_parse_is_refused_with_the_place(client, document):
    status, _, problem = await post(client, document)
    assert (status, problem["code"]) == (400, "json-malformed")
    with pytest.raises(json.JSONDecodeError) as elsewhere:  # another parser has the next token for the place
        json.loads(document.body)
    (finding,) = problem["findings"]
    line = int(re.fullmatch(r"line (\d+), column \d+", finding["where"])[1])
    assert elsewhere.value.lineno - 1 <= line <= elsewhere.value.lineno


async def test_a_type_may_be_named_with_its_version(client, simulator):
    for document in {document.type_id: document for document in documents("valid")}.values():
        name = f"{document.type_id}@1"
        status, _, ended = await post(client, document, Prefer="wait=20", Receipt_Type=name)
        assert (status, ended["status"], ended["type"]) == (200, "COMPLETE", document.type_id)
        status, _, problem = await post(client, document, Receipt_Type=f"{document.type_id}@2")
        assert (status, problem["code"]) == (422, "unknown-receipt-type")
