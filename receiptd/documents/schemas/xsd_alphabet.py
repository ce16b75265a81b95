"""The letters of a pattern: the sets of characters that all its classes treat alike.

Beyond ASCII a category (of letters, say) stays a name, so that libxml2's tables decide and none is needed here: a
letter of the alphabet is a range of characters, together with the categories that they are taken to have.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise, product

from receiptd.documents.schemas.xsd_pattern_syntax import ESCAPES, CharacterClass, NotUnderstoodError, Range

_CHARACTERS = ((0x9, 0xA), (0xD, 0xD), (0x20, 0xD7FF), (0xE000, 0xFFFD), (0x10000, 0x10FFFF))  # XML 1.0, section 2.2
_ASCII_END = 0x80
_CATEGORIES_MAX = 4
_ESCAPED = {character: f"\\{name}" for name, character in ESCAPES.items()}

_Truths = tuple[bool, ...]


class Alphabet:
    """The letters, numbered, that distinguish the characters of some classes."""

    def __init__(self, classes: Iterable[CharacterClass]) -> None:
        """Raises NotUnderstoodError: the classes name more than four categories."""
        distinct = list(dict.fromkeys(classes))
        parts = [part for class_ in distinct for part in class_.with_subtracted()]
        self._names = sorted({name for part in parts for name, _ in part.categories})
        if len(self._names) > _CATEGORIES_MAX:
            raise NotUnderstoodError
        letters: dict[frozenset[int], list[tuple[Range, _Truths]]] = {}
        self._truths: dict[Range, int] = {}
        for piece in _pieces(parts):
            for truths in product((True, False), repeat=len(self._names)):
                true = dict(zip(self._names, truths, strict=True))
                if not _is_possible(piece[0], true):
                    continue
                self._truths[piece] = self._truths.get(piece, 0) + 1
                members = frozenset(i for i, class_ in enumerate(distinct) if class_.holds(piece[0], true))
                if members:
                    letters.setdefault(members, []).append((piece, truths))
        self._letters = list(letters.values())
        self._of = {
            class_: frozenset(letter for letter, members in enumerate(letters) if i in members)
            for i, class_ in enumerate(distinct)
        }

    def of(self, class_: CharacterClass) -> frozenset[int]:
        """Return the letters in ``class_``."""
        return self._of[class_]

    def written(self, letters: Iterable[int]) -> tuple[str, int]:
        """Return an expression for any one of ``letters``, and its tightness: 0 for alternatives, 2 for a class."""
        taken: dict[Range, set[_Truths]] = {}
        for letter in letters:
            for piece, truths in self._letters[letter]:
                taken.setdefault(piece, set()).add(truths)
        whole = [piece for piece, truths in taken.items() if len(truths) == self._truths[piece]]
        classes = [_class(whole)] if whole else []
        for truths in product((True, False), repeat=len(self._names)):
            pieces = [piece for piece, found in taken.items() if truths in found and piece not in set(whole)]
            if pieces:
                classes.append(self._class_with(pieces, dict(zip(self._names, truths, strict=True))))
        return "|".join(classes), 2 if len(classes) == 1 else 0

    def _class_with(self, pieces: Sequence[Range], true: Mapping[str, bool]) -> str:
        """Return the class of those characters of ``pieces`` for which of the categories just that is true."""
        less = [f"\\{name if not true[name] else name.upper()}" for name in self._names if not name.startswith("p")]
        less += [f"\\{name}" for name in self._names if name.startswith("p") and not true[name]]
        properties = [name for name in self._names if name.startswith("p") and true[name]]
        if not properties:
            return f"{_class(pieces)[:-1]}-[{''.join(less)}]]"
        # libxml2 misreads \\P{L} in a class, so what is not in the pieces is taken off the category
        others = [piece for piece in self._truths if piece not in set(pieces)]
        less += [_class(others)[1:-1]] if others else []
        narrowest = max(properties, key=len)
        return f"[\\{narrowest}-[{''.join(less)}]]" if less else f"[\\{narrowest}]"


def _pieces(parts: Sequence[CharacterClass]) -> list[Range]:
    """Return the characters of XML in ranges that no class divides; each of ASCII alone."""
    cuts = {cut for part in parts for low, high in part.ranges for cut in (low, high + 1)}
    pieces = []
    for low, high in _CHARACTERS:
        inside = sorted({cut for cut in (*cuts, *range(_ASCII_END + 1)) if low < cut <= high})
        pieces += [(one, other - 1) for one, other in pairwise((low, *inside, high + 1))]
    return pieces


def _is_possible(character: int, true: Mapping[str, bool]) -> bool:
    """Whether a character may have just those categories: in ASCII that is known, beyond it some exclude each other."""
    if character < _ASCII_END:
        return all(_holds(name, chr(character)) is truth for name, truth in true.items())
    general = {name[2:-1]: truth for name, truth in true.items() if name.startswith("p")}
    had = [name for name, truth in general.items() if truth]
    if any(not one.startswith(other) and not other.startswith(one) for one in had for other in had):
        return False
    if any(not truth and one.startswith(name) for name, truth in general.items() for one in had):
        return False
    if had and "w" in true and true["w"] is (had[0][0] in "PZC"):
        return False
    return not true.get("s", False) and not (true.get("i", False) and not true.get("c", True))


def _holds(name: str, character: str) -> bool:
    """Whether a category has a character of ASCII."""
    kind = unicodedata.category(character)
    match name:
        case "s":
            return character in "\t\n\r "
        case "w":
            return kind[0] not in "PZC"
        case "i":
            return character.isalpha() or character in "_:"
        case "c":
            return character.isalnum() or character in "._:-"
    return kind.startswith(name[2:-1])


def _class(pieces: Iterable[Range]) -> str:
    """Return a class of ``pieces``, whose neighbours become one range."""
    ranges: list[Range] = []
    for low, high in sorted(pieces):
        if ranges and ranges[-1][1] == low - 1:
            ranges[-1] = (ranges[-1][0], high)
        else:
            ranges.append((low, high))
    return f"[{''.join(map(_range, ranges))}]"


def _range(bounds: Range) -> str:
    low, high = bounds
    first, last = chr(low), chr(high)
    if low == high:
        return _ESCAPED.get(first, first)
    if first in _ESCAPED:  # to libxml2 an escaped character is never the start of a range
        return _ESCAPED[first] + _range((low + 1, high))
    if last in _ESCAPED:
        return _range((low, high - 1)) + _ESCAPED[last]
    return f"{first}-{last}"
