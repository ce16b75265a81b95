"""Rewriting: an expression over the receipt becomes CEL over a few variables.

    receipt.total                                          receipt_total
    receipt.lines.map(l, l.amount)                         receipt_lines, a list of integers
    receipt.lines.filter(l, l.unit == "kg").map(l, l.sku)  a list; CEL is asked l_unit == "kg" of each line
    receipt.lines.all(l, l.amount > 0)                     receipt_test; CEL is asked l_amount > 0 of each line
    sum(LIST), size(LIST), LIST.size(), LIST == []         receipt_sum, receipt_size

What is left to CEL are loops that name the variable of a loop around them, and those over no list of the receipt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import partial

from receiptd.documents.errors import bounded
from receiptd.documents.mapping import CANONICAL
from receiptd.documents.rules.library import compile_cel
from receiptd.documents.rules.variables import FIELDS, LISTS, MONEY, Body, Listing, Taker, Variables

UNKNOWN = ""
"""Among ``loops``: a list that is none of the receipt's."""

_TOKEN = re.compile(
    r"//[^\n]*|\s+|[bBrR]?(?:\"[^\"\n]*\"|'[^'\n]*')|[A-Za-z_]\w*|[0-9][\w.]*|&&|\|\||[=!<>]=|.", re.DOTALL
)
_NAME = re.compile(r"[A-Za-z_]\w*")
_WORD = re.compile(r"[\w\"']")
_COPYING = ("filter", "map")
_TESTS = ("all", "exists", "exists_one", "existsOne")
_NESTING_MAX = 2
_GROWTH_MAX = 64
_CLOSING = {"(": ")", "[": "]", "{": "}"}


@dataclass(slots=True)
class Rewritten:
    """An expression in CEL, and what an evaluation takes."""

    text: str = ""
    variables: set[str] = field(default_factory=set)
    loops: list[tuple[str, ...]] = field(default_factory=list)
    """For each loop in CEL, the lists that multiply: those of the loops around it, its own, once more if it copies."""


def rewrite(source: str, variables: Variables) -> Rewritten:
    """Rewrite an expression; what it needs joins ``variables``.

    Raises:
        ValueError: it uses a field that the canonical receipt lacks, strings that are not plain, brackets that do not
            match, or loops that could take too long.
    """
    if "\\" in source or '"""' in source or "'''" in source:
        raise ValueError(f"strings are plain, without backslashes or triple quotes: {bounded(source)}")
    tokens = [token for token in _TOKEN.findall(source) if not token.isspace() and not token.startswith("//")]
    variables.named.update(tokens)
    rewriting = _Rewriting(tokens, variables)
    try:
        rewriting.result.text = rewriting.part(0, len(tokens), _Scope())
    except ValueError as error:
        raise ValueError(f"{error}: {bounded(source)}") from error
    if rewriting.growth > _GROWTH_MAX:
        raise ValueError(f"its maps could make a list {rewriting.growth} times as large: {bounded(source)}")
    return rewriting.result


@dataclass(frozen=True, slots=True)
class _Scope:
    """What surrounds a part of an expression."""

    bound: frozenset[str] = frozenset()
    """The variables of the loops around it."""
    path: tuple[str, ...] = ()
    """The lists of those loops."""
    depth: int = 0
    value: str = ""
    """The one variable that Python binds, to each value of a list."""
    group: str = ""
    """The receipt's list whose entries those values are; empty when they are something else."""


