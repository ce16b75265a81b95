"""Checking a folder: its files, its samples, and what is written down of them."""

from __future__ import annotations

import orjson
import pytest
import yaml

from receiptd.documents import BUNDLED_ROOT, ReceiptTypes, run_samples
from receiptd.documents.kit.check import check_folder, type_folders
from receiptd.documents.receipt_type import ReceiptType
from receiptd.documents.type_file import TypeFile
from receiptd.domain.errors import ConfigurationError

SLIP = {
    "kind": "slip",
    "no": "N1",
    "at": "2026-05-18T09:14:22Z",
    "by": "S",
    "cur": "EUR",
    "sum": 3.5,
    "items": [{"n": "Tea", "a": 3.5}],
}
TYPE = {
    "id": "slip",
    "version": 1,
    "title": "Slip",
    "format": "json",
    "schema": "schema.json",
    "registrars": ["tax"],
    "recognise": [{"pointer": "/kind", "equals": "slip"}],
    "mapping": {
        "number": "/no",
        "issued_at": "/at",
        "seller": "/by",
        "currency": "/cur",
        "total": "/sum",
        "lines": {"each": "/items", "description": "/n", "amount": "/a"},
    },
    "rules": [{"id": "cheap", "that": "receipt.total < 1000", "message": "m"}],
}


@pytest.fixture
def folder(tmp_path):
    """A type with one valid and one invalid sample, all well."""
    folder = tmp_path / "root" / "slip"
    write(folder, "type.yaml", TYPE)
    write(folder, "schema.json", {"required": ["no"]})
    write(folder, "samples/valid/one.json", SLIP)
    write(folder, "samples/invalid/dear.json", SLIP | {"sum": 99})
    return folder


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, bytes | str):
        content = yaml.safe_dump(content) if name.endswith(".yaml") else orjson.dumps(content)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def told(report):
    return "\n".join(f"{sample.name}: {difference}" for sample in report.samples for difference in sample.differences)


def test_all_well(folder):
    report = check_folder(folder)
    assert (report.ok, report.name, report.faults, report.warnings) == (True, "slip@1", [], [])
    assert [(sample.name, sample.expected, sample.found) for sample in report.samples] == [
        ("valid/one.json", "valid", "valid: 3.50 EUR, 1 line"),
        ("invalid/dear.json", "invalid", "1 finding: rule:cheap"),
    ]
    assert run_samples(folder) == []


def test_an_invalid_sample_that_passes_is_a_difference(folder):
    write(folder, "samples/invalid/fine.json", SLIP)
    report = check_folder(folder)
    assert not report.ok
    assert told(report) == "invalid/fine.json: nothing is wrong with it, and it must not pass"


def test_warnings_are_counted_and_named_in_what_was_found(folder):
    mild = {"id": "tip", "that": "receipt.total == 0", "message": "m", "severity": "warning"}
    write(folder, "type.yaml", TYPE | {"rules": [*TYPE["rules"], mild]})
    write(folder, "samples/invalid/dear.findings.yaml", [{"code": "rule:cheap"}])
    write(folder, "samples/invalid/wrong.json", {key: SLIP[key] for key in ("kind", "at", "by", "cur", "items")})
    report = check_folder(folder)
    assert [(sample.name, sample.expected, sample.found) for sample in report.samples] == [
        ("valid/one.json", "valid", "valid: 3.50 EUR, 1 line, 1 finding: rule:tip (warning)"),
        ("invalid/dear.json", "1 finding: rule:cheap", "2 findings: rule:cheap, rule:tip (warning)"),
        ("invalid/wrong.json", "invalid", "3 findings: schema, mapping:number, mapping:total"),
    ]
    assert told(report) == "invalid/dear.json: unexpected warning rule:tip: m"


def test_schematron_that_was_not_asked_is_told(folder):
    write(folder, "samples/invalid/dear.findings.yaml", [{"code": "rule:cheap"}, {"code": "schematron:BR-1"}])
    missing = "missing schematron:BR-1 (Schematron is asked once the schema and the rules hold)"
    assert told(check_folder(folder)) == f"invalid/dear.json: {missing}"


def test_a_warning_alone_does_not_make_a_sample_invalid(folder):
    write(folder, "type.yaml", TYPE | {"rules": [TYPE["rules"][0] | {"severity": "warning"}]})
    assert "invalid/dear.json: nothing is wrong" in told(check_folder(folder))


