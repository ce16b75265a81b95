"""Receipts and invoices that others wrote, in a folder beside the project, and what each states of itself.

What a document states is read here by other means than a mapping's: regular expressions over the text, and plain loops.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

CORPORA = Path(__file__).parents[2] / ".." / "shared" / "corpora"
ABSENT = "the folder of real receipts is not beside the project"
TYPES = Path(__file__).parent
"""The receipt types for them, each without the schema, which is read from the corpora."""

COUNTS = {
    ("ubl-invoice", "valid"): 8,
    ("fatturapa", "valid"): 7,
    ("fatturapa", "invalid"): 1,
    ("prro-check", "valid"): 6,
    ("prro-zrep", "valid"): 2,
    ("versa-receipt", "valid"): 3,
    ("kivra-retail", "valid"): 8,
    ("kivra-retail", "not-json"): 10,
    ("gobl-invoice", "valid"): 24,
}
"""How many documents there are of each type and verdict."""


@dataclass(frozen=True)
class Document:
    """One file. ``verdict`` is the name of its folder: ``valid``, ``invalid`` or ``not-json``."""

    path: Path
    type_id: str
    verdict: str

    def __str__(self) -> str:
        return f"{self.type_id}/{self.path.name}"

    @property
    def body(self) -> bytes:
        return self.path.read_bytes()

    @property
    def content_type(self) -> str:
        if self.path.suffix == ".json":
            return "application/json"
        # The UTF-8 files of PRRO declare windows-1251 all the same, so their media type must say better.
        return "application/xml; charset=utf-8" if ".utf8." in self.path.name else "application/xml"

    @property
    def stated(self) -> Stated:
        return _STATED[self.type_id](self.body.decode("cp1251" if ".cp1251." in self.path.name else "utf-8"))


@dataclass(frozen=True)
class Stated:
    """What a valid document says: amounts in major units, the date as it is written there (ISO 8601)."""

    number: str
    date: str
    currency: str
    total: Decimal
    lines: tuple[Decimal, ...]


def documents(verdict: str) -> list[Document]:
    """Return every document of the verdict."""
    return [
        Document(path, "prro-zrep" if "ZREP" in path.name else path.parts[-3], verdict)
        for path in sorted(CORPORA.glob(f"*/{verdict}/*"))
    ]


def make_root(root: Path) -> Path:
    """Make ``root`` a folder of the types, each with the schema that its corpus has; return it."""
    for type_ in TYPES.glob("*/type.yaml"):
        folder = root / type_.parent.name
        folder.mkdir(parents=True)
        shutil.copyfile(type_, folder / type_.name)
        if (schema := CORPORA / folder.name / "schema").is_dir():
            shutil.copytree(schema, folder / "schema", copy_function=shutil.copyfile)
    return root


def _texts(text: str, name: str) -> list[str]:
    """Return the text of each element of the local name."""
    return [found.strip() for found in re.findall(rf"<(?:\w+:)?{name}(?:\s[^>]*)?>([^<]*)<", text)]


def _amounts(text: str, name: str) -> tuple[Decimal, ...]:
    return tuple(map(Decimal, _texts(text, name)))


def _ubl(text: str) -> Stated:
    head, *lines = re.split(r"<cac:InvoiceLine\b", text)
    return Stated(
        number=_texts(head, "ID")[0],
        date=_texts(head, "IssueDate")[0],
        currency=_texts(head, "DocumentCurrencyCode")[0],
        total=_amounts(head, "TaxInclusiveAmount")[0],
        lines=tuple(_amounts(line, "LineExtensionAmount")[0] for line in lines),
    )


def _fatturapa(text: str) -> Stated:
    return Stated(
        number=_texts(text, "Numero")[0],
        date=_texts(text, "Data")[0],
        currency=_texts(text, "Divisa")[0],
        total=_amounts(text, "ImportoTotaleDocumento")[0],
        lines=_amounts(text, "PrezzoTotale"),
    )


def _prro(text: str, total: str, lines: tuple[Decimal, ...]) -> Stated:
    day = _texts(text, "ORDERDATE")[0]
    stated = re.search(rf"<{total}>\s*<SUM>([0-9.]+)<", text)
    return Stated(
        number=f"{_texts(text, 'CASHREGISTERNUM')[0]}/{_texts(text, 'ORDERNUM')[0]}",
        date=f"{day[4:]}-{day[2:4]}-{day[:2]}",
        currency="UAH",
        total=Decimal(stated[1] if stated else 0),
        lines=lines,
    )


def _check(text: str) -> Stated:
    body = text.partition("<CHECKBODY>")[2]
    pairs = zip(_amounts(body, "COST"), _amounts(body, "DISCOUNTSUM"), strict=True)
    return _prro(text, "CHECKTOTAL", tuple(cost - discount for cost, discount in pairs))


def _zrep(text: str) -> Stated:
    payments = text.partition("<PAYFORMS>")[2].partition("</PAYFORMS>")[0]
    return _prro(text, "ZREPREALIZ", _amounts(payments, "SUM"))


def _decoded(text: str) -> Any:
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def _versa(text: str) -> Stated:
    receipt = _decoded(text)
    head = receipt["header"]
    return Stated(
        number=head["invoice_number"],
        date=datetime.fromtimestamp(int(head["invoiced_at"]), UTC).date().isoformat(),
        currency=head["currency"].upper(),
        total=head["total"] / 100,
        lines=tuple(_versa_lines(receipt["itemization"])),
    )


def _versa_lines(value: Any) -> Iterator[Decimal]:
    for name, child in value.items() if isinstance(value, dict) else enumerate(value or ()):
        if name in {"items", "subscription_items", "segments"}:
            yield from (line.get("amount", line.get("fare")) / 100 for line in child)
        elif isinstance(child, (dict, list)):
            yield from _versa_lines(child)


def _kivra(text: str) -> Stated:
    receipt = _decoded(text)
    return Stated(
        number=str(receipt["receipt_identifier"]["sequence_number"]),
        date=receipt["time_of_purchase"][:10],
        currency=receipt["currency"],
        total=next(total["amount"] for total in receipt["totals"] if total["type"] == "paid"),
        lines=tuple(item["amount" if item["type"] == "deposit" else "extended_amount"] for item in receipt["items"]),
    )


def _gobl(text: str) -> Stated:
    invoice = _decoded(text)
    return Stated(
        number=f"{invoice['series']}-{invoice['code']}" if "series" in invoice else invoice["code"],
        date=invoice["issue_date"],
        currency=invoice["currency"],
        total=Decimal(invoice["totals"]["total_with_tax"]),
        lines=tuple(Decimal(line["total"]) for line in invoice.get("lines", ())),
    )


_STATED: Mapping[str, Callable[[str], Stated]] = {
    "ubl-invoice": _ubl,
    "fatturapa": _fatturapa,
    "prro-check": _check,
    "prro-zrep": _zrep,
    "versa-receipt": _versa,
    "kivra-retail": _kivra,
    "gobl-invoice": _gobl,
}
