"""Places: JSON Pointers and XPath expressions, compiled into functions that take values out of a document.

A place that is not there gives None. Head places start at the document, entry places at one entry of a list. They are
looked up a column at a time, the same place in every node: one call for each place, not one for each cell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from lxml import etree

from receiptd.documents.xml_document import Element
from receiptd.documents.xml_schema import xml_place

Getter: TypeAlias = Callable[[Any], Any]
_INDEX = re.compile(r"0|[1-9][0-9]{0,5}")

Column: TypeAlias = Callable[[Sequence[Any]], list[Any]]
Lister: TypeAlias = Callable[[Any], "Sequence[Any] | None"]


class Places(Protocol):
    """What a mapping asks of the places of one format. The compilers raise ValueError for a place that is wrong."""

    def head(self, place: str) -> Column:
        """Compile a place that starts at the document."""
        ...

    def each(self, place: str) -> Lister:
        """Compile the place of a list: the entries, empty when it is not there, None when it is no list."""
        ...

    def entry(self, place: str) -> Column:
        """Compile a place that starts at an entry."""
        ...

    def name(self, each: str, index: int, entry: Any, place: str) -> str:
        """Return where ``place`` is in the entry, for a finding."""
        ...


class JsonPlaces:
    """JSON Pointers (RFC 6901); in an entry they start at the entry, and ``""`` is the entry itself."""

    def head(self, place: str) -> Column:
        """Compile a pointer. Raises ValueError."""
        get = compile_pointer(place)
        if place.count("/") != 1:
            return lambda nodes: [get(node) for node in nodes]
        key = _steps(place)[0]

        def members(nodes: Sequence[Any]) -> list[Any]:
            try:
                return [node[key] for node in nodes]
            except (KeyError, TypeError):  # one lacks it, or is no object
                return [get(node) for node in nodes]

        return members

    entry = head

    def each(self, place: str) -> Lister:
        """Compile a pointer to an array. Raises ValueError."""
        get = compile_pointer(place)

        def entries(document: Any) -> Sequence[Any] | None:
            value = get(document)
            if value is None:
                return ()
            return value if type(value) is list else None

        return entries

    def name(self, each: str, index: int, entry: Any, place: str) -> str:  # noqa: ARG002 - the protocol's signature
        """Return the pointer from the top."""
        return f"{each}/{index}{place}"


def compile_pointer(place: str) -> Getter:
    """Compile a JSON Pointer into a getter.

    Raises:
        ValueError: it is not empty and begins without a slash, or has a ``~`` that escapes nothing.
    """
    if (place and not place.startswith("/")) or re.search(r"~(?![01])", place):
        raise ValueError(f"{place!r} is no JSON Pointer (RFC 6901): write /name/name")
    steps = _steps(place)

    def get(node: Any) -> Any:
        for step in steps:
            node = node.get(step) if type(node) is dict else _step(node, step)
        return node

    return get


def _steps(place: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in place.split("/")[1:]]


def _step(node: Any, step: str) -> Any:
    if type(node) is list and _INDEX.fullmatch(step):
        index = int(step)
        return node[index] if index < len(node) else None
    return None


class _Entry:
    """An element of a list, with the first of its children of each tag: a look-up is a tenth of an XPath's time."""

    __slots__ = ("children", "element")

    def __init__(self, element: Element) -> None:
        self.element = element
        self.children = {child.tag: child for child in reversed(element)}


def _string(element: Element) -> str | None:
    return "".join(map(str, element.itertext())) if len(element) else element.text


class XmlPlaces:
    """XPath 1.0 expressions, read as ``string()``; in an entry they start at the entry's element."""

    _NAME = r"(?:([A-Za-z_][\w.-]*):)?([A-Za-z_][\w.-]*)"
    _SHORT = re.compile(rf"(?:{_NAME})?(?:(?:(?<=\w)/)?@{_NAME})?", re.ASCII)

    def __init__(self, namespaces: Mapping[str, str]) -> None:
        """``namespaces`` gives the prefixes that the expressions may use."""
        self._namespaces = dict(namespaces)

    def head(self, place: str) -> Column:
        """Compile an expression. Raises ValueError."""
        get = self._compile(f"string({place})", place)
        return lambda nodes: [get(node) for node in nodes]

    def each(self, place: str) -> Lister:
        """Compile an expression that selects elements. Raises ValueError."""
        select = self._compile(f"({place})/self::*", place)
        return lambda document: [_Entry(element) for element in select(document)]

    def entry(self, place: str) -> Column:
        """Compile an expression; ``name``, ``@name`` and ``name/@name`` need no XPath. Raises ValueError."""
        match = self._SHORT.fullmatch(place)
        if match is None or not place:
            get = self._compile(f"string({place})", place)
            return lambda entries: [get(entry.element) for entry in entries]
        child, attribute = self._tag(*match.group(1, 2)), self._tag(*match.group(3, 4))
        if not child:
            return lambda entries: [entry.element.get(attribute) for entry in entries]
        if attribute:
            return lambda entries: [
                None if (element := entry.children.get(child)) is None else element.get(attribute) for entry in entries
            ]
        return lambda entries: [
            None if (element := entry.children.get(child)) is None else _string(element) for entry in entries
        ]

    def _tag(self, prefix: str | None, name: str | None) -> str:
        if prefix is None:
            return name or ""
        if prefix not in self._namespaces:
            raise ValueError(f"namespaces does not declare the prefix {prefix!r}")
        return f"{{{self._namespaces[prefix]}}}{name}"

    def name(self, each: str, index: int, entry: _Entry, place: str) -> str:  # noqa: ARG002 - the protocol's signature
        """Return the entry's path and line; the finding names the field."""
        return xml_place(entry.element)

    def _compile(self, expression: str, place: str) -> Getter:
        try:
            compiled: Getter = etree.XPath(expression, namespaces=self._namespaces or None, smart_strings=False)
            compiled(etree.Element("probe"))  # an unknown function shows only now
        except etree.XPathError as error:
            raise ValueError(f"{place!r} is no usable XPath: {error}") from error
        return compiled
