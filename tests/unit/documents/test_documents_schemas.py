"""Schemas: all faults with their places, no values, nothing outside the folder."""

from __future__ import annotations

import socket
from pathlib import Path

import orjson
import pytest

from receiptd.documents.findings import FINDINGS_MAX
from receiptd.documents.folder import locate
from receiptd.documents.json_schema import JsonSchema
from receiptd.documents.xml_schema import XmlSchema
from receiptd.documents.xml_document import decode_xml
from receiptd.domain.errors import ConfigurationError


def json_schema(folder: Path, schema: object) -> JsonSchema:
    path = folder / "schema.json"
    path.write_bytes(orjson.dumps(schema))
    return JsonSchema(path)


def xml_schema(folder: Path, body: str) -> XmlSchema:
    path = folder / "schema.xsd"
    path.write_text(f'<x:schema xmlns:x="http://www.w3.org/2001/XMLSchema" xmlns:o="urn:o">{body}</x:schema>')
    return XmlSchema(path)


def test_json_findings_name_each_place_by_pointer(tmp_path):
    schema = json_schema(
        tmp_path,
        {"properties": {"a/b~c": {"items": {"type": "integer"}}, "d": {"enum": [1]}}, "additionalProperties": False},
    )
    found = schema.findings({"a/b~c": [1, "x", None], "d": 2, "e": 3})
    assert sorted(finding.where for finding in found) == ["", "/a~1b~0c/1", "/a~1b~0c/2", "/d"]
    assert {finding.code for finding in found} == {"schema"}
    assert schema.findings({"a/b~c": [1], "d": 1}) == []


def test_json_findings_hold_no_values(tmp_path):
    schema = json_schema(tmp_path, {"properties": {"a": {"pattern": "^x$"}, "b": {"maxLength": 1}, "c": {"const": 1}}})
    found = schema.findings({"a": "hidden", "b": "hidden", "c": "hidden"})
    assert len(found) == 3
    assert not [finding for finding in found if "hidden" in finding.message]


def test_json_findings_are_bounded(tmp_path):
    schema = json_schema(tmp_path, {"items": {"type": "string"}})
    assert len(schema.findings([1] * 1_000)) == FINDINGS_MAX
    assert len(schema.findings([1] * 100_000)) == 1
    assert len(schema.findings(["n" * 5_000, *range(9)])) == 9


@pytest.mark.parametrize(
    ("draft", "document", "valid"),
    [
        ("http://json-schema.org/draft-04/schema#", 5, False),
        ("https://json-schema.org/draft/2020-12/schema", 5, True),
    ],
)
def test_the_draft_is_the_one_that_the_schema_names(tmp_path, draft, document, valid):
    keyword = {"minimum": 5, "exclusiveMinimum": True} if "04" in draft else {"minimum": 5}
    assert (json_schema(tmp_path, {"$schema": draft, **keyword}).findings(document) == []) is valid


def test_formats_are_asserted(tmp_path):
    assert json_schema(tmp_path, {"format": "date-time"}).findings("yesterday")


def test_json_references_stay_in_the_folder(tmp_path):
    folder = tmp_path / "type"
    (folder / "common").mkdir(parents=True)
    (folder / "common" / "money.json").write_text('{"type": "string", "$defs": {"n": {"type": "number"}}}')
    (tmp_path / "outside.json").write_text("{}")
    for reference in ("common/money.json", "https://example.org/x/common/money.json", "money/../common/money.json"):
        assert json_schema(folder, {"$ref": reference}).findings(1)
    assert json_schema(folder, {"$ref": "common/money.json#/$defs/n"}).findings(1) == []
    assert json_schema(folder, {"$id": "https://example.org/a/schema.json", "$ref": "common/money.json"}).findings(1)
    for reference in ("../outside.json", "file:///etc/hostname", "/etc/hostname", "missing.json"):
        with pytest.raises(ConfigurationError, match=r"schema\.json.*put it there"):
            json_schema(folder, {"$ref": reference})


def test_no_reference_is_fetched(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        with pytest.raises(ConfigurationError):
            json_schema(tmp_path, {"$ref": f"{url}.json"})
        with pytest.raises(ConfigurationError):
            xml_schema(tmp_path, f'<x:include schemaLocation="{url}.xsd"/>')
        schema = xml_schema(tmp_path, '<x:element name="r"/>')
        hint = 'xmlns:i="http://www.w3.org/2001/XMLSchema-instance"'
        schema.findings(decode_xml(f'<r {hint} i:noNamespaceSchemaLocation="{url}.xsd"/>'.encode()))
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "strng"}, "at /type"),
        ({"properties": {"a": {"pattern": "("}}}, "at /properties/a/pattern"),
        ({"pattern": "(?=a)b"}, "at /pattern"),
        ({"$schema": "urn:unknown"}, "urn:unknown"),
        ([], ""),
    ],
)
def test_a_broken_json_schema_is_named_with_its_place(tmp_path, schema, reason):
    with pytest.raises(ConfigurationError, match="no usable JSON Schema") as caught:
        json_schema(tmp_path, schema)
    assert str(tmp_path / "schema.json") in str(caught.value)
    assert reason in str(caught.value)


