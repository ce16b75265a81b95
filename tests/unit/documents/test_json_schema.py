"""JSON Schema: right verdicts, every fault with its place and no text of the document, nothing outside the folder."""

from __future__ import annotations

import json
import socket
from decimal import Decimal
from pathlib import Path
from time import process_time

import pytest

from receiptd.documents.findings import FINDINGS_MAX
from receiptd.documents.schemas.json_schema import JsonSchema
from receiptd.domain.errors import ConfigurationError

CORPORA = Path(__file__).parents[4] / "shared" / "corpora"
DRAFT_4 = "http://json-schema.org/draft-04/schema#"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
NONE = "the object fits none of the 2 alternatives"
COSTLY = "takes too long"


def write(folder: Path, **files: object) -> None:
    """Write JSON files; ``a__b`` is ``a/b.json``, and text is written as it is."""
    for name, value in files.items():
        path = folder / (name.replace("__", "/") + ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value))


def json_schema(folder: Path, schema: object, *, assert_formats: bool = False, **files: object) -> JsonSchema:
    write(folder, schema=schema, **files)
    return JsonSchema(folder / "schema.json", folder, assert_formats=assert_formats)


def fault(folder: Path, schema: object, **files: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        json_schema(folder, schema, **files)
    return str(caught.value)


def messages(schema: JsonSchema, document: object) -> list[str]:
    return [finding.message for finding in schema.findings(document)]


# What a finding says


def test_findings_name_each_place_by_pointer(tmp_path):
    schema = json_schema(
        tmp_path,
        {"properties": {"a/b~c": {"items": {"type": "integer"}}, "d": {"enum": [1]}}, "additionalProperties": False},
    )
    found = schema.findings({"a/b~c": [1, "x", None], "d": 2, "e": 3})
    assert sorted(finding.where for finding in found) == ["", "/a~1b~0c/1", "/a~1b~0c/2", "/d"]
    assert {finding.code for finding in found} == {"schema"}
    assert schema.findings({"a/b~c": [1], "d": 1}) == []


def test_a_missing_property_is_named_at_its_object(tmp_path):
    schema = json_schema(tmp_path, {"items": {"required": ["name", "sum"]}})
    (finding,) = schema.findings([{"name": 1}])
    assert finding.where == "/0"
    assert finding.message == '"sum" is a required property'


def test_findings_tell_numbers_but_no_texts_and_no_objects(tmp_path):
    schema = json_schema(
        tmp_path,
        {
            "properties": {
                "a": {"pattern": "^x$"},
                "b": {"maxLength": 1},
                "c": {"const": 1},
                "d": {"maximum": 2},
                "e": {"type": "array"},
                "f": {"type": "string"},
                "g": {"not": {"type": "array"}},
            }
        },
    )
    secret = "Jane Roe"
    found = messages(
        schema, {"a": secret, "b": secret, "c": secret, "d": 2.5, "e": {secret: secret}, "f": None, "g": [secret]}
    )
    assert len(found) == 7
    assert not [message for message in found if "Jane" in message]
    assert "2.5 is greater than the maximum of 2" in found
    assert 'null is not of type "string"' in found
    assert 'the object is not of type "array"' in found


@pytest.mark.parametrize(
    ("schema", "document", "message"),
    [
        ({"additionalProperties": False}, {"x": 1}, "no property is allowed here"),
        (
            {"properties": {}, "additionalProperties": False},
            {"x": 1},
            "Additional properties are not allowed ('x' was unexpected)",
        ),
        (False, 1, "nothing is allowed here"),
        ({"contains": {"type": "string"}}, [1], "the items are not what contains asks for"),
        (
            {"propertyNames": {"maxLength": 2}},
            {"abc": 1},
            """a property's name: "abc" is longer than 2 characters""",
        ),
        ({"enum": ["A", "B"]}, "C", 'the text is not one of "A" or "B"'),
        ({"multipleOf": 0.01}, Decimal("12345678901234567.891"), "12345678901234567.891 is not a multiple of 0.01"),
        (
            {"oneOf": [{"type": "string"}, {"minLength": 1}, {"type": "number"}]},
            "abc",
            "the text fits the alternatives 1 and 2 of oneOf; one only may fit",
        ),
        (
            {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
            {},
            f'{NONE} of anyOf: "a" is a required property; or "b" is a required property',
        ),
        (
            {"oneOf": [{"type": "string"}, {"properties": {"kind": {"const": "card"}, "no": {"type": "integer"}}}]},
            {"kind": "card", "no": 1.5},
            f'{NONE} of oneOf: /no: 1.5 is not of type "integer"; or the object is not of type "string"',
        ),
        (
            {"oneOf": [{"const": "EUR", "title": "Euro"}, {"const": "SEK"}]},
            "X",
            'the text is not one of "EUR" or "SEK"',
        ),
    ],
)
def test_messages_say_what_would_be_right(tmp_path, schema, document, message):
    assert messages(json_schema(tmp_path, schema), document) == [message]


def test_findings_are_bounded(tmp_path):
    schema = json_schema(tmp_path, {"items": {"type": "string"}})
    assert len(schema.findings([1] * 1_000)) == FINDINGS_MAX
    assert len(schema.findings([1] * 100_000)) == 1
    assert len(schema.findings(["n" * 5_000, *range(9)])) == 9
    assert max(map(len, messages(json_schema(tmp_path, {"const": "n" * 5_000}), 1))) <= 300


def test_diagnosis_of_wide_unions_is_bounded(tmp_path):
    union = {"oneOf": [{"properties": {"kind": {"const": kind}, "v": {"type": "string"}}} for kind in range(50)]}
    schema = json_schema(tmp_path, {"items": union})
    began = process_time()
    assert len(schema.findings([{"kind": 99, "v": 1}] * 600)) == 1
    assert process_time() - began < 0.2
    assert len(schema.findings([{"kind": 99, "v": 1}] * 20)) == 20


# Drafts and formats


@pytest.mark.parametrize(("draft", "valid"), [(DRAFT_4, False), ("https://json-schema.org/draft/2020-12/schema", True)])
def test_the_draft_is_the_one_that_the_schema_names(tmp_path, draft, valid):
    keyword = {"minimum": 5, "exclusiveMinimum": True} if draft == DRAFT_4 else {"minimum": 5}
    assert (json_schema(tmp_path, {"$schema": draft, **keyword}).findings(5) == []) is valid


@pytest.mark.parametrize("draft", [DRAFT_4, DRAFT_7, "https://json-schema.org/draft/2020-12/schema"])
def test_formats_are_asserted_when_the_type_says_so(tmp_path, draft):
    schema = {"$schema": draft, "format": "date-time"}
    assert json_schema(tmp_path, schema).findings("yesterday") == []
    assert messages(json_schema(tmp_path, schema, assert_formats=True), "yesterday") == [
        'the text is not a "date-time"'
    ]


def test_a_meta_schema_may_lie_in_the_folder(tmp_path):
    meta = {
        "$id": "https://example.org/meta",
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$vocabulary": {"https://json-schema.org/draft/2020-12/vocab/core": True},
        "$ref": "https://json-schema.org/draft/2020-12/meta/core",
    }
    schema = {"$schema": "https://example.org/meta", "minimum": 5}
    assert json_schema(tmp_path, schema, our_meta=meta).findings(1) == []  # it has no vocabulary of validation


# References


def test_references_stay_in_the_folder(tmp_path):
    folder = tmp_path / "type"
    write(folder, common__money={"type": "string", "$defs": {"n": {"type": "number"}}})
    write(tmp_path, outside={})
    (folder / "link.json").symlink_to(tmp_path / "outside.json")
    for reference in ("common/money.json", "https://example.org/x/common/money.json", "money/../common/money.json"):
        assert json_schema(folder, {"$ref": reference}).findings(1)
    assert json_schema(folder, {"$ref": "common/money.json#/$defs/n"}).findings(1) == []
    assert json_schema(folder, {"$id": "https://example.org/a/schema.json", "$ref": "common/money.json"}).findings(1)
    for reference in ("../outside.json", "%2e%2e/outside.json", "file:///etc/hostname", "missing.json", "link.json"):
        assert "put it there" in fault(folder, {"$ref": reference})


def test_a_schema_outside_of_the_folder_is_refused(tmp_path):
    write(tmp_path, outside={})
    (tmp_path / "type").mkdir()
    with pytest.raises(ConfigurationError, match="put it there"):
        JsonSchema(tmp_path / "outside.json", tmp_path / "type")


def test_no_reference_is_fetched(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        for schema in ({"$ref": url}, {"$schema": url}, {"$id": url, "$ref": "y"}):
            assert "nothing is fetched" in fault(tmp_path, schema)
        assert url in fault(tmp_path, {"$dynamicRef": f"{url}#a"})
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_reference_finds_the_file_that_has_the_id(tmp_path):
    text, number = {"type": "string"}, {"type": "number"}
    schema = json_schema(
        tmp_path,
        {"$id": "https://example.org/draft-0/bill/invoice", "$ref": "../org/party"},
        one={"$id": "https://example.org/draft-0/org/party", **number},
        org__party=text,
    )
    assert schema.findings(1) == []
    for identifier in ("https://example.org/party#", "/party"):
        schema = json_schema(
            tmp_path, {"$id": "https://example.org/x", "$ref": "/party"}, two={"$id": identifier, **text}
        )
        assert schema.findings("x") == []
    schema = json_schema(tmp_path, {"$schema": DRAFT_4, "$ref": "urn:a:b"}, three={"id": "urn:a:b", **text})
    assert schema.findings("x") == []


def test_a_reference_finds_the_file_with_the_longest_tail(tmp_path):
    text, number = {"type": "string"}, {"type": "number"}
    files = {
        "a__money": text,
        "money": number,
        "deep__b__c__coin": text,
        "other__coin": number,
        "defs__tax.schema": text,
    }
    for url in ("https://example.org/x/a/money", "https://example.org/a/money.json", "urn:x/b/c/coin", "urn:x/tax"):
        assert json_schema(tmp_path, {"$ref": url}, **files).findings("x") == [], url
    assert json_schema(tmp_path, {"$ref": "https://example.org/b/money"}, **files).findings(1) == []
    assert "deep/b/c/coin.json or other" not in fault(tmp_path, {"$ref": "https://example.org/x"}, **files)
    write(tmp_path, one__coin={}, samples__valid__sample={})
    assert json_schema(tmp_path, {"$ref": "https://example.org/other/coin"}).findings(1) == []
    assert "may be one/coin.json or other/coin.json" in fault(tmp_path, {"$ref": "https://example.org/coin"})
    assert "put it there" in fault(tmp_path, {"$ref": "https://example.org/sample"})


def test_files_in_folders_below_refer_to_each_other(tmp_path):
    write(
        tmp_path,
        schema__bill__invoice={"properties": {"seller": {"$ref": "../org/party.json#/definitions/p"}}},
        schema__org__party={"definitions": {"p": {"$ref": "name.json"}}},
        schema__org__name={"type": "string", "$comment": "and back: ../bill/invoice.json"},
        name={"type": "number"},
    )
    schema = JsonSchema(tmp_path / "schema" / "bill" / "invoice.json", tmp_path)
    assert [finding.where for finding in schema.findings({"seller": 1})] == ["/seller"]


def test_a_file_that_nothing_refers_to_may_be_anything(tmp_path):
    files = {"broken": '{"$id": ', "list": "[]", "wrong": {"$id": "urn:x", "type": "strng"}}
    assert json_schema(tmp_path, {"$ref": "urn:y"}, y={"type": "string"}, **files).findings("") == []
    assert "broken.json: no JSON" in fault(tmp_path, {"$ref": "broken.json"})
    assert "list.json: a JSON Schema is an object" in fault(tmp_path, {"$ref": "list.json"})
    assert "/type in wrong.json" in fault(tmp_path, {"$ref": "urn:x"})


def test_a_schema_may_have_a_byte_order_mark_and_exact_numbers(tmp_path):
    schema = json_schema(tmp_path, '\ufeff{"maximum": 9999999999999999.99}')
    assert schema.findings(Decimal("9999999999999999.98")) == []
    assert schema.findings(Decimal("9999999999999999.995"))


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "strng"}, "at /type, "),
        ({"properties": {"a": {"pattern": "("}}}, "at /properties/a/pattern, this is not a regular expression"),
        ({"pattern": "(?=a"}, "at /pattern, "),
        ({"items": [{}]}, "it names no $schema, so it is read as draft 2020-12"),
        ({"$schema": "urn:unknown"}, "urn:unknown"),
        ({"$schema": "http://json-schema.org/draft-03/schema#"}, "none of the drafts 4, 6"),
        ({"$ref": "#/$defs/none"}, "/$defs/none"),
        ([], "a JSON Schema is an object"),
        ("{", "line 1 column"),
    ],
)
def test_a_broken_schema_is_named_with_its_place(tmp_path, schema, reason):
    text = fault(tmp_path, schema)
    assert str(tmp_path / "schema.json") in text
    assert reason in text


