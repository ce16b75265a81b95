"""From the location in a Schematron report to the place as findings write it."""

from __future__ import annotations

import re

from lxml import etree

from receiptd.documents.errors import bounded
from receiptd.documents.schemas.xml_schema import xml_place
from receiptd.documents.xml_document import Element

# /Q{uri}name[1] of XPath's path(), and /*:name[namespace-uri()='uri'][1], /*[local-name()='name'][1] of older makers
_STEP = re.compile(
    r"/(?P<attribute>@)?(?:Q\{(?P<uri>[^}]*)\}|\*:|[\w.-]+:)?(?P<name>[\w.-]+|\*)"
    r"(?P<predicates>(?:\[(?:[^\]'\"]|'[^']*'|\"[^\"]*\")*\])*)(?=/|$)"
)
_NAMESPACE_IS = re.compile(r"namespace-uri\(\)\s*=\s*(?:'([^']*)'|\"([^\"]*)\")")
_NAME_IS = re.compile(r"local-name\(\)\s*=\s*['\"]([^'\"]*)['\"]")
_POSITION = re.compile(r"\[(?:position\(\)\s*=\s*)?(\d+)\]")


def place(root: Element, location: str) -> str:
    """Return the place of ``location``, an XPath that names every element on the way, in the document of ``root``.

    For an attribute it is that of its element and the attribute's name; for the document itself it is empty.
    """
    node: Element | None = None
    attribute = ""
    for step in _STEP.finditer(location):
        name = step["name"]
        if step["attribute"]:
            attribute = name
            break
        candidates = [root] if node is None else node.iterchildren(etree.Element)
        found = [child for child in candidates if _fits(child, step)]
        position = _POSITION.findall(step["predicates"])
        index = int(position[-1]) - 1 if position else 0
        if index >= len(found):
            return bounded(location)
        node = found[index]
    if node is None:
        return ""
    return xml_place(node, attribute)


def _fits(element: Element, step: re.Match[str]) -> bool:
    name = etree.QName(element)
    local = _NAME_IS.search(step["predicates"])
    namespace = _NAMESPACE_IS.search(step["predicates"])
    uri = step["uri"] if namespace is None else namespace[1] or namespace[2] or ""
    return name.localname == (local[1] if local else step["name"]) and uri in (None, name.namespace or "")
