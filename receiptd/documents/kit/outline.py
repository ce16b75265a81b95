"""Outline: what is where in a set of sample documents, JSON and XML alike, and how each place is written.

A document becomes a tree of nodes. The nodes of all samples that the same names lead to are one place.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lxml import etree

from receiptd.documents.kit.words import concepts
from receiptd.documents.media import Format

Steps: TypeAlias = tuple[str, ...]

_DEPTH_MAX = 16
_KINDS_MAX = 12
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN = re.compile(r"[\w .:/+-]{1,40}")


@dataclass(slots=True)
class Node:
    """One member or element: what it holds, and what it is called where a place names it."""

    name: str
    value: Any = None
    """A scalar; None for a container, for null, and for an empty element."""
    children: list[Node] = field(default_factory=list)
    is_entry: bool = False
    """Whether it is an entry of a JSON array."""


@dataclass(slots=True)
class Place:
    """The nodes that ``steps`` lead to."""

    steps: Steps
    found: list[list[Node]]
    """The nodes, base by base."""
    entries: tuple[bool, ...]
    """Which of the steps go through a list."""
    written: str
    """As the mapping names the first of them."""

    @property
    def values(self) -> list[Any]:
        """What the first node of each base holds; None where there is none."""
        return [nodes[0].value if nodes else None for nodes in self.found]

    @property
    def is_leaf(self) -> bool:
        """Whether some node holds a value."""
        return any(node.value is not None for nodes in self.found for node in nodes)

    @property
    def coverage(self) -> float:
        """The share of the bases that have a value, or an object, here."""
        there = sum(bool(nodes) and (nodes[0].value is not None or bool(nodes[0].children)) for nodes in self.found)
        return there / max(1, len(self.found))

    @property
    def nodes(self) -> list[Node]:
        """All nodes of all bases."""
        return [node for nodes in self.found for node in nodes]


class Outline:
    """The outline of sample documents of one format."""

    def __init__(self, documents: Sequence[Any], format_: Format) -> None:
        """``documents`` are as the format's decoder gave them."""
        self.format = format_
        self.namespaces: dict[str, str] = {} if format_ is Format.JSON else _prefixes(documents)
        self._names = {uri: prefix for prefix, uri in self.namespaces.items()}
        if format_ is Format.JSON:
            self.bases = [_from_json("", document) for document in documents]
        else:
            self.bases = [Node("", children=[self._from_xml(document)]) for document in documents]

    def head(self) -> dict[Steps, Place]:
        """Return the places from the top, those inside of lists of kinds (``totals`` by their ``type``) too."""
        places = self.places(self.bases, top=True)
        kinds = self._kinds(places)
        told_apart = {place.steps[:-2] for place in kinds.values()}  # the first of them is any of them
        first = {steps for steps, place in places.items() if place.is_leaf and steps[:-1] in told_apart}
        return {steps: place for steps, place in places.items() if steps not in first} | kinds

    def places(self, bases: Sequence[Node], *, top: bool = False) -> dict[Steps, Place]:
        """Return the places below ``bases``; ``top`` when those are whole documents, otherwise entries of a list."""
        found: dict[Steps, list[list[Node]]] = {}
        lists: set[Steps] = set()
        for index, base in enumerate(bases):
            level: list[tuple[Steps, Node]] = [((), base)]
            for _ in range(_DEPTH_MAX):
                below: list[tuple[Steps, Node]] = []
                for steps, parent in level:
                    repeated = Counter(child.name for child in parent.children)
                    for child in parent.children:
                        below.append(((*steps, child.name), child))
                        if child.is_entry or repeated[child.name] > 1:
                            lists.add((*steps, child.name))
                for steps, node in below:
                    found.setdefault(steps, [[] for _ in bases])[index].append(node)
                level = below
        return {
            steps: Place(
                steps,
                nodes,
                entries := tuple(steps[: end + 1] in lists for end in range(len(steps))),
                self._write(steps, entries, top=top),
            )
            for steps, nodes in found.items()
        }

    def each(self, places: Iterable[Place]) -> str:
        """Return how the entries of a list are written; of several lists, the entries of all."""
        written = [self._each(place) for place in places]
        if len(written) == 1:
            return written[0]
        if self.format is Format.XML:
            return " | ".join(written)
        return f"[{', '.join(_jmespath(place) for place in written)}][]"

    def used(self, texts: Iterable[str]) -> dict[str, str]:
        """Return those namespaces that expressions in ``texts`` name."""
        whole = " ".join(texts)
        return {prefix: uri for prefix, uri in self.namespaces.items() if f"{prefix}:" in whole}

    def _each(self, place: Place) -> str:
        if self.format is Format.XML:
            return "/" + "/".join(place.steps)
        if not any(place.entries[:-1]):
            return _pointer(place.steps)
        return ".".join(
            _quoted(step) + ("[]" if many else "") for step, many in zip(place.steps, place.entries, strict=True)
        )

    def _write(self, steps: Steps, entries: Sequence[bool], *, top: bool) -> str:
        if self.format is Format.XML:
            return ("/" if top else "") + "/".join(steps)
        written: list[str] = []
        for step, many in zip(steps, entries, strict=True):
            written += [step, "0"] if many else [step]
        return _pointer(written)

    def _kinds(self, places: Mapping[Steps, Place]) -> dict[Steps, Place]:
        """Return the places in entries that a type tells apart, once in each document: ``totals[?type=='gross']``."""
        kinds: dict[Steps, Place] = {}
        for place in places.values():
            if place.is_leaf or not place.entries[-1] or any(place.entries[:-1]):
                continue
            for name in {child.name for node in place.nodes for child in node.children}:
                if "type" not in concepts(name):
                    continue
                for kind in _kinds_of(place, name):
                    kinds |= self._of_kind(place, name, kind)
        return kinds

    def _of_kind(self, place: Place, name: str, kind: str) -> dict[Steps, Place]:
        entries = [next((node for node in nodes if _member(node, name) == kind), None) for nodes in place.found]
        below = self.places([entry or Node("") for entry in entries])
        chosen: dict[Steps, Place] = {}
        for steps, leaf in below.items():
            if steps == (name,) or not leaf.is_leaf or any(leaf.entries):
                continue
            if self.format is Format.XML:
                written = f"/{'/'.join(place.steps)}[{name}='{kind}']/{'/'.join(steps)}"
            else:
                path = ".".join(map(_quoted, place.steps))
                written = f"{path}[?{_quoted(name)}=='{kind}'].{'.'.join(map(_quoted, steps))} | [0]"
            whole = (*place.steps, kind, *steps)
            chosen[whole] = Place(whole, leaf.found, (False,) * len(whole), written)
        return chosen

    def _from_xml(self, element: Any) -> Node:
        text = (element.text or "").strip()
        node = Node(self._name(element.tag), value=text if text and not len(element) else None)
        for name, value in element.attrib.items():
            if not name.startswith(f"{{{_XSI}}}"):
                node.children.append(Node(f"@{self._name(name)}", value=value.strip() or None))
        node.children += [self._from_xml(child) for child in element]
        return node

    def _name(self, tag: str) -> str:
        name = etree.QName(tag)
        return f"{self._names[name.namespace]}:{name.localname}" if name.namespace else name.localname


