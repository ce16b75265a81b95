"""Rules: what Python says of an expression, CEL says too."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from receiptd.documents.rules.library import FAILURES, compile_cel
from receiptd.documents.rules.quick import compile_quick, in_python

KNOWN = {"a": "receipt['a']", "b": "receipt['b']"}
NUMBERS = st.sampled_from([0, 1, -1, 2, 530, -530, 2**53 - 1, 1 - 2**53, 2**53, 2**62, 2**63 - 1, 1 - 2**63, None])
PIECES = st.sampled_from(
    [
        *("a", "b", "1", "0", "010", "1.0", "1u", "true", "null", "'x'", "(", ")", "!", "-", "+", "*", " ", "\n", "in"),
        *("==", "!=", "<", "<=", ">", ">=", "&&", "||", "?", ":", "not", "and", "if", "lambda"),
    ]
)
SUMS = st.lists(st.sampled_from(["a", "b", "7", "(a - b)", "(1 + a)"]), min_size=1, max_size=4).map(" + ".join)
COMPARISONS = st.builds(" ".join, st.tuples(SUMS, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), SUMS))
CONDITIONS = st.recursive(
    COMPARISONS, lambda inner: st.builds("({}) {} {}".format, inner, st.sampled_from(["&&", "||"]), inner), max_leaves=4
)


@settings(max_examples=1000, deadline=None)
@given(CONDITIONS | st.lists(PIECES, max_size=9).map("".join), NUMBERS, NUMBERS)
@example("a == b == 1", 1, 1)
@example("a==b and a<b", 1, 1)
@example("a + 1 > a", 2**63 - 1, 0)
@example("a == b || a == 1 && b == 2", 5, 5)
def test_what_holds_in_python_holds_in_cel(expression, a, b):
    condition = in_python(expression, KNOWN)
    if not condition:
        return
    program = compile_cel(expression)  # what Python understands is CEL
    receipt = {"a": a, "b": b}
    try:
        holds = compile_quick([condition], KNOWN)(receipt)
    except FAILURES:
        return
    assert not holds or program.execute(receipt) is True


@pytest.mark.parametrize(
    "expression", ["a == b", "a + b == 7 - a", "(a < 3 || b >= a) && a != b - 5", "a - (b - 1) > 0"]
)
def test_comparisons_of_whole_numbers_are_asked_in_python(expression):
    holds = compile_quick([in_python(expression, KNOWN)], KNOWN)
    for a, b in ((3, 3), (1, 5), (0, 7), (7, 1)):
        assert holds({"a": a, "b": b}) is compile_cel(expression).execute({"a": a, "b": b})


@pytest.mark.parametrize("expression", ["a == 1.0", "a == b == 1", "(a == b) == (b == a)", "!(a == b)", "a", "c == a"])
def test_what_may_mean_something_else_is_left_to_cel(expression):
    assert not in_python(expression, KNOWN)


def test_an_expression_without_end_is_judged_at_once():
    assert not in_python("a" * 900 + "'", KNOWN)
    assert not in_python(" + ".join(["a"] * 5_000) + " == b", KNOWN)
