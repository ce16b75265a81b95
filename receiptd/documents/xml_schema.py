"""XSD 1.0 (libxml2), compiled once, with every reference kept in the folder. All faults of a document are named."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, cast

from lxml import etree

from receiptd.documents.errors import bounded
from receiptd.documents.findings import CODE, FINDINGS_MAX
from receiptd.documents.folder import locate
from receiptd.documents.xml_document import Element
from receiptd.domain.errors import ConfigurationError
from receiptd.domain.receipt import Finding

_TYPED_VALUE = re.compile(r"(?<=: )'.*'(?= is not a valid value)", re.DOTALL)
_OTHER_VALUE = re.compile(r"(?<=The value) '.*'(?= (?:is|has|does|must) )|(?<=key-sequence) \[.*\]", re.DOTALL)
_QUALIFIED = re.compile(r"(?<=/)([^/\[\]*@()]+:[^/\[\]@()]+)")
_NAMESPACE = re.compile(r"\{[^}'\s]*\}")


class XmlSchema:
    """An XSD 1.0 schema. What a document says of schema locations is ignored."""

    def __init__(self, path: Path, folder: Path) -> None:
        """Compile the schema at ``path``; imports and includes reach files of ``folder`` only.

        Raises:
            ConfigurationError: it cannot be read, is no schema, or a location leads out of the folder.
        """
        parser = etree.XMLParser(resolve_entities=False, no_network=True)
        parser.resolvers.add(_FolderResolver(folder))
        try:
            self._schema = etree.XMLSchema(etree.fromstring(path.read_bytes(), parser, base_url=str(path.resolve())))
        except (OSError, etree.LxmlError) as error:
            raise ConfigurationError(f"{path}: no usable XML Schema: {bounded(str(error))}") from error

    def findings(self, document: Element) -> list[Finding]:
        """Return what is wrong with a tree, each with its path (local names) and line."""
        try:
            if self._schema.validate(document):
                return []
        except etree.XMLSchemaValidateError:
            return [Finding(CODE, "the schema could not be evaluated: one of its patterns is too costly for this text")]
        entries = cast("Iterable[Any]", self._schema.error_log)
        return [
            Finding(CODE, _without_values(entry.message), _place(document, entry.path, entry.line))
            for entry in islice(entries, FINDINGS_MAX)
        ]


def _without_values(message: str) -> str:
    message = _TYPED_VALUE.sub("the value", _OTHER_VALUE.sub("", message))
    return bounded(_NAMESPACE.sub("", message))


def _place(root: Element, path: str | None, line: int) -> str:
    """Return the place of libxml2's ``path``: its prefixes are the document's, a default namespace is ``*``."""
    try:
        found: Any = root.xpath(_QUALIFIED.sub(r"*[name()='\1']", path or "/*"))
    except etree.XPathError:
        found = ()
    return xml_place(found[0]) if found and etree.iselement(found[0]) else f"(line {line})"


def xml_place(node: Element) -> str:
    """Return an element's path, in local names, and its line: ``/CHECK/CHECKTOTAL/SUM (line 26)``."""
    tree = node.getroottree()
    path = tree.getelementpath(node)
    steps = [tree.getroot().tag, *([] if path == "." else [path])]
    return bounded(f"/{_NAMESPACE.sub('', '/'.join(steps))} (line {node.sourceline})")


class _FolderResolver(etree.Resolver):
    """Gives libxml2 the files of one folder and nothing else."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def resolve(self, system_url: str, public_id: str, context: object = None) -> Any:  # noqa: ARG002 - lxml's call
        return self.resolve_string(locate(self._folder, system_url).read_bytes(), context, base_url=system_url)
