"""Asking: the rules of one type, put to a receipt. All at once first, and one by one when they do not all hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from receiptd.documents.errors import bounded
from receiptd.documents.rules.library import FAILURES, compile_cel, functions, load_cel
from receiptd.documents.rules.quick import compile_quick, in_python
from receiptd.documents.rules.rewriting import Rewritten, rewrite
from receiptd.documents.rules.variables import LISTS, Receipt, Variables
from receiptd.domain.receipt import Finding, Severity

ROUNDS_MAX = 100_000
"""How often the loops that CEL runs may go round for one rule: some 50 ms."""

_UNKNOWN_LIST = 8
_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
_VALUE_MAX_CHARS = 64


@dataclass(frozen=True, slots=True, eq=False)
class _Rule:
    code: str
    severity: Severity
    expression: Rewritten
    program: Any
    message: str
    placeholders: Mapping[str, tuple[Rewritten, Any]]

    def rounds(self, receipt: Receipt) -> int:
        """Return how often its loops in CEL would go round, at most."""
        sizes = {name: len(receipt[name]) for name in LISTS}
        unknown = max(*sizes.values(), _UNKNOWN_LIST)
        return max((prod(sizes.get(name, unknown) for name in loop) for loop in self.expression.loops), default=0)


class Rules:
    """The compiled rules of one receipt type."""

    def __init__(self, specs: Sequence[Mapping[str, Any]]) -> None:
        """Compile ``specs``, which have passed the schema of type.yaml.

        Raises:
            ValueError: an expression is no CEL, uses a field that the canonical receipt lacks, or could take too much
                time; the text begins with the rule's id.
        """
        self._variables = Variables()
        self._rules: list[_Rule] = []
        for spec in specs:
            try:
                self._rules.append(self._rule(spec))
            except ValueError as error:
                raise ValueError(f"rule {spec['id']}: {error}") from error
        numbers = self._variables.numbers
        conditions = [in_python(rule.expression.text, numbers) for rule in self._rules]
        self._quick = compile_quick(conditions, numbers) if all(conditions) else None
        self._names = sorted({name for rule in self._rules for name in rule.expression.variables})
        self._loops = any(rule.expression.loops for rule in self._rules)
        self._all = None
        if self._rules:
            self._all = compile_cel(" && ".join(f"({rule.expression.text})" for rule in self._rules))
            self._context = load_cel().Context
            self._calls = not {"sum", "money"}.isdisjoint(self._all.functions())

    def findings(self, receipt: Receipt) -> list[Finding]:
        """Return a finding for each rule that ``receipt`` breaks, or for which it could not be evaluated."""
        if self._all is None:
            return []
        if self._quick is not None:
            try:
                if self._quick(receipt):
                    return []
            except FAILURES:
                pass  # below it is told why
        refused = [rule for rule in self._rules if rule.rounds(receipt) > ROUNDS_MAX] if self._loops else []
        names = self._names
        if refused:  # what they need may be as costly as they are
            names = sorted({name for rule in self._rules if rule not in refused for name in rule.expression.variables})
        called = functions(receipt["currency"]) if self._calls else None
        context = self._context(self._variables.take(receipt, names), called)
        if not refused:
            try:
                if self._all.execute(context) is True:
                    return []
            except FAILURES:
                pass  # one of them cannot be evaluated; below it is told which
        return [finding for rule in self._rules if (finding := self._ask(rule, receipt, context, refused))]

    def _ask(self, rule: _Rule, receipt: Receipt, context: Any, refused: Sequence[_Rule]) -> Finding | None:
        if rule in refused:
            return _failed(rule, "its loops would take too long over so many lines")
        try:
            holds = rule.program.execute(context)
        except FAILURES as error:
            return _failed(rule, f"it raised {type(error).__name__}")
        if holds is True:
            return None
        if holds is False:
            return Finding(rule.code, self._message(rule, receipt), severity=rule.severity)
        return _failed(rule, "it gave neither true nor false")

    def _rule(self, spec: Mapping[str, Any]) -> _Rule:
        expression, program = self._compile(spec["that"])
        return _Rule(
            f"rule:{spec['id']}",
            Severity(spec.get("severity", "error")),
            expression,
            program,
            spec["message"],
            {source: self._compile(source) for source in _PLACEHOLDER.findall(spec["message"])},
        )

    def _compile(self, source: str) -> tuple[Rewritten, Any]:
        expression = rewrite(source, self._variables)
        return expression, compile_cel(expression.text)

    def _message(self, rule: _Rule, receipt: Receipt) -> str:
        called = functions(receipt["currency"])

        def written(match: re.Match[str]) -> str:
            expression, program = rule.placeholders[match[1]]
            try:
                context = self._context(self._variables.take(receipt, expression.variables), called)
                return str(program.execute(context))[:_VALUE_MAX_CHARS]
            except FAILURES:
                return "?"

        return bounded(_PLACEHOLDER.sub(written, rule.message))


def _failed(rule: _Rule, why: str) -> Finding:
    return Finding(rule.code, bounded(f"the rule could not be evaluated: {why}"))
