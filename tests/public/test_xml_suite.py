"""The public XML conformance suite (W3C/OASIS): what is not well-formed is refused, all else is taken or has a DOCTYPE.

The suite's types: ``not-wf`` must be refused; ``valid`` and ``invalid`` (well-formed, and at odds with its DTD) must
be read; ``error`` is the processor's choice.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from lxml import etree

from receiptd.documents import DocumentError
from receiptd.documents.xml_document import decode_xml

SUITE = Path(__file__).parents[2] / ".suites" / "xml"
INDEX = SUITE / "cleaned" / "xmlconf-flattened.xml"
BASE = "{http://www.w3.org/XML/1998/namespace}base"
BYTE_ORDER_MARK_WINS = {"hst-lhs-007", "hst-lhs-008"}
"""A mark beside a declaration that contradicts it: RFC 7303, section 3, has the mark decide."""

pytestmark = pytest.mark.skipif(not INDEX.is_file(), reason="no public suites here; fetch them with scripts/suites")


def cases(*kinds: str) -> list[tuple[etree._Element, Path]]:
    """Return the cases of XML 1.0 with namespaces, in its fifth edition, and of XML 1.1, each with its document."""
    found = []
    for case in etree.parse(INDEX, etree.XMLParser(load_dtd=False, no_network=True)).iter("TEST"):
        if case.get("TYPE") in kinds and case.get("NAMESPACE") != "no" and "5" in case.get("EDITION", "5"):
            base = next(base for base in (above.get(BASE) for above in case.iterancestors()) if base)
            found.append((case, SUITE / "xmlconf" / base / case.get("URI")))
    return found


def verdict(path: Path) -> str:
    """Return the code of the refusal, or none; any other exception fails the test."""
    try:
        decode_xml(path.read_bytes())
    except DocumentError as error:
        return error.code if error.status == 400 else f"status {error.status}"
    return ""


def test_what_is_not_well_formed_is_refused():
    found = {case.get("ID"): verdict(path) for case, path in cases("not-wf")}
    assert len(found) > 1_100
    assert {name for name, code in found.items() if not code} == BYTE_ORDER_MARK_WINS


def test_what_is_well_formed_is_taken_unless_it_has_a_doctype():
    found = [(case.get("ID"), verdict(path), path.read_bytes()) for case, path in cases("valid", "invalid")]
    assert Counter(code for _, code, _ in found).keys() == {"", "doctype-forbidden"}
    assert sum(1 for _, code, _ in found if code == "") > 50
    assert [name for name, code, body in found if code and b"DOCTYPE" not in body.replace(b"\0", b"")] == []


def test_what_may_be_either_has_a_verdict():
    assert len([verdict(path) for _, path in cases("error")]) > 20
