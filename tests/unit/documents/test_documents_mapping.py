"""Mapping: places, times and amounts into the canonical receipt."""

from __future__ import annotations

import json

import orjson
import pytest
from documents_kit import BON, JSON_TYPE, SLIP, XML_TYPE, json_types, xml_types

from receiptd.documents import BUNDLED_ROOT, ReceiptTypes
from receiptd.documents.json_document import decode_json
from receiptd.documents.mapping import DocumentMapping, reading
from receiptd.documents.media import Format
from receiptd.documents.xml_document import decode_xml
from receiptd.domain.errors import ConfigurationError


@pytest.fixture(autouse=True, params=["quickly", "carefully"])
def _read(request, monkeypatch):
    """Every test here is about both ways to read."""
    monkeypatch.setattr(reading, "_CAREFUL_READS", 0 if request.param == "quickly" else 10**9)


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


@pytest.mark.parametrize("currency", ["Eur", "EURO", "978", 978, "ЄВР"])
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
        (mapped(number="#/no"), "/mapping/number"),
        (mapped(number="/a~2b"), "/mapping/number"),
        (mapped(number="a[?"), "/mapping/number"),
        (mapped(number="nope(a)"), "/mapping/number"),
        (mapped(number="(" * 490 + "a"), "/mapping/number"),
        (mapped(lines={"each": "x[", "description": "/d", "amount": "/a"}), "/mapping/lines/each"),
        (mapped(lines={"each": "/x", "description": "/d", "amount": "[]["}), "/mapping/lines/amount"),
        (mapped(lines={"each": "[@, @][] | " * 7 + "@", "description": "/d", "amount": "/a"}), "/mapping/lines/each"),
        (mapped(issued_at={"at": "/at", "zone": "Europe/Atlantis"}), "/mapping/issued_at"),
        (mapped(issued_at={"at": "/at", "zone": "../../etc/passwd"}), "/mapping/issued_at"),
        (mapped(issued_at={"at": "/at", "format": "DDMM"}), "/mapping/issued_at"),
        (mapped(issued_at={"at": "/at", "format": "DDMMYYYYmm"}), "/mapping/issued_at"),
        (mapped(issued_at={"at": "/at", "format": "YYYYMMDDDD"}), "/mapping/issued_at"),
        (mapped(issued_at={"at": "/at", "default": "now"}), "/mapping/issued_at"),
        (mapped(issued_at={"at": "/at", "default": ""}), "/mapping/issued_at"),
        (mapped(total={"at": "/total", "default": "nothing"}), "/mapping/total"),
        (mapped(total={"at": "/total", "default": ""}), "/mapping/total"),
        (mapped(currency={"value": "Euro"}), "/mapping/currency"),
    ],
)
def test_a_broken_json_mapping_is_named_with_its_place(tmp_path, changes, place):
    with pytest.raises(ConfigurationError, match=rf"type\.yaml:\d+: at {place}: "):
        json_types(tmp_path, **changes)


@pytest.mark.parametrize("path", ["/b:Bon[", "/x:Bon", "nope()", "$v", "a) | (b"])
def test_a_broken_xpath_is_named_with_its_place(tmp_path, path):
    with pytest.raises(ConfigurationError, match=r"at /mapping/number: "):
        xml_types(tmp_path / "1", mapping=XML_TYPE["mapping"] | {"number": path})


def test_a_prefix_in_an_entry_must_be_declared(tmp_path):
    lines = {"each": "/b:Bon/b:Line", "description": "@name", "amount": "q:Sum"}
    with pytest.raises(ConfigurationError, match=r"at /mapping/lines/amount: .*'q'"):
        xml_types(tmp_path, mapping=XML_TYPE["mapping"] | {"lines": lines})


