"""The XSD files of one folder: those that a schema needs, with every reference resolved before libxml2 looks.

libxml2 reads one document for each imported namespace and passes over all others, wants a location for each import and
knows one file by two URLs as two. So the closure of a schema is gathered here and given locations of our own: each
namespace is imported from one document, which includes the others where there are several, and each file is one
document for each namespace that it lends its components to. Nothing is ever fetched.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, takewhile
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from lxml import etree

from receiptd.documents.xml_document import Element
from receiptd.domain.errors import ConfigurationError

XSD = "http://www.w3.org/2001/XMLSchema"
_SCHEMA, _IMPORT, _INCLUDE, _REDEFINE = (f"{{{XSD}}}{name}" for name in ("schema", "import", "include", "redefine"))
_BASE = "{http://www.w3.org/XML/1998/namespace}base"
_INSTANCE = f"{XSD}-instance"
_INSTANCE_ATTRIBUTES = frozenset({"type", "nil", "schemaLocation", "noNamespaceSchemaLocation"})
_OWN = {"http://www.w3.org/XML/1998/namespace": Path(__file__).with_name("xml_namespace.xsd")}
"""Schemas of ours, for namespaces that a folder need not hold."""
_FILES_MAX = 5_000
_DOCUMENTS_MAX = 2_000


@dataclass(frozen=True, slots=True, eq=False)
class SchemaDocument:
    """A document of a closure. ``name`` (``2.xsd``) is what the others' locations call it.

    ``namespace`` is that of its components: its own target namespace, or that of the including document. ``path`` is
    its file; one that only includes others of its namespace has the first's.
    """

    name: str
    path: Path
    namespace: str
    root: Element


class XsdCatalogue:
    """The ``*.xsd`` files of a folder, found by location or by namespace. A link that leads out is not followed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._root = folder.resolve()
        self._namespaces: dict[Path, str | None] = {}

    def locate(self, location: str, start: Path, namespace: str) -> Path | None:
        """Return the file that ``location`` stands for in the file ``start``, or None.

        A relative location counts from ``start``. Any other, and one that leads nowhere so, stands for the file of the
        same name: of several, the one whose path agrees with it the furthest, then one of ``namespace``, then the
        nearest to ``start``.
        """
        parts = urlsplit(location.strip().replace("\\", "/"))
        if not parts.scheme and not parts.netloc:
            path = (start.parent / unquote(parts.path)).resolve()
            if path.is_relative_to(self._root) and path.is_file():
                return path
        wanted = _steps(unquote(parts.path))

        def rank(path: Path) -> tuple[int, bool, int]:
            apart = len(path.parts) - 2 * _common(path.parts, start.parts)
            return _common(wanted, _steps(path.as_posix())), self.namespace(path) == namespace, -apart

        return max((path for path in self._files if _steps(path.name) == wanted[:1]), key=rank, default=None)

    def of_namespace(self, namespace: str) -> list[Path]:
        """Return the files whose target namespace is ``namespace``; of several with the same bytes the first."""
        own = [_OWN[namespace]] if namespace in _OWN else []
        found = [path for path in self._files if self.namespace(path) == namespace] or own
        return list({path.read_bytes(): path for path in reversed(found)}.values())

    def namespace(self, path: Path) -> str | None:
        """Return the target namespace of the schema at ``path``, empty when it has none; None: it is no schema."""
        if path not in self._namespaces:
            try:
                self._namespaces[path] = _parse(path).get("targetNamespace", "")
            except ConfigurationError:  # told when the schema needs that very file
                self._namespaces[path] = None
        return self._namespaces[path]

    @cached_property
    def _files(self) -> list[Path]:
        found = (path.resolve() for path in self.folder.rglob("*") if path.suffix.lower() == ".xsd")
        files = sorted(islice({path for path in found if path.is_relative_to(self._root)}, _FILES_MAX + 1))
        if len(files) > _FILES_MAX:
            raise ConfigurationError(f"{self.folder}: more than {_FILES_MAX} .xsd files; keep what the type needs")
        return files


def closure(catalogue: XsdCatalogue, path: Path) -> list[SchemaDocument]:
    """Return the documents that the schema at ``path`` needs; the first stands for the schema.

    Raises:
        ConfigurationError: a file cannot be read or is no schema, or a reference leads to no file of the folder; it
            names the file and the line.
    """
    return _Closure(catalogue, path.resolve()).gather()