def test_a_schema_that_is_not_there(tmp_path):
    with pytest.raises(ConfigurationError, match=r"schema\.json is no file"):
        JsonSchema(tmp_path / "schema.json", tmp_path)


# Unions of constants


def test_a_union_of_constants_keeps_its_verdicts(tmp_path):
    constants = [{"const": "a", "title": "A"}, {"const": "b"}, {"pattern": "^[a-c]$"}]
    schema = json_schema(tmp_path, {"oneOf": constants})
    assert [schema.findings(text) == [] for text in ("a", "b", "c", "d")] == [False, False, True, False]
    schema = json_schema(tmp_path, {"anyOf": constants})
    assert [schema.findings(text) == [] for text in ("a", "b", "c", "d")] == [True, True, True, False]
    schema = json_schema(tmp_path, {"oneOf": [{"const": "a"}, {"const": "a"}]})
    assert schema.findings("a")


def test_a_union_stays_as_it_is_where_positions_or_the_draft_count(tmp_path):
    constants = [{"const": "a"}, {"const": "b"}, {"const": "c"}]
    schema = json_schema(tmp_path, {"oneOf": [{"$ref": "other.json#/oneOf/1"}]}, other={"oneOf": constants})
    assert [schema.findings(text) == [] for text in ("a", "b")] == [False, True]
    schema = json_schema(tmp_path, {"$schema": DRAFT_4, "anyOf": constants})
    assert schema.findings("z") == []


