"""Variables: what expressions need of a receipt, taken from it in Python.

Handing a value to CEL costs more than evaluating (0.3 us a number, 2 us an object), and CEL's ``map`` and ``filter``
copy what they have at every step: over 1,000 lines they take half a second. So lists are filtered, mapped and added up
here, where CEL is at most asked a small expression of each entry, with the few values that this one names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from receiptd.documents.mapping import CANONICAL
from receiptd.documents.rules.library import FAILURES, exact_sum, functions, load_cel

Receipt: TypeAlias = Mapping[str, Any]
Taker: TypeAlias = Callable[[Receipt], Any]
"""Takes a variable's value from the canonical receipt; it may raise one of ``FAILURES``."""

LISTS = ("lines", "taxes")
FIELDS = frozenset({*CANONICAL[""], *LISTS})
MONEY = {group: {name for name, kind in fields.items() if kind.holds == "money"} for group, fields in CANONICAL.items()}
"""The fields that hold whole numbers, or nothing."""


class Variables:
    """The variables of the expressions of one receipt type."""

    def __init__(self) -> None:
        self._takers: dict[str, Taker] = {}
        self._names: dict[str, str] = {}
        self.numbers: dict[str, str] = {}
        """Those that are whole numbers, if anything: each with the Python expression that takes it from ``receipt``."""
        self.named: set[str] = set()
        """Names in the expressions: an entry that is handed to CEL as a whole has those of its fields."""

    def name(self, meaning: str, name: str, taker: Taker, number: str = "") -> str:
        """Return the name of the variable that means ``meaning``; a new one is called like ``name``.

        ``number``: what takes it, as a Python expression, when that gives a whole number or fails.
        """
        known = self._names.get(meaning)
        if known is None:
            known = self._names[meaning] = name if name not in self._takers else f"{name}_{len(self._names)}"
            self._takers[known] = taker
            if number:
                self.numbers[known] = number
        return known

    def take(self, receipt: Receipt, names: Iterable[str]) -> dict[str, Any]:
        """Return the variables ``names``; one that cannot be made is left out, so that whoever asks for it fails."""
        made = {}
        for name in names:
            try:
                made[name] = self._takers[name](receipt)
            except FAILURES:
                continue
        return made

    def handed(self, entries: Sequence[Any]) -> list[Any]:
        """Return a list as CEL gets it."""
        return [self._cut(entry) if type(entry) is dict else entry for entry in entries]

    def _cut(self, entry: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in entry.items() if name in self.named}


@dataclass(frozen=True, slots=True)
class Body:
    """A small expression that is asked of each value of a list."""

    program: Any
    variable: str
    """What it calls the value, if it names it as a whole."""
    fields: Mapping[str, str]
    """What it calls fields of the value, by the field."""
    outer: frozenset[str]
    """The other variables that it names."""
    field: str = ""
    """The field, when it is that and nothing else."""

    def ask(self, values: Iterable[Any], receipt: Receipt, variables: Variables) -> Iterator[Any]:
        """Yield its answer for each of ``values``, or the failure."""
        context = load_cel().Context(variables.take(receipt, self.outer), functions(receipt["currency"]))
        for value in values:
            try:
                bound = {name: value[field] for field, name in self.fields.items()}
                if self.variable:
                    bound[self.variable] = variables.handed([value])[0]
                context.update(bound)
                yield self.program.execute(context)
            except FAILURES as error:
                yield error


@dataclass(frozen=True, slots=True)
class Listing:
    """A list that is made in Python: a list of the receipt, filtered and mapped."""

    variables: Variables
    group: str
    steps: tuple[tuple[Body | None, Body | None], ...] = ()
    """Each with what to keep (None: all) and what to make of it (None: nothing else)."""

    @property
    def holds_entries(self) -> bool:
        """Whether its values are still entries of the receipt."""
        return all(body is None for _, body in self.steps)

    def taker(self) -> Callable[[Receipt], Sequence[Any]]:
        """Return what takes the list, quickly if it is one field of all entries."""
        if len(self.steps) == 1 and self.steps[0][0] is None and (field := self.column):
            group = self.group
            return lambda receipt: [entry[field] for entry in receipt[group]]
        return self.take

    @property
    def column(self) -> str:
        """The field that the last step takes, if that is all that it does."""
        body = self.steps[-1][1] if self.steps else None
        return body.field if body is not None else ""

    def number(self, function: str) -> str:
        """Return the Python expression of its ``sum`` or ``size`` if that is a whole number, simply taken."""
        columns = [body.field if keep is None and body is not None else "" for keep, body in self.steps]
        if function == "size":  # a column is as long as its list
            return f"len(receipt[{self.group!r}])" if columns in ([], [self.column]) and all(columns) else ""
        if columns != [self.column] or self.column not in MONEY[self.group]:
            return ""
        return f"sum([entry[{self.column!r}] for entry in receipt[{self.group!r}]])"

    def take(self, receipt: Receipt) -> Sequence[Any]:
        """Return the list. Raises one of ``FAILURES``."""
        values: Sequence[Any] = receipt[self.group]
        for keep, body in self.steps:
            if keep is not None:
                answers = keep.ask(values, receipt, self.variables)
                values = [value for value, kept in zip(values, answers, strict=True) if _truth(kept)]
            if body is not None:
                values = (
                    [value[body.field] for value in values]
                    if body.field
                    else [_made(answer) for answer in body.ask(values, receipt, self.variables)]
                )
        return values

    def hand(self, receipt: Receipt) -> list[Any]:
        """Return the list for CEL."""
        return self.variables.handed(self.take(receipt))

    def adder(self) -> Taker:
        """Return what takes the sum of the list."""
        take = self.taker()
        return lambda receipt: exact_sum(take(receipt))

    def counter(self) -> Taker:
        """Return what takes how many the list has."""
        take = self.taker()
        return lambda receipt: len(take(receipt))

    def test(self, macro: str, body: Body, receipt: Receipt) -> bool:
        """Return what CEL's ``all``, ``exists`` or ``exists_one`` would; the first two outlive a failing entry."""
        answers = body.ask(self.take(receipt), receipt, self.variables)
        if macro not in {"all", "exists"}:
            return sum(_truth(answer) for answer in answers) == 1
        failure: Exception | None = None
        for answer in answers:
            if answer is (macro == "exists"):
                return answer
            try:
                _truth(answer)
            except FAILURES as error:
                failure = error
        if failure is not None:
            raise failure
        return macro == "all"


def _made(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


def _truth(answer: Any) -> bool:
    if type(_made(answer)) is not bool:
        raise TypeError("a condition that is neither true nor false")
    return bool(answer)
