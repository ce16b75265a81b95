"""A receipt type: one folder. Its ``type.yaml`` is read at once; what is compiled from it, when it is first needed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from lxml import etree

from receiptd.documents.errors import DocumentError
from receiptd.documents.findings import FINDINGS_MAX
from receiptd.documents.media import Format, media_of
from receiptd.documents.recogniser import Recogniser, compile_recogniser
from receiptd.documents.type_file import TypeFile
from receiptd.domain.errors import ConfigurationError
from receiptd.domain.receipt import Finding, Severity
from receiptd.domain.values import value

if TYPE_CHECKING:  # each brings libraries with it that a type may not need
    from receiptd.documents.mapping import DocumentMapping
    from receiptd.documents.rules import Rules
    from receiptd.documents.schemas.json_schema import JsonSchema
    from receiptd.documents.schemas.xml_schema import XmlSchema
    from receiptd.documents.schematron import Schematron
    from receiptd.documents.templates import Template

BODY_MAX_BYTES = 1_048_576
"""The largest document of a type that does not say."""
RETENTION = "standard"
"""The retention class of a type that does not say."""
_SENDS = frozenset({"original", "canonical"})


@value
class Checked:
    """A document that was read, recognised and judged."""

    type_id: str
    type_version: int
    registrars: tuple[str, ...]
    canonical: bytes
    """The canonical receipt as JSON (UTF-8), or empty when the document could not be mapped."""
    findings: tuple[Finding, ...]

    @property
    def valid(self) -> bool:
        """Whether no finding is an error."""
        return not self.findings or all(finding.severity is not Severity.ERROR for finding in self.findings)


@dataclass(frozen=True, slots=True)
class _Compiled:
    schema: JsonSchema | XmlSchema | None
    schematron: Schematron | None
    mapping: DocumentMapping
    rules: Rules
    templates: Mapping[str, Template]


class ReceiptType:
    """One version of a receipt type. What ``type.yaml`` says is at hand; the rest compiles on first use."""

    def __init__(self, file: TypeFile) -> None:
        """Take what ``file`` says. Raises ConfigurationError for what its schema cannot know."""
        spec, folder = file.spec, file.path.parent
        self.file = file
        self.folder = folder
        self.id: str = spec["id"]
        self.version: int = spec["version"]
        self.name = f"{self.id}@{self.version}"
        self.title: str = spec["title"]
        self.format = Format(spec["format"])
        self.body_max_bytes: int = spec.get("body_max_bytes", BODY_MAX_BYTES)
        self.retention: str = spec.get("retention", RETENTION)
        self.personal: tuple[str, ...] = tuple(spec.get("personal", ()))
        registrars = [{"id": entry} if isinstance(entry, str) else entry for entry in spec["registrars"]]
        self.registrars: tuple[str, ...] = tuple(entry["id"] for entry in registrars)
        self.sends: dict[str, str] = {entry["id"]: entry["sends"] for entry in registrars if "sends" in entry}
        """What a registrar gets, where the type says: ``original``, ``canonical``, or a template's file."""
        self.media_types: tuple[str, ...] = tuple(spec.get("media_types", ()))
        self.has_schematron = "schematron" in spec
        """Whether a check is a matter of milliseconds, and not for the event loop's thread."""
        if misfits := list(self._misfits()):
            raise ConfigurationError("\n".join(misfits))
        self.recognisers: tuple[Recogniser, ...] = tuple(self._recognisers())
        self._compiled: _Compiled | None = None
        self._fault = ""
        self._compiling = threading.Lock()

    @property
    def compiled(self) -> bool:
        """Whether ``check`` will not have to compile first."""
        return self._compiled is not None

    @property
    def templates(self) -> Mapping[str, Template]:
        """The templates by file name. Raises ConfigurationError."""
        return self._parts().templates

    def compile(self) -> None:
        """Compile schema, mapping, rules and templates, once; from any thread.

        Raises:
            ConfigurationError: a line for each fault: the file, its line where there is one, and how to mend it.
        """
        self._parts()

    def check(self, document: Any) -> Checked:
        """Judge ``document`` (as its format's decoder gave it) by schema, mapping and rules; all speak, if they can.

        The rules need the canonical receipt, so they are silent when the mapping failed. Schematron is left to
        ``schematron``.

        Raises:
            ConfigurationError: the type does not compile.
        """
        parts = self._compiled or self._parts()
        findings = parts.schema.findings(document) if parts.schema is not None else []
        receipt, faults = parts.mapping.read(document)
        canonical = b"" if faults else orjson.dumps(receipt)
        # NUL in a text, which the quick reading does not look for; one byte is found ten times as fast as six
        if b"\\" in canonical and b"\\u0000" in canonical:
            receipt, faults = parts.mapping.read_carefully(document)
        if faults:
            canonical = b""
            findings += faults
        else:
            findings += parts.rules.findings(receipt)
        if len(findings) > FINDINGS_MAX:
            findings.sort(key=_is_warning)  # so that the bound never cuts off an error
            del findings[FINDINGS_MAX:]
        return Checked(self.id, self.version, self.registrars, canonical, tuple(findings))

    def schematron(self, document: Any, checked: Checked) -> Checked:
        """Return ``checked`` with what the type's Schematron finds in ``document``, an XML tree.

        It takes milliseconds: for a worker thread. A document that breaks its schema is not asked: Schematron
        presumes what a schema demands.

        Raises:
            OverloadedError: the process that does it has ended and cannot be started again.
        """
        parts = self._parts()
        if parts.schematron is None or not checked.valid:
            return checked
        text = etree.tostring(document, encoding="UTF-8")
        findings = [*checked.findings, *parts.schematron.findings(text, document)]
        findings.sort(key=_is_warning)  # so that the bound never cuts off an error
        return replace(checked, findings=tuple(findings[:FINDINGS_MAX]))

    def broken(self) -> DocumentError:
        """Return the refusal of a document while its type does not compile."""
        return DocumentError(
            503,
            "receipt-type-broken",
            f"the receipt type {self.name} cannot be used right now, and nothing was stored; its operator must mend "
            "it. Send the same request again later",
        )

    def _misfits(self) -> Iterator[str]:
        """What the schema of ``type.yaml`` cannot know."""
        fault, spec = self.file.fault, self.file.spec
        xml = self.format is Format.XML
        if "schema" in spec and not spec["schema"].endswith(".xsd" if xml else ".json"):
            yield fault(["schema"], f"a type of format {self.format} has {'an .xsd' if xml else 'a .json'} file")
        if "schematron" in spec and not xml:
            yield fault(["schematron"], "Schematron is for types of format xml; say it by a rule")
        if "formats" in spec and xml:
            yield fault(["formats"], "formats is about JSON Schema; take it off")
        if len(set(self.registrars)) < len(self.registrars):
            yield fault(["registrars"], "a registrar stands twice; keep one")
        for key, name in self._files():
            if not (self.folder / name).is_file():
                yield fault([key], f"there is no file {name} in {self.folder}; put it there")
        for index, essence in enumerate(self.media_types):
            if not _is_of(essence, self.format):
                yield fault(["media_types", index], f"{essence} is no media type of {self.format} documents")

    def _files(self) -> Iterator[tuple[str, str]]:
        spec = self.file.spec
        if "schema" in spec:
            yield "schema", spec["schema"]
        for name in spec.get("schematron", ()):
            yield "schematron", name
        for sent in self.sends.values():
            if sent not in _SENDS:
                yield "registrars", sent

    def _recognisers(self) -> Iterator[Recogniser]:
        for index, entry in enumerate(self.file.spec.get("recognise", ())):
            try:
                yield compile_recogniser(self.format, entry)
            except ValueError as error:
                raise self.file.error(["recognise", index], str(error)) from error

    def _parts(self) -> _Compiled:
        with self._compiling:
            if self._fault:  # once is enough to know
                raise ConfigurationError(self._fault)
            if self._compiled is None:
                try:
                    self._compiled = self._compile()
                except ConfigurationError as error:
                    self._fault = str(error)
                    raise
            return self._compiled

    def _compile(self) -> _Compiled:
        from receiptd.documents.mapping import DocumentMapping  # noqa: PLC0415 - with the libraries it needs, when needed
        from receiptd.documents.rules import Rules  # noqa: PLC0415 - likewise

        spec = self.file.spec
        faults: list[str] = []

        def part(make: Any, *arguments: Any) -> Any:
            try:
                return make(*arguments)
            except ConfigurationError as error:
                faults.append(str(error))
            except ValueError as error:
                faults.append(self._located(str(error)))
            return None

        compiled = _Compiled(
            schema=part(self._schema),
            schematron=part(self._schematron),
            mapping=part(DocumentMapping, spec["mapping"], self.format, spec.get("namespaces", {})),
            rules=part(Rules, spec.get("rules", ())),
            templates=part(self._templates),
        )
        if faults:
            raise ConfigurationError("\n".join(faults))
        return compiled

    def _schema(self) -> JsonSchema | XmlSchema | None:
        spec = self.file.spec
        if "schema" not in spec:
            return None
        path = self.folder / spec["schema"]
        if self.format is Format.XML:
            from receiptd.documents.schemas.xml_schema import XmlSchema  # noqa: PLC0415 - see above

            return XmlSchema(path, self.folder)
        from receiptd.documents.schemas.json_schema import JsonSchema  # noqa: PLC0415 - see above

        return JsonSchema(path, self.folder, assert_formats=spec.get("formats") == "assert")

    def _schematron(self) -> Schematron | None:
        names = self.file.spec.get("schematron")
        if names is None:
            return None
        from receiptd.documents.schematron import Schematron  # noqa: PLC0415 - see above

        return Schematron([self.folder / name for name in names], self.folder)

    def _templates(self) -> dict[str, Template]:
        names = {sent for sent in self.sends.values() if sent not in _SENDS}
        if not names:
            return {}
        from receiptd.documents.templates import Template  # noqa: PLC0415 - see above

        return {name: Template(self.folder / name) for name in sorted(names)}

    def _located(self, message: str) -> str:
        """Return a fault of the mapping or of a rule, which begins with its name, with the line of it."""
        name, _, reason = message.partition(": ")
        if name.startswith("rule "):
            ids = [rule["id"] for rule in self.file.spec.get("rules", ())]
            place: Sequence[str | int] = ["rules", ids.index(name[5:])] if name[5:] in ids else ["rules"]
        else:
            place = list(name.split("."))
        return self.file.fault(place, reason or message)


def load_type(folder: Path) -> ReceiptType:
    """Read and compile the receipt type in ``folder``.

    Raises:
        ConfigurationError: a line for each fault names the file, its line, and how to mend it.
    """
    type_ = ReceiptType(TypeFile.read(folder))
    type_.compile()
    return type_


def _is_warning(finding: Finding) -> bool:
    return finding.severity is Severity.WARNING


def _is_of(essence: str, format_: Format) -> bool:
    try:
        return media_of(essence, b"").format is format_
    except DocumentError:
        return False
