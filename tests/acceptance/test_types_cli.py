"""``receiptd types``: what an integrator sees of receipt types, and of the folders that they write."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from receiptd.cli.main import main
from receiptd.documents import BUNDLED_ROOT

ROOT = Path(__file__).parents[2]
SLIP = {
    "kind": "kiosk/slip",
    "slipNo": "S-1",
    "soldAt": "2026-05-18T09:14:22+02:00",
    "shop": {"taxId": "12345678"},
    "currency": "EUR",
    "items": [{"name": "Tea", "amount": 2.5}, {"name": "Bun", "amount": 1.25}],
    "total": 3.75,
}


class Done:
    """What a command did."""

    def __init__(self, code, said):
        self.code, self.out, self.err = code, said.out, said.err


@pytest.fixture
def types(monkeypatch, capsys, tmp_path):
    """Run ``receiptd types`` in a folder of its own, with the settings of the project."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["receiptd", "types", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        else:
            code = 0
        done = Done(code, capsys.readouterr())
        assert "Traceback" not in done.err
        return done

    return call


@pytest.fixture
def slips(tmp_path):
    """Two samples and the root for the types drafted of them."""
    (tmp_path / "slips").mkdir()
    for number in (1, 2):
        (tmp_path / "slips" / f"{number}.json").write_text(json.dumps(SLIP | {"slipNo": f"S-{number}"}))
    return tmp_path / "slips"


# -- list and show -----------------------------------------------------------------------------------------------------


def test_list_says_what_each_type_is(types):
    header, *rows = types("list").out.splitlines()
    assert header.split()[:3] == ["TYPE", "VERSION", "FORMAT"]
    (row,) = (row for row in rows if row.startswith("retail-receipt-xml "))
    for said in (
        "the root element is {urn:receiptd:retail-receipt:1}Receipt",
        "tax, warehouse",
        "standard",
        str(BUNDLED_ROOT),
    ):
        assert said in row


def test_list_for_machines(types):
    found = {one["id"]: one for one in json.loads(types("list", "--json").out)}
    assert found["retail-receipt"]["version"] == 1
    assert found["retail-receipt"]["folder"] == str(BUNDLED_ROOT / "retail-receipt")
    assert found["prro-check"]["recognise"] == ["the root element is CHECK"]


@pytest.mark.parametrize("name", ["retail-receipt", "retail-receipt@1"])
def test_show_says_everything(types, name):
    shown = types("show", name).out
    for said in ("retention", "standard", "registrars", "  issued_at: /issued_at", "total-equals-lines", "media_types"):
        assert said in shown
    facts = json.loads(types("show", name, "--json").out)
    assert facts["mapping"]["total"] == "/total"
    assert facts["rules"][0]["id"] == "total-equals-lines"


@pytest.mark.parametrize("name", ["nothing", "retail-receipt@2", "retail-receipt@x"])
def test_show_of_no_type(types, name):
    done = types("show", name)
    assert done.code == 1
    assert f"there is no receipt type {name}" in done.err


def test_the_schema_is_printed(types):
    assert json.loads(types("schema").out)["required"][0] == "id"


# -- check -------------------------------------------------------------------------------------------------------------


def test_check_of_all_types_of_the_settings(types):
    done = types("check")
    assert (done.code, done.err) == (0, ""), done.out
    assert "3 receipt types" in done.out.splitlines()[-1]
    assert "valid: 1091.81 UAH, 8 lines" in done.out


def test_check_of_a_difference(types, slips, tmp_path):
    types("new", "slip", "--from", slips, "--to", "types")
    (tmp_path / "types" / "slip" / "samples" / "invalid" / "fine.json").write_text(json.dumps(SLIP))
    done = types("check", "types")
    assert done.code == 1
    (row,) = (line for line in done.out.splitlines() if "fine.json" in line and "DIFFERS" in line)
    assert row.split()[:2] == ["invalid/fine.json", "invalid"]
    assert "invalid/fine.json: nothing is wrong with it" in done.out
    assert done.out.splitlines()[-1] == "1 receipt type, 3 samples: 2 as expected, 1 different; 0 faults"


