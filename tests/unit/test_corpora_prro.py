"""PRRO documents that others wrote: each CHECK is valid, and the same in both encodings."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from receiptd.documents import BUNDLED_ROOT, DocumentError, ReceiptTypes

FOLDER = Path(__file__).parents[2] / ".." / "shared" / "corpora" / "prro-check" / "valid"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the folder of real receipts is not beside the project")


@pytest.fixture(scope="module")
def types():
    return ReceiptTypes.load([BUNDLED_ROOT])


@pytest.mark.parametrize(
    ("name", "number", "total", "lines"),
    [
        ("sample-1-CHECK", "4000438533/2834", 95004, [77000, 16026, 1978]),
        ("sample-2-CHECK", "4000438533/2834", 95004, [77000, 16026, 1978]),
        ("sample-3-CHECK", "4000438533/1", 0, []),
    ],
)
def test_check_is_valid_and_the_same_in_both_encodings(types, name, number, total, lines):
    # The UTF-8 files declare windows-1251 all the same, so their media type must say better.
    of_utf_8 = types.check((FOLDER / f"{name}.utf8.xml").read_bytes(), "application/xml; charset=utf-8")
    of_windows = types.check((FOLDER / f"{name}.cp1251.xml").read_bytes(), "application/xml")
    assert of_utf_8 == of_windows
    assert of_utf_8.findings == ()
    receipt = orjson.loads(of_utf_8.canonical)
    assert (receipt["number"], receipt["total"], [line["amount"] for line in receipt["lines"]]) == (
        number,
        total,
        lines,
    )
    assert receipt["issued_at"] == "2024-04-18T15:16:17+03:00"
    assert receipt["seller"] == "44657555"
    assert [line["description"] for line in receipt["lines"]][:1] == (["Сирна паличка"] if lines else [])


@pytest.mark.parametrize("encoding", ["utf8", "cp1251"])
def test_a_shift_report_is_no_receipt(types, encoding):
    body = (FOLDER / f"sample-4-ZREP.{encoding}.xml").read_bytes()
    with pytest.raises(DocumentError) as caught:
        types.check(body, "application/xml; charset=utf-8" if encoding == "utf8" else "application/xml")
    assert (caught.value.status, caught.value.code) == (422, "unknown-receipt-type")