def test_a_refusal_is_a_finding(folder):
    write(folder, "samples/invalid/broken.json", b"{")
    write(folder, "samples/invalid/broken.findings.yaml", [{"code": "json-malformed"}])
    assert check_folder(folder).ok


@pytest.mark.parametrize(
    "pinned",
    [
        {"total": 350, "lines": 1},
        {"number": "N1", "buyer": "", "issued_at": "2026-05-18T09:14:22+00:00"},
        {"lines": [{"amount": 350, "quantity": 1}]},
        {"taxes": []},
        {},
    ],
)
def test_what_a_valid_sample_must_become(folder, pinned):
    write(folder, "samples/valid/one.expected.yaml", pinned)
    report = check_folder(folder)
    assert report.ok, told(report)
    assert report.samples[0].expected == "valid, as pinned"


@pytest.mark.parametrize(
    ("pinned", "difference"),
    [
        ({"total": 351}, "total: expected '351', found '350'"),
        ({"lines": 2}, "lines: expected '2', found '1'"),
        ({"lines": [{"amount": 1}]}, "lines.0.amount: expected '1', found '350'"),
        ({"lines": [{}, {}]}, "lines: expected '2', found '1'"),
        ({"totl": 350}, "totl: there is no such field"),
    ],
)
def test_what_a_valid_sample_must_not_become(folder, pinned, difference):
    write(folder, "samples/valid/one.expected.yaml", pinned)
    assert told(check_folder(folder)) == f"valid/one.json: {difference}"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("valid/one.expected.yaml", "- 1"),
        ("valid/one.expected.yaml", "{"),
        ("invalid/dear.findings.yaml", "code: schema"),
        ("invalid/dear.findings.yaml", "- ["),
        ("invalid/dear.findings.yaml", b"\xff\xfe\xfd"),
    ],
)
def test_an_expectation_that_cannot_be_read_is_a_fault(folder, name, content):
    path = write(folder, f"samples/{name}", content)
    report = check_folder(folder)
    assert not report.ok
    assert report.faults[0].startswith(str(path))
    with pytest.raises(ConfigurationError, match=path.name):
        run_samples(folder)


def test_what_the_samples_show_can_be_written_down_and_then_holds(folder):
    report = check_folder(folder, accept=True)
    assert {path.name for path in report.accepted} == {"one.expected.yaml", "dear.findings.yaml"}
    assert yaml.safe_load((folder / "samples" / "invalid" / "dear.findings.yaml").read_text()) == [
        {"code": "rule:cheap"}
    ]
    assert check_folder(folder).ok
    write(folder, "samples/valid/one.json", SLIP | {"no": "N2"})
    write(folder, "samples/invalid/dear.json", SLIP | {"sum": 99, "by": None})
    assert told(check_folder(folder)).splitlines()[:2] == [
        "valid/one.json: number: expected 'N1', found 'N2'",
        "invalid/dear.json: missing rule:cheap",
    ]
    assert check_folder(folder, accept=True).ok
    assert check_folder(folder).ok


def test_a_sample_of_the_wrong_kind_cannot_be_accepted(folder):
    write(folder, "samples/invalid/fine.json", SLIP)
    write(folder, "samples/valid/dear.json", SLIP | {"sum": 99})
    report = check_folder(folder, accept=True)
    assert not report.ok
    assert not (folder / "samples" / "invalid" / "fine.findings.yaml").exists()
    assert not (folder / "samples" / "valid" / "dear.expected.yaml").exists()


def test_all_faults_are_told_at_once_with_their_lines(folder):
    broken = TYPE | {"rules": [{"id": "r", "that": "receipt.totl == 1", "message": "m"}]}
    broken["mapping"] = TYPE["mapping"] | {"number": "/a~b"}
    write(folder, "type.yaml", yaml.safe_dump(broken, sort_keys=False))
    write(folder, "schema.json", b'{"type": "nothing"}')
    faults = "\n".join(check_folder(folder).faults)
    assert f"{folder}/schema.json" in faults
    lines = (folder / "type.yaml").read_text().splitlines()
    for key in ("number: ", "- id: r"):
        (number,) = (number for number, line in enumerate(lines, 1) if line.lstrip().startswith(key))
        assert f"{folder}/type.yaml:{number}: " in faults