def test_check_of_a_fault_names_file_and_line(types, slips, tmp_path):
    types("new", "slip", "--from", slips, "--to", "types")
    file = tmp_path / "types" / "slip" / "type.yaml"
    file.write_text(file.read_text().replace("\nformat: json", "\nfromat: json"))
    done = types("check", "types/slip")
    assert done.code == 1
    assert "types/slip/type.yaml:6: " in done.out
    assert "did you mean 'format'" in done.out


def test_check_for_machines(types, slips):
    types("new", "slip", "--from", slips, "--to", "types")
    (report,) = json.loads(types("check", "types/slip", "--json").out)
    assert (report["type"], report["ok"], report["faults"]) == ("slip@1", True, [])
    assert [sample["receipt"]["total"] for sample in report["samples"]] == [375, 375]
    assert report["warnings"]


def test_check_accepts_what_there_is(types, slips, tmp_path):
    types("new", "slip", "--from", slips, "--to", "types")
    done = types("check", "types/slip", "--accept")
    assert "wrote types/slip/samples/valid/1.expected.yaml" in done.out
    assert yaml.safe_load((tmp_path / "types/slip/samples/valid/1.expected.yaml").read_text())["total"] == 375
    assert types("check", "types/slip").code == 0


def test_check_of_a_type_that_a_type_of_the_settings_claims_too(types, slips, tmp_path):
    for name in ("slip", "slop"):
        types("new", name, "--from", slips, "--to", f"{name}s")
    (tmp_path / "config" / "embedded.toml").write_text(
        f'registrars_dir = "registrars"\n[receipt_types]\nroots = ["{tmp_path / "slops"}"]\n'
    )
    done = types("check", "slips/slip")
    assert done.code == 1
    assert "slop" in done.out


def test_check_of_two_versions_side_by_side(types, slips, tmp_path):
    types("new", "slip", "--from", slips, "--to", "types")
    shutil.copytree(tmp_path / "types" / "slip", tmp_path / "types" / "slip-2")
    file = tmp_path / "types" / "slip-2" / "type.yaml"
    file.write_text(file.read_text().replace("\nversion: 1", "\nversion: 2"))
    done = types("check", "types")
    assert done.code == 0, done.out
    assert "slip@1  " in done.out
    assert "slip@2  " in done.out


@pytest.mark.parametrize("folder", ["nowhere", "config"])
def test_check_of_no_folder_of_types_is_wrong_usage(types, folder):
    done = types("check", folder)
    assert done.code == 2
    assert folder in done.err


def test_check_of_a_file_says_which_folder(types, slips):
    types("new", "slip", "--from", slips, "--to", "types")
    done = types("check", "types/slip/type.yaml")
    assert done.code == 2
    assert "type.yaml: is a file; name the folder of a receipt type, such as types/slip" in done.err


# -- new ---------------------------------------------------------------------------------------------------------------


def test_new_drafts_checks_and_says_what_to_do_next(types, slips, tmp_path):
    done = types("new", "slip", "--from", slips / "1.json", slips / "2.json", "--to", "types")
    assert done.code == 0
    assert "drafted types/slip" in done.out
    assert "valid: 3.75 EUR, 2 lines" in done.out
    assert "run: receiptd types check types/slip" in done.out
    assert f'receipt_types.roots = ["{tmp_path / "types"}"]' in done.out


def test_new_says_what_is_to_be_filled_in_and_check_insists(types, slips):
    for path in slips.iterdir():
        path.write_text(path.read_text().replace('"currency": "EUR", ', ""))
    done = types("new", "slip", "--from", slips, "--to", "types")
    assert done.code == 0
    assert "mapping.currency: FILL IN: name the place of the ISO 4217 currency" in done.out
    assert "say in types/slip/type.yaml what is marked FILL IN" in done.out
    assert types("check", "types/slip").code == 1


