from __future__ import annotations

import copy

from receiptd.documents.personal import mask

RECEIPT = {
    "number": "N-1",
    "buyer": "",
    "seller": "Ada",
    "total": 5,
    "lines": [{"description": "x", "sku": "", "amount": 5}, {"description": "y", "sku": "1", "amount": 0}],
}


def test_personal_fields_are_masked_and_empty_ones_stay_empty():
    before = copy.deepcopy(RECEIPT)
    masked = mask(RECEIPT, ["seller", "buyer", "lines.description", "lines.sku"])
    assert masked == {
        "number": "N-1",
        "buyer": "",
        "seller": "***",
        "total": 5,
        "lines": [{"description": "***", "sku": "", "amount": 5}, {"description": "***", "sku": "***", "amount": 0}],
    }
    assert before == RECEIPT, "the receipt itself is left alone"


def test_what_is_not_there_is_passed_over():
    assert mask({"number": "1"}, ["seller", "lines.sku"]) == {"number": "1"}
    assert mask(RECEIPT, ()) == RECEIPT
