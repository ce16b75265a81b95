"""The public JSON-Schema-Test-Suite: each schema as a type's folder would hold it, each verdict as the suite says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from receiptd.documents.json_document import decode_json
from receiptd.documents.schemas.json_schema import JsonSchema

SUITE = Path(__file__).parents[2] / ".suites" / "json-schema"
DRAFTS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}
FILES = [path for draft in DRAFTS for path in sorted((SUITE / "tests" / draft).rglob("*.json"))]
pytestmark = pytest.mark.skipif(not FILES, reason="no JSON-Schema-Test-Suite here; fetch it with scripts/suites")


def name(path: Path) -> str:
    return path.relative_to(SUITE / "tests").with_suffix("").as_posix()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A type's folder with the suite's remote schemas in it."""
    made = tmp_path_factory.mktemp("type")
    shutil.copytree(SUITE / "remotes", made / "remotes")
    return made


def compiled(schema: object, draft: str, folder: Path, *, assert_formats: bool) -> JsonSchema:
    if isinstance(schema, dict):  # the suite tells the draft by its folder, a schema's file by itself
        schema = {"$schema": DRAFTS[draft], **schema}
    path = folder / "schema.json"
    path.write_text(json.dumps(schema))
    return JsonSchema(path, folder, assert_formats=assert_formats)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_each_verdict_is_the_suites(path, folder):
    draft, *below = path.relative_to(SUITE / "tests").parts
    wrong = []
    for case in json.loads(path.read_bytes()):
        schema = compiled(case["schema"], draft, folder, assert_formats="format" in below)
        for test in case["tests"]:
            found = schema.findings(decode_json(json.dumps(test["data"]).encode()))
            if (found == []) is not test["valid"]:
                wrong.append((case["description"], test["description"], found))
    assert wrong == []


def test_the_suite_is_whole():
    cases = [case for path in FILES if path.parent.parent.name == "tests" for case in json.loads(path.read_bytes())]
    assert sum(len(case["tests"]) for case in cases) > 4_500
