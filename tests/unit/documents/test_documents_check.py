"""The catalogue: loading types, recognising documents, and the whole check."""

from __future__ import annotations

import orjson
import pytest
from documents_kit import ANY_XSD, BON, JSON_TYPE, SLIP, XML_TYPE, json_types, write_type, xml_types

from receiptd.documents import Checked, DocumentError, ReceiptTypes, run_samples
from receiptd.domain.errors import ConfigurationError
from receiptd.domain.receipt import Finding, Severity

BODY = orjson.dumps(SLIP)


def refusal(types: ReceiptTypes, body: bytes = BODY, content_type: str = "application/json", hint: str = ""):
    with pytest.raises(DocumentError) as caught:
        types.check(body, content_type, hint)
    return caught.value


def test_a_valid_document(tmp_path):
    result = json_types(tmp_path).check(BODY, "application/json")
    assert (result.type_id, result.type_version, result.registrars, result.findings) == ("slip", 3, ("tax",), ())
    assert result.valid
    assert orjson.loads(result.canonical)["total"] == 350


def test_warnings_leave_it_valid():
    warning = Finding("rule:x", "m", severity=Severity.WARNING)
    assert Checked("t", 1, (), b"", (warning,)).valid
    assert not Checked("t", 1, (), b"", (warning, Finding("schema", "m"))).valid


def test_schema_mapping_and_rules_all_speak(tmp_path):
    rule = {"id": "never", "that": "false", "message": "m"}
    types = json_types(tmp_path, {"required": ["stamp"]}, rules=[rule])
    result = types.check(BODY, "")
    assert [finding.code for finding in result.findings] == ["schema", "rule:never"]
    assert result.canonical
    result = types.check(orjson.dumps(SLIP | {"total": None}), "")
    assert [finding.code for finding in result.findings] == ["schema", "mapping:total"]
    assert result.canonical == b""


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "APPLICATION/JSON; charset=UTF-8",
        "application/vnd.x+json",
        'text/x+json;charset="utf-8"',
        "",
    ],
)
def test_media_types_of_json(tmp_path, content_type):
    assert json_types(tmp_path).check(BODY, content_type).valid


@pytest.mark.parametrize("content_type", ["application/xml", "text/xml; charset=utf-8", "application/vnd.x+xml", ""])
def test_media_types_of_xml(tmp_path, content_type):
    assert xml_types(tmp_path).check(BON, content_type).valid


@pytest.mark.parametrize(
    "body", [b"\xef\xbb\xbf" + BON, b"\n " + BON, BON.decode().encode("utf-16"), BON.decode().encode("utf-16-be")]
)
def test_xml_without_a_content_type_is_recognised_by_its_first_bytes(tmp_path, body):
    assert xml_types(tmp_path).check(body, "").valid


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", "json", "\x00", ";", "x" * 9999])
def test_other_media_types_are_refused_with_415(tmp_path, content_type):
    error = refusal(json_types(tmp_path), content_type=content_type)
    assert (error.status, error.code) == (415, "media-type-unsupported")


def test_bytes_that_look_like_neither_format_are_refused_with_415(tmp_path):
    assert refusal(json_types(tmp_path), b"hello", "").code == "media-type-missing"


def test_charset_of_the_media_type_overrides_the_declaration(tmp_path):
    body = b'<?xml version="1.0" encoding="utf-8"?>' + BON.replace(b"Tea", "Чай".encode("cp1251"))
    result = xml_types(tmp_path).check(body, "application/xml; charset=windows-1251")
    assert orjson.loads(result.canonical)["lines"][0]["description"] == "Чай"


def two_types(root, second):
    write_type(root, JSON_TYPE)
    write_type(root, JSON_TYPE | {"id": "note"} | second)
    return ReceiptTypes.load([root])


def test_recognised_by_pointer_and_value(tmp_path):
    types = two_types(
        tmp_path, {"recognise": [{"pointer": "/meta/v", "equals": 2}, {"pointer": "/kind", "equals": "note"}]}
    )
    assert types.check(BODY, "").type_id == "slip"
    assert types.check(orjson.dumps(SLIP | {"kind": "note"}), "").type_id == "note"
    assert types.check(orjson.dumps(SLIP | {"kind": 0, "meta": {"v": 2}}), "").type_id == "note"
    assert refusal(types, orjson.dumps(SLIP | {"kind": 0, "meta": {"v": 2.0}})).code == "unknown-receipt-type"


