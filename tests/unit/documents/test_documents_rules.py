"""Rules: what holds, what does not, and what cannot be evaluated."""

from __future__ import annotations

import pytest

from receiptd.documents.rules import Rules
from receiptd.domain.receipt import Severity

RECEIPT = {
    "currency": "EUR",
    "number": "N-1",
    "issued_at": "2026-05-01T10:00:00+02:00",
    "seller": "shop",
    "buyer": "",
    "total": 1230,
    "taxes": [{"code": "A", "rate": "20", "base": 1025, "amount": 205}],
    "lines": [
        {"description": "Tea", "category": "drinks", "sku": "1", "quantity": "2", "unit": "cup", "amount": 700},
        {"description": "Bun", "category": "bakery", "sku": "2", "quantity": "1", "unit": "", "amount": 530},
    ],
}


def outcome(that: str, **changes: object) -> str:
    found = Rules([{"id": "r", "that": that, "message": "broken"}]).findings(RECEIPT | changes)
    if not found:
        return "holds"
    return "broken" if found[0].message == "broken" else "failed"


@pytest.mark.parametrize(
    "that",
    [
        "sum(receipt.lines.map(l, l.amount)) == receipt.total",
        "sum( receipt . lines . map( x , x . amount ) ) == receipt.total",
        "sum(receipt.taxes.map(t, t.base)) + sum(receipt.taxes.map(t, t.amount)) == receipt.total",
        "sum(receipt.taxes.map(t, t.base + t.amount)) == receipt.total",
        "receipt.lines.all(l, l.amount > 0 && double(l.quantity) >= 1.0)",
        "receipt.lines.map(l, l.sku) == ['1', '2']",
        "receipt.lines.filter(l, l.category == 'drinks').map(l, l.amount) == [700]",
        "receipt.lines.map(l, l.amount).exists(a, a == 530)",
        "receipt.lines[1].description == 'Bun'",
        "size(receipt.lines) == 2 && receipt.buyer == '' && receipt.currency in ['EUR', 'UAH']",
        "has(receipt.buyer) && receipt.lines.all(l, has(l.sku))",
        "timestamp(receipt.issued_at) > timestamp('2020-01-01T00:00:00Z')",
        "'receipt.lines.map(l, l.amount)' != \"receipt.nothing\"",
        "receipt.number.startsWith('N')",
        "sum([]) == 0",
        "receipt.total - 9223372036854775807 < 0",
    ],
)
def test_what_holds(that):
    assert outcome(that) == "holds"


def test_what_is_broken():
    assert outcome("sum(receipt.lines.map(l, l.amount)) == receipt.total", total=1231) == "broken"
    assert outcome("receipt.lines.map(l, l.amount) == []", lines=[]) == "holds"


@pytest.mark.parametrize(
    "that",
    [
        "receipt.total",
        "unknown == 1",
        "receipt.lines[7].amount == 1",
        "receipt.lines.all(l, l.nothing == 1)",
        "receipt.total / 0 == 1",
        "receipt.total + 9223372036854775807 > 0",
        "receipt.total == 1 || receipt.number",
        "'a' + 1 == 'b'",
        "nothing(1)",
        "int('x') == 1",
        "'x'.matches('(')",
        "sum(receipt.lines.map(l, l.sku)) == 3",
        "sum(5) == 5",
    ],
)
def test_a_rule_that_cannot_be_evaluated_is_an_error(that):
    (finding,) = Rules([{"id": "r", "severity": "warning", "that": that, "message": "m"}]).findings(RECEIPT)
    assert finding.code == "rule:r"
    assert finding.severity is Severity.ERROR
    assert "could not be evaluated" in finding.message


def test_nothing_of_a_document_is_logged(caplog):
    """Invariant 14."""
    spec = {"id": "r", "that": "sum(receipt.lines.map(l, l.sku)) == 3", "message": "{money(receipt.number)}"}
    assert Rules([spec]).findings(RECEIPT)
    assert Rules([spec | {"that": "false"}]).findings(RECEIPT)
    assert caplog.text == ""


def test_sums_are_exact_or_refused():
    most = 2**63 - 1
    lines = [RECEIPT["lines"][0] | {"amount": amount} for amount in (most, -most, most)]
    assert outcome(f"sum(receipt.lines.map(l, l.amount)) == {most}", lines=lines) == "holds"
    assert outcome("sum(receipt.lines.map(l, l.amount)) > 0", lines=lines[::2] * 2) == "failed"


def test_severity_and_message_with_values():
    spec = {
        "id": "sum",
        "severity": "warning",
        "that": "false",
        "message": "{receipt.number}: {money(sum(receipt.lines.map(l, l.amount)))} {receipt.lines[9]}",
    }
    (finding,) = Rules([spec]).findings(RECEIPT)
    assert finding.severity is Severity.WARNING
    assert finding.message == "N-1: 12.30 ?"


def test_messages_are_bounded():
    spec = {"id": "r", "that": "false", "message": "{receipt.number}" * 15}
    (finding,) = Rules([spec]).findings(RECEIPT | {"number": "x" * 1000})
    assert len(finding.message) <= 300


def test_each_rule_speaks():
    specs = [{"id": name, "that": that, "message": "m"} for name, that in (("a", "false"), ("b", "true"), ("c", "1"))]
    assert [finding.code for finding in Rules(specs).findings(RECEIPT)] == ["rule:a", "rule:c"]


@pytest.mark.parametrize(
    ("that", "reason"),
    [
        ("1 +", "no CEL expression"),
        ("((", "no CEL expression"),
        ("receipt.totals == 1", "receipt.FIELD"),
        ("receipt == 1", "receipt.FIELD"),
        ("receipt['total'] == 1", "receipt.FIELD"),
        ("receipt.lines.map(l, l.prise) == []", "have no field 'prise'"),
        ("receipt.number == 'a\\n'", "backslashes"),
    ],
)
def test_a_broken_rule_is_refused_with_its_id(that, reason):
    with pytest.raises(ValueError, match=f"rule r: .*{reason}"):
        Rules([{"id": "r", "that": that, "message": "m"}])


def test_a_broken_placeholder_is_refused():
    with pytest.raises(ValueError, match="rule r: "):
        Rules([{"id": "r", "that": "true", "message": "{receipt.}"}])