@pytest.mark.parametrize(
    "path", ["b:Sum * 2", "number(b:Sum)", "b:Sum + b:Sum", "string(b:Sum div 3)", "concat(sum(b:Sum), '')"]
)
def test_xpath_does_not_compute_money(tmp_path, path):
    lines = XML_TYPE["mapping"]["lines"] | {"amount": path}
    with pytest.raises(ConfigurationError, match=r"at /mapping/lines/amount: .*sum\(PLACE\)"):
        xml_types(tmp_path, mapping=XML_TYPE["mapping"] | {"lines": lines})


def test_sums_of_an_xml_document_are_exact(tmp_path):
    types = xml_types(
        tmp_path, mapping=XML_TYPE["mapping"] | {"total": "sum(/b:Bon/b:Line/b:Sum)", "buyer": "count(//*)"}
    )
    many = b"".join(b'<Line name="Tea"><Sum>%d.01</Sum></Line>' % (10**13 + number) for number in range(900))
    receipt = canonical(types, BON.replace(b"</Bon>", many + b"</Bon>"))
    assert receipt["total"] == sum(line["amount"] for line in receipt["lines"])
    assert receipt["buyer"] == "1806"
    (finding,) = checked(types, BON.replace(b"</Bon>", b'<Line name="Tea"><Sum>x</Sum></Line></Bon>')).findings[:1]
    assert finding.code == "mapping:total"


def test_an_entry_may_look_up_from_the_top(tmp_path):
    lines = XML_TYPE["mapping"]["lines"] | {"category": "/b:Bon/@no", "sku": "b:Qty[@unit='cup']/@unit"}
    (line,) = canonical(xml_types(tmp_path, mapping=XML_TYPE["mapping"] | {"lines": lines}), BON)["lines"]
    assert (line["category"], line["sku"]) == ("7", "cup")


def test_an_attribute_may_be_on_a_later_namesake(tmp_path):
    body = BON.replace(b"<Qty", b"<Qty/><Qty")
    assert canonical(xml_types(tmp_path), body)["lines"][0]["unit"] == "cup"


def test_private_use_characters_are_text_like_any_other(tmp_path):
    body = BON.replace(b'no="7"', 'no="\ue0007\ue000"'.encode())
    assert canonical(xml_types(tmp_path), body)["number"] == "\ue0007\ue000"


def test_jmespath_places(tmp_path):
    mapping = JSON_TYPE["mapping"] | {
        "number": "join('-', [shop.id, no])",
        "seller": "shop.id",
        "buyer": "people[?role=='buyer'] | [0].id",
        "total": "sum(orders[].lines[].sum)",
        "lines": {
            "each": "orders[].lines[]",
            "description": "name || label",
            "amount": "sum",
            "quantity": "to_number(qty)",
            "sku": "/codes/0",
        },
    }
    document = {
        "no": "7",
        "shop": {"id": "S"},
        "at": SLIP["at"],
        "people": [{"role": "seller", "id": "s"}, {"role": "buyer", "id": "b"}],
        "orders": [
            {"lines": [{"name": "Tea", "sum": 0.1, "qty": "1.50", "codes": ["c"]}, {"label": "Bun", "sum": 0.2}]},
            {"lines": [{"name": "Bus", "sum": 1e-2}]},
        ],
    }
    receipt = canonical(json_types(tmp_path, mapping=mapping), document)
    assert (receipt["number"], receipt["seller"], receipt["buyer"], receipt["total"]) == ("S-7", "S", "b", 31)
    assert [(line["description"], line["amount"], line["quantity"], line["sku"]) for line in receipt["lines"]] == [
        ("Tea", 10, "1.50", "c"),
        ("Bun", 20, "1", ""),
        ("Bus", 1, "1", ""),
    ]


def test_jmespath_findings_name_the_entry_and_the_place(tmp_path):
    lines = {"each": "a[].b[]", "description": "name || label", "amount": "/sum"}
    types = json_types(tmp_path, **mapped(lines=lines))
    result = checked(types, SLIP | {"a": [{"b": [{"name": "x", "sum": 1}, {"sum": "y"}]}]})
    assert [(finding.code, finding.where) for finding in result.findings] == [
        ("mapping:lines.description", "(a[].b[])[1] name || label"),
        ("mapping:lines.amount", "(a[].b[])[1] /sum"),
    ]