@dataclass(slots=True)
class _Rewriting:
    """Rewrites the tokens of one expression."""

    tokens: list[str]
    known: Variables
    result: Rewritten = field(default_factory=Rewritten)
    growth: int = 1
    fields: set[str] = field(default_factory=set)
    """Of the value that Python binds, the fields that were named."""
    whole: bool = False
    """Whether the value itself was."""

    def part(self, begin: int, end: int, scope: _Scope) -> str:
        """Return the CEL for the tokens from ``begin`` to ``end``."""
        text, at, over = "", begin, UNKNOWN
        while at < end:
            piece, at, over = self._piece(at, scope, over)
            text += f" {piece}" if _WORD.match(piece) and _WORD.match(text[-1:]) else piece
        return text

    def _piece(self, at: int, scope: _Scope, over: str) -> tuple[str, int, str]:
        """Return the CEL for what begins at ``at``, the token behind it, and the list that it is.

        ``over`` is the list that stands before it.
        """
        here = self.tokens[at]
        if here == ".":
            return self._loop(at, scope, over) if self._macro(at, *_COPYING, *_TESTS) else self._plain(at, 2)
        if here == "receipt" and here not in scope.bound:
            return self._receipt(at, scope)
        if here in {"sum", "size"} and (scalar := self._called(here, at, scope)):
            return scalar
        if here == "has" and self._token(at + 2) in {"receipt", scope.value} and self._closing(at + 1) == at + 5:
            self.part(at + 2, at + 5, scope)  # refuses a field that there is not; every other is present
            return "true", at + 6, UNKNOWN
        if here == scope.value and here:
            return self._value(at, scope)
        return self._plain(at, 1)

    def _plain(self, at: int, count: int) -> tuple[str, int, str]:
        return "".join(self.tokens[at : at + count]), at + count, UNKNOWN

    def _receipt(self, at: int, scope: _Scope) -> tuple[str, int, str]:
        listed = self._list(at, scope)
        if listed is None:
            name = self._member(at)
            if name not in FIELDS:
                raise ValueError(f"write receipt.FIELD, with one of {', '.join(sorted(FIELDS))}")
            number = f"receipt[{name!r}]" if name in MONEY[""] else ""
            return self._use(name, f"receipt_{name}", lambda receipt: receipt[name], number), at + 3, UNKNOWN
        listing, end = listed
        if self._is(end, "==", "[", "]") or self._is(end, "!=", "[", "]"):
            return f"{self._scalar('size', at, listing, end)}{self.tokens[end]}0", end + 3, UNKNOWN
        if self._is(end, ".", "size", "(", ")"):
            return self._scalar("size", at, listing, end), end + 4, UNKNOWN
        if self._macro(end, *_TESTS) and self._free(end + 2, scope):
            body, close = self._bodies(end + 2, listing)[0], self._closing(end + 2)
            test = partial(listing.test, self.tokens[end + 1], body)
            return self._use("".join(self.tokens[at:close]), "receipt_test", test), close + 1, UNKNOWN
        if scope.path:
            self.result.loops.append((*scope.path, listing.group))
        return self._use(self._meaning(at, end), f"receipt_{listing.group}", listing.hand), end, listing.group

    def _called(self, function: str, at: int, scope: _Scope) -> tuple[str, int, str] | None:
        listed = self._list(at + 2, scope) if self._is(at + 1, "(") else None
        if listed is None or not self._is(listed[1], ")"):
            return None
        return self._scalar(function, at + 2, *listed), listed[1] + 1, UNKNOWN

    def _scalar(self, function: str, at: int, listing: Listing, end: int) -> str:
        taker = listing.adder() if function == "sum" else listing.counter()
        number = listing.number(function)
        return self._use(f"{function} {self._meaning(at, end)}", f"receipt_{function}", taker, number)

    def _value(self, at: int, scope: _Scope) -> tuple[str, int, str]:
        """A value that Python binds: a field of an entry has a variable of its own, ``l.amount`` is ``l_amount``."""
        name = self._member(at)
        if not scope.group or not name or self._is(at + 3, "("):
            self.whole = True
            return scope.value, at + 1, UNKNOWN
        if name not in CANONICAL[scope.group]:
            raise ValueError(f"{scope.group} have no field {name!r}; they have {', '.join(CANONICAL[scope.group])}")
        self.fields.add(name)
        return f"{scope.value}_{name}", at + 3, UNKNOWN

    def _loop(self, at: int, scope: _Scope, over: str) -> tuple[str, int, str]:
        """A loop that CEL runs."""
        macro, opening = self.tokens[at + 1], at + 2
        if scope.depth >= _NESTING_MAX:
            raise ValueError(f"loops are nested deeper than {_NESTING_MAX}")
        copied = (over,) if macro in _COPYING else ()
        path = (*scope.path, over, *copied)
        self.result.loops.append(path)
        (begin, _), *bodies = self._arguments(opening)
        variable = self.tokens[begin]
        self._grow(macro, bodies)
        inner = replace(scope, bound=scope.bound | {variable}, path=path, depth=scope.depth + 1)
        if variable == scope.value:
            inner = replace(inner, value="", group="")
        parts = [self.part(*body, inner) for body in bodies]
        return f".{macro}({','.join([variable, *parts])})", self._closing(opening) + 1, over

    def _list(self, at: int, scope: _Scope) -> tuple[Listing, int] | None:
        """Return the list of the receipt at ``at``, with the steps that depend on no loop around it, and its end."""
        group = self._member(at)
        if not self._is(at, "receipt") or "receipt" in scope.bound or group not in LISTS:
            return None
        listing, end = Listing(self.known, group), at + 3
        while self._macro(end, *_COPYING) and self._free(end + 2, scope):
            macro, bodies = self.tokens[end + 1], self._bodies(end + 2, listing)
            keep = bodies[0] if macro == "filter" or len(bodies) > 1 else None
            listing = replace(listing, steps=(*listing.steps, (keep, bodies[-1] if macro == "map" else None)))
            end = self._closing(end + 2) + 1
        return listing, end

    def _bodies(self, opening: int, listing: Listing) -> list[Body]:
        """Compile the expressions of a loop that Python runs over ``listing``."""
        (begin, _), *parts = self._arguments(opening)
        variable = self.tokens[begin]
        self._grow(self.tokens[opening - 1], parts)
        group = listing.group if listing.holds_entries else ""
        scope = _Scope(frozenset({variable}), (listing.group,), 1, variable, group)
        return [self._body(part, scope) for part in parts]

    def _body(self, part: tuple[int, int], scope: _Scope) -> Body:
        inner = _Rewriting(self.tokens, self.known, growth=self.growth)
        text = inner.part(*part, scope)
        self.growth = inner.growth
        self.result.loops += inner.result.loops
        names = {name: f"{scope.value}_{name}" for name in sorted(inner.fields)}
        alone = next(iter(inner.fields)) if [text] == list(names.values()) else ""
        whole = scope.value if inner.whole else ""
        return Body(compile_cel(text), whole, names, frozenset(inner.result.variables), alone)

    def _grow(self, macro: str, bodies: list[tuple[int, int]]) -> None:
        if macro == "map":
            self.growth *= 1 + sum(self.tokens[slice(*bodies[-1])].count(token) for token in "+,")

    def _use(self, meaning: str, name: str, taker: Taker, number: str = "") -> str:
        known = self.known.name(meaning, name, taker, number)
        self.result.variables.add(known)
        return known

    def _meaning(self, begin: int, end: int) -> str:
        return " ".join(self.tokens[begin:end])

    def _free(self, opening: int, scope: _Scope) -> bool:
        """Whether the arguments of a loop name no variable of a loop around it."""
        (begin, _), *_ = self._arguments(opening)
        names = set(self.tokens[begin + 1 : self._closing(opening)]) - {self.tokens[begin]}
        return not names & scope.bound

    def _arguments(self, opening: int) -> list[tuple[int, int]]:
        """Return where the arguments of a loop begin and end. Raises ValueError unless there are the right ones."""
        parts, begin, at, close = [], opening + 1, opening + 1, self._closing(opening)
        while at < close:
            if self.tokens[at] == ",":
                parts.append((begin, at))
                begin = at + 1
            at = self._closing(at) + 1 if self.tokens[at] in _CLOSING else at + 1
        parts.append((begin, close))
        macro = self.tokens[opening - 1]
        counts = (2, 3) if macro == "map" else (2,)
        first, last = parts[0]
        if len(parts) not in counts or last - first != 1 or not _NAME.fullmatch(self.tokens[first]):
            raise ValueError(f"{macro} takes a name and what is asked with it: {macro}(l, ...)")
        return parts

    def _closing(self, opening: int) -> int:
        """Return where the bracket at ``opening`` is closed. Raises ValueError."""
        open_: list[str] = []
        for at in range(opening, len(self.tokens)):
            token = self.tokens[at]
            if token in _CLOSING:
                open_.append(_CLOSING[token])
            elif token in _CLOSING.values() and token != open_.pop():
                break
            if not open_:
                return at
        raise ValueError("no CEL expression, because brackets do not match")

    def _macro(self, at: int, *names: str) -> bool:
        return self._is(at, ".") and self._token(at + 1) in names and self._is(at + 2, "(")

    def _member(self, at: int) -> str:
        """Return the NAME of ``.NAME`` behind ``at``, or nothing."""
        name = self._token(at + 2)
        return name if self._is(at + 1, ".") and _NAME.fullmatch(name) else ""

    def _is(self, at: int, *tokens: str) -> bool:
        return tuple(self.tokens[at : at + len(tokens)]) == tokens

    def _token(self, at: int) -> str:
        return self.tokens[at] if at < len(self.tokens) else ""
