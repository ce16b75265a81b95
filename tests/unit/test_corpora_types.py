"""The types for real documents, without a daemon: what they fill in, and what they would not let pass."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path

import orjson
import pytest

from receiptd.documents import ReceiptTypes

sys.path.append(str(Path(__file__).parents[1] / "corpora"))
from real_documents import ABSENT, CORPORA, COUNTS, Document, documents, make_root

if not CORPORA.is_dir():
    pytest.skip(ABSENT, allow_module_level=True)

VALID = {str(document): document for document in documents("valid")}

WARNINGS = {
    # A discount of 860.00 and a surcharge of 172.00 on the whole document.
    "fatturapa/invoice-credit-note.xml": "rule:taxes-add-up",
    "fatturapa/invoice-simple.xml": "rule:taxes-add-up",
    # A surcharge of 4.30 on a tax.
    "gobl-invoice/es_out_invoice-es-es-vateqs-provider.json": "rule:taxes-add-up",
    # Discounts on the whole receipt.
    "kivra-retail/min-sale-receipt-cash-payment-rpm.json": "rule:lines-add-up",
    "kivra-retail/sale-voucher-payment.json": "rule:lines-add-up",
}
"""The documents whose sums do not add up, for reasons that their formats have."""


@pytest.fixture(scope="module")
def types(tmp_path_factory) -> ReceiptTypes:
    return ReceiptTypes.load([make_root(tmp_path_factory.mktemp("types"))])


def changed(document: Document, old: str, new: str) -> bytes:
    body = document.body
    assert body.count(old.encode()) >= 1
    return body.replace(old.encode(), new.encode(), 1)


def canonical(types: ReceiptTypes, name: str) -> dict:
    checked = types.check(VALID[name].body, VALID[name].content_type)
    return orjson.loads(checked.canonical)


def test_every_document_is_there():
    found: dict[tuple[str, str], int] = {}
    for verdict in ("valid", "invalid", "not-json"):
        for document in documents(verdict):
            found[document.type_id, verdict] = found.get((document.type_id, verdict), 0) + 1
    assert found == COUNTS


@pytest.mark.parametrize("name", VALID)
def test_a_valid_document_has_no_errors_and_says_what_it_states(types, name):
    document = VALID[name]
    checked = types.check(document.body, document.content_type)
    assert (checked.type_id, checked.type_version, checked.valid) == (document.type_id, 1, True), checked.findings
    assert [finding.code for finding in checked.findings] == ([WARNINGS[name]] if name in WARNINGS else [])
    receipt = orjson.loads(checked.canonical)
    assert (receipt["number"], receipt["currency"]) == (document.stated.number, document.stated.currency)
    assert receipt["issued_at"].startswith(document.stated.date)
    assert Decimal(receipt["total"]) / 100 == document.stated.total
    assert len(receipt["lines"]) == len(document.stated.lines)


RECEIPTS = {
    "ubl-invoice/ubl-tc434-example4.xml": {
        "currency": "DKK",
        "number": "TOSL110",
        "issued_at": "2013-04-10T00:00:00+00:00",
        "seller": "DK16356706",
        "buyer": "Buyercompany ltd",
        "total": 467500,
        "taxes": [
            {"code": "S", "rate": "25", "base": 150000, "amount": 37500},
            {"code": "S", "rate": "12", "base": 250000, "amount": 30000},
        ],
        "lines": [
            ["Printing paper", "", "JB007", "1000", "EA", 100000],
            ["Parker Pen", "", "JB008", "100", "EA", 50000],
            ["American Cookies", "", "JB009", "500", "EA", 250000],
        ],
    },
    "fatturapa/invoice-hotel.xml": {
        "currency": "EUR",
        "number": "SAMPLE-002",
        "issued_at": "2023-05-21T00:00:00+02:00",
        "seller": "IT12345678903",
        "buyer": "IT13029381004",
        "total": 24100,
        "taxes": [
            {"code": "N1", "rate": "0.00", "base": 100, "amount": 0},
            {"code": "IVA", "rate": "10.00", "base": 21818, "amount": 2182},
        ],
        # 218.1819 is rounded to the cent
        "lines": [["Tassa di Soggiorno", "", "", "1.00", "", 100], ["Camera Matrimoniale", "", "", "2.00", "", 21818]],
    },
    "prro-zrep/sample-4-ZREP.cp1251.xml": {
        "currency": "UAH",
        "number": "4000438533/1",
        "issued_at": "2024-04-18T15:16:17+03:00",
        "seller": "44657555",
        "buyer": "",
        "total": 2771069,
        "taxes": [
            {"code": "Б", "rate": "20.00", "base": 375542, "amount": 75108},
            {"code": "Г", "rate": "20.00", "base": 191938, "amount": 38388},
            {"code": "Д", "rate": "5.00", "base": 1990566, "amount": 99528},
        ],
        "lines": [["ГОТІВКА", "", "0", "1", "", 870000], ["КАРТКА", "", "1", "1", "", 1901069]],
    },
    "versa-receipt/flight.json": {
        "currency": "USD",
        "number": "DL-2024-123456",
        "issued_at": "2024-07-01T16:00:00+00:00",
        "seller": "the sender",
        "buyer": "Sarah Johnson",
        "total": 98560,
        "taxes": [{"code": "Federal Tax", "rate": "7.5", "base": None, "amount": 4480}],
        "lines": [["JFK-LAX", "Economy", "DL123", "1", "", 44800]],
    },
    "kivra-retail/min-sale-receipt-cash-payment-deposit.json": {
        "currency": "SEK",
        "number": "123456",
        "issued_at": "2018-11-09T08:49:00+01:00",
        "seller": "556838-8200",
        "buyer": "+46 75 777 7777",
        "total": 2200,
        "taxes": [{"code": "VAT", "rate": "12", "base": 3900, "amount": 764}],
        "lines": [
            ["Mumsig läskedryck", "", "912042", "1", "ea", 2000],
            ["Pant Mumsig läskedryck", "", "", "1", "", 200],
        ],
    },
    "gobl-invoice/es_out_invoice-es-igic.json": {
        "currency": "EUR",
        "number": "SAMPLE-001",
        "issued_at": "2022-02-01T00:00:00+00:00",
        "seller": "B98602642",
        "buyer": "54387763P",
        "total": 174340,
        "taxes": [
            {"code": "standard", "rate": "7.0", "base": 162000, "amount": 11340},
            {"code": "exempt", "rate": "", "base": 1000, "amount": 0},
        ],
        "lines": [
            ["Development services", "", "SUB1234-ABC", "20", "h", 162000],
            ["Financial service", "", "", "1", "", 1000],
        ],
    },
}
"""One document of each type in full, read by eye; a line's values are in the order of the canonical receipt."""