def test_a_json_schema_that_is_no_json_or_not_there(tmp_path):
    with pytest.raises(ConfigurationError, match="no usable JSON Schema"):
        JsonSchema(tmp_path / "schema.json")
    (tmp_path / "schema.json").write_text("{")
    with pytest.raises(ConfigurationError, match="no usable JSON Schema"):
        JsonSchema(tmp_path / "schema.json")


ROW = """<x:element name="r"><x:complexType><x:sequence><x:element name="d" maxOccurs="unbounded"><x:simpleType>
<x:restriction base="x:decimal"><x:fractionDigits value="2"/></x:restriction></x:simpleType></x:element></x:sequence>
<x:attribute name="e"><x:simpleType><x:restriction base="x:string"><x:enumeration value="A"/></x:restriction>
</x:simpleType></x:attribute></x:complexType></x:element>"""


def test_xml_findings_name_each_place_by_path_and_line(tmp_path):
    schema = xml_schema(tmp_path, ROW)
    found = schema.findings(decode_xml(b'<r e="B">\n<d>1</d>\n<d>x</d>\n<d>1.001</d>\n<z/></r>'))
    assert [finding.where for finding in found] == [
        "/r (line 1)",
        "/r/d[2] (line 3)",
        "/r/d[3] (line 4)",
        "/r/z (line 5)",
    ]
    assert schema.findings(decode_xml(b"<r><d>1.50</d></r>")) == []


def test_xml_findings_have_places_whatever_the_prefix(tmp_path):
    path = tmp_path / "schema.xsd"
    path.write_text(
        '<x:schema xmlns:x="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:a" elementFormDefault="qualified">'
        '<x:element name="r"><x:complexType><x:sequence><x:element name="d" type="x:int" maxOccurs="9"/></x:sequence>'
        "</x:complexType></x:element></x:schema>"
    )
    for body in (
        b'<r xmlns="urn:a"><d>1</d><d>x</d></r>',
        b'<p:r xmlns:p="urn:a"><p:d>1</p:d><p:d>x</p:d></p:r>',
        b'<p:r xmlns:p="urn:a"><p:d>1</p:d><q:d xmlns:q="urn:a">x</q:d></p:r>',
    ):
        assert [finding.where for finding in XmlSchema(path).findings(decode_xml(body))] == ["/r/d[2] (line 1)"]


def test_xml_findings_hold_no_values(tmp_path):
    hidden = "hid'den' is not a valid value, has 'more' "
    found = xml_schema(tmp_path, ROW).findings(decode_xml(f'<r e="{hidden}"><d>{hidden}</d><d>7.123</d></r>'.encode()))
    assert len(found) >= 3
    assert not [finding for finding in found if "hid" in finding.message or "7.123" in finding.message]
    assert "{'A'}" in found[0].message


def test_xml_findings_are_bounded(tmp_path):
    assert len(xml_schema(tmp_path, ROW).findings(decode_xml(b"<r>" + b"<d/>" * 500 + b"</r>"))) == FINDINGS_MAX


def test_a_pattern_that_libxml2_gives_up_on_is_a_finding(tmp_path):
    schema = xml_schema(
        tmp_path,
        '<x:element name="r"><x:simpleType><x:restriction base="x:string"><x:pattern value="(a|aa)+"/>'
        "</x:restriction></x:simpleType></x:element>",
    )
    (finding,) = schema.findings(decode_xml(b"<r>" + b"a" * 200 + b"!</r>"))
    assert "too costly" in finding.message
    assert schema.findings(decode_xml(b"<r>aaa</r>")) == []


def test_xml_imports_stay_in_the_folder(tmp_path):
    folder = tmp_path / "type"
    (folder / "lib").mkdir(parents=True)
    text = (
        '<x:schema xmlns:x="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:o"><x:element name="o"/></x:schema>'
    )
    (folder / "lib" / "o.xsd").write_text(text)
    (tmp_path / "outside.xsd").write_text(text)
    (folder / "link.xsd").symlink_to(tmp_path / "outside.xsd")
    element = (
        '<x:element name="r"><x:complexType><x:sequence><x:element ref="o:o"/></x:sequence></x:complexType></x:element>'
    )
    for location in ("lib/o.xsd", "https://example.org/lib/o.xsd", "http://example.org/somewhere/lib/o.xsd"):
        schema = xml_schema(folder, f'<x:import namespace="urn:o" schemaLocation="{location}"/>{element}')
        assert schema.findings(decode_xml(b'<r><o xmlns="urn:o"/></r>')) == []
    for location in ("../outside.xsd", str(tmp_path / "outside.xsd"), "file:///etc/passwd", "nope.xsd", "link.xsd"):
        with pytest.raises(ConfigurationError, match=r"schema\.xsd: no usable XML Schema"):
            xml_schema(folder, f'<x:import namespace="urn:o" schemaLocation="{location}"/>{element}')


def test_locate_takes_the_longest_tail_of_a_url(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.json").write_text("")
    (tmp_path / "b.json").write_text("")
    assert locate(tmp_path, "https://example.org/x/a/b.json?v=1#/d") == (tmp_path / "a" / "b.json").resolve()
    assert locate(tmp_path, "urn/b.json") == (tmp_path / "b.json").resolve()
    with pytest.raises(FileNotFoundError):
        locate(tmp_path, "https://example.org/a/")