def test_new_goes_to_the_first_root_of_the_settings(types, slips, tmp_path):
    (tmp_path / "config" / "embedded.toml").write_text(
        f'registrars_dir = "registrars"\n[receipt_types]\nroots = ["{tmp_path / "mine"}"]\n'
    )
    (tmp_path / "mine").mkdir()
    done = types("new", "slip", "--from", slips)
    assert (tmp_path / "mine" / "slip" / "type.yaml").exists()
    assert "SIGHUP" in done.out
    assert [one["id"] for one in json.loads(types("list", "--json").out)].count("slip") == 1


def test_new_names_the_registrars_of_the_settings(types, slips, tmp_path):
    (tmp_path / "config" / "registrars" / "tax.toml").rename(tmp_path / "config" / "registrars" / "customs.toml")
    types("new", "slip", "--from", slips, "--to", "types")
    assert yaml.safe_load((tmp_path / "types/slip/type.yaml").read_text())["registrars"] == ["customs", "warehouse"]


def test_the_kit_needs_no_settings(types, slips, tmp_path):
    shutil.rmtree(tmp_path / "config")
    done = types("new", "slip", "--from", slips)
    assert (done.code, done.err) == (0, "")
    text = (tmp_path / "receipt_types/slip/type.yaml").read_text()
    assert yaml.safe_load(text)["registrars"] == ["tax", "warehouse"]
    assert "# GUESS: no settings say which registrars there are" in text
    for command in (("check", "receipt_types/slip"), ("check",), ("schema",), ("list",), ("show", "retail-receipt")):
        done = types(*command)
        assert (done.code, done.err) == (0, ""), command


@pytest.mark.parametrize("what", ["--config", "RECEIPTD_REGISTRARS_DIR"])
def test_settings_that_are_named_and_wrong_are_an_error(types, slips, tmp_path, monkeypatch, what):
    shutil.rmtree(tmp_path / "config")
    named = ["--config", "nowhere.toml"] if what == "--config" else []
    if not named:
        monkeypatch.setenv(what, "nowhere")
    for command in (("new", "slip", "--from", slips), ("check",)):
        done = types(*command, *named)
        assert done.code == 2
        assert "nowhere" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("Slip", "--from", "slips"), 2, "no id of a receipt type"),
        (("slip", "--from", "nowhere.json"), 1, "nowhere.json: cannot be read"),
        (("slip", "--from", "config"), 1, "config: there is no sample, no .json or .xml file, in this folder"),
        (("retail-receipt", "--from", "slips"), 2, "there is a receipt type retail-receipt already, in "),
        (("slip",), 2, "--from"),
        (("slip", "--from", "slips", "--schema", "nowhere.json"), 2, "nowhere.json: cannot be read: No such file"),
        (("slip", "--from", "slips", "--schema", "config/embedded.toml"), 2, "which samples in JSON need"),
    ],
)
def test_new_refuses_in_plain_words(types, slips, arguments, code, told):
    done = types("new", *arguments, "--to", "types")
    assert done.code == code
    assert told in done.err


def test_new_where_nothing_can_be_written(types, slips, tmp_path):
    (tmp_path / "file").write_text("")
    done = types("new", "slip", "--from", slips, "--to", "file")
    assert done.code == 2
    assert "file/slip: cannot be written: Not a directory; name another folder by --to" in done.err


def test_new_leaves_a_folder_alone(types, slips):
    types("new", "slip", "--from", slips, "--to", "types")
    done = types("new", "slip", "--from", slips, "--to", "types")
    assert done.code == 2
    assert "--force" in done.err
    assert types("new", "slip", "--from", slips, "--to", "types", "--force").code == 0