def test_what_is_no_file_is_passed_over_and_told(folder):
    (folder / "samples/valid/dir.json").mkdir()
    (folder / "samples/valid/link.json").symlink_to("nowhere")
    report = check_folder(folder)
    assert report.ok
    assert [warning.rpartition("/")[2] for warning in report.warnings] == ["valid", "valid"]
    assert "dir.json: is a folder and is passed over" in report.warnings[0]
    assert "link.json: is a link to nothing" in report.warnings[1]


def test_an_expectation_that_is_no_yaml_is_told_with_its_line(folder):
    path = write(folder, "samples/invalid/dear.findings.yaml", "- code: a\n- {code\n")
    (fault,) = check_folder(folder).faults
    assert fault.startswith(f"{path}:3: is no YAML: ")


def test_a_type_file_that_is_no_text_is_one_fault(folder):
    write(folder, "type.yaml", b"\xff\xfe\xfd")
    (fault,) = check_folder(folder).faults
    assert "type.yaml: is no YAML: " in fault


def test_what_lacks_is_a_warning(folder):
    for path in sorted(folder.glob("samples/*/*")):
        path.unlink()
    spec = {key: value for key, value in TYPE.items() if key not in {"schema", "recognise"}}
    write(folder, "type.yaml", spec)
    write(folder, "samples/valid/readme.md", "no sample")
    write(folder, "samples/valid/slip.csv", "1;2")
    write(folder, "samples/valid/gone.expected.yaml", {})
    report = check_folder(folder)
    assert report.ok
    warnings = "\n".join(report.warnings)
    for said in (
        "no valid samples",
        "no invalid samples",
        "no schema",
        "neither recognise",
        "slip.csv",
        "gone.expected.yaml",
    ):
        assert said in warnings
    assert "readme.md" not in warnings


def test_a_type_known_by_its_media_type_alone_has_its_samples_sent_so(folder):
    spec = {key: value for key, value in TYPE.items() if key != "recognise"}
    write(folder, "type.yaml", spec | {"media_types": ["application/vnd.slip+json"]})
    assert check_folder(folder).ok


def test_a_type_that_another_is_taken_for_is_a_fault(folder, tmp_path):
    write(tmp_path / "root" / "other", "type.yaml", TYPE | {"id": "other"} | {"schema": "schema.json"})
    write(tmp_path / "root" / "other", "schema.json", {})
    with pytest.raises(ConfigurationError):
        ReceiptTypes.read([tmp_path / "root"])
    faults = "\n".join(check_folder(folder, types(tmp_path / "root" / "other")).faults)
    assert "slip" in faults
    assert "other" in faults


def test_a_sample_that_another_type_claims_is_a_fault(folder, tmp_path):
    rival = TYPE | {"id": "rival", "recognise": [{"pointer": "/items", "present": True}]}
    write(tmp_path / "rivals" / "rival", "type.yaml", rival)
    write(tmp_path / "rivals" / "rival", "schema.json", {})
    report = check_folder(folder, types(tmp_path / "rivals" / "rival"))
    assert not report.ok
    assert "rival" in "\n".join(report.faults)


def types(folder):
    return [ReceiptType(TypeFile.read(folder))]


def test_a_template_that_fails_for_a_sample_is_a_difference(folder):
    write(folder, "type.yaml", TYPE | {"registrars": [{"id": "tax", "sends": "slip.json.j2"}]})
    write(folder, "slip.json.j2", '{"who": {{ receipt.lines[1].description }} }')
    report = check_folder(folder)
    assert "valid/one.json: template slip.json.j2, line 1" in told(report)
    write(folder, "slip.json.j2", '{"who": {{ receipt.lines[0].description }} }')
    assert check_folder(folder).ok


def test_each_sample_is_announced(folder):
    heard = []
    check_folder(folder, tell=heard.append)
    assert [path.name for path in heard] == ["one.json", "dear.json"]


def test_folders_and_roots(folder, tmp_path):
    assert type_folders(folder) == [folder]
    (tmp_path / "root" / "_draft").mkdir()
    assert type_folders(tmp_path / "root") == [folder]
    with pytest.raises(ConfigurationError, match=r"no type\.yaml"):
        type_folders(tmp_path)
    with pytest.raises(ConfigurationError, match="no such folder"):
        type_folders(tmp_path / "nowhere")


@pytest.mark.parametrize("folder", type_folders(BUNDLED_ROOT), ids=lambda folder: folder.name)
def test_the_bundled_types_are_drafted_well_enough_to_be_known(folder):
    assert not check_folder(folder).faults