def test_true_is_not_one(tmp_path):
    types = two_types(tmp_path, {"recognise": [{"pointer": "/v", "equals": True}]})
    assert types.check(b'{"v":true}', "").type_id == "note"
    assert refusal(types, b'{"v":1}').code == "unknown-receipt-type"


def test_recognised_by_root_element_and_namespace(tmp_path):
    types = xml_types(tmp_path)
    assert types.check(BON.replace(b"<", b"<q:").replace(b"<q:/", b"</q:").replace(b"xmlns=", b"xmlns:q="), "").valid
    for other in (b"urn:other", b""):
        error = refusal(types, BON.replace(b"urn:bon", other), "application/xml")
        assert (error.status, error.code) == (422, "unknown-receipt-type")
        assert "bon@1" in error.detail


def test_ambiguous_documents_are_refused_until_hinted(tmp_path):
    types = two_types(tmp_path, {"recognise": [{"pointer": "/no", "equals": "7"}]})
    error = refusal(types)
    assert (error.status, error.code) == (422, "ambiguous-receipt-type")
    assert "note or slip" in error.detail
    assert types.check(BODY, "", "note").type_id == "note"
    assert types.check(BODY, "", "slip@3").type_id == "slip"


def test_a_type_recognised_twice_is_not_ambiguous(tmp_path):
    recognise = [{"pointer": "/kind", "equals": "slip"}, {"pointer": "/no", "equals": "7"}]
    assert json_types(tmp_path, recognise=recognise).check(BODY, "").type_id == "slip"


@pytest.mark.parametrize("hint", ["nothing", "slip@4", "slip@x", "@3", "x" * 10_000])
def test_unknown_hints_are_refused(tmp_path, hint):
    error = refusal(json_types(tmp_path), hint=hint)
    assert (error.status, error.code) == (422, "unknown-receipt-type")
    assert len(error.detail) <= 300


def test_a_hint_of_the_other_format_is_refused(tmp_path):
    write_type(tmp_path, XML_TYPE, ANY_XSD)
    error = refusal(json_types(tmp_path), hint="bon")
    assert (error.status, error.code) == (422, "receipt-type-mismatch")


def test_the_media_type_decides_last_and_only_alone(tmp_path):
    types = two_types(tmp_path, {"recognise": [], "media_types": ["application/vnd.note+json"]})
    assert types.check(b"{}", "application/vnd.note+json").type_id == "note"
    assert types.check(BODY, "application/vnd.note+json").type_id == "slip"
    assert refusal(types, b"{}").code == "unknown-receipt-type"


def test_sizes_are_bounded_by_the_type(tmp_path):
    types = two_types(tmp_path, {"recognise": [{"pointer": "/kind", "equals": "note"}], "body_max_bytes": 500})
    note = orjson.dumps(SLIP | {"kind": "note", "pad": "x" * 600})
    assert types.check(note.replace(b'"note"', b'"slip"'), "").valid
    error = refusal(types, note)
    assert (error.status, error.code) == (413, "document-too-large")
    assert refusal(types, b"<" * 1_048_577).status == 413


def test_listing(tmp_path):
    types = json_types(tmp_path)
    assert [type_.id for type_ in types] == ["slip"]
    assert types.get("slip").title == "A slip"
    assert types.get("nothing") is None


def test_no_types_at_all():
    assert refusal(ReceiptTypes.load([])).code == "unknown-receipt-type"


def test_several_roots_make_one_catalogue(tmp_path):
    write_type(tmp_path / "a", JSON_TYPE)
    write_type(tmp_path / "b", XML_TYPE, ANY_XSD)
    (tmp_path / "a" / ".git").mkdir()
    (tmp_path / "a" / "README.md").write_text("not a type")
    assert [type_.id for type_ in ReceiptTypes.load([tmp_path / "a", tmp_path / "b"])] == ["slip", "bon"]


def test_a_version_of_an_id_is_taken_once(tmp_path):
    write_type(tmp_path, JSON_TYPE)
    write_type(tmp_path, JSON_TYPE, name="again")
    with pytest.raises(ConfigurationError, match=r"slip and .*again are both slip@3") as caught:
        ReceiptTypes.load([tmp_path])
    assert "again" in str(caught.value)


def test_versions_of_a_type_stand_side_by_side(tmp_path):
    cheap = {"rules": [{"id": "cheap", "that": "receipt.total < 100", "message": "m"}]}
    write_type(tmp_path, JSON_TYPE)
    write_type(tmp_path, JSON_TYPE | {"version": 20} | cheap, name="slip-20")
    write_type(tmp_path, JSON_TYPE | {"version": 9}, name="slip-9")
    types = ReceiptTypes.load([tmp_path])
    newest, oldest = types.check(BODY, ""), types.check(BODY, "", "slip@3")
    assert (newest.type_version, newest.valid) == (20, False)
    assert (oldest.type_version, oldest.valid) == (3, True)
    assert types.check(BODY, "", "slip@9").type_version == 9
    assert (types.get("slip").version, types.get("slip", 9).version, types.get("slip", 4)) == (20, 9, None)


