"""Mapping: places, times and amounts into the canonical receipt."""

from __future__ import annotations

import json

import orjson
import pytest
from documents_kit import BON, JSON_TYPE, SLIP, XML_TYPE, json_types, xml_types

from receiptd.documents import ReceiptTypes
from receiptd.domain.errors import ConfigurationError


def checked(types: ReceiptTypes, document: object):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return types.check(body, "", "slip" if types.get("slip") else "bon")


def canonical(types: ReceiptTypes, document: object) -> dict:
    result = checked(types, document)
    assert result.findings == ()
    return orjson.loads(result.canonical)


def mapped(**changes: object) -> dict:
    return {"mapping": JSON_TYPE["mapping"] | changes}


def test_json_gives_the_whole_canonical_receipt(tmp_path):
    assert canonical(json_types(tmp_path), SLIP) == {
        "currency": "EUR",
        "number": "7",
        "issued_at": "2026-05-01T10:00:00+02:00",
        "seller": "shop",
        "buyer": "",
        "total": 350,
        "taxes": [],
        "lines": [{"description": "Tea", "category": "", "sku": "", "quantity": "1", "unit": "", "amount": 350}],
    }


def test_xml_gives_the_same(tmp_path):
    receipt = canonical(xml_types(tmp_path), BON)
    assert receipt["lines"][0].pop("unit") == "cup"
    assert receipt == canonical(json_types(tmp_path / "json"), SLIP) | {
        "lines": [{"description": "Tea", "category": "", "sku": "", "quantity": "1", "amount": 350}]
    }


@pytest.mark.parametrize("field", ["no", "at", "total"])
@pytest.mark.parametrize("empty", [None, "", "  "])
def test_a_missing_required_field_is_a_finding(tmp_path, field, empty):
    name = {"no": "number", "at": "issued_at", "total": "total"}[field]
    result = checked(json_types(tmp_path), SLIP | {field: empty})
    assert [(finding.code, finding.where) for finding in result.findings] == [(f"mapping:{name}", f"/{field}")]
    assert not result.valid
    assert result.canonical == b""


def test_each_entry_that_is_wrong_is_named(tmp_path):
    lines = [{"name": "Tea", "sum": 3.5}, {"sum": "x"}, 5, {"name": "Tea", "sum": 1, "qty": "1e5"}]
    result = checked(json_types(tmp_path), SLIP | {"lines": lines})
    assert sorted((finding.code, finding.where) for finding in result.findings) == [
        ("mapping:lines.amount", "/lines/1/sum"),
        ("mapping:lines.amount", "/lines/2/sum"),
        ("mapping:lines.description", "/lines/1/name"),
        ("mapping:lines.description", "/lines/2/name"),
        ("mapping:lines.quantity", "/lines/3/qty"),
    ]


@pytest.mark.parametrize("lines", [{"a": 1}, "text", 7, [{"name": "x", "sum": 1}] * 1001])
def test_lines_that_are_no_list_or_too_long_are_a_finding(tmp_path, lines):
    (finding,) = checked(json_types(tmp_path), SLIP | {"lines": lines}).findings
    assert (finding.code, finding.where) == ("mapping:lines", "/lines")


def test_lines_may_be_absent(tmp_path):
    assert canonical(json_types(tmp_path), {key: value for key, value in SLIP.items() if key != "lines"})["lines"] == []


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        (12.3, "EUR", 1230),
        ("12.30", "EUR", 1230),
        (" 12.30 ", "EUR", 1230),
        (12, "EUR", 1200),
        (-0.1, "EUR", -10),
        (1e-2, "EUR", 1),
        (1e15, "JPY", 10**15),
        (0.001, "KWD", 1),
        (999999999999.99, "EUR", 99999999999999),
        ("92233720368547758.07", "EUR", 2**63 - 1),
        (5.0, "JPY", 5),
    ],
)
def test_amounts_in_major_units(tmp_path, amount, currency, minor):
    assert canonical(json_types(tmp_path), SLIP | {"total": amount, "cur": currency, "lines": []})["total"] == minor


@pytest.mark.parametrize(
    "amount", [1.005, "1.005", "1,50", "1e2", "NaN", True, [], {}, "92233720368547758.08", 1e30, "١٢", "1_0", "0x1"]
)
def test_what_is_no_amount_is_a_finding_without_the_value(tmp_path, amount):
    (finding,) = checked(json_types(tmp_path), SLIP | {"total": amount}).findings
    assert finding.code == "mapping:total"
    assert str(amount) not in finding.message