@pytest.mark.parametrize("name", RECEIPTS)
def test_the_canonical_receipt_in_full(types, name):
    receipt = canonical(types, name)
    receipt["lines"] = [list(line.values()) for line in receipt["lines"]]
    assert receipt == RECEIPTS[name]


def test_a_deposit_and_a_department_are_lines_like_others(types):
    lines = canonical(types, "kivra-retail/min-sale-receipt-cash-payment-rpm.json")["lines"]
    assert [line["description"] for line in lines[:2]] == ["Mumsig läskedryck svart", "deposit"]
    lines = canonical(types, "kivra-retail/sale-voucher-payment.json")["lines"]
    assert [line["category"] for line in lines] == ["bil-mc", "kontor-teknik", "verktyg", "hem"]


def test_taxes_that_the_buyer_retains_are_left_out(types):
    receipt = canonical(types, "gobl-invoice/it_out_freelance.json")
    assert [tax["amount"] for tax in receipt["taxes"]] == [35640, 0]


BROKEN = [
    # (document, what stands there, what is put there, code, where)
    (
        "ubl-invoice/ubl-tc434-example9.xml",
        '<cbc:TaxInclusiveAmount currencyID="EUR">177.87<',
        '<cbc:TaxInclusiveAmount currencyID="EUR">177.88<',
        "rule:taxes-add-up",
        "",
    ),
    # an attribute that a schema of the folder demands, two imports away
    (
        "ubl-invoice/ubl-tc434-example9.xml",
        '<cbc:TaxInclusiveAmount currencyID="EUR">',
        "<cbc:TaxInclusiveAmount>",
        "schema",
        "/Invoice/cac:LegalMonetaryTotal/cbc:TaxInclusiveAmount (line 100)",
    ),
    ("ubl-invoice/ubl-tc434-example9.xml", ">2015-04-01<", ">2015-02-30<", "mapping:issued_at", ""),
    ("fatturapa/invoice-hotel.xml", ">241.00<", ">21.00<", "rule:taxes-within-total", ""),
    ("fatturapa/invoice-hotel.xml", ">SAMPLE-002<", "><", "mapping:number", ""),
    # the signature's schema, which is imported by an absolute URL
    (
        "fatturapa/invoice-hotel.xml",
        "<ds:SignedInfo>",
        "<ds:Signed/><ds:SignedInfo>",
        "schema",
        "/ds:Signature/ds:Signed (line 113)",
    ),
    ("prro-check/sample-1-CHECK.utf8.xml", "<SUM>950.04<", "<SUM>950.05<", "rule:total-equals-lines", ""),
    ("prro-zrep/sample-4-ZREP.utf8.xml", "<SUM>8700.00<", "<SUM>8700.000001<", "mapping:lines.amount", "/PAYFORMS/ROW"),
    ("versa-receipt/flight.json", '"currency": "usd"', '"currency": "US"', "schema", "/header/currency"),
    ("versa-receipt/flight.json", '"total": 98560', '"total": 4479', "rule:taxes-within-total", ""),
    ("versa-receipt/flight.json", '"total": 98560', '"total": 4479.5', "mapping:total", "/header/total"),
    # a sibling of the schema, by a relative reference
    (
        "kivra-retail/min-sale-receipt-cash-payment.json",
        '"Kivra store AB"',
        "7",
        "schema",
        "/business_unit/name",
    ),
    ("kivra-retail/min-sale-receipt-cash-payment.json", "+01:00", "", "mapping:issued_at", "/time_of_purchase"),
    # a schema of the folder, by the URL of its $id
    ("gobl-invoice/sg_out_invoice-receipt.json", '"201312345A"', '"?"', "schema", "/supplier/tax_id/code"),
    ("gobl-invoice/sg_out_invoice-receipt.json", '"currency": "SGD"', '"currency": "S$"', "schema", "/currency"),
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: f"{broken[0]}-{broken[3]}")
def test_what_is_broken_is_found(types, broken):
    name, old, new, code, where = broken
    document = VALID[name]
    checked = types.check(changed(document, old, new), document.content_type)
    found = [finding for finding in checked.findings if finding.severity == "error"]
    assert any(finding.code == code and where in finding.where for finding in found), found


def test_a_lot_of_two_invoices_is_no_receipt(types):
    document = VALID["fatturapa/invoice-zero-price.xml"]
    begin, end = "<FatturaElettronicaBody>", "</FatturaElettronicaBody>"
    body = document.body.decode()
    one = body[body.index(begin) : body.index(end) + len(end)]
    checked = types.check(body.replace(one, one + one).encode(), document.content_type)
    assert [finding.code for finding in checked.findings] == ["mapping:number"]  # the schema allows a lot


def test_the_findings_of_the_invalid_document(types):
    (document,) = documents("invalid")
    checked = types.check(document.body, document.content_type)
    assert [finding.code for finding in checked.findings] == ["schema", "schema"]
    assert all("CodiceValore" in finding.message for finding in checked.findings)
