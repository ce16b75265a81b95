"""Rules: CEL expressions over the canonical receipt that must hold, each with a severity and a message.

An expression sees ``receipt``, the canonical receipt (money in minor units, as int64), and two functions beside CEL's
own: ``sum(list)`` and, for messages, ``money(amount)``, which writes an amount in major units. ``receipt`` is used by
its fields only (``receipt.total``), and a line or a tax has those of its fields that some rule of the type names.

Handing a value to CEL costs more than evaluating: some 2 us for each object in it. So an expression gets only what it
names, and ``receipt.lines.map(l, l.amount)``, the list of one field, is handed over as just that: a list of integers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cel

from receiptd.documents.errors import bounded
from receiptd.documents.mapping import CANONICAL
from receiptd.domain.money import to_major
from receiptd.domain.receipt import Finding, Severity

_LISTS = ("lines", "taxes")
_FIELDS = frozenset({*CANONICAL[""], *_LISTS})
_PROJECTION = re.compile(r"\breceipt\s*\.\s*(lines|taxes)\s*\.\s*map\(\s*(\w+)\s*,\s*\2\s*\.\s*(\w+)\s*\)")
_RECEIPT = re.compile(r"(?<![\w.])receipt\b(?:\s*\.\s*(\w+))?")
_STRING = re.compile(r"\"[^\"\\\n]*\"|'[^'\\\n]*'")
_NAME = re.compile(r"\w+")
_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
_VALUE_MAX_CHARS = 64
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
        self._columns: set[tuple[str, str]] = set()
        self._rules = []
        rest = ""
        for spec in specs:
            try:
                expression = self._project(spec["that"])
                rest += f" {expression}"
                self._rules.append(
                    _Rule(
                        code=f"rule:{spec['id']}",
                        severity=Severity(spec.get("severity", "error")),
                        program=_compile(expression),
                        message=spec["message"],
                        placeholders={source: _compile(source) for source in _PLACEHOLDER.findall(spec["message"])},
                    )
                )
            except ValueError as error:
                raise ValueError(f"rule {spec['id']}: {error}") from error
        named = set(_NAME.findall(rest))
        fields = {match[1] for match in _RECEIPT.finditer(rest)} & _FIELDS
        self._head = sorted(fields - set(_LISTS))
        self._lists = [(name, sorted(named & CANONICAL[name].keys())) for name in _LISTS if name in fields]

    def findings(self, receipt: Mapping[str, Any]) -> list[Finding]:
        """Return a finding for each rule that ``receipt`` breaks, or for which it could not be evaluated."""
        if not self._rules:
            return []
        seen: dict[str, Any] = {name: receipt[name] for name in self._head}
        for group, names in self._lists:
            seen[group] = [{name: entry[name] for name in names} for entry in receipt[group]]
        variables: dict[str, Any] = {"receipt": seen}
        for group, name in self._columns:
            variables[_column(group, name)] = [entry[name] for entry in receipt[group]]
        context = cel.Context(variables, {"sum": sum})
        found = []
        for rule in self._rules:
            try:
                holds = rule.program.execute(context)
            except _FAILURES as error:
                holds = error
            if holds is not True:
                found.append(_finding(rule, holds, receipt))
        return found

    def _project(self, expression: str) -> str:
        """Put a variable of its own in the place of each list of one field; strings with escapes are left alone."""
        if "\\" in expression or '"""' in expression or "'''" in expression:
            return expression

        def column(match: re.Match[str]) -> str:
            group, _, name = match.groups()
            if name not in CANONICAL[group]:
                raise ValueError(f"{group} have no field {name!r}; they have {', '.join(CANONICAL[group])}")
            self._columns.add((group, name))
            return _column(group, name)

        parts = re.split(f"({_STRING.pattern})", expression)
        parts[::2] = [_PROJECTION.sub(column, code) for code in parts[::2]]
        return "".join(parts)


def _column(group: str, name: str) -> str:
    return f"receipt_{group}_{name}"


def _compile(expression: str) -> Any:
    for match in _RECEIPT.finditer(_STRING.sub('""', expression)):
        if match[1] not in _FIELDS:
            raise ValueError(f"write receipt.FIELD, with one of {', '.join(sorted(_FIELDS))}: {bounded(expression)}")
    try:
        return cel.compile(expression)
    except ValueError as error:
        raise ValueError(f"no CEL expression: {bounded(str(error))}") from error


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
    context = cel.Context({"receipt": dict(receipt)}, {"sum": sum, "money": money})

    def written(match: re.Match[str]) -> str:
        try:
            return str(rule.placeholders[match[1]].execute(context))[:_VALUE_MAX_CHARS]
        except _FAILURES:
            return "?"

    return bounded(_PLACEHOLDER.sub(written, rule.message))
