"""Schemas: JSON Schema (jsonschema-rs) and XSD 1.0 (libxml2), compiled once, with every reference kept in the folder.

Both name all faults of a document and never its values. Diagnosis is bounded as well as the list is: jsonschema-rs
collects every error before it gives the first, at some 12 us each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import unquote, urlsplit

import jsonschema_rs
import orjson
from lxml import etree

from receiptd.documents.errors import bounded
from receiptd.documents.xml_document import Element
from receiptd.domain.errors import ConfigurationError
from receiptd.domain.receipt import Finding

FINDINGS_MAX = 50
CODE = "schema"
_DIAGNOSED_VALUES_MAX = 2_000

_TYPED_VALUE = re.compile(r"(?<=: )'.*'(?= is not a valid value)", re.DOTALL)
_OTHER_VALUE = re.compile(r"(?<=The value) '.*'(?= (?:is|has|does|must) )|(?<=key-sequence) \[.*\]", re.DOTALL)
_QUALIFIED = re.compile(r"(?<=/)([^/\[\]*@()]+:[^/\[\]@()]+)")
_NAMESPACE = re.compile(r"\{[^}'\s]*\}")


class Schema(Protocol):
    """A compiled schema."""

    def findings(self, document: Any) -> list[Finding]:
        """Return what ``document`` (as its format's decoder gave it) does wrong, at most 50 findings."""
        ...


class JsonSchema:
    """A JSON Schema of the draft that its ``$schema`` names (4 to 2020-12; without one, 2020-12).

    ``format`` is asserted. Patterns run on an engine that is linear in the text; a ``regex`` with lookaround or
    backreferences is refused.
    """

    def __init__(self, path: Path) -> None:
        """Compile the schema at ``path``; ``$ref`` reaches files of its folder only. Raises ConfigurationError."""
        try:
            self._validator = jsonschema_rs.validator_for(
                orjson.loads(path.read_bytes()),
                mask="the value",
                validate_formats=True,
                pattern_options=jsonschema_rs.RegexOptions(),
                retriever=lambda uri: orjson.loads(locate(path.parent, uri).read_bytes()),
                base_uri="receipt-type:///" + path.name,
            )
        except jsonschema_rs.ValidationError as error:
            place = pointer(error.instance_path) or "the top"
            reason = f"at {place}, {bounded(error.message)}"
            raise ConfigurationError(f"{path}: no usable JSON Schema: {reason}") from error
        except (OSError, ValueError, jsonschema_rs.ReferencingError) as error:
            raise ConfigurationError(f"{path}: no usable JSON Schema: {bounded(str(error))}") from error

    def findings(self, document: Any) -> list[Finding]:
        """Return what is wrong with a JSON value: everything, or in a large document the first fault only."""
        if self._validator.is_valid(document):
            return []
        if _is_large(document):
            try:
                self._validator.validate(document)
            except jsonschema_rs.ValidationError as error:
                return [_finding(error)]
        return [_finding(error) for error in islice(self._validator.iter_errors(document), FINDINGS_MAX)]


def _finding(error: jsonschema_rs.ValidationError) -> Finding:
    return Finding(CODE, bounded(error.message), pointer(error.instance_path))


def pointer(path: list[str | int]) -> str:
    """Return ``path`` as a JSON Pointer (RFC 6901), bounded."""
    return bounded("".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path))


def _is_large(value: Any) -> bool:
    """Whether ``value`` holds more values than are diagnosed one by one."""
    level, count = [value], 1
    while level:
        level = [
            child
            for container in level
            if type(container) in (dict, list)
            for child in (container.values() if type(container) is dict else container)
        ]
        count += len(level)
        if count > _DIAGNOSED_VALUES_MAX:
            return True
    return False


class XmlSchema:
    """An XSD 1.0 schema. What a document says of schema locations is ignored."""

    def __init__(self, path: Path) -> None:
        """Compile the schema at ``path``; imports and includes reach files of its folder only.

        Raises:
            ConfigurationError: it cannot be read, is no schema, or a location leads out of the folder.
        """
        parser = etree.XMLParser(resolve_entities=False, no_network=True)
        parser.resolvers.add(_FolderResolver(path.parent))
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


def locate(folder: Path, uri: str) -> Path:
    """Return the file of ``folder`` that ``uri`` (a path, or a URL of any scheme) stands for: by its longest tail.

    ``https://example.org/schemas/common/money.json`` is ``common/money.json`` in the folder, or else ``money.json``.
    Nothing is fetched, and a link that leads out of the folder is not followed.

    Raises:
        FileNotFoundError: the folder has no such file.
    """
    root = folder.resolve()
    steps = [step for step in unquote(urlsplit(uri).path).split("/") if step not in ("", ".", "..")]
    for start in range(len(steps)):
        path = root.joinpath(*steps[start:]).resolve()
        if path.is_relative_to(root) and path.is_file():
            return path
    raise FileNotFoundError(f"{uri} is no file of {folder}; put it there, for nothing is fetched")
