"""The receipt types that come with the package: their samples show what they should."""

from __future__ import annotations

import orjson
import pytest
import yaml

from receiptd.documents import BUNDLED_ROOT, ReceiptTypes, run_samples

NAMES = ["prro-check", "retail-receipt", "retail-receipt-xml"]
TYPES = ReceiptTypes.load([BUNDLED_ROOT])


def sample(name: str) -> bytes:
    return (BUNDLED_ROOT / name).read_bytes()


def canonical(name: str, content_type: str = "") -> dict:
    return orjson.loads(TYPES.check(sample(name), content_type).canonical)


def test_the_bundled_types_are_these_and_ask_both_registrars():
    assert [type_.id for type_ in TYPES] == NAMES
    assert {type_.registrars for type_ in TYPES} == {("tax", "warehouse")}


@pytest.mark.parametrize("name", NAMES)
def test_samples(name):
    assert run_samples(BUNDLED_ROOT / name) == []


@pytest.mark.parametrize("name", NAMES)
def test_there_are_samples_of_each_fault(name):
    folder = BUNDLED_ROOT / name / "samples"
    assert len([path for path in (folder / "valid").iterdir() if path.suffix != ".md"]) >= 3
    codes: set[str] = set()
    for path in (folder / "invalid").glob("*.findings.yaml"):
        codes |= {expected["code"].partition(":")[0] for expected in yaml.safe_load(path.read_text())}
    assert {"schema", "mapping", "rule"} <= codes
    for stem in ("schema-error", "total-mismatch", "tax-mismatch", "missing-required"):
        assert (folder / "invalid" / f"{stem}.findings.yaml").exists()


@pytest.mark.parametrize(
    "name", ["retail-receipt/samples/valid/grocery.json", "retail-receipt-xml/samples/valid/hardware.xml"]
)
def test_a_usual_sample_is_of_the_usual_size(name):
    assert 1_500 < len(sample(name)) < 2_600


def test_retail_receipt_as_json():
    receipt = canonical("retail-receipt/samples/valid/grocery.json")
    lines = receipt.pop("lines")
    taxes = receipt.pop("taxes")
    assert receipt == {
        "currency": "UAH",
        "number": "KYV-014-3-0048211",
        "issued_at": "2026-05-14T18:42:07+03:00",
        "seller": "00000019",
        "buyer": "loyalty:9001724",
        "total": sum(line["amount"] for line in lines),
    }
    assert lines[2] == {
        "description": "Яблука «Голден», вагові",
        "category": "fruit",
        "sku": "2100457001236",
        "quantity": "1.248",
        "unit": "kg",
        "amount": 4991,
    }
    assert sum(tax["base"] + tax["amount"] for tax in taxes) == receipt["total"]


def test_amounts_without_decimals():
    assert canonical("retail-receipt/samples/valid/yen-escaped.json")["total"] == 3 * 162 + 2 * 180 - 20 + 330


def test_retail_receipt_as_xml_whatever_the_prefix_and_encoding():
    folder = "retail-receipt-xml/samples/valid"
    assert canonical(f"{folder}/bakery-utf-16.xml") == canonical(f"{folder}/bakery-prefixed.xml")
    assert canonical(f"{folder}/bookshop-windows-1251.xml")["seller"] == "00000027"
    assert canonical(f"{folder}/hardware.xml")["lines"][4] == {
        "description": "Cable 3×1.5 mm²",
        "category": "electrical",
        "sku": "EL-0905",
        "quantity": "12.5",
        "unit": "m",
        "amount": 1475,
    }


def test_prro_check_in_both_encodings():
    folder = "prro-check/samples/valid"
    receipt = canonical(f"{folder}/sale-windows-1251.xml")
    assert receipt == canonical(f"{folder}/sale-utf-8.xml")
    assert receipt["number"] == "4000000017/517"
    assert receipt["issued_at"] == "2026-05-21T10:15:30+03:00"
    assert receipt["total"] == 57400
    assert receipt["lines"][1] == {
        "description": "Мед з різнотрав'я, 0,5 л",
        "category": "0409",
        "sku": "2044",
        "quantity": "2",
        "unit": "шт",
        "amount": 29700,
    }


def test_prro_check_total_is_the_one_before_rounding():
    assert canonical("prro-check/samples/valid/sale-rounded-cash.xml")["total"] == 9546


def test_prro_service_documents_have_no_lines():
    receipt = canonical("prro-check/samples/valid/shift-opened.xml")
    assert (receipt["total"], receipt["lines"], receipt["taxes"]) == (0, [], [])
    assert canonical("prro-check/samples/valid/service-deposit.xml")["total"] == 50000
