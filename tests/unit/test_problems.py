"""Problem documents: RFC 9457."""

from __future__ import annotations

import ast
from pathlib import Path

import orjson
import pytest

from receiptd import documents
from receiptd.domain.receipt import Finding, Severity
from receiptd.http.problems import CATALOGUE, DOCUMENT_KINDS, ProblemError, problem


def test_a_problem_says_its_kind_and_its_occurrence():
    response = problem("rate-limited", "Slow down.", headers=b"Retry-After: 3\r\n")
    assert response.status == 429
    assert orjson.loads(response.body) == {
        "type": "urn:receiptd:problem:rate-limited",
        "title": "Too many requests",
        "status": 429,
        "detail": "Slow down.",
        "code": "rate-limited",
    }
    assert response.headers.startswith(b"Content-Type: application/problem+json\r\n")
    assert response.headers.endswith(b"Cache-Control: no-store\r\nRetry-After: 3\r\n")


def test_a_problem_about_a_receipt_names_it_and_its_findings():
    found = [Finding("rule:a", "wrong", "/a"), Finding("rule:b", "odd", severity=Severity.WARNING)]
    content = orjson.loads(problem("receipt-invalid", "Bad.", receipt_id="20260101-x", findings=found).body)
    assert (content["instance"], content["id"]) == ("/v1/receipts/20260101-x", "20260101-x")
    assert content["findings"] == [
        {"code": "rule:a", "message": "wrong", "where": "/a", "severity": "error"},
        {"code": "rule:b", "message": "odd", "where": "", "severity": "warning"},
    ]


@pytest.mark.parametrize(("status", "title"), [(415, "Unsupported Media Type"), (0, "Internal Server Error")])
def test_a_code_outside_the_catalogue_takes_its_status_title(status, title):
    content = orjson.loads(problem("xml-doctype", "No.", status=status).body)
    assert (content["title"], content["status"]) == (title, status or 500)


def test_a_raised_problem_holds_its_answer():
    error = ProblemError("not-found", "Nothing.")
    assert (error.code, error.response.status) == ("not-found", 404)


def test_each_refusal_of_a_document_is_in_the_catalogue_with_its_status():
    refusals = {}
    for path in Path(documents.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("DocumentError"):
                status, code = (ast.literal_eval(argument) for argument in node.args[:2])
                refusals[code] = status
    assert refusals == {code: kind.status for code, kind in DOCUMENT_KINDS.items()}


def test_codes_are_kebab_case_and_titles_are_sentences_without_a_stop():
    for code, kind in CATALOGUE.items():
        assert code == code.lower().replace("_", "-")
        assert kind.title[0].isupper()
        assert not kind.title.endswith(".")
        assert 400 <= kind.status <= 503