def test_of_the_versions_that_fit_the_newest_is_taken(tmp_path):
    for version in (1, 2, 3):
        recognise = [{"pointer": "/v", "equals": min(version, 2)}]
        write_type(tmp_path, JSON_TYPE | {"version": version, "recognise": recognise}, name=f"slip-{version}")
    types = ReceiptTypes.load([tmp_path])
    assert types.check(b'{"v":1}', "").type_version == 1
    assert types.check(b'{"v":1}', "", "slip").type_version == 1
    assert types.check(b'{"v":0}', "", "slip").type_version == 3
    assert types.check(b'{"v":2}', "", "slip@1").type_version == 1
    assert types.check(b'{"v":2}', "").type_version == 3


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ({"pointer": "/v", "equals": 2}, {"pointer": "/v", "equals": 2}, "/v is 2"),
        ({"pointer": "/v", "present": True}, {"pointer": "/v", "present": True}, "/v is there"),
        ({"pointer": "/v", "present": True}, {"pointer": "/v", "equals": "a"}, "/v is 'a'"),
    ],
)
def test_marks_that_two_types_share_are_refused_at_load(tmp_path, one, other, told):
    for order, pair in enumerate(([one, other], [other, one])):
        root = tmp_path / str(order)
        write_type(root, JSON_TYPE | {"recognise": [pair[0]]})
        write_type(root, JSON_TYPE | {"id": "note", "recognise": [pair[1]]})
        with pytest.raises(ConfigurationError, match="would be of both") as caught:
            ReceiptTypes.read([root])
        assert all(part in str(caught.value) for part in (told, "note", "slip"))


def test_a_root_element_or_media_type_that_two_types_share_is_refused_at_load(tmp_path):
    write_type(tmp_path, XML_TYPE | {"media_types": ["application/bon+xml"]}, ANY_XSD)
    write_type(tmp_path, XML_TYPE | {"id": "bill", "media_types": ["application/bon+xml"]}, ANY_XSD)
    with pytest.raises(ConfigurationError) as caught:
        ReceiptTypes.read([tmp_path])
    assert "the root element is {urn:bon}Bon would be of both bon and bill" in str(caught.value)
    assert "the media type application/bon+xml would be of both" in str(caught.value)


def test_marks_that_differ_are_no_ambiguity(tmp_path):
    write_type(tmp_path, JSON_TYPE | {"recognise": [{"pointer": "/v", "equals": 1}]})
    write_type(tmp_path, JSON_TYPE | {"id": "note", "recognise": [{"pointer": "/v", "equals": True}]})
    assert ReceiptTypes.load([tmp_path]).check(b'{"v":true}', "").type_id == "note"


def test_recognised_by_what_is_there(tmp_path):
    types = two_types(tmp_path, {"recognise": [{"pointer": "/note/text", "present": True}]})
    assert types.check(b'{"note":{"text":[]}}', "").type_id == "note"
    assert refusal(types, b'{"note":{"text":null}}').code == "unknown-receipt-type"
    assert refusal(types, orjson.dumps(SLIP | {"note": {"text": 1}})).code == "ambiguous-receipt-type"


def test_a_type_without_a_schema_is_judged_by_its_mapping_and_rules(tmp_path):
    spec = {key: value for key, value in JSON_TYPE.items() if key != "schema"}
    write_type(tmp_path, spec)
    types = ReceiptTypes.load([tmp_path])
    assert types.check(BODY, "").valid
    assert not types.check(b'{"kind":"slip"}', "").valid


def test_reading_compiles_nothing_until_a_document_comes(tmp_path):
    write_type(tmp_path, JSON_TYPE)
    write_type(tmp_path, JSON_TYPE | {"id": "two", "recognise": []}, {"type": "strng"})
    types = ReceiptTypes.read([tmp_path])
    assert [type_.compiled for type_ in types] == [False, False]
    assert types.check(BODY, "").valid
    assert [type_.compiled for type_ in types] == [True, False]
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"two/schema\.json"):
            types.check(BODY, "", "two")