def either(one: Place, other: Place, format_: Format) -> str:
    """Return the place of ``one``, or of ``other`` where that is missing."""
    if format_ is Format.XML:
        return f"({one.written} | {other.written})[1]"
    return f"{_jmespath(one.written)} || {_jmespath(other.written)}"


def _from_json(name: str, value: Any, *, is_entry: bool = False) -> Node:
    node = Node(name, is_entry=is_entry)
    if isinstance(value, dict):
        for key, member in value.items():
            entries = member if isinstance(member, list) else [member]
            node.children += [
                _from_json(key, entry, is_entry=entries is member) for entry in entries if not isinstance(entry, list)
            ]
    elif not isinstance(value, list):
        node.value = None if value == "" else value
    return node


def _prefixes(documents: Sequence[Any]) -> dict[str, str]:
    """Return a prefix for each namespace, by choice the documents' own."""
    prefixes: dict[str, str] = {}
    for document in documents:
        for element in document.iter():
            for tag, prefix in ((element.tag, element.prefix), *((name, None) for name in element.attrib)):
                name = etree.QName(tag)
                if not name.namespace or name.namespace == _XSI or name.namespace in prefixes.values():
                    continue
                own = prefix or next((p for p, uri in element.nsmap.items() if p and uri == name.namespace), None)
                wanted = own or name.localname[:3].lower()
                free = (wanted if n == 1 else f"{wanted}{n}" for n in range(1, 1000))
                prefixes[next(prefix for prefix in free if prefix not in prefixes)] = name.namespace
    return prefixes


def _kinds_of(place: Place, name: str) -> list[str]:
    """Return the values of ``name`` that tell the entries of each document apart and are in every document."""
    lists = [[_member(node, name) for node in nodes] for nodes in place.found]
    if any(len(set(kinds)) < len(kinds) or None in kinds for kinds in lists):
        return []
    common = set.intersection(*map(set, lists)) if lists else set()
    return sorted(kind for kind in common if kind and _PLAIN.fullmatch(kind))[:_KINDS_MAX]


def _member(node: Node, name: str) -> str | None:
    value = next((child.value for child in node.children if child.name == name), None)
    return value if isinstance(value, str) else None


def _pointer(steps: Iterable[str]) -> str:
    return "".join(f"/{step.replace('~', '~0').replace('/', '~1')}" for step in steps)


def _quoted(name: str) -> str:
    return name if _IDENTIFIER.fullmatch(name) else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _jmespath(place: str) -> str:
    """Return a list's place as JMESPath, which a pointer is not."""
    if not place.startswith("/"):
        return place
    return ".".join(_quoted(step.replace("~1", "/").replace("~0", "~")) for step in place[1:].split("/"))
