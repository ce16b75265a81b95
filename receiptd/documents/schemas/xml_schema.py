"""XSD 1.0 (libxml2), compiled once, with every reference kept in the folder. All faults of a document are named."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, cast

from lxml import etree

from receiptd.documents.findings import CODE, FINDINGS_MAX
from receiptd.documents.schemas.xsd_catalogue import XSD, SchemaDocument, XsdCatalogue, closure
from receiptd.documents.schemas.xsd_content import flatten_repetitions
from receiptd.documents.schemas.xsd_patterns import harmless
from receiptd.documents.xml_document import Element
from receiptd.domain.errors import ConfigurationError
from receiptd.domain.receipt import Finding

_MESSAGE_MAX_CHARS = 1_000
_PLACE_MAX_CHARS = 300
_VALUE_MAX_CHARS = 100
_FAULTS_TOLD = 5
_BEFORE_VALUE = re.compile(r"Element '[^']*'(?:, attribute '[^']*')?: (?:\[facet '[^']*'\] )?[^']{0,60}'")
_BY_PATTERN = "' is not accepted by the pattern '"
_AFTER_VALUE = ("' is ", "' has ", "' does ", "' must ", "' of ", "'] ")
_STEP = re.compile(r"(?<=/)([^/\[\]*@()]+:[^/\[\]@()]+)")
_ATTRIBUTE = re.compile(r"Element '[^']*', attribute '(?:\{([^}']*)\})?([^']*)': ")
_compiling = Lock()


class XmlSchema:
    """An XSD 1.0 schema. What a document says of schema locations is ignored."""

    def __init__(self, path: Path, folder: Path) -> None:
        """Compile the schema at ``path``; imports and includes reach files of ``folder`` only.

        Raises:
            ConfigurationError: it cannot be read, is no schema, or refers to what the folder does not hold; it names
                the file, the line and what is wrong there.
        """
        documents = closure(XsdCatalogue(folder), path)
        try:
            self._patterns = _make_harmless(documents)
            self._schema = _compiled(documents)
        except ConfigurationError:  # whosever fault: as they stand in their files, libxml2 says it best
            self._patterns = {}
            self._schema = _compiled(closure(XsdCatalogue(folder), path))

    def findings(self, document: Element) -> list[Finding]:
        """Return what is wrong with a tree: libxml2's message, and the place as ``xml_place`` writes it."""
        try:
            if self._schema.validate(document):
                return []
        except etree.XMLSchemaValidateError:
            return [Finding(CODE, "the schema could not be evaluated: one of its patterns is too costly for this text")]
        entries = cast("Iterable[Any]", self._schema.error_log)
        return [
            Finding(CODE, self._message(entry.message), _place(document, entry.path, entry.line, entry.message))
            for entry in islice(entries, FINDINGS_MAX)
        ]

    def _message(self, text: str) -> str:
        """Return libxml2's message, with a long value cut."""
        match = _BEFORE_VALUE.match(text)
        if match is not None:
            start, end = match.end(), max(map(text.rfind, _AFTER_VALUE))
            if end - start > _VALUE_MAX_CHARS:
                text = f"{text[: start + _VALUE_MAX_CHARS]}…{text[end:]}"
        head, by_pattern, written = text.partition(_BY_PATTERN)
        if by_pattern and written[:-2] in self._patterns:
            text = f"{head}{by_pattern}{self._patterns[written[:-2]]}'."
        return _cut(text, _MESSAGE_MAX_CHARS)


def xml_place(node: Element, attribute: str = "") -> str:
    """Return an element's (or its attribute's) XPath and line: ``/Invoice/cac:TaxTotal[2]/cbc:TaxAmount (line 26)``.

    Names are as the document writes them; a position counts the siblings of that name, where there are several.
    """
    steps = [f"@{attribute}"] if attribute else []
    for element in (node, *node.iterancestors()):
        name = etree.QName(element).localname
        elder = sum(1 for _ in element.itersiblings(element.tag, preceding=True))
        several = elder or next(element.itersiblings(element.tag), None) is not None
        position = f"[{elder + 1}]" if several else ""
        steps.append(f"{element.prefix}:{name}{position}" if element.prefix else f"{name}{position}")
    return f"{_cut('/' + '/'.join(reversed(steps)), _PLACE_MAX_CHARS)} (line {node.sourceline})"


def _place(root: Element, path: str | None, line: int, message: str) -> str:
    """Return the place of libxml2's ``path``: its prefixes are the document's, a default namespace is ``*``."""
    try:
        found: Any = root.xpath(_STEP.sub(r"*[name()='\1']", (path or "/*").partition("/@")[0]))
    except etree.XPathError:
        found = ()
    if not found or not etree.iselement(found[0]):
        return f"(line {line})"
    node = found[0]
    match = _ATTRIBUTE.match(message)
    if match is None:
        return xml_place(node)
    namespace, name = match.groups()
    prefix = next((prefix for prefix, uri in node.nsmap.items() if prefix and uri == namespace), "xml")
    return xml_place(node, f"{prefix}:{name}" if namespace else name)


def _cut(text: str, max_chars: int) -> str:
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


def _make_harmless(documents: Sequence[SchemaDocument]) -> dict[str, str]:
    """Write what libxml2 might try for ever in another way; return the patterns by what was made of them."""
    changed = {}
    for document in documents:
        flatten_repetitions(document.root)
        for element in document.root.iter(f"{{{XSD}}}pattern"):
            pattern = element.get("value", "")
            written = harmless(pattern)
            if written != pattern:
                element.set("value", written)
                changed[written] = pattern
    return changed


def _compiled(documents: Sequence[SchemaDocument]) -> etree.XMLSchema:
    # From files, because the hook through which lxml would serve them from memory is one for all threads: whoever
    # parses meanwhile takes it away.
    try:
        with _compiling, tempfile.TemporaryDirectory(prefix="receiptd-xsd-") as written:
            for document in documents:
                Path(written, document.name).write_bytes(etree.tostring(document.root))
            try:
                return etree.XMLSchema(file=str(Path(written, documents[0].name)))
            except etree.LxmlError as error:
                raise ConfigurationError(_told(error, Path(written), documents)) from error
    except OSError as error:
        raise ConfigurationError(f"{documents[0].path}: no temporary files can be written: {error}") from error


def _told(error: etree.LxmlError, folder: Path, documents: Sequence[SchemaDocument]) -> str:
    """Return a line for each of libxml2's first complaints about a schema: file, line, message."""
    by_name = {str(folder / document.name): document for document in documents}
    entries = cast("Iterable[Any]", error.error_log)
    faults = [entry for entry in entries if entry.level > etree.ErrorLevels.WARNING]
    written = re.compile("|".join(map(re.escape, sorted(by_name, key=len, reverse=True))))
    told = []
    for entry in faults[:_FAULTS_TOLD]:
        document = by_name.get(entry.filename, documents[0])
        message = written.sub(lambda match: str(by_name[match[0]].path), entry.message)
        place = f"{document.path}, line {_line(document, entry.line)}"
        told.append(f"{place}: no usable XML Schema: {_cut(message, _MESSAGE_MAX_CHARS)}")
    return "\n".join(told) or f"{documents[0].path}: no usable XML Schema: {error}"


def _line(document: SchemaDocument, line: int) -> int:
    """Return the line of the file for a line of the document as it was written anew."""
    again = etree.fromstring(etree.tostring(document.root, encoding="UTF-8"))
    pairs = zip(document.root.iter(), again.iter(), strict=True)
    return {cast("int", new.sourceline): cast("int", old.sourceline) for old, new in pairs}.get(line, line)
