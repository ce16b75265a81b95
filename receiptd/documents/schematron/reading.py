"""What rules may read, of the type's folder only: the modules of a stylesheet, and the documents that it names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from lxml import etree

from receiptd.documents.schematron.expansion import fault, read_xml, referred
from receiptd.documents.xml_document import Element

_XSL = "{http://www.w3.org/1999/XSL/Transform}"
_UNESCAPED = "/!~'()*,;:$&+=@"
_READING = re.compile(r"\b(doc|document|doc-available)\s*\(")
_NAMED = re.compile(r"(?<![\w.:-])(?:fn:)?(doc|document)\(\s*(?:'([^']*)'|\"([^\"]*)\")")
_LITERAL = re.compile(r"'([^'\s]*)'|\"([^\"\s]*)\"")
_STATIC_READING = re.compile(
    r"\b(doc|doc-available|document|unparsed-[a-z-]+|json-doc|collection|uri-collection|transform|function-lookup)\b"
)


def url(path: Path) -> str:
    """Return the URL of a file, with that escaped which Saxon escapes in a URL that it makes of a path."""
    return f"file://{quote(str(path), safe=_UNESCAPED)}"


def modules(path: Path, folder: Path) -> Iterator[tuple[Path, Element]]:
    """Yield the stylesheet at ``path`` and all that it includes, each file once.

    Raises:
        ConfigurationError: one cannot be read, lies outside ``folder``, or reads files while it is compiled.
    """
    yield from _modules(path, folder, {path.resolve()})


def documents(root: Element, path: Path, folder: Path) -> set[Path]:
    """Return the files of ``folder`` that the expressions of ``root``, made of the file ``path``, may read.

    Those are the files that a text in quotes names relative to ``path``: in ``document('codes.xml')``, or in a variable
    that is handed to it. Each is well-formed and without a DOCTYPE.

    Raises:
        ConfigurationError: ``doc()`` or ``document()`` is called with what is no such file.
    """
    attributes = [(element, str(value)) for element in root.iter(etree.Element) for value in element.attrib.values()]
    if not any(_READING.search(value) for _, value in attributes):
        return set()
    for element, value in attributes:
        for function, single, double in _NAMED.findall(value):
            if _file(single or double, path, folder) is None:
                name = single or double
                raise fault(element, f"{function}('{name}') is no file of {folder}; put it there, nothing is fetched")
    texts = {single or double for _, value in attributes for single, double in _LITERAL.findall(value)}
    found = {file for text in texts if (file := _file(text, path, folder)) is not None}
    for file in found:
        read_xml(file)
    return found


def check_static(root: Element) -> None:
    """Refuse expressions that read files while the stylesheet is compiled, when Saxon may open files for modules.

    Raises:
        ConfigurationError: there is one.
    """
    for element in root.iter(etree.Element):
        attributes = {etree.QName(name).localname: str(value) for name, value in element.attrib.items()}
        if str(element.tag).startswith(_XSL) and (shadow := next((n for n in attributes if n[0] == "_"), "")):
            raise fault(element, f"the shadow attribute {shadow} is not taken; write what it comes to")
        static = attributes.get("use-when", "") + (attributes.get("select", "") if "static" in attributes else "")
        if found := _STATIC_READING.search(static):
            raise fault(element, f"{found[1]}() is not taken in a static expression; read it in a rule or a variable")


def _modules(path: Path, folder: Path, seen: set[Path]) -> Iterator[tuple[Path, Element]]:
    root = read_xml(path)
    check_static(root)
    yield path, root
    for element in root.iter(f"{_XSL}include", f"{_XSL}import"):
        target = referred(path, folder, element)
        if target != (path.parent / element.get("href", "")).resolve():  # Saxon resolves it in its own way
            raise fault(element, f"{element.get('href')} is no file beside {path.name} in {folder}; put it there")
        if target not in seen:
            seen.add(target)
            yield from _modules(target, folder, seen)


def _file(name: str, path: Path, folder: Path) -> Path | None:
    """Return the file that ``name`` in ``path`` stands for, as Saxon writes it; "" stands for ``path`` itself."""
    relative = name.partition("#")[0]
    base = path.resolve()
    file = Path(os.path.normpath(base.parent / relative)) if relative else base
    try:
        inside = file.resolve().is_relative_to(folder.resolve()) and file.is_file()
    except (OSError, ValueError):  # too long for a name, say
        return None
    return file if inside else None
