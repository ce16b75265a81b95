"""type.yaml: what is wrong with it, and on which line."""

from __future__ import annotations

from pathlib import Path

import pytest

from receiptd.documents import ReceiptTypes
from receiptd.documents.type_file import TypeFile
from receiptd.domain.errors import ConfigurationError

GOOD = """\
id: slip
version: 1
title: A slip
format: json
registrars: [tax]
mapping:
  number: /no
  issued_at: /at
  seller: {value: no}
  currency: {value: EUR}
  total: /total
  lines:
    each: /lines
    description: /name
    amount: /sum
rules:
  - id: one
    that: receipt.total > 0
    message: no total
  - id: two
    that: receipt.total < 100
    message: too much
"""


def faults(folder: Path, text: str) -> list[str]:
    (folder / "slip").mkdir()
    (folder / "slip" / "type.yaml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        ReceiptTypes.load([folder])
    return [line.removeprefix(f"{folder}/slip/") for line in str(caught.value).splitlines()]


def test_the_good_one_is_good(tmp_path):
    (tmp_path / "type.yaml").write_text(GOOD)
    spec = TypeFile.read(tmp_path).spec
    assert spec["mapping"]["seller"] == {"value": "no"}  # YAML 1.2: no is a word


def test_dates_are_text(tmp_path):
    (tmp_path / "type.yaml").write_text(GOOD.replace("title: A slip", "title: 2026-11-22"))
    assert TypeFile.read(tmp_path).spec["title"] == "2026-11-22"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "title: A slip",
            "tittle: A slip",
            "type.yaml:3: at /tittle: there is no key 'tittle' here; did you mean 'title'?",
        ),
        ("version: 1", "version: one", "type.yaml:2: at /version: "),
        (
            "    description: /name",
            "    desription: /name",
            "type.yaml:14: at /mapping/lines/desription: there is no key",
        ),
        ("/total\n", "'~x'\n", "type.yaml:11: at /mapping/total: "),
        ("/sum", "/a~2", "type.yaml:15: at /mapping/lines/amount: "),
        ("< 100", "<", "type.yaml:20: at /rules/1: "),
        ("title: A slip", "title: A slip\nid: slop", "type.yaml:4: the key 'id' stands twice; keep one"),
        ("format: json", "format: json\nschema: a.json", "type.yaml:5: at /schema: there is no file a.json in "),
        ("format: json", "format: json\nschema: ../a.json", "type.yaml:5: at /schema: "),
        (
            "format: json",
            "format: json\nschema: a.xsd",
            "type.yaml:5: at /schema: a type of format json has a .json file",
        ),
        ("format: json", "format: json\nschematron: [a.sch]", "type.yaml:5: at /schematron: "),
        ("[tax]", "[tax, {id: tax, sends: original}]", "type.yaml:5: at /registrars: a registrar stands twice"),
        ("[tax]", "[{id: tax, sends: a.json.j2}]", "type.yaml:5: at /registrars: there is no file a.json.j2"),
        ("[tax]", "[{id: tax, sends: ../a.json.j2}]", "type.yaml:5: at /registrars/0/sends: "),
        ("format: json", "format: json\nmedia_types: [text/xml]", "type.yaml:5: at /media_types/0: text/xml is no"),
        ("format: json", "format: json\npersonal: [total]", "type.yaml:5: at /personal/0: "),
        ("id: slip", "id: [", "type.yaml:3: is no YAML: "),
        (GOOD, "", "type.yaml:1: is no mapping"),
        (GOOD, "- a", "type.yaml:1: is no mapping"),
        (GOOD, "id: !!python/object:os.system x", "type.yaml:1: is no YAML: could not determine a constructor"),
    ],
)
def test_a_fault_is_told_with_its_line(tmp_path, old, new, told):
    assert old in GOOD
    found = faults(tmp_path, GOOD.replace(old, new, 1))
    assert [line for line in found if line.startswith(told)], found


def test_all_faults_of_a_file_are_told_at_once(tmp_path):
    text = GOOD.replace("/no\n", "'~x'\n").replace("< 100", "<").replace("/sum", "/b~")
    assert [line.partition(": ")[0] for line in faults(tmp_path, text)] == ["type.yaml:7", "type.yaml:20"]
    # the mapping tells its first fault, the rules theirs
