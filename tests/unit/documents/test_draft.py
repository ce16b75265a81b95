"""Drafts of receipt types: what is guessed from samples of many shapes, and what is left to the author."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import orjson
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from receiptd.documents.kit import FILL_IN
from receiptd.documents.kit.check import check_folder
from receiptd.documents.kit.draft import draft_type
from receiptd.documents.kit.words import concepts
from receiptd.domain.errors import ConfigurationError, ReceiptdError

FORMATS = Path(__file__).with_name("drafting")
CORPORA = Path(__file__).parents[4] / "shared" / "corpora"

SLIP = {
    "kind": "kiosk/slip",
    "slipNo": "S-1",
    "soldAt": "2026-05-18T09:14:22+02:00",
    "shop": {"taxId": "12345678"},
    "currency": "EUR",
    "items": [{"name": "Tea", "amount": 2.5}, {"name": "Bun", "amount": 1.25}],
    "total": 3.75,
}


def draft(root, *documents, type_id="slip", **options):
    """Draft a type from documents (JSON values, or bytes, or paths); return its folder and spec."""
    samples = []
    for number, document in enumerate(documents):
        if isinstance(document, Path):
            samples.append(document)
            continue
        body = document if isinstance(document, bytes) else orjson.dumps(document)
        samples.append(root / f"sample-{number}{'.xml' if body.lstrip().startswith(b'<') else '.json'}")
        samples[-1].write_bytes(body)
    folder = draft_type(type_id, samples, root / "types", ["tax", "warehouse"], **options)
    return folder, yaml.safe_load((folder / "type.yaml").read_text())


def mapping(root, *documents):
    return draft(root, *documents)[1]["mapping"]


# -- whole formats -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "recognise", "expected", "amounts"),
    [
        (
            "linked-data-invoice.json",
            {"pointer": "/@type", "equals": "Invoice"},
            ("L-2026-7", "2026-03-01T10:00:00+00:00", "IE1234567X", "Ann Other", "USD", 7350),
            [6000, 1350],
        ),
        (
            "linked-data-order.json",
            {"pointer": "/@type", "equals": "Order"},
            ("T-31", "2026-01-15T00:00:00+00:00", "Paper Moon", "Jo Doe", "USD", 2000),
            [1050, 950],
        ),
        (
            "point-of-sale-order.json",
            {"pointer": "/order", "present": True},
            ("ORD7Q2XA", "2026-01-17T20:47:53.293000+00:00", "LOC0042", "", "USD", 1952),
            [975, 977],
        ),
        (
            "payment-service-invoice.json",
            {"pointer": "/object", "equals": "invoice"},
            ("HH-0007", "2026-01-01T10:00:00+00:00", "Harbour Hosting", "Kim", "USD", 2500),
            [1500, 1000],
        ),
        (
            "open-receipt.json",
            {"pointer": "/receipt_id", "present": True},
            ("R-0001", "2026-05-01T17:45:12+00:00", "GB999999973", "", "GBP", 2347),
            [300, 2047],
        ),
        (
            "kassenbon.json",
            {"pointer": "/belegart", "equals": "Kassenbon"},
            ("2026-17", "2026-05-17T14:03:11+00:00", "DE999999999", "", "EUR", 630),
            [340, 290],
        ),
        (
            "chek.json",
            {"pointer": "/nomer_cheka", "present": True},
            ("0001/22", "2026-05-21T10:15:00+00:00", "12345678", "", "UAH", 18300),
            [6300, 12000],
        ),
        (
            "isdoc.xml",
            {"root": "Invoice", "namespace": "http://isdoc.cz/namespace/2013"},
            ("FV-1/2026", "2026-02-03T00:00:00+00:00", "CZ12345678", "87654321", "CZK", 24200),
            [24200],
        ),
        (
            "cross-industry-invoice.xml",
            {
                "root": "CrossIndustryInvoice",
                "namespace": "urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100",
            },
            ("R-88", "2026-03-05T00:00:00+00:00", "DE999999999", "Maler Lang", "EUR", 23562),
            [19800],
        ),
        (
            "commerce-invoice.xml",
            {"root": "cXML"},
            ("D-40", "2026-04-20T23:59:20-07:00", "111111111", "", "USD", 6500),
            [2000, 4000],
        ),
    ],
)
def test_a_draft_of_one_sample_passes_its_check(tmp_path, name, recognise, expected, amounts):
    folder, spec = draft(tmp_path, FORMATS / name)
    report = check_folder(folder)
    assert report.faults == []
    (sample,) = report.samples
    assert sample.differences == ()
    assert spec["recognise"] == [recognise]
    receipt = sample.canonical
    assert (
        tuple(receipt[field] for field in ("number", "issued_at", "seller", "buyer", "currency", "total")) == expected
    )
    assert [line["amount"] for line in receipt["lines"]] == amounts
    assert all(line["description"] for line in receipt["lines"])


def test_names_that_say_nothing_are_left_to_the_author_with_candidates(tmp_path):
    folder, spec = draft(tmp_path, FORMATS / "faktura.xml")
    faults = check_folder(folder).faults
    assert {fault.partition(": ")[2].partition(": ")[0] for fault in faults} == {
        "mapping.number",
        "mapping.total",
        "mapping.lines.description",
        "mapping.lines.amount",
    }
    assert all(f": {FILL_IN}: name the place of" in fault and "type.yaml:" in fault for fault in faults)
    assert "/fak:Faktura/fak:Fa/fak:P_2" in spec["mapping"]["number"]
    assert "/fak:Faktura/fak:Fa/fak:P_15" in spec["mapping"]["total"]
    assert "fak:P_7" in spec["mapping"]["lines"]["description"]
    assert "fak:P_11" in spec["mapping"]["lines"]["amount"]
    text = (folder / "type.yaml").read_text()
    for name, place in {
        "number": "/fak:Faktura/fak:Fa/fak:P_2",
        "total": "/fak:Faktura/fak:Fa/fak:P_15",
        "description": "fak:P_7",
        "amount": "fak:P_11",
    }.items():
        (line,) = (line for line in text.splitlines() if line.lstrip().startswith(f"{name}: ") and FILL_IN in line)
        text = text.replace(line, f"{line.partition(':')[0]}: {place}")
    (folder / "type.yaml").write_text(text)
    report = check_folder(folder)
    assert report.ok, report.faults
    assert report.samples[0].canonical["total"] == 204999


@pytest.mark.skipif(not CORPORA.exists(), reason="../shared/corpora is not there")
@pytest.mark.parametrize(
    ("name", "schema", "left_open"),
    [
        ("ubl-invoice", "maindoc/UBL-Invoice-2.1.xsd", set()),
        ("fatturapa", "FatturaPA_FPR12_v1.2.3.xsd", set()),
        ("kivra-retail", "digital-receipt-schema.json", set()),
        ("gobl-invoice", "bill/invoice.json", set()),
        ("versa-receipt", "receipt.schema.json", {"mapping.seller"}),  # it names none
        ("prro-check", None, {"mapping.currency"}),  # it names none
    ],
)
def test_a_draft_of_others_documents_needs_at_most_one_word(tmp_path, name, schema, left_open):
    samples = [path for path in sorted((CORPORA / name / "valid").iterdir()) if "ZREP" not in path.name]
    schema = CORPORA / name / "schema" / schema if schema else None
    folder, _ = draft(tmp_path, *samples, schema=schema)
    report = check_folder(folder)
    assert {fault.partition(": ")[2].partition(": ")[0] for fault in report.faults} == left_open
    text = (folder / "type.yaml").read_text().splitlines()
    filled = ["  currency: {value: UAH}" if "currency: 'FILL" in line else line for line in text]
    filled = ["  seller: {value: '1'}" if "seller: 'FILL" in line else line for line in filled]
    (folder / "type.yaml").write_text("\n".join(filled))
    report = check_folder(folder)
    assert report.ok, [*report.faults, *(d for sample in report.samples for d in sample.differences)]
    assert len(report.samples) == len(samples)


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "concept"),
    [
        ("ORDERDATE", "date"),
        ("cbc:IssueDate", "date"),
        ("data_documento", "date"),
        ("invoice-number", "number"),
        ("ImportoTotaleDocumento", "total"),
        ("Währung", "currency"),
        ("@currencyID", "currency"),
        ("CompanyID", "taxid"),
        ("organisation_number", "taxid"),
        ("unitPrice", "unitary"),
        ("GESAMTBETRAG", "total"),
        ("podmiot2", "buyer"),
    ],
)
def test_names_of_many_spellings_and_languages(name, concept):
    assert concept in concepts(name)


def test_a_word_that_is_not_known_stands_for_itself():
    assert concepts("flugelhorn") == ("?flugelhorn",)


# -- recognising -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "recognise"),
    [
        (
            [{"$schema": "https://example.org/slip.json"}],
            [{"pointer": "/$schema", "equals": "https://example.org/slip.json"}],
        ),
        ([{}], [{"pointer": "/kind", "equals": "kiosk/slip"}]),
        ([{"kind": None, "documentType": "sale"}], [{"pointer": "/documentType", "equals": "sale"}]),
        (
            [{"kind": "order/sale"}, {"kind": "order/return"}, {"kind": "order/sale"}],
            [{"pointer": "/kind", "equals": "order/return"}, {"pointer": "/kind", "equals": "order/sale"}],
        ),
        ([{"kind": "a", "slipNo": "1"}, {"kind": "b", "slipNo": "2"}], [{"pointer": "/currency", "present": True}]),
    ],
)
def test_json_is_recognised_by_what_names_it(tmp_path, changes, recognise):
    folder, spec = draft(tmp_path, *(SLIP | change for change in changes))
    if "present" in recognise[0]:  # any member that all have will do, with a word of warning
        assert spec["recognise"][0]["present"] is True
        assert "GUESS: no member names the type" in (folder / "type.yaml").read_text()
    else:
        assert spec["recognise"] == recognise


def test_json_is_recognised_by_a_constant_of_its_schema(tmp_path):
    schema = tmp_path / "given.json"
    schema.write_bytes(orjson.dumps({"required": ["layout"], "properties": {"layout": {"const": "L7"}}}))
    document = {**SLIP, "kind": 7, "layout": "L7"}
    assert draft(tmp_path, document, schema=schema)[1]["recognise"] == [{"pointer": "/layout", "equals": "L7"}]


def test_roots_that_differ_are_more_than_one_type(tmp_path):
    with pytest.raises(ReceiptdError, match=r"different root elements \(CHECK, ZREP\)"):
        draft(tmp_path, b"<CHECK/>", b"<ZREP/>")


# -- times -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "issued_at"),
    [
        ({"soldAt": "2026-05-18T09:14:22Z"}, "/soldAt"),
        ({"soldAt": "2026-05-18T09:14:22"}, {"at": "/soldAt", "zone": "UTC"}),
        ({"created": 1767261600}, {"at": "/created", "format": "unix"}),
        ({"created": 1767261600123}, {"at": "/created", "format": "unix-ms"}),
        ({"date": "18.05.2026 09:14"}, {"at": "/date", "format": "DD.MM.YYYY hh:mm", "zone": "UTC"}),
        ({"date": "20260518"}, {"at": "/date", "format": "YYYYMMDD", "zone": "UTC"}),
        ({"date": "05/18/2026"}, {"at": "/date", "format": "MM/DD/YYYY", "zone": "UTC"}),
        (
            {"date": "2026-05-18", "time": "09:14:22"},
            {"at": ["/date", "/time"], "format": "YYYY-MM-DDhh:mm:ss", "zone": "UTC"},
        ),
        ({"issue_date": "2026-05-18", "issue_time": "09:14:22+02:00"}, 'join(\'T\', ["issue_date", "issue_time"])'),
        ({"date": "2026-05-18", "due_date": "2026-06-18", "printed": "x"}, {"at": "/date", "zone": "UTC"}),
    ],
)
def test_times(tmp_path, members, issued_at):
    document = {name: value for name, value in SLIP.items() if name != "soldAt"} | members
    assert mapping(tmp_path, document)["issued_at"] == issued_at


def test_a_date_that_may_be_read_either_way_is_said_to_be_a_guess(tmp_path):
    folder, spec = draft(tmp_path, {**SLIP, "soldAt": "05/06/2026"})
    assert spec["mapping"]["issued_at"]["format"] == "DD/MM/YYYY"
    assert "month first" in (folder / "type.yaml").read_text()


# -- amounts -----------------------------------------------------------------------------------------------------------


def test_whole_amounts_are_taken_for_minor_units_and_said_to_be_a_guess(tmp_path):
    items = [{"name": "Tea", "amount": 250}, {"name": "Bun", "amount": 125}]
    folder, spec = draft(tmp_path, SLIP | {"items": items, "total": 375})
    assert spec["mapping"]["total"] == {"at": "/total", "unit": "minor"}
    assert spec["mapping"]["lines"]["amount"] == {"at": "/amount", "unit": "minor"}
    assert "GUESS: all amounts are whole numbers" in (folder / "type.yaml").read_text()
    assert orjson.loads((folder / "schema.json").read_bytes())["properties"]["total"] == {"type": "integer"}


def test_whole_amounts_of_a_currency_without_decimals_are_what_they_are(tmp_path):
    items = [{"name": "Tea", "amount": 250}, {"name": "Bun", "amount": 125}]
    assert mapping(tmp_path, SLIP | {"items": items, "total": 375, "currency": "JPY"})["total"] == "/total"


def test_one_amount_with_decimals_makes_all_major(tmp_path):
    items = [{"name": "Tea", "amount": 250, "unit_price": 12.5}, {"name": "Bun", "amount": 125}]
    assert mapping(tmp_path, SLIP | {"items": items, "total": 375})["total"] == "/total"


def test_the_lines_are_those_that_add_up(tmp_path):
    document = SLIP | {
        "details": [{"text": "Tea", "gross": "2.50", "net": "2.00"}, {"text": "Bun", "gross": "1.25", "net": "1"}]
    }
    del document["items"]
    lines = mapping(tmp_path, document)["lines"]
    assert (lines["each"], lines["amount"]) == ("/details", "/gross")


def test_a_discount_is_taken_off_where_the_lines_then_add_up(tmp_path):
    items = [{"name": "Tea", "price": 3.5, "discount": 1}, {"name": "Bun", "price": 1.25}]
    assert mapping(tmp_path, SLIP | {"items": items})["lines"]["amount"] == {"at": "/price", "less": "/discount"}


def test_the_rule_is_proposed_only_when_it_holds(tmp_path):
    assert [rule["id"] for rule in draft(tmp_path, SLIP)[1]["rules"]] == ["total-equals-lines"]
    assert "rules" not in draft(tmp_path, SLIP, SLIP | {"slipNo": "S-2", "total": 4}, type_id="other")[1]


def test_samples_without_lines_do_not_stand_in_its_way(tmp_path):
    folder, spec = draft(tmp_path, SLIP, SLIP | {"slipNo": "S-2", "items": []})
    assert "== []" in spec["rules"][0]["that"]
    assert check_folder(folder).ok


def test_lists_that_differ_from_sample_to_sample_are_all_read(tmp_path):
    items = SLIP["items"]
    one = {key: value for key, value in SLIP.items() if key != "items"}
    documents = [one | {"sale": {"items": items}}, one | {"slipNo": "S-2", "rental": {"lines": items}}]
    folder, spec = draft(tmp_path, *documents)
    assert spec["mapping"]["lines"]["each"] == "[sale.items, rental.lines][]"
    assert [len(sample.canonical["lines"]) for sample in check_folder(folder).samples] == [2, 2]


def test_a_total_among_totals_is_told_by_its_kind(tmp_path):
    totals = [{"type": "net", "amount": 3.0}, {"type": "gross", "amount": 3.75}]
    document = {key: value for key, value in SLIP.items() if key != "total"} | {"totals": totals}
    assert mapping(tmp_path, document)["total"] == "totals[?type=='gross'].amount | [0]"


# -- the folder --------------------------------------------------------------------------------------------------------


def test_the_inferred_schema_is_no_stricter_than_the_samples(tmp_path):
    second = {key: value for key, value in SLIP.items() if key != "shop"} | {
        "shop": {"taxId": "1", "note": None},
        "x": [1],
    }
    folder, _ = draft(tmp_path, SLIP, second)
    schema = orjson.loads((folder / "schema.json").read_bytes())
    assert "x" not in schema["required"]
    assert schema["properties"]["shop"] == {
        "type": "object",
        "properties": {"taxId": {"type": "string"}, "note": {}},
        "required": ["taxId"],
    }
    assert schema["properties"]["total"] == {"type": "number"}
    assert "additionalProperties" not in schema


def test_an_editor_finds_the_schema_of_the_file(tmp_path):
    folder, _ = draft(tmp_path, SLIP)
    assert (folder / "type.yaml").read_text().startswith("# yaml-language-server: $schema=type.schema.json\n")
    assert orjson.loads((folder / "type.schema.json").read_bytes())["title"]


def test_a_json_schema_brings_what_it_refers_to(tmp_path):
    schemas = tmp_path / "schemas"
    (schemas / "main").mkdir(parents=True)
    (schemas / "main" / "my slip.json").write_text('{"properties": {"total": {"$ref": "../common/money.json"}}}')
    (schemas / "common").mkdir()
    (schemas / "common" / "money.json").write_text('{"type": "number"}')
    (schemas / "common" / "unused.json").write_text("{}")
    folder, spec = draft(tmp_path, SLIP, schema=schemas / "main" / "my slip.json")
    assert spec["schema"] == "schema/main/my-slip.json"
    files = {path.relative_to(folder).as_posix() for path in (folder / "schema").rglob("*.json")}
    assert files == {"schema/main/my-slip.json", "schema/common/money.json"}
    assert check_folder(folder).ok


def test_an_xsd_brings_what_it_imports(tmp_path):
    (tmp_path / "xsd").mkdir()
    (tmp_path / "xsd" / "slip.xsd").write_text(
        '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:m="urn:m">'
        '<xs:import namespace="urn:m" schemaLocation="https://example.org/money.xsd"/>'
        '<xs:element name="slip"><xs:complexType><xs:sequence><xs:any maxOccurs="unbounded" processContents="lax"/>'
        "</xs:sequence></xs:complexType></xs:element></xs:schema>"
    )
    (tmp_path / "xsd" / "money.xsd").write_text(
        '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:m">'
        '<xs:simpleType name="money"><xs:restriction base="xs:decimal"/></xs:simpleType></xs:schema>'
    )
    document = (
        b"<slip><number>1</number><date>2026-05-18</date><seller>S</seller><currency>EUR</currency><total>1.00</total>"
        b"<line><name>Tea</name><amount>1.00</amount></line></slip>"
    )
    folder, spec = draft(tmp_path, document, schema=tmp_path / "xsd" / "slip.xsd")
    assert spec["schema"] == "schema/slip.xsd"
    assert (folder / "schema" / "money.xsd").exists()
    report = check_folder(folder)
    assert report.ok, report.faults
    assert report.samples[0].canonical["lines"][0]["amount"] == 100


def test_a_schema_that_lacks_a_part_is_refused_and_nothing_is_left(tmp_path):
    schema = tmp_path / "given.json"
    schema.write_text('{"$ref": "https://example.org/missing.json"}')
    with pytest.raises(ConfigurationError, match=r"missing\.json"):
        draft(tmp_path, SLIP, schema=schema)
    assert not (tmp_path / "types" / "slip").exists()


def test_samples_are_taken_along_as_they_are(tmp_path):
    (tmp_path / "other").mkdir()
    for folder in (tmp_path, tmp_path / "other"):
        (folder / "same.json").write_bytes(orjson.dumps(SLIP) + b"\n")
    folder, _ = draft(tmp_path, tmp_path / "same.json", tmp_path / "other" / "same.json")
    names = sorted(path.name for path in (folder / "samples" / "valid").iterdir())
    assert names == ["same-2.json", "same.json"]
    assert (folder / "samples" / "valid" / "same-2.json").read_bytes() == orjson.dumps(SLIP) + b"\n"


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    folder, _ = draft(tmp_path, SLIP)
    (folder / "type.yaml").write_text("mine")
    with pytest.raises(ConfigurationError, match="is there already"):
        draft(tmp_path, SLIP)
    assert (folder / "type.yaml").read_text() == "mine"
    draft(tmp_path, SLIP, force=True)
    assert check_folder(folder).ok


@pytest.mark.parametrize("type_id", ["Slip", "1slip", "a_b", "a/b", "..", "", "a" * 64])
def test_a_name_that_is_no_id_is_refused(tmp_path, type_id):
    with pytest.raises(ConfigurationError, match="no id of a receipt type"):
        draft(tmp_path, SLIP, type_id=type_id)


def test_a_name_that_is_nearly_an_id_is_mended(tmp_path):
    with pytest.raises(ConfigurationError, match=r"; take corner-shop$"):
        draft(tmp_path, SLIP, type_id="Corner Shop")


@pytest.mark.parametrize(
    ("bodies", "told"),
    [
        ([b"{"], "sample-0.json: json-malformed"),
        ([b"<a>"], "sample-0.xml: xml-malformed"),
        ([b"[1]"], "not an object"),
        ([b"{}", b"<a/>"], "sample-0.json is JSON, .*sample-1.xml is XML; a receipt type is of one format"),
        ([b"{", b"<a>"], "sample-1.xml: xml-malformed"),
        ([b""], "sample-0.json: is empty; "),
        ([b"\x00\x01\x80"], "sample-0.json: is neither a JSON object nor an XML document; "),
        ([b"42"], "sample-0.json: is neither a JSON object nor an XML document; "),
        ([b'{"a": "\xff"}'], r"sample-0.json: json-malformed: this is no UTF-8, which JSON is .* \(line 1\)"),
        ([b"<!DOCTYPE a><a/>"], "sample-0.xml: doctype-forbidden"),
        ([b'{"a": "' + b"x" * 5_000_000 + b'"}'], "has 5000009 bytes; no document of more than 1048576 is taken"),
        (
            [b'{"id": 1, "b": 2, "c": 3, "d": 4}', b'{"id": 1, "x": 2, "y": 3, "z": 4}'],
            r"sample-0.json and .*sample-1.json have hardly a member in common \(id\); draft a type of each kind",
        ),
    ],
)
def test_samples_that_cannot_be_taken_are_named(tmp_path, bodies, told):
    with pytest.raises(ReceiptdError, match=told):
        draft(tmp_path, *bodies)
    assert not (tmp_path / "types").exists()


@pytest.mark.parametrize(
    "body", [b"{}", b"<a/>", b'{"a": [[1], [{"b": 2}]]}', '{"Ж": {"~/": ["й"]}}'.encode(), b"<a x='1'>t<b/>u</a>"]
)
def test_a_document_that_says_nothing_still_gives_a_folder(tmp_path, body):
    folder, _ = draft(tmp_path, body)
    assert all(FILL_IN in fault for fault in check_folder(folder).faults)
    shutil.rmtree(folder)


NAMES = st.sampled_from(
    [
        "id",
        "type",
        "date",
        "time",
        "total",
        "items",
        "amount",
        "price",
        "name",
        "tax",
        "rate",
        "currency",
        "seller",
        "a.b",
        "~/",
        "'",
        "",
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["EUR", "2026-05-18", "10:00", "1.50", "x", ""]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=20
)


@settings(max_examples=60, deadline=None)
@given(documents=st.lists(st.dictionaries(NAMES, VALUES, max_size=6), min_size=1, max_size=3))
def test_whatever_the_samples_hold_the_draft_is_a_type_or_says_what_lacks(tmp_path_factory, documents):
    root = tmp_path_factory.mktemp("draft")
    try:
        folder, _ = draft(root, *(json.dumps(document).encode() for document in documents))
    except ReceiptdError as error:
        assert "hardly a member in common" in str(error)  # noqa: PT017 - most draws are drafted
        return
    report = check_folder(folder)
    assert all(FILL_IN in fault for fault in report.faults), report.faults
    assert all(not sample.differences for sample in report.samples), report.samples
    shutil.rmtree(root)