@pytest.mark.parametrize("place", ["length(total)", "sum(lines[].name)", "sum(lines)", "max(lines[].*)"])
def test_a_jmespath_that_fails_is_a_finding(tmp_path, place):
    (finding,) = checked(json_types(tmp_path, **mapped(number=place)), SLIP).findings
    assert (finding.code, finding.where) == ("mapping:number", place)
    assert finding.message == "number could not be looked up by its JMESPath"


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("sum(n)", "90000000000000000000000000000.125"),
        ("max(n)", "90000000000000000000000000000.025"),
        ("to_number('12345678901234567890.12')", "12345678901234567890.12"),
        ("to_string(n[0])", "0.1"),
        ("type(n[1])", "number"),
        ("sort(n)[0]", "0.1"),
        ("n[1]", "90000000000000000000000000000.025"),
        ("big", "123456789012345678901234567890"),
        ("n[?@ > `1`] | [0]", "90000000000000000000000000000.025"),
    ],
)
def test_jmespath_keeps_every_digit(tmp_path, place, text):
    body = (
        orjson.dumps(SLIP)[:-1] + b',"n":[0.1,90000000000000000000000000000.025],"big":123456789012345678901234567890}'
    )
    assert canonical(json_types(tmp_path, **mapped(number=place)), body)["number"] == text


def test_jmespath_over_a_deep_document(tmp_path):
    deep: object = 1
    for _ in range(60):
        deep = {"a": deep}
    types = json_types(tmp_path, **mapped(number=".".join("a" * 60) + " | to_string(@)"))
    assert canonical(types, SLIP | deep)["number"] == "1"


def test_required_makes_an_optional_field_required(tmp_path):
    lines = JSON_TYPE["mapping"]["lines"] | {"sku": {"at": "/sku", "required": True}}
    types = json_types(tmp_path, **mapped(buyer={"at": "/buyer", "required": True}, lines=lines))
    result = checked(types, SLIP | {"buyer": " "})
    assert [(finding.code, finding.where) for finding in result.findings] == [
        ("mapping:buyer", "/buyer"),
        ("mapping:lines.sku", "/lines/0/sku"),
    ]
    assert canonical(types, SLIP | {"buyer": "b", "lines": []})["buyer"] == "b"


def test_an_empty_default_makes_a_required_text_optional(tmp_path):
    types = json_types(tmp_path, **mapped(number={"at": "/no", "default": ""}))
    assert [canonical(types, SLIP | {"no": no})["number"] for no in ("", None, "  ", "x")] == ["", "", "", "x"]


@pytest.mark.parametrize(
    ("amount", "how", "minor"),
    [
        ("1.005", "half-up", 101),
        ("1.005", "half-even", 100),
        (1.005, "half-up", 101),
        (-1.005, "half-up", -101),
        (-1.005, "half-even", -100),
        ("2.675", "half-even", 268),
        ("0.004999999999999999999999", "half-up", 0),
        (7, "half-up", 700),
        ("+.5", "half-up", 50),
    ],
)
def test_amounts_are_rounded_when_the_type_says_so(tmp_path, amount, how, minor):
    types = json_types(tmp_path, **mapped(total={"at": "/total", "round": how}))
    assert canonical(types, SLIP | {"total": amount})["total"] == minor
    for wrong in ("x", "1e2", True, "9" * 20, "9" * 41, ""):
        assert checked(types, SLIP | {"total": wrong}).findings[0].code == "mapping:total"


def test_minor_units_are_rounded_to_whole_ones(tmp_path):
    types = json_types(tmp_path, **mapped(total={"at": "/total", "unit": "minor", "round": "half-up"}))
    assert canonical(types, SLIP | {"total": 10.5, "cur": "JPY", "lines": []})["total"] == 11


