"""Rules: CEL expressions over the canonical receipt that must hold, each with a severity and a message.

An expression sees ``receipt``, the canonical receipt (money in minor units, as int64), and two functions beside CEL's
own: ``sum(list)`` and, in messages, ``money(amount)``, which writes an amount in major units. ``receipt`` is used by
its fields only (``receipt.total``), and a line or a tax has those of its fields that some rule of the type names.

Handing a value to CEL costs more than evaluating: some 2 us for each object in it. So expressions get what they name
as variables of their own, ``receipt_total`` for ``receipt.total``, and for the list of one field that is written
``receipt.lines.map(l, l.amount)`` just that, a list of integers.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cel

from receiptd.documents.errors import bounded
from receiptd.documents.mapping import CANONICAL
from receiptd.domain.money import to_major
from receiptd.domain.receipt import Finding, Severity

# The library logs what a function raised, values included; the finding says enough, and documents are not for logs.
logging.getLogger("cel").setLevel(logging.CRITICAL)

_LISTS = ("lines", "taxes")
_FIELDS = frozenset({*CANONICAL[""], *_LISTS})
_ONE_FIELD = r"(lines|taxes)\s*\.\s*map\(\s*(\w+)\s*,\s*\2\s*\.\s*(\w+)\s*\)"
_USE = re.compile(rf"(?<![\w.])receipt\b(?:\s*\.\s*(?:{_ONE_FIELD}|(\w+)))?")
_PRESENT = re.compile(r"\bhas\(\s*(receipt_\w+)\s*\)")
_STRING = re.compile(r"(\"[^\"\n]*\"|'[^'\n]*')")
_NAME = re.compile(r"\w+")
_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
_VALUE_MAX_CHARS = 64
_INT64_MAX = 2**63 - 1
_FAILURES = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)
"""What an evaluation raises for an overflow, a missing key, an unknown name, a wrong type, a bad argument."""


@dataclass(frozen=True, slots=True)
class _Rule:
    code: str
    severity: Severity
    program: Any
    message: str
    placeholders: Mapping[str, Any]


class Rules:
    """The compiled rules of one receipt type."""

    def __init__(self, specs: Sequence[Mapping[str, Any]]) -> None:
        """Compile ``specs``, which have passed the schema of type.yaml.

        Raises:
            ValueError: an expression is no CEL, or uses a field that the canonical receipt lacks; the text begins with
                the rule's id.
        """
        used: set[str] = set()
        self._rules = []
        for spec in specs:
            try:
                placeholders = {source: _compile(source, set()) for source in _PLACEHOLDER.findall(spec["message"])}
                severity = Severity(spec.get("severity", "error"))
                program = _compile(spec["that"], used)
            except ValueError as error:
                raise ValueError(f"rule {spec['id']}: {error}") from error
            self._rules.append(_Rule(f"rule:{spec['id']}", severity, program, spec["message"], placeholders))
        named = {name for spec in specs for name in _NAME.findall(spec["that"])}
        self._variables = [_variable(name, named) for name in sorted(used)]

    def findings(self, receipt: Mapping[str, Any]) -> list[Finding]:
        """Return a finding for each rule that ``receipt`` breaks, or for which it could not be evaluated."""
        if not self._rules:
            return []
        context = cel.Context({name: take(receipt) for name, take in self._variables}, {"sum": _sum})
        found = []
        for rule in self._rules:
            try:
                holds = rule.program.execute(context)
            except _FAILURES as error:
                holds = error
            if holds is not True:
                found.append(_finding(rule, holds, receipt))
        return found


def _sum(values: list[Any]) -> Any:
    """Return the exact sum; past int64 CEL would go on with a double."""
    total = sum(values)
    if type(total) is int and not -_INT64_MAX <= total <= _INT64_MAX:
        raise OverflowError("the sum does not fit 64 bits")
    return total


def _compile(expression: str, used: set[str]) -> Any:
    """Compile ``expression`` with a variable for each field that it uses; their names join ``used``."""
    if "\\" in expression or '"""' in expression or "'''" in expression:
        raise ValueError(f"strings are plain, without backslashes or triple quotes: {bounded(expression)}")

    def variable(match: re.Match[str]) -> str:
        group, _, column, field = match.groups()
        if (field or group) not in _FIELDS:
            raise ValueError(f"write receipt.FIELD, with one of {', '.join(sorted(_FIELDS))}: {bounded(expression)}")
        if column and column not in CANONICAL[group]:
            raise ValueError(f"{group} have no field {column!r}; they have {', '.join(CANONICAL[group])}")
        name = f"receipt_{field}" if field else f"receipt_{group}.{column}"
        used.add(name)
        return name.replace(".", "_")

    parts = _STRING.split(expression)
    # Every field of the canonical receipt is present.
    parts[::2] = [_PRESENT.sub("true", _USE.sub(variable, code)) for code in parts[::2]]
    try:
        return cel.compile("".join(parts))
    except ValueError as error:
        raise ValueError(f"no CEL expression: {bounded(str(error))}") from error


def _variable(name: str, named: set[str]) -> tuple[str, Callable[[Mapping[str, Any]], Any]]:
    """Return a variable's name in CEL, and what takes its value from the canonical receipt."""
    field, _, column = name.removeprefix("receipt_").partition(".")
    if column:
        return f"receipt_{field}_{column}", lambda receipt: [entry[column] for entry in receipt[field]]
    if field in _LISTS:
        kept = sorted(named & CANONICAL[field].keys())
        return name, lambda receipt: [{key: entry[key] for key in kept} for entry in receipt[field]]
    return name, lambda receipt: receipt[field]


def _finding(rule: _Rule, holds: Any, receipt: Mapping[str, Any]) -> Finding:
    if holds is False:
        return Finding(rule.code, _message(rule, receipt), severity=rule.severity)
    reason = f"it raised {type(holds).__name__}" if isinstance(holds, Exception) else "it gave neither true nor false"
    return Finding(rule.code, f"the rule could not be evaluated: {reason}")


def _message(rule: _Rule, receipt: Mapping[str, Any]) -> str:
    if not rule.placeholders:
        return bounded(rule.message)
    # Few documents come here, so the whole receipt may be handed over.
    money = partial(to_major, currency=receipt["currency"])
    context = cel.Context(_everything(receipt), {"sum": _sum, "money": money})

    def written(match: re.Match[str]) -> str:
        try:
            return str(rule.placeholders[match[1]].execute(context))[:_VALUE_MAX_CHARS]
        except _FAILURES:
            return "?"

    return bounded(_PLACEHOLDER.sub(written, rule.message))


def _everything(receipt: Mapping[str, Any]) -> dict[str, Any]:
    variables = {f"receipt_{field}": value for field, value in receipt.items()}
    for group in _LISTS:
        for column in CANONICAL[group]:
            variables[f"receipt_{group}_{column}"] = [entry[column] for entry in receipt[group]]
    return variables
