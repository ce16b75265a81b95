"""Places in JSON: a JSON Pointer (RFC 6901), or else a JMESPath expression, compiled into a function.

What is not there is None. A place that begins with ``/``, or is empty, is a pointer; ``""`` is the node itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Getter: TypeAlias = Callable[[Any], Any]
"""Gives what is at a place that starts at a node. One that evaluates an expression raises ValueError if that fails."""
Lister: TypeAlias = Callable[[Any], "Sequence[Any] | None"]
"""Gives the entries of a list: none when it is not there, None when it is no list. Raises ValueError likewise."""

_INDEX = re.compile(r"0|[1-9][0-9]{0,5}")
_MEMBERS = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")


@dataclass(frozen=True, slots=True)
class JsonPlace:
    """One compiled place."""

    text: str
    get: Getter
    members: Sequence[str] | None = None
    """The names that lead there, through objects only; None when it takes more than names."""


class JsonPlaces:
    """The places of JSON documents."""

    def place(self, text: str) -> JsonPlace:
        """Compile a place that starts at the document, or at an entry. Raises ValueError."""
        if _is_pointer(text):
            get, steps = compile_pointer(text), _steps(text)
            return JsonPlace(text, get, None if any(map(_INDEX.fullmatch, steps)) else steps)
        if _MEMBERS.fullmatch(text):  # means what the pointer does, which is ten times as fast
            steps = text.split(".")
            return JsonPlace(text, _walk(steps), steps)
        from receiptd.documents.jmes import compile_jmespath  # noqa: PLC0415 - few types need the library

        return JsonPlace(text, compile_jmespath(text))

    def each(self, text: str) -> Lister:
        """Compile the place of an array. Raises ValueError."""
        get = self.place(text).get

        def entries(document: Any) -> Sequence[Any] | None:
            value = get(document)
            if value is None:
                return ()
            return value if type(value) is list else None

        return entries

    def where(self, each: str, index: int, _entry: Any, text: str) -> str:
        """Return where ``text`` is in an entry: a pointer if both are pointers, otherwise ``(EACH)[INDEX] TEXT``."""
        if not _is_pointer(each):
            return f"({each})[{index}] {text}"
        return f"{each}/{index}{'' if _is_pointer(text) else ' '}{text}"


def compile_pointer(place: str) -> Getter:
    """Compile a JSON Pointer into a getter.

    Raises:
        ValueError: it is not empty and begins without a slash, or has a ``~`` that escapes nothing.
    """
    if not _is_pointer(place) or re.search(r"~(?![01])", place):
        raise ValueError(f"{place!r} is no JSON Pointer (RFC 6901): write /name/name")
    return _walk(_steps(place))


def _is_pointer(text: str) -> bool:
    return not text or text.startswith("/")


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _walk(steps: Sequence[str]) -> Getter:
    if len(steps) == 1:  # as most of them are that every document is recognised by
        (name,) = steps
        return lambda node: node.get(name) if type(node) is dict else _item(node, name)

    def get(node: Any) -> Any:
        for step in steps:
            node = node.get(step) if type(node) is dict else _item(node, step)
        return node

    return get


def _item(node: Any, step: str) -> Any:
    if type(node) is list and _INDEX.fullmatch(step):
        index = int(step)
        return node[index] if index < len(node) else None
    return None