@pytest.mark.parametrize(
    ("written", "currency", "minor"),
    [("-5", "JPY", -5), ("5.", "JPY", 5), ("-0.005", "KWD", -5), ("12.345", "KWD", 12345), (-12.345, "KWD", -12345)],
)
def test_currencies_without_cents(tmp_path, written, currency, minor):
    assert canonical(json_types(tmp_path), SLIP | {"total": written, "cur": currency, "lines": []})["total"] == minor


@pytest.mark.parametrize(("rate", "text"), [("22.0%", "22.0"), ("22 %", "22"), (7.7, "7.7"), ("5", "5"), ("%", None)])
def test_a_percent_sign_is_taken_off_a_rate(tmp_path, rate, text):
    taxes = {"each": "/taxes", "rate": "/rate", "amount": "/sum"}
    result = checked(json_types(tmp_path, **mapped(taxes=taxes)), SLIP | {"taxes": [{"rate": rate, "sum": 1}]})
    if text is None:
        assert result.findings[0].code == "mapping:taxes.rate"
    else:
        assert orjson.loads(result.canonical)["taxes"][0]["rate"] == text


@pytest.mark.parametrize(
    ("rate", "text"), [(0.2, "20"), ("0.0750", "7.50"), (1, "100"), ("-.055", "-5.5"), ("5%", None)]
)
def test_a_rate_may_be_written_as_a_fraction(tmp_path, rate, text):
    taxes = {"each": "/taxes", "rate": {"at": "/rate", "unit": "fraction"}, "amount": "/sum"}
    result = checked(json_types(tmp_path, **mapped(taxes=taxes)), SLIP | {"taxes": [{"rate": rate, "sum": 1}]})
    if text is None:
        assert result.findings[0].code == "mapping:taxes.rate"
    else:
        assert orjson.loads(result.canonical)["taxes"][0]["rate"] == text


def test_the_first_of_several_places_that_holds_something_is_taken(tmp_path):
    places = {"first": ["/a", "b || c", "/d/e"]}
    types = json_types(tmp_path, **mapped(number=places))
    for document in ({"a": "N", "c": "x"}, {"a": " ", "b": "", "c": "N"}, {"a": None, "d": {"e": "N"}}):
        assert canonical(types, SLIP | document)["number"] == "N"
    (finding,) = checked(types, SLIP | {"a": ""}).findings
    assert (finding.code, finding.where) == ("mapping:number", "/a | b || c | /d/e")


def test_the_first_of_several_places_in_xml(tmp_path):
    lines = XML_TYPE["mapping"]["lines"] | {"amount": {"first": ["b:Net", "b:Sum"]}}
    types = xml_types(tmp_path, mapping=XML_TYPE["mapping"] | {"lines": lines, "buyer": {"first": ["//b:No", "//@no"]}})
    receipt = canonical(types, BON)
    assert (receipt["buyer"], receipt["lines"][0]["amount"]) == ("7", 350)


@pytest.mark.parametrize(
    ("written", "zone", "time"),
    [
        ("2026-05-01T10:00:00+0200", "", "2026-05-01T10:00:00+02:00"),
        ("2026-05-01 10:00:00+02", "", "2026-05-01T10:00:00+02:00"),
        ("2026-05-01t10:00:00.1234567z", "", "2026-05-01T10:00:00.123456+00:00"),
        ("2026-05-01T10:00:00-00:00", "", "2026-05-01T10:00:00+00:00"),
        ("2026-05-01Z", "", "2026-05-01T00:00:00+00:00"),
        ("2026-05-01+05:45", "", "2026-05-01T00:00:00+05:45"),
        ("2026-05-01-0500", "Europe/Kyiv", "2026-05-01T00:00:00-05:00"),
        ("20260501", "Europe/Kyiv", "2026-05-01T00:00:00+03:00"),
        ("2026-10-25T03:30:00", "Europe/Kyiv", "2026-10-25T03:30:00+03:00"),  # shown twice: the first
        ("2026-03-29T03:30:00", "Europe/Kyiv", "2026-03-29T03:30:00+02:00"),  # skipped: the offset of before
        ("2026-05-01x10:00:00Z", "", None),
        ("2026-05-01T10:00:00+25:00", "", None),
        ("2026-02-30T10:00:00+02:00", "", None),
        ("2026-05-01T24:00:00Z", "", None),
    ],
)
def test_iso_times_in_all_their_forms(tmp_path, written, zone, time):
    at = {"at": "/at"} | ({"zone": zone} if zone else {})
    result = checked(json_types(tmp_path, **mapped(issued_at=at)), SLIP | {"at": written})
    assert (orjson.loads(result.canonical)["issued_at"] if result.canonical else None) == time


