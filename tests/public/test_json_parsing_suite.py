"""The public JSON parsing suite (JSONTestSuite, ``test_parsing``): what parses, what must not, and what may.

Its file names begin with the verdict that RFC 8259 asks for: ``y_`` must be accepted, ``n_`` refused, ``i_`` is the
parser's own choice.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from receiptd.documents import DocumentError
from receiptd.documents.json_document import decode_json

SUITE = Path(__file__).parents[2] / ".suites" / "json-parsing" / "test_parsing"
REFUSED_ON_PURPOSE = {
    # RFC 8259, section 4: names "SHOULD be unique", and which one would count is anyone's guess.
    "y_object_duplicated_key.json": "json-duplicate-key",
    "y_object_duplicated_key_and_value.json": "json-duplicate-key",
}

pytestmark = pytest.mark.skipif(not SUITE.is_dir(), reason="no public suites here; fetch them with scripts/suites")


def verdicts(prefix: str) -> dict[str, str]:
    """Return by file name the code of the refusal, or none; any other exception fails the test."""
    found = {}
    for path in sorted(SUITE.glob(f"{prefix}_*.json")):
        try:
            decode_json(path.read_bytes())
        except DocumentError as error:
            found[path.name] = error.code if error.status == 400 else f"status {error.status}"
        else:
            found[path.name] = ""
    return found


def test_what_must_be_accepted_is():
    found = verdicts("y")
    assert len(found) > 90
    assert {name: code for name, code in found.items() if code} == REFUSED_ON_PURPOSE


def test_what_is_accepted_means_what_the_standard_library_reads():
    for name, code in {**verdicts("y"), **verdicts("i")}.items():
        if not code:
            body = (SUITE / name).read_bytes()
            assert decode_json(body) == json.loads(body), name


def test_what_must_be_refused_is():
    found = verdicts("n")
    assert len(found) > 180
    assert {name: code for name, code in found.items() if not code or code.startswith("status")} == {}


def test_what_may_be_either_has_a_verdict():
    found = verdicts("i")
    assert len(found) > 30
    assert found["i_structure_UTF-8_BOM_empty_object.json"] == ""  # RFC 8259, section 8.1
    assert found["i_number_very_big_negative_int.json"] == ""  # held exactly
    assert found["i_number_huge_exp.json"] == "json-malformed"
    assert found["i_object_key_lone_2nd_surrogate.json"] == "json-malformed"
    assert found["i_string_UTF-16LE_with_BOM.json"] == "encoding-unsupported"