def test_every_broken_folder_is_named(tmp_path):
    write_type(tmp_path, JSON_TYPE | {"colour": "red", "version": 0}, name="one")
    write_type(tmp_path, JSON_TYPE | {"id": "two"}, {"type": "strng"})
    write_type(tmp_path, JSON_TYPE | {"rules": [{"id": "r", "that": "1 +", "message": "m"}]}, name="three")
    write_type(tmp_path, XML_TYPE | {"schema": "a.json"}, name="four")
    write_type(tmp_path, JSON_TYPE | {"recognise": [{"root": "a"}]}, name="five")
    (tmp_path / "six").mkdir()
    (tmp_path / "seven").mkdir()
    (tmp_path / "seven" / "type.yaml").write_text("id: [")
    with pytest.raises(ConfigurationError) as caught:
        ReceiptTypes.load([tmp_path, tmp_path / "nowhere"])
    told = str(caught.value)
    for expected in (
        "at /colour: there is no key 'colour' here",
        ": at /version: ",
        "two/schema.json",
        ": at /rules/0: no CEL expression",
        ": at /schema: ",
        ": at /recognise/0: ",
        "six/type.yaml: cannot be read",
        "seven/type.yaml:2: is no YAML",
        "nowhere: no folder of receipt types",
    ):
        assert expected in told


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"mapping": {"number": "/n"}}, "/mapping"),
        ({"mapping": JSON_TYPE["mapping"] | {"total": {"at": "/t", "uint": "minor"}}}, "/mapping/total/uint"),
        ({"mapping": JSON_TYPE["mapping"] | {"number": {"at": "/t", "unit": "minor"}}}, "/mapping/number/unit"),
        ({"mapping": JSON_TYPE["mapping"] | {"total": {"at": "/t", "value": "1"}}}, "/mapping/total"),
        ({"mapping": JSON_TYPE["mapping"] | {"total": {}}}, "/mapping/total"),
        ({"registrars": []}, "/registrars"),
        ({"registrars": ["../tax"]}, "/registrars/0"),
        ({"schema": "../schema.json"}, "/schema"),
        ({"body_max_bytes": 10**9}, "/body_max_bytes"),
        ({"recognise": [{"pointer": "/a"}]}, "/recognise/0"),
        ({"rules": [{"id": "r", "message": "m"}]}, "/rules/0"),
        ({"format": "yaml"}, "/format"),
    ],
)
def test_what_type_yaml_may_not_say(tmp_path, change, place):
    spec = JSON_TYPE | change
    folder = write_type(tmp_path, spec | {"schema": "schema.json"})
    (folder / "type.yaml").write_text(orjson.dumps(spec).decode())
    with pytest.raises(ConfigurationError, match=rf"type\.yaml:\d+: at {place}: "):
        ReceiptTypes.load([tmp_path])


def samples_of(root, **files):
    folder = write_type(root, JSON_TYPE | {"rules": [{"id": "cheap", "that": "receipt.total < 1000", "message": "m"}]})
    for name, text in files.items():
        kind, _, rest = name.partition("__")
        path = folder / "samples" / kind / rest.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def test_samples_that_show_what_they_should(tmp_path):
    folder = samples_of(
        tmp_path,
        valid__a__json=BODY,
        invalid__b__json=orjson.dumps(SLIP | {"total": 99}),
        invalid__b__findings__yaml="- {code: 'rule:cheap'}",
        invalid__c__json=b"{",
        invalid__c__findings__yaml="- {code: json-malformed, where: 'line 1, column 2'}",
    )
    assert run_samples(folder) == []


def test_samples_that_do_not(tmp_path):
    folder = samples_of(
        tmp_path,
        valid__a__json=orjson.dumps(SLIP | {"total": 99}),
        invalid__b__json=orjson.dumps(SLIP | {"total": None}),
        invalid__b__findings__yaml="- {code: 'mapping:total', where: /elsewhere}",
        invalid__c__json=BODY,
        invalid__c__findings__yaml="- {code: schema}",
    )
    told = "\n".join(run_samples(folder))
    assert "a.json: unexpected rule:cheap" in told
    assert "b.json: missing mapping:total /elsewhere" in told
    assert "b.json: unexpected mapping:total /total" in told
    assert "c.json: missing schema" in told


@pytest.mark.parametrize("expectation", ["code: schema", "- schema", "- ["])
def test_samples_without_a_usable_expectation(tmp_path, expectation):
    files = {"invalid__b__json": BODY, "invalid__b__findings__yaml": expectation}
    with pytest.raises(ConfigurationError, match=r"b\.findings\.yaml"):
        run_samples(samples_of(tmp_path, **files))
