"""Places in XML: XPath 1.0 expressions with namespaces, compiled once, read as ``string()``.

What is not there is None. XPath computes in floating point, so ``sum(PLACE)`` is added up here, exactly, and
``computed`` marks whatever else comes out of such arithmetic: no place for money.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lxml import etree

from receiptd.documents.places import Getter, Lister
from receiptd.documents.schemas.xml_schema import xml_place
from receiptd.documents.values import exact_sum
from receiptd.documents.xml_document import Element

_NAME = r"(?:([A-Za-z_][\w.-]*):)?([A-Za-z_][\w.-]*)"
_SHORT = re.compile(rf"(?:{_NAME})?(?:(?:(?<=[\w.-])/)?@{_NAME})?", re.ASCII)
_ROOTED = re.compile(rf"/{_NAME}/(.*)", re.ASCII)
_STEPS = re.compile(rf"/{_NAME}", re.ASCII)
_SUM = re.compile(r"sum\s*\((.*)\)", re.DOTALL)
_AMOUNT = re.compile(r"\s*[+-]?(?=\.?[0-9])[0-9]{0,40}(?:\.[0-9]{0,40})?\s*")
_LITERAL = re.compile(r"\"[^\"]*\"|'[^']*'")
_PREDICATE = re.compile(r"\[[^\[\]]*\]")
_ARITHMETIC = re.compile(r"\b(?:sum|number|round|floor|ceiling)\s*\(|\+|\s(?:-|\*|div|mod)\s")


@dataclass(frozen=True, slots=True)
class XmlPlace:
    """One compiled place."""

    text: str
    get: Getter
    joinable: bool
    """Whether ``concat(TEXT, ...)`` gives the same, so that one look-up may serve several places."""
    computed: bool
    """Whether it may hold a rounded number."""
    root: str = ""
    child: str = ""
    attribute: str = ""
    """In ``name``, ``@name`` and ``name/@name``, also behind ``/root/``: the names in Clark notation."""


class XmlPlaces:
    """The places of XML documents."""

    def __init__(self, namespaces: Mapping[str, str]) -> None:
        """``namespaces`` gives the prefixes that the expressions may use."""
        self._namespaces = dict(namespaces)

    def place(self, text: str) -> XmlPlace:
        """Compile an expression, from the document's root or from an entry's element. Raises ValueError."""
        rooted = _ROOTED.fullmatch(text)
        relative = rooted[3] if rooted else text
        short = _SHORT.fullmatch(relative)
        if relative and short:
            root = self._clark(*rooted.group(1, 2)) if rooted else ""
            child, attribute = self._clark(*short.group(1, 2)), self._clark(*short.group(3, 4))
            return XmlPlace(text, self.compile(f"string({text})", text), True, False, root, child, attribute)
        total = _SUM.fullmatch(text)
        if total:
            try:
                return XmlPlace(text, _summed(self.compile(f"({total[1]})/self::node()", text)), False, False)
            except ValueError:  # sum(a) + sum(b)
                pass
        self.compile(text, text)  # on its own, so that no bracket of it closes ours
        return XmlPlace(text, self.compile(f"string({text})", text), True, _computes(text))

    def each(self, text: str) -> Lister:
        """Compile an expression that selects elements. Raises ValueError."""
        self.compile(text, text)
        return self.compile(f"({text})/self::*", text)

    def steps(self, text: str) -> list[str]:
        """Return the names of a path of nothing else (``/root/lines/line``) in Clark notation; none of other places."""
        if not re.fullmatch(rf"(?:{_STEPS.pattern})+", text, re.ASCII):
            return []
        return [self._clark(*match.group(1, 2)) for match in _STEPS.finditer(text)]

    def where(self, _each: str, _index: int, entry: Element, _text: str) -> str:
        """Return the entry's path and line; the finding names the field."""
        return xml_place(entry)

    def compile(self, expression: str, text: str) -> Getter:
        """Compile ``expression``, which stands for the place ``text``. Raises ValueError, and so does the getter."""
        try:
            compiled = etree.XPath(expression, namespaces=self._namespaces or None, smart_strings=False)
            compiled(etree.Element("probe"))  # an unknown function shows only now
        except etree.XPathError as error:
            raise ValueError(f"{text!r} is no usable XPath: {error}") from error

        def get(node: Element) -> Any:
            try:
                return compiled(node)
            except etree.XPathError:
                raise ValueError("could not be looked up by its XPath") from None

        return get

    def _clark(self, prefix: str | None, name: str | None) -> str:
        if prefix is None:
            return name or ""
        if prefix not in self._namespaces:
            raise ValueError(f"namespaces does not declare the prefix {prefix!r}")
        return f"{{{self._namespaces[prefix]}}}{name}"


def _computes(expression: str) -> bool:
    """Whether XPath's own arithmetic has a part in the result: anywhere but in predicates and literals."""
    bare = _LITERAL.sub("", expression)
    while (shorter := _PREDICATE.sub("", bare)) != bare:
        bare = shorter
    return _ARITHMETIC.search(bare) is not None


def _summed(select: Getter) -> Getter:
    def get(node: Element) -> str:
        texts = [found if isinstance(found, str) else "".join(map(str, found.itertext())) for found in select(node)]
        if not all(map(_AMOUNT.fullmatch, texts)):
            raise ValueError("adds up what is no plain decimal")
        return f"{exact_sum(map(Decimal, texts)):f}"

    return get