@pytest.mark.parametrize(
    ("options", "written", "time"),
    [
        ({"format": "unix"}, 0, "1970-01-01T00:00:00+00:00"),
        ({"format": "unix"}, "1777629600", "2026-05-01T10:00:00+00:00"),
        ({"format": "unix", "zone": "Europe/Kyiv"}, 1777629600, "2026-05-01T13:00:00+03:00"),
        ({"format": "unix"}, "1777629600.25", "2026-05-01T10:00:00.250000+00:00"),
        ({"format": "unix-ms"}, 1777629600250, "2026-05-01T10:00:00.250000+00:00"),
        ({"format": "unix-ms", "zone": "UTC"}, "-1", "1969-12-31T23:59:59.999000+00:00"),
        ({"format": "unix"}, 10**14, None),
        ({"format": "unix"}, "2026-05-01", None),
        ({"format": "unix"}, "1e9", None),
        ({"format": "unix"}, True, None),
    ],
)
def test_seconds_since_the_epoch(tmp_path, options, written, time):
    result = checked(json_types(tmp_path, **mapped(issued_at={"at": "/at"} | options)), SLIP | {"at": written})
    assert (orjson.loads(result.canonical)["issued_at"] if result.canonical else None) == time


def test_a_date_and_a_time_are_joined_as_iso_8601_does(tmp_path):
    types = json_types(tmp_path, **mapped(issued_at={"at": ["/day", "/hour"], "zone": "UTC"}))
    assert canonical(types, SLIP | {"day": "2026-05-01", "hour": "10:00"})["issued_at"] == "2026-05-01T10:00:00+00:00"
    assert checked(types, SLIP | {"day": "2026-05-01"}).findings[0].code == "mapping:issued_at"


def test_less_is_not_asked_where_there_is_no_amount(tmp_path):
    taxes = {"each": "/taxes", "base": {"at": "/base", "less": "/off"}, "amount": "/sum"}
    types = json_types(tmp_path, **mapped(taxes=taxes))
    (tax,) = canonical(types, SLIP | {"taxes": [{"sum": 1, "off": 5}]})["taxes"]
    assert tax["base"] is None


def test_a_thousand_lines_are_read(tmp_path):
    receipt = canonical(json_types(tmp_path), SLIP | {"lines": [{"name": "Tea", "sum": 3.5}] * 1000})
    assert len(receipt["lines"]) == 1000


def test_what_a_type_writes_is_no_code(tmp_path):
    name = "'] + __import__('os').abort() #\"\\\n"
    types = json_types(
        tmp_path, **mapped(number=f"/{name}", buyer={"value": name}, seller={"at": "/s", "default": name})
    )
    receipt = canonical(types, SLIP | {name: "7"})
    assert (receipt["number"], receipt["buyer"], receipt["seller"]) == ("7", name.strip(), name.strip())


def test_every_good_sample_is_read_quickly(monkeypatch):
    monkeypatch.setattr(reading, "_CAREFUL_READS", 0)
    monkeypatch.setattr(DocumentMapping, "read_carefully", lambda *_: pytest.fail("had to be read carefully"))
    for type_ in ReceiptTypes.load([BUNDLED_ROOT]):
        decode = decode_xml if type_.format is Format.XML else decode_json
        spec = type_.file.spec
        mapping = DocumentMapping(spec["mapping"], type_.format, spec.get("namespaces", {}))
        for path in (type_.folder / "samples" / "valid").glob("*.*"):
            assert mapping.read(decode(path.read_bytes()))[1] == []