def test_no_digit_of_a_long_number_is_lost(tmp_path):
    body = orjson.dumps(SLIP).replace(b"3.5,", b"0.30000000000000004441,", 1)
    (finding,) = json_types(tmp_path).check(body, "").findings
    assert finding.code == "mapping:total"


def test_amounts_in_minor_units(tmp_path):
    types = json_types(tmp_path, **mapped(total={"at": "/total", "unit": "minor"}))
    assert canonical(types, SLIP | {"total": 1230})["total"] == 1230
    assert canonical(types, SLIP | {"total": "-7"})["total"] == -7
    for amount in (12.5, "1.0", 10**18, ""):
        assert checked(types, SLIP | {"total": amount}).findings[0].code == "mapping:total"


def test_less_takes_amounts_off(tmp_path):
    types = json_types(tmp_path, **mapped(total={"at": "/total", "less": ["/off", "/tip"]}))
    assert canonical(types, SLIP | {"total": 10, "off": 2.5})["total"] == 750
    assert canonical(types, SLIP | {"total": 10, "off": "2.50", "tip": "0.01"})["total"] == 749
    assert checked(types, SLIP | {"total": 10, "off": "x"}).findings[0].code == "mapping:total"
    most = "92233720368547758.07"
    assert checked(types, SLIP | {"total": f"-{most}", "off": most}).findings[0].code == "mapping:total"


def test_default_and_value(tmp_path):
    types = json_types(tmp_path, **mapped(total={"at": "/total", "default": "0.00"}, buyer={"value": "walk-in"}))
    receipt = canonical(types, SLIP | {"total": ""})
    assert (receipt["total"], receipt["buyer"]) == (0, "walk-in")


@pytest.mark.parametrize(
    ("written", "time"),
    [
        ("2026-05-01T10:00:00Z", "2026-05-01T10:00:00+00:00"),
        ("2026-05-01T10:00:00.25+05:30", "2026-05-01T10:00:00.250000+05:30"),
        ("20260501T100000Z", "2026-05-01T10:00:00+00:00"),
    ],
)
def test_times_in_iso_8601(tmp_path, written, time):
    assert canonical(json_types(tmp_path), SLIP | {"at": written})["issued_at"] == time


@pytest.mark.parametrize(
    "written", ["2026-05-01T10:00:00", "2026-05-01", "2026-02-30T10:00:00Z", "now", 5, [], "9" * 9999]
)
def test_other_times_are_findings(tmp_path, written):
    (finding,) = checked(json_types(tmp_path), SLIP | {"at": written}).findings
    assert finding.code == "mapping:issued_at"


def test_a_zone_completes_a_time_that_names_none(tmp_path):
    types = json_types(tmp_path, **mapped(issued_at={"at": "/at", "zone": "Europe/Kyiv"}))
    assert canonical(types, SLIP | {"at": "2026-01-01T10:00:00"})["issued_at"] == "2026-01-01T10:00:00+02:00"
    assert canonical(types, SLIP | {"at": "2026-07-01"})["issued_at"] == "2026-07-01T00:00:00+03:00"
    assert canonical(types, SLIP | {"at": "2026-07-01T10:00:00Z"})["issued_at"] == "2026-07-01T10:00:00+00:00"


def test_times_of_fixed_width_from_two_places(tmp_path):
    at = {"at": ["/day", "/hour"], "format": "DD.MM.YYYYhhmm", "zone": "UTC"}
    types = json_types(tmp_path, **mapped(issued_at=at))
    assert canonical(types, SLIP | {"day": "31.12.2026", "hour": "2359"})["issued_at"] == "2026-12-31T23:59:00+00:00"
    for day, hour in (("31-12-2026", "2359"), ("31.02.2026", "2359"), ("31.12.2026", "2460"), ("31.12.2026", None)):
        assert checked(types, SLIP | {"day": day, "hour": hour}).findings[0].code == "mapping:issued_at"


def test_numbers_serve_as_text_as_they_were_written(tmp_path):
    receipt = canonical(json_types(tmp_path), SLIP | {"no": 12345678901234567890123})
    assert receipt["number"] == "12345678901234567890123"
    assert canonical(json_types(tmp_path / "2"), SLIP | {"no": 1e-7})["number"] == "0.0000001"


