"""A Schematron schema made whole: includes read, abstract patterns instantiated, abstract rules spread out.

What is left are patterns of rules of asserts and reports. Every element carries its file and line in an attribute of
our own, so that whatever is wrong with it can be told with its place, even after it was copied elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lxml import etree

from receiptd.documents.errors import bounded
from receiptd.documents.schemas.folder import locate
from receiptd.documents.xml_document import Element
from receiptd.domain.errors import ConfigurationError

SCH = "{http://purl.oclc.org/dsdl/schematron}"
AT = "{urn:receiptd:schematron}at"
"""The attribute that holds an element's ``file:line``."""


def expanded(path: Path, folder: Path) -> Element:
    """Return the whole schema of ``path``; what it includes is read from ``folder`` only.

    Raises:
        ConfigurationError: a file cannot be read, is no Schematron, or names what is not there.
    """
    schema = read_xml(path)
    if schema.tag != f"{SCH}schema":
        raise fault(schema, f"is no <schema> of ISO Schematron (namespace {SCH[1:-1]}); update it")
    _include(schema, path, folder, (path.resolve(),))
    _instantiate(schema)
    _extend(schema)
    return schema


def read_xml(path: Path) -> Element:
    """Return the root of an XML file, each element marked with its place.

    Raises:
        ConfigurationError: it cannot be read, is not well-formed, or has a DOCTYPE.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)
    try:
        root = etree.fromstring(path.read_bytes(), parser)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except etree.XMLSyntaxError as error:
        raise ConfigurationError(f"{path}:{error.position[0]}: is no XML: {bounded(error.msg or '')}") from error
    docinfo: Any = root.getroottree().docinfo
    if docinfo.doctype:
        raise ConfigurationError(f"{path}:1: a DOCTYPE is not taken; write its entities out")
    for element in root.iter(etree.Element):
        element.set(AT, f"{path}:{element.sourceline}")
    return root


def fault(element: Element, message: str) -> ConfigurationError:
    """Return an error that tells what is wrong with ``element``, with its file and line."""
    return ConfigurationError(f"{element.get(AT)}: {bounded(message)}")


def need(element: Element, name: str) -> str:
    """Return an attribute that the element must have. Raises ConfigurationError."""
    value = element.get(name)
    if value is None or not value.strip():
        raise fault(element, f"<{etree.QName(element).localname}> has no {name}; write one")
    return value


def referred(path: Path, folder: Path, element: Element) -> Path:
    """Return the file of ``folder`` that the ``href`` of ``element``, which stands in ``path``, refers to.

    Raises:
        ConfigurationError: there is none.
    """
    href = unquote(need(element, "href").partition("#")[0])
    beside = (path.parent / href).resolve()
    if beside.is_relative_to(folder.resolve()) and beside.is_file():
        return beside
    try:
        return locate(folder, href)
    except FileNotFoundError as error:
        raise fault(element, str(error)) from error


def _include(root: Element, path: Path, folder: Path, above: tuple[Path, ...]) -> None:
    for element in list(root.iter(f"{SCH}include", f"{SCH}extends")):
        inclusion = element.tag == f"{SCH}include"
        if not inclusion and "href" not in element.attrib:
            continue  # it extends a rule of this schema
        target = referred(path, folder, element)
        if target in above:
            raise fault(element, f"{target.name} includes itself; break the circle")
        included = read_xml(target)
        _include(included, target, folder, (*above, target))
        part = _fragment(included, element)
        # Of a rule that is extended, its content; of a whole schema that is included, likewise.
        whole = inclusion and part.tag != f"{SCH}schema"
        _replace(element, [part] if whole else part.iterchildren(etree.Element))


def _fragment(root: Element, element: Element) -> Element:
    name = need(element, "href").partition("#")[2]
    if not name:
        return root
    for part in root.iter():
        if name in (part.get("id"), part.get("{http://www.w3.org/XML/1998/namespace}id")):
            return part
    raise fault(element, f"the file has no element with id {name}")


def _replace(element: Element, others: Iterable[Element]) -> None:
    for other in list(others):
        other.tail = None
        element.addprevious(other)
    remove(element)


def remove(element: Element) -> None:
    """Take ``element`` out of its parent."""
    parent = element.getparent()
    assert parent is not None
    parent.remove(element)


def _instantiate(schema: Element) -> None:
    """Replace each ``is-a`` pattern by its abstract pattern with the parameters written in."""
    patterns = list(schema.iter(f"{SCH}pattern"))
    abstract = {pattern.get("id"): pattern for pattern in patterns if pattern.get("abstract") == "true"}
    for pattern in patterns:
        if "is-a" not in pattern.attrib:
            continue
        source = abstract.get(pattern.get("is-a"))
        if source is None:
            raise fault(pattern, f"there is no abstract pattern {pattern.get('is-a')}; include it")
        instance = deepcopy(source)
        for name in ("abstract", "id"):
            instance.attrib.pop(name, "")
        for name in ("id", AT):
            instance.set(name, pattern.get(name, ""))
        substitute(instance, {**dict(_parameters(source)), **dict(_parameters(pattern))})
        _replace(pattern, [instance])
    for pattern in abstract.values():
        remove(pattern)


def _parameters(pattern: Element) -> Iterator[tuple[str, str]]:
    for param in pattern.iterchildren(f"{SCH}param"):
        yield need(param, "name").strip(), need(param, "value")


def substitute(pattern: Element, values: dict[str, str]) -> None:
    """Replace ``$name`` in all attributes of a pattern and below; ``$BR-5`` is no part of ``$BR-52``."""
    if not values:
        return
    names = "|".join(re.escape(name) for name in sorted(values, key=len, reverse=True))
    reference = re.compile(rf"\$({names})(?![\w-])")
    for element in pattern.iter(etree.Element):
        for name, value in element.attrib.items():
            if name != AT:
                element.set(name, reference.sub(lambda match: values[match[1]], str(value)))


def _extend(schema: Element) -> None:
    """Replace each ``extends`` by what the abstract rule of its pattern, or else of the schema, holds."""
    abstract = [rule for rule in schema.iter(f"{SCH}rule") if rule.get("abstract") == "true"]
    everywhere = {rule.get("id"): rule for rule in abstract}
    in_pattern = {(rule.getparent(), rule.get("id")): rule for rule in abstract}

    def spread(rule: Element, pattern: Element | None, above: tuple[str, ...]) -> None:
        for extends in rule.findall(f"{SCH}extends"):
            name = need(extends, "rule")
            source = in_pattern.get((pattern, name), everywhere.get(name))
            if source is None:
                raise fault(extends, f"there is no abstract rule {name}; write it, or mend the name")
            if name in above:
                raise fault(extends, f"the rule {name} extends itself; break the circle")
            copy = deepcopy(source)
            spread(copy, source.getparent(), (*above, name))
            _replace(extends, copy)

    for rule in list(schema.iter(f"{SCH}rule")):
        if rule.get("abstract") != "true":
            spread(rule, rule.getparent(), ())
    for rule in abstract:
        remove(rule)
