"""A receipt type: one folder, loaded. It checks a decoded document and gives the canonical receipt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import yaml

from receiptd.documents.errors import bounded
from receiptd.documents.findings import FINDINGS_MAX, pointer
from receiptd.documents.json_schema import JsonSchema
from receiptd.documents.mapping import DocumentMapping
from receiptd.documents.media import Format
from receiptd.documents.places import compile_pointer
from receiptd.documents.rules import Rules
from receiptd.documents.xml_schema import XmlSchema
from receiptd.domain.errors import ConfigurationError
from receiptd.domain.receipt import Finding, Severity

BODY_MAX_BYTES = 1_048_576
"""The largest document of a type that does not say."""

_SCHEMA_OF_TYPES = Path(__file__).with_name("type.schema.json")
_TYPES = jsonschema_rs.Draft202012Validator(orjson.loads(_SCHEMA_OF_TYPES.read_bytes()))


@dataclass(frozen=True, slots=True)
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
        return all(finding.severity is not Severity.ERROR for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Recogniser:
    """One way to know a document: its root element (in Clark notation), or the value at a JSON Pointer."""

    place: str
    """The pointer, or empty for the root element."""
    value: str | int | bool


@dataclass(frozen=True, slots=True)
class ReceiptType:
    """A loaded receipt type."""

    id: str
    version: int
    title: str
    format: Format
    folder: Path
    registrars: tuple[str, ...]
    body_max_bytes: int
    recognisers: tuple[Recogniser, ...]
    media_types: tuple[str, ...]
    _schema: JsonSchema | XmlSchema
    _mapping: DocumentMapping
    _rules: Rules

    def check(self, document: Any) -> Checked:
        """Judge ``document`` (as its format's decoder gave it) by schema, mapping and rules; all speak, if they can.

        The rules need the canonical receipt, so they are silent when the mapping failed.
        """
        findings = self._schema.findings(document)
        receipt, faults = self._mapping.read(document)
        if faults:
            canonical = b""
            findings += faults
        else:
            canonical = orjson.dumps(receipt)
            findings += self._rules.findings(receipt)
        return Checked(self.id, self.version, self.registrars, canonical, tuple(findings[:FINDINGS_MAX]))


def load_type(folder: Path) -> ReceiptType:
    """Load the receipt type in ``folder``.

    Raises:
        ConfigurationError: it names the file, the place in it, and what is wrong there.
    """
    path = folder / "type.yaml"
    spec = _read(path)
    format_ = Format(spec["format"])
    namespaces = spec.get("namespaces", {})
    schema_path = folder / spec["schema"]
    if schema_path.suffix != (".xsd" if format_ is Format.XML else ".json"):
        raise ConfigurationError(
            f"{path}: at /schema, a type of format {format_} has an .xsd (xml) or .json (json) file"
        )
    try:
        recognisers = tuple(_recogniser(format_, entry) for entry in spec.get("recognise", ()))
        mapping = DocumentMapping(spec["mapping"], format_, namespaces)
        rules = Rules(spec.get("rules", ()))
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    return ReceiptType(
        id=spec["id"],
        version=spec["version"],
        title=spec["title"],
        format=format_,
        folder=folder,
        registrars=tuple(spec["registrars"]),
        body_max_bytes=spec.get("body_max_bytes", BODY_MAX_BYTES),
        recognisers=recognisers,
        media_types=tuple(spec.get("media_types", ())),
        _schema=XmlSchema(schema_path, folder)
        if format_ is Format.XML
        else JsonSchema(schema_path, folder, assert_formats=True),
        _mapping=mapping,
        _rules=rules,
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        spec = yaml.safe_load(path.read_bytes())
        errors = [
            f"at {pointer(error.instance_path) or 'the top'}, {error.message}" for error in _TYPES.iter_errors(spec)
        ]
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: not readable as YAML: {bounded(str(error))}") from error
    if errors:
        raise ConfigurationError(
            "\n".join(f"{path}: {bounded(error)} (see {_SCHEMA_OF_TYPES.name})" for error in errors)
        )
    return dict(spec)


def _recogniser(format_: Format, entry: dict[str, Any]) -> Recogniser:
    if ("root" in entry) is not (format_ is Format.XML):
        raise ValueError("recognise: a type of format xml goes by root, one of format json by pointer and equals")
    if "root" in entry:
        namespace = entry.get("namespace")
        return Recogniser("", f"{{{namespace}}}{entry['root']}" if namespace else entry["root"])
    compile_pointer(entry["pointer"])
    return Recogniser(entry["pointer"], entry["equals"])
