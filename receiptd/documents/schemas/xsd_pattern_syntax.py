"""The regular expressions of XML Schema (part 2, appendix F), read into a tree: as much of them as schemas use.

They are read as libxml2 reads them, which takes some that the standard does not allow, and some otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

_QUANTIFIER = re.compile(r"([*+?])|\{(\d{1,3})(?:(,)(\d{1,3})?)?\}")
_CATEGORY = re.compile(r"\\([pP]\{[A-Z][a-z]?\}|[sSdDwWiIcC])")
_BLOCK = re.compile(r"\\p\{Is(BasicLatin|Latin-1Supplement|LatinExtended-A|LatinExtended-B|Cyrillic)\}")
_BLOCKS = {
    "BasicLatin": (0x0, 0x7F),
    "Latin-1Supplement": (0x80, 0xFF),
    "LatinExtended-A": (0x100, 0x17F),
    "LatinExtended-B": (0x180, 0x24F),
    "Cyrillic": (0x400, 0x4FF),
}
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", **{sign: sign for sign in r"\|.?*+(){}-[]^"}}
_TOLERATED = frozenset('!"#$%,/:;=>@`~')
"""Escapes that the standard does not know and libxml2 takes."""

Range: TypeAlias = tuple[int, int]
Tree: TypeAlias = "CharacterClass | Sequence | Choice | Repetition"


class NotUnderstoodError(Exception):
    """The expression is not what can be read here, or is more than is taken on."""


def read(pattern: str) -> Tree:
    """Return the tree of ``pattern``. Raises NotUnderstoodError."""
    return _Reader(pattern).read()


@dataclass(frozen=True, slots=True)
class CharacterClass:
    """A set of characters: ranges, and categories (``p{L}``, and whether it must hold); all that inverted; less."""

    ranges: tuple[Range, ...] = ()
    categories: tuple[tuple[str, bool], ...] = ()
    inverted: bool = False
    less: CharacterClass | None = None

    def holds(self, character: int, true: Mapping[str, bool]) -> bool:
        """Whether the set has ``character``; ``true`` says which categories have it."""
        found = any(low <= character <= high for low, high in self.ranges)
        found = found or any(true[name] is wanted for name, wanted in self.categories)
        return found is not self.inverted and not (self.less is not None and self.less.holds(character, true))

    def with_subtracted(self) -> tuple[CharacterClass, ...]:
        """Return the set and all that are taken off."""
        return (self,) if self.less is None else (self, *self.less.with_subtracted())


class Sequence(NamedTuple):
    """Parts that follow each other."""

    parts: tuple[Tree, ...]


class Choice(NamedTuple):
    """Parts of which one is there."""

    parts: tuple[Tree, ...]


class Repetition(NamedTuple):
    """A part from ``least`` to ``most`` times; ``most`` None: without end."""

    part: Tree
    least: int
    most: int | None


class _Reader:
    """Reads an expression (XML Schema part 2, appendix F)."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0

    def read(self) -> Tree:
        tree = self._choice()
        if self._at < len(self._text):
            raise NotUnderstoodError
        return tree

    def _peek(self, *texts: str) -> bool:
        return self._text.startswith(texts, self._at)

    def _take(self, text: str) -> bool:
        found = self._peek(text)
        self._at += len(text) * found
        return found

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise NotUnderstoodError

    def _choice(self) -> Tree:
        branches = [self._branch()]
        while self._take("|"):
            branches.append(self._branch())
        return Choice(tuple(branches))

    def _branch(self) -> Tree:
        parts: list[Tree] = []
        while self._at < len(self._text) and not self._peek("|", ")"):
            part = self._atom()
            if match := self._match(_QUANTIFIER):
                part = Repetition(part, *_bounds(*match.groups()))
            parts.append(part)
        return Sequence(tuple(parts))

    def _atom(self) -> Tree:
        if self._take("("):
            tree = self._choice()
            self._expect(")")
            return tree
        if self._take("["):
            return self._class()
        if self._take("."):
            return CharacterClass(((0xA, 0xA), (0xD, 0xD)), inverted=True)
        if self._peek(*"*+?{}]"):
            raise NotUnderstoodError
        return self._single()

    def _class(self) -> CharacterClass:
        inverted = self._take("^")
        first = self._at
        ranges: list[Range] = []
        categories: list[tuple[str, bool]] = []
        less = None
        while not self._take("]"):
            if self._take("-["):
                less = self._class()
                self._expect("]")
                break
            # libxml2 loses a hyphen at the end of a class that is inverted, and turns \\P{} into something else.
            if self._peek("[", "\\P") or (inverted and self._peek("-") and self._at > first):
                raise NotUnderstoodError
            starts_range = not self._peek("\\")
            one = self._single()
            if starts_range and self._before_range():
                end = self._single()
                if end.categories or end.ranges < one.ranges:
                    raise NotUnderstoodError
                one = CharacterClass(((one.ranges[0][0], end.ranges[0][1]),))
                starts_range = False
            ranges += one.ranges
            categories += one.categories
            if not starts_range:
                self._before_range()  # libxml2 passes over the hyphen
        return CharacterClass(tuple(ranges), tuple(categories), inverted, less)

    def _before_range(self) -> bool:
        """Take a hyphen that another item of the class follows."""
        return not self._peek("-]", "-[") and self._take("-")

    def _single(self) -> CharacterClass:
        """Read one character, category or block."""
        if match := self._match(_BLOCK):
            return CharacterClass((_BLOCKS[match[1]],))
        if match := self._match(_CATEGORY):
            name = {"d": "p{Nd}", "D": "P{Nd}"}.get(match[1], match[1])
            return CharacterClass(categories=((name[0].lower() + name[1:], name[0].islower()),))
        character: str | None = self._text[self._at : self._at + 1]
        self._at += 1
        if character == "\\":
            sign = self._text[self._at : self._at + 1]
            character = sign if sign in _TOLERATED else ESCAPES.get(sign)
            self._at += 1
        if not character:
            raise NotUnderstoodError
        return CharacterClass(((ord(character), ord(character)),))

    def _match(self, expression: re.Pattern[str]) -> re.Match[str] | None:
        match = expression.match(self._text, self._at)
        if match is not None:
            self._at = match.end()
        return match


def _bounds(sign: str | None, least: str, several: str | None, most: str | None) -> tuple[int, int | None]:
    if sign:
        return {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
    if several and not most:
        return int(least), None
    return int(least), int(most or least)