class _Closure:
    """The closure of one schema while it is gathered."""

    def __init__(self, catalogue: XsdCatalogue, main: Path) -> None:
        self._catalogue = catalogue
        self._documents: dict[tuple[bytes, str], SchemaDocument] = {}
        self._unread: deque[SchemaDocument] = deque()
        self._unlocated: deque[tuple[SchemaDocument, Element, str]] = deque()
        self._imports: list[Element] = []
        self._main = self._add(main, _parse(main).get("targetNamespace", ""))
        self._imported = {self._main.namespace: [self._main]}

    def gather(self) -> list[SchemaDocument]:
        while self._unread or self._unlocated:
            if self._unread:
                self._resolve(self._unread.popleft())
            else:  # last, because the documents that have a location may be what these ask for
                self._find(*self._unlocated.popleft())
        entries = {namespace: self._entry(documents) for namespace, documents in self._imported.items()}
        for element in self._imports:
            element.set("schemaLocation", entries[element.get("namespace", "")].name)
        main = entries[self._main.namespace]
        return list(dict.fromkeys((main, *entries.values(), *self._documents.values())))

    def _resolve(self, document: SchemaDocument) -> None:
        document.root.attrib.pop(_BASE, "")
        _drop_instance_attributes(document.root)
        for element in document.root.iterchildren(_IMPORT, _INCLUDE, _REDEFINE):
            location = element.get("schemaLocation")
            element.attrib.pop(_BASE, "")
            element.attrib.pop("schemaLocation", "")
            if element.tag == _IMPORT:
                self._resolve_import(document, element, location)
            elif location is not None:  # without one, libxml2 says what is wrong
                path = self._catalogue.locate(location, document.path, document.namespace)
                if path is None:
                    raise _missing(document, element, location, self._catalogue.folder)
                element.set("schemaLocation", self._add(path, document.namespace).name)

    def _resolve_import(self, document: SchemaDocument, element: Element, location: str | None) -> None:
        namespace = element.get("namespace", "")
        if namespace in {XSD, _INSTANCE}:  # built in
            return
        path = None if location is None else self._catalogue.locate(location, document.path, namespace)
        found = None if path is None else self._catalogue.namespace(path)
        if path is not None and found is None:
            _parse(path)  # says what is wrong with it
        if path is not None and found == namespace:
            self._import(path, namespace)
            self._imports.append(element)
        else:
            self._unlocated.append((document, element, location or ""))

    def _find(self, document: SchemaDocument, element: Element, location: str) -> None:
        namespace = element.get("namespace", "")
        if namespace not in self._imported:
            paths = self._catalogue.of_namespace(namespace)
            if not paths:
                what = f"the namespace {namespace!r}" + (f" at {location}" if location else "")
                raise _missing(document, element, what, self._catalogue.folder)
            for path in paths:
                self._import(path, namespace)
        self._imports.append(element)

    def _import(self, path: Path, namespace: str) -> None:
        document, documents = self._add(path, namespace), self._imported.setdefault(namespace, [])
        if document not in documents:
            documents.append(document)

    def _add(self, path: Path, namespace: str) -> SchemaDocument:
        key = _read(path), namespace  # a copy of a file is no other document
        document = self._documents.get(key)
        if document is None:
            number = len(self._documents)
            if number == _DOCUMENTS_MAX:
                raise ConfigurationError(f"{self._main.path}: needs more than {_DOCUMENTS_MAX} schema documents")
            document = SchemaDocument(f"{number}.xsd", path, namespace, _parse(path))
            self._documents[key] = document
            self._unread.append(document)
        return document

    def _entry(self, documents: Sequence[SchemaDocument]) -> SchemaDocument:
        """Return the one document that stands for those of a namespace."""
        first = documents[0]
        if len(documents) == 1:
            return first
        root = etree.Element(_SCHEMA, {"targetNamespace": first.namespace} if first.namespace else {})
        for document in documents:
            etree.SubElement(root, _INCLUDE, {"schemaLocation": document.name})
        return SchemaDocument(f"all-{first.name}", first.path, first.namespace, root)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: no usable XML Schema: {error.strerror}") from error


def _parse(path: Path) -> Element:
    """Return the root of a file of the operator's: it may have a DOCTYPE, whose external parts are left alone."""
    parser = etree.XMLParser(
        resolve_entities="internal",  # type: ignore[arg-type]  # the stubs know bool only
        no_network=True,
        load_dtd=False,
        remove_comments=True,
    )
    try:
        root = etree.fromstring(_read(path), parser)
    except etree.XMLSyntaxError as error:
        raise ConfigurationError(f"{path}, line {error.lineno}: no usable XML Schema: {error.msg}") from error
    if root.tag != _SCHEMA:
        raise ConfigurationError(f"{path}: no usable XML Schema: its root is {root.tag}, not {_SCHEMA}")
    return root


def _drop_instance_attributes(root: Element) -> None:
    """Drop the uses of ``xsi:`` attributes: libxml2 allows them everywhere, yet has no declarations to refer to."""
    for element in list(root.iter(f"{{{XSD}}}attribute")):
        prefix, _, name = element.get("ref", "").rpartition(":")
        parent = element.getparent()
        if name in _INSTANCE_ATTRIBUTES and prefix and element.nsmap.get(prefix) == _INSTANCE and parent is not None:
            parent.remove(element)


def _missing(document: SchemaDocument, element: Element, what: str, folder: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{document.path}, line {element.sourceline}: no usable XML Schema: this {etree.QName(element).localname} asks "
        f"for {what}, which no .xsd file of {folder} has; put it there, for nothing is fetched"
    )


def _steps(path: str) -> list[str]:
    """Return the names of ``path``, the last first, as they compare on any file system."""
    return [step for step in reversed(PurePosixPath(path.casefold()).parts) if step != ".."]


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many items the two have in common from the start on."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