# Patterns


@pytest.mark.parametrize(
    ("pattern", "right", "wrong"),
    [
        ("^[0-9]{2}$", "12", "1"),
        ("^(?!0+$)[0-9]+$", "10", "00"),
        ("(?<=a)b", "ab", "b"),
        (r"^(.)\1$", "aa", "ab"),
        (r"^\d+$", "1", "١"),
        (r"^\p{Lu}$", "Ä", "ä"),
    ],
)
def test_patterns_are_of_ecma_262(tmp_path, pattern, right, wrong):
    schema = json_schema(tmp_path, {"pattern": pattern})
    assert schema.findings(right) == []
    assert schema.findings(5) == []
    assert messages(schema, wrong) == [f'the text does not match "{pattern}"']


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^((?=a)a|a)+$", "(?=.*b)x", r"^(a+)+\1$", r"^(a|a?)+(?!b)$"])
@pytest.mark.parametrize("length", [60, 2_000, 100_000])
def test_a_hostile_text_costs_a_bounded_time(tmp_path, pattern, length):
    schema = json_schema(tmp_path, {"items": {"pattern": pattern}})
    began = process_time()
    found = schema.findings(["a" * length + "!"] * max(1, 200_000 // length))
    assert process_time() - began < 0.1  # it takes less than half of that
    assert found


def test_a_match_that_is_given_up_is_a_finding_of_its_own(tmp_path):
    schema = json_schema(tmp_path, {"properties": {"a": {"pattern": "^((?=a)a|a)+$"}, "b": {"type": "string"}}})
    found = {finding.where: finding.message for finding in schema.findings({"a": "a" * 60 + "!", "b": 1})}
    assert COSTLY in found["/a"]
    assert found["/b"] == '1 is not of type "string"'
    assert schema.findings({"a": "aaa"}) == []
    names = json_schema(tmp_path, {"patternProperties": {"^((?=a)a|a)+$": False}})
    assert COSTLY in messages(names, {"a" * 60 + "!": 1})[0]


def test_many_plain_texts_do_not_use_up_the_time(tmp_path):
    schema = json_schema(tmp_path, {"items": {"pattern": r"^(?!\s*$).+$"}})
    assert schema.findings(["a description of some length"] * 500) == []
    assert schema.findings(["x" * 100_000]) == []


# Real schemas


@pytest.mark.parametrize(
    ("corpus", "main", "documents"),
    [
        ("gobl-invoice", "bill/invoice.json", 24),
        ("kivra-retail", "digital-receipt-schema.json", 8),
        ("versa-receipt", "receipt.schema.json", 3),
    ],
)
def test_published_documents_are_valid_by_their_schemas(corpus, main, documents):
    folder = CORPORA / corpus / "schema"
    if not folder.is_dir():
        pytest.skip("the corpora of published documents are not beside this checkout")
    schema = JsonSchema(folder / main, folder)
    found = [schema.findings(json.loads(path.read_bytes())) for path in (folder.parent / "valid").glob("*.json")]
    assert found == [[]] * documents
