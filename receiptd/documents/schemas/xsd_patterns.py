"""Patterns of an XSD made harmless: the same language, written so that libxml2 has one way only to read a text.

libxml2 matches by trying: where a repeated part and what comes next (or the part itself, twice) may take the same text,
it tries every division. ``.+@.+[.]+.+`` costs 2 s of CPU for 1,000 dots, ``(a|aa)+`` a third of that for 40 letters. So
such a pattern becomes a deterministic automaton, and that an expression again, by eliminating its states: every text
then has one way through it, and few beginnings of one. A pattern that this would blow up, or whose syntax is not
understood here, stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from receiptd.documents.schemas import xsd_pattern_syntax as syntax
from receiptd.documents.schemas.xsd_alphabet import Alphabet
from receiptd.documents.schemas.xsd_pattern_syntax import CharacterClass, NotUnderstoodError, Tree

_PATTERN_MAX_CHARS = 2_000
_WRITTEN_MAX_CHARS = 10_000
_POSITIONS_MAX = 200
_STATES_MAX = 120
_REPEATED = re.compile(r"[*+]|\{\d+,\}|\)\{")
_COUNTED, _GROUP_REPEATED = re.compile(r"\{\d+,"), re.compile(r"\)[*+{]")
"""A count in a repeated group: libxml2 tries whether to end the count or to go on, whatever comes."""

_Letters: TypeAlias = frozenset[int]


@lru_cache(maxsize=1_024)
def harmless(pattern: str) -> str:
    """Return an expression of the same language that is read in one way only, or ``pattern`` itself."""
    if not _REPEATED.search(pattern) or len(pattern) > _PATTERN_MAX_CHARS:
        return pattern
    try:
        positions = _Positions(syntax.read(pattern))
        if positions.are_deterministic() and not (_COUNTED.search(pattern) and _GROUP_REPEATED.search(pattern)):
            return pattern
        return _Elimination(*positions.determinised()).expression()
    except NotUnderstoodError:
        return pattern


class _Part(NamedTuple):
    """A part of an expression by its positions: whether it may be empty, where it begins, where it ends."""

    empty: bool
    first: frozenset[int]
    last: frozenset[int]


class _Positions:
    """The positions of an expression (Glushkov's construction), and which may follow which; 0 is the start."""

    def __init__(self, tree: Tree) -> None:
        self._classes = [CharacterClass()]
        self._follow: list[set[int]] = [set()]
        whole = self._build(tree)
        self._follow[0] |= whole.first
        self._ends = whole.last | ({0} if whole.empty else frozenset())
        self._alphabet = Alphabet(self._classes)
        self._letters = [self._alphabet.of(class_) for class_ in self._classes]

    def are_deterministic(self) -> bool:
        """Whether no position is followed by two that take the same character."""
        for follow in self._follow:
            taken: set[int] = set()
            for position in follow:
                if not taken.isdisjoint(self._letters[position]):
                    return False
                taken |= self._letters[position]
        return True

    def determinised(self) -> tuple[list[dict[_Letters, int]], set[int], Alphabet]:
        """Return the smallest deterministic automaton: for each state which letters lead where; those that may end."""
        numbers = {frozenset({0}): 0}
        steps: list[dict[int, int]] = []
        todo = list(numbers)
        for state in todo:
            following = {after for position in state for after in self._follow[position]}
            step: dict[int, int] = {}
            for letter in sorted({letter for position in following for letter in self._letters[position]}):
                target = frozenset(position for position in following if letter in self._letters[position])
                if target not in numbers:
                    numbers[target] = len(numbers)
                    todo.append(target)
                step[letter] = numbers[target]
            steps.append(step)
            if len(numbers) > _STATES_MAX:
                raise NotUnderstoodError
        ends = {number for state, number in numbers.items() if state & self._ends}
        return *_minimised(steps, ends), self._alphabet

    def _build(self, tree: Tree) -> _Part:
        if isinstance(tree, CharacterClass):
            position = len(self._classes)
            if position > _POSITIONS_MAX:
                raise NotUnderstoodError
            self._classes.append(tree)
            self._follow.append(set())
            return _Part(empty=False, first=frozenset({position}), last=frozenset({position}))
        if isinstance(tree, syntax.Repetition):
            return self._repeat(tree)
        parts = [self._build(part) for part in tree.parts]
        if isinstance(tree, syntax.Sequence):
            return self._join(parts)
        first = frozenset(position for part in parts for position in part.first)
        last = frozenset(position for part in parts for position in part.last)
        return _Part(any(part.empty for part in parts), first, last)

    def _join(self, parts: Iterable[_Part]) -> _Part:
        whole = _Part(empty=True, first=frozenset(), last=frozenset())
        for part in parts:
            for position in whole.last:
                self._follow[position] |= part.first
            whole = _Part(
                whole.empty and part.empty,
                whole.first | part.first if whole.empty else whole.first,
                whole.last | part.last if part.empty else part.last,
            )
        return whole

    def _repeat(self, tree: syntax.Repetition) -> _Part:
        copies = max(tree.least, 1) if tree.most is None else tree.most
        parts = [self._build(tree.part) for _ in range(copies)]
        if tree.most is None:
            for position in parts[-1].last:
                self._follow[position] |= parts[-1].first
        return self._join(
            part if number < tree.least else part._replace(empty=True) for number, part in enumerate(parts)
        )


def _minimised(steps: Sequence[dict[int, int]], ends: set[int]) -> tuple[list[dict[_Letters, int]], set[int]]:
    """Merge the states of which no text tells the difference (Moore's algorithm)."""
    block, count = [int(state in ends) for state in range(len(steps))], 0
    while True:
        views = [
            (block[state], frozenset((letter, block[target]) for letter, target in step.items()))
            for state, step in enumerate(steps)
        ]
        numbers = {view: number for number, view in enumerate(dict.fromkeys(views))}
        block = [numbers[view] for view in views]
        if len(numbers) == count:
            break
        count = len(numbers)
    merged: list[dict[_Letters, int]] = []
    for state in (block.index(number) for number in range(count)):
        to: dict[int, set[int]] = {}
        for letter, target in steps[state].items():
            to.setdefault(block[target], set()).add(letter)
        merged.append({frozenset(letters): target for target, letters in to.items()})
    return merged, {block[state] for state in ends}


class _Text(NamedTuple):
    """An expression and how tightly it holds: as an alternative (0), a part of a sequence (1), an atom (2)."""

    text: str
    tightness: int

    def within(self, tightness: int) -> str:
        return self.text if self.tightness >= tightness else f"({self.text})"


_EMPTY = _Text("", 2)


class _Elimination:
    """Turns a deterministic automaton into an expression: states go one by one, their ways become one step each.

    What comes out reads each text in one way only, because the automaton does.
    """

    def __init__(self, steps: Sequence[dict[_Letters, int]], ends: set[int], alphabet: Alphabet) -> None:
        self._start, self._end = len(steps), len(steps) + 1
        self._ways: dict[int, dict[int, _Text]] = {
            state: {target: _Text(*alphabet.written(letters)) for letters, target in step.items()}
            for state, step in enumerate(steps)
        }
        for state in ends:
            self._ways[state][self._end] = _EMPTY
        self._ways[self._start] = {0: _EMPTY}

    def expression(self) -> str:
        """Return the expression. Raises NotUnderstoodError: it is empty, or too long."""
        while len(self._ways) > 1:
            self._eliminate(min((state for state in self._ways if state != self._start), key=self._weight))
        if self._end not in self._ways[self._start]:
            raise NotUnderstoodError
        return self._ways[self._start][self._end].text

    def _weight(self, state: int) -> int:
        """Return how long the expressions get when ``state`` goes."""
        ways = self._ways[state]
        came = [len(to[state].text) for source, to in self._ways.items() if source != state and state in to]
        goes = [len(way.text) for target, way in ways.items() if target != state]
        loop = len(ways[state].text) if state in ways else 0
        return sum(came) * (len(goes) - 1) + sum(goes) * (len(came) - 1) + loop * (len(came) * len(goes) - 1)

    def _eliminate(self, state: int) -> None:
        ways = self._ways.pop(state)
        loop = ways.pop(state, None)
        again = _EMPTY if loop is None else _Text(loop.within(2) + "*", 1)
        for to in self._ways.values():
            came = to.pop(state, None)
            if came is None:
                continue
            for target, way in ways.items():
                through = _chain(came, again, way)
                to[target] = _either(to[target], through) if target in to else through
                if len(to[target].text) > _WRITTEN_MAX_CHARS:
                    raise NotUnderstoodError


def _chain(*parts: _Text) -> _Text:
    wanted = [part for part in parts if part.text]
    return wanted[0] if len(wanted) == 1 else _Text("".join(part.within(1) for part in wanted), 1 if wanted else 2)


def _either(one: _Text, other: _Text) -> _Text:
    if one.text and other.text:
        return _Text(f"{_closed(one.text)}|{_closed(other.text)}", 0)
    return _Text((one if one.text else other).within(2) + "?", 1)


def _closed(branch: str) -> str:
    """Return a branch of a choice with an end of its own: libxml2 would let the others repeat its last part, too."""
    return f"{branch}()" if branch.endswith(("*", "?")) else branch
