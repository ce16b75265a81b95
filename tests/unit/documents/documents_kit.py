"""Receipt types for tests, written to a folder: small ones, with what a test wants changed."""

from __future__ import annotations

from pathlib import Path

import orjson
import yaml

from receiptd.documents import ReceiptTypes

ANYTHING = True  # as a JSON Schema
JSON_TYPE = {
    "id": "slip",
    "version": 3,
    "title": "A slip",
    "format": "json",
    "schema": "schema.json",
    "registrars": ["tax"],
    "recognise": [{"pointer": "/kind", "equals": "slip"}],
    "mapping": {
        "number": "/no",
        "issued_at": "/at",
        "seller": {"value": "shop"},
        "currency": {"at": "/cur", "default": "EUR"},
        "total": "/total",
        "lines": {"each": "/lines", "description": "/name", "quantity": "/qty", "amount": "/sum"},
    },
}
XML_TYPE = {
    "id": "bon",
    "version": 1,
    "title": "A bon",
    "format": "xml",
    "schema": "schema.xsd",
    "registrars": ["tax"],
    "recognise": [{"root": "Bon", "namespace": "urn:bon"}],
    "namespaces": {"b": "urn:bon"},
    "mapping": {
        "number": "/b:Bon/@no",
        "issued_at": "/b:Bon/b:At",
        "seller": {"value": "shop"},
        "currency": {"value": "EUR"},
        "total": "/b:Bon/b:Total",
        "lines": {"each": "/b:Bon/b:Line", "description": "@name", "unit": "b:Qty/@unit", "amount": "b:Sum"},
    },
}
ANY_XSD = """<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:bon">
  <xs:element name="Bon" type="xs:anyType"/>
</xs:schema>"""
SLIP = {
    "kind": "slip",
    "no": "7",
    "at": "2026-05-01T10:00:00+02:00",
    "total": 3.5,
    "lines": [{"name": "Tea", "sum": 3.5}],
}
BON = b"""<Bon xmlns="urn:bon" no="7"><At>2026-05-01T10:00:00+02:00</At><Total>3.50</Total>
<Line name="Tea"><Qty unit="cup">1</Qty><Sum>3.50</Sum></Line></Bon>"""


def write_type(root: Path, spec: dict, schema: object = ANYTHING, name: str = "") -> Path:
    """Write a type's folder under ``root`` and return it; ``schema`` is a JSON value, or the text of an XSD."""
    folder = root / (name or str(spec.get("id", "type")))
    folder.mkdir(parents=True)
    (folder / "type.yaml").write_text(yaml.safe_dump(spec, allow_unicode=True), encoding="utf-8")
    text = schema if isinstance(schema, str) else orjson.dumps(schema).decode()
    (folder / str(spec.get("schema", "schema.json"))).write_text(text, encoding="utf-8")
    return folder


def json_types(root: Path, schema: object = ANYTHING, **changes: object) -> ReceiptTypes:
    """Load the JSON type with ``changes`` to its type.yaml."""
    write_type(root, JSON_TYPE | changes, schema)
    return ReceiptTypes.load([root])


def xml_types(root: Path, schema: str = ANY_XSD, **changes: object) -> ReceiptTypes:
    """Load the XML type with ``changes`` to its type.yaml."""
    write_type(root, XML_TYPE | changes, schema)
    return ReceiptTypes.load([root])
