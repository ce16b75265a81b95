"""Quick: what most rules ask (whole numbers compared, added, taken off), asked in Python.

CEL takes some 3 us to be handed five numbers and to compare them, Python less than one. For a rule that compares the
sum of the lines to the total the function is:

    def holds(receipt):
        receipt_sum = sum([entry['amount'] for entry in receipt['lines']])
        receipt_total = receipt['total']
        if not (-LIMIT < receipt_sum < LIMIT and -LIMIT < receipt_total < LIMIT): return False
        return (receipt_sum==receipt_total)

Only what means the same in both languages is taken, and numbers so small that no int64 overflows. It says no more than
that all rules hold; whenever they do not, or it raises one of ``FAILURES``, CEL is to be asked.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence

from receiptd.documents.rules.variables import Receipt

_LIMIT = 2**53
_CHARS_MAX = 1_000
_OPERATIONS_MAX = 100  # which stay far from 2**63 with numbers below the limit
_INTEGRAL = re.compile(r"(?:[A-Za-z_]\w*+|[0-9]{1,15}+(?![\w.])|&&|\|\||[=!<>]=|[-+<>()\s])++", re.ASCII)
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)


def in_python(expression: str, known: Mapping[str, str]) -> str:
    """Return the rewritten CEL expression in Python, or nothing when it may mean something else there.

    ``known`` are the variables that are whole numbers.
    """
    if len(expression) > _CHARS_MAX or not _INTEGRAL.fullmatch(expression):
        return ""
    if not known.keys() >= set(_NAME.findall(expression)):  # also words that mean something to Python only
        return ""
    text = expression.replace("&&", " and ").replace("||", " or ")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError):
        return ""
    operations = sum(isinstance(node, ast.operator) for node in ast.walk(tree))
    return text if operations <= _OPERATIONS_MAX and _is_condition(tree.body) else ""


def compile_quick(conditions: Sequence[str], known: Mapping[str, str]) -> Callable[[Receipt], bool]:
    """Return the function for ``conditions`` (of ``in_python``), with what gives each of the variables."""
    words = set(_NAME.findall(" ".join(conditions)))
    used = [name for name in known if name in words]
    lines = ["def holds(receipt):", *(f"{name} = {known[name]}" for name in used)]
    if used:
        within = " and ".join(f"{-_LIMIT} < {name} < {_LIMIT}" for name in used)
        lines.append(f"if not ({within}): return False")
    lines.append(f"return {' and '.join(f'({condition})' for condition in conditions)}")
    scope: dict[str, Callable[[Receipt], bool]] = {}
    exec(compile("\n    ".join(lines), "<rules>", "exec"), scope)  # noqa: S102 - of checked parts
    return scope["holds"]


def _is_condition(node: ast.expr) -> bool:
    if isinstance(node, ast.BoolOp):
        return all(_is_condition(value) for value in node.values)
    if not isinstance(node, ast.Compare) or len(node.ops) > 1:  # a == b == c is (a == b) == c in CEL
        return False
    return isinstance(node.ops[0], _COMPARISONS) and _is_number(node.left) and _is_number(node.comparators[0])


def _is_number(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Add | ast.Sub) and _is_number(node.left) and _is_number(node.right)
    if isinstance(node, ast.Constant):
        return type(node.value) is int
    return isinstance(node, ast.Name)