@pytest.mark.parametrize(
    ("written", "quantity"), [(1.5, "1.5"), ("0.400", "0.400"), (3, "3"), ("+.5", "0.5"), ("5.", "5")]
)
def test_quantities_are_plain_decimals(tmp_path, written, quantity):
    lines = [{"name": "Tea", "sum": 3.5, "qty": written}]
    assert canonical(json_types(tmp_path), SLIP | {"lines": lines})["lines"][0]["quantity"] == quantity


def test_text_is_bounded(tmp_path):
    (finding,) = checked(json_types(tmp_path), SLIP | {"no": "x" * 1001}).findings
    assert finding.code == "mapping:number"


@pytest.mark.parametrize("currency", ["eur", "EURO", "978", 978, "ЄВР"])
def test_a_currency_has_the_form_of_its_code(tmp_path, currency):
    assert "mapping:currency" in {f.code for f in checked(json_types(tmp_path), SLIP | {"cur": currency}).findings}


def test_pointers_reach_into_arrays_and_escaped_names(tmp_path):
    types = json_types(tmp_path, **mapped(number="/ids/1/a~1b~0", buyer="/ids/0/x/y"))
    receipt = canonical(types, SLIP | {"ids": ["text", {"a/b~": "N1"}]})
    assert (receipt["number"], receipt["buyer"]) == ("N1", "")
    assert checked(types, SLIP | {"ids": [{"a/b~": "N1"}]}).findings[0].code == "mapping:number"


def test_xpath_expressions_in_an_entry(tmp_path):
    lines = XML_TYPE["mapping"]["lines"] | {
        "description": "concat(@name, '!')",
        "sku": "../@no",
        "unit": "b:Qty/@unit",
        "category": "b:Deep/b:Deeper",
    }
    types = xml_types(tmp_path, mapping=XML_TYPE["mapping"] | {"lines": lines})
    body = BON.replace(b"<Sum>", b"<Deep><Deeper>hot<x/>drinks</Deeper></Deep><Sum>")
    (line,) = canonical(types, body)["lines"]
    assert (line["description"], line["sku"], line["unit"], line["category"]) == ("Tea!", "7", "cup", "hotdrinks")


def test_the_first_of_repeated_children_counts(tmp_path):
    assert canonical(xml_types(tmp_path), BON.replace(b"</Sum>", b"</Sum><Sum>9.99</Sum>"))["lines"][0]["amount"] == 350


def test_xml_findings_name_the_entry_and_its_line(tmp_path):
    result = checked(xml_types(tmp_path), BON.replace(b"<Sum>3.50</Sum>", b""))
    (finding,) = result.findings
    assert (finding.code, finding.where) == ("mapping:lines.amount", "/Bon/Line (line 2)")


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        (mapped(number="no"), "mapping.number"),
        (mapped(number="/a~2b"), "mapping.number"),
        (mapped(lines={"each": "x", "description": "/d", "amount": "/a"}), "mapping.lines.each"),
        (mapped(lines={"each": "/x", "description": "/d", "amount": "a"}), "mapping.lines.amount"),
        (mapped(issued_at={"at": "/at", "zone": "Europe/Atlantis"}), "mapping.issued_at"),
        (mapped(issued_at={"at": "/at", "zone": "../../etc/passwd"}), "mapping.issued_at"),
        (mapped(issued_at={"at": "/at", "format": "DDMM"}), "mapping.issued_at"),
        (mapped(issued_at={"at": "/at", "format": "DDMMYYYYmm"}), "mapping.issued_at"),
        (mapped(issued_at={"at": "/at", "format": "YYYYMMDDDD"}), "mapping.issued_at"),
    ],
)
def test_a_broken_json_mapping_is_named_with_its_place(tmp_path, changes, place):
    with pytest.raises(ConfigurationError, match=rf"type\.yaml: {place}: "):
        json_types(tmp_path, **changes)


@pytest.mark.parametrize("path", ["/b:Bon[", "/x:Bon", "nope()", "$v"])
def test_a_broken_xpath_is_named_with_its_place(tmp_path, path):
    with pytest.raises(ConfigurationError, match=r"mapping\.number"):
        xml_types(tmp_path / "1", mapping=XML_TYPE["mapping"] | {"number": path})


def test_a_prefix_in_an_entry_must_be_declared(tmp_path):
    lines = {"each": "/b:Bon/b:Line", "description": "@name", "amount": "q:Sum"}
    with pytest.raises(ConfigurationError, match=r"mapping\.lines\.amount.*'q'"):
        xml_types(tmp_path, mapping=XML_TYPE["mapping"] | {"lines": lines})
