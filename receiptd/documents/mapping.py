"""Mapping: from a document of one type to the canonical receipt, as its ``mapping`` says.

The canonical receipt is a JSON object with every key present; money is an integer of the currency's minor unit:

    currency, number, issued_at (ISO 8601 with offset), seller, buyer, total,
    taxes: [{code, rate, base, amount}], lines: [{description, category, sku, quantity, unit, amount}]

Text that the document lacks is ``""``, a tax base ``null``, a quantity ``"1"``; quantity and rate are decimal strings.

A field is mapped by a place, or by an object with ``at`` (a place, or several whose texts are joined) or ``value`` (the
same for every document), and optionally ``default`` (for when the place is empty), ``unit`` (``major`` or ``minor``)
and ``less`` (places whose amounts are taken off) for money, ``format`` and ``zone`` for the time. ``taxes`` and
``lines`` have ``each``, the place of the entries, at which their fields' places start. A place is a JSON Pointer (RFC
6901) or an XPath 1.0 expression.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from lxml import etree

from receiptd.documents import values
from receiptd.documents.findings import FINDINGS_MAX
from receiptd.documents.media import Format
from receiptd.documents.places import Column, JsonPlaces, Lister, Places, XmlPlaces
from receiptd.domain.receipt import Finding

ENTRIES_MAX = 1_000
"""Lines, or taxes, in one receipt."""

_INT64_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a canonical field holds, and what stands for it when the document lacks it."""

    holds: str = "text"
    required: bool = False
    absent: str | None = ""


_MONEY = _Kind("money", required=True, absent=None)
_REQUIRED = _Kind(required=True)
_OPTIONAL = _Kind()

CANONICAL = {
    "": {
        "currency": _Kind("currency", required=True),  # first, because the amounts need it
        "number": _REQUIRED,
        "issued_at": _Kind("time", required=True),
        "seller": _REQUIRED,
        "buyer": _OPTIONAL,
        "total": _MONEY,
    },
    "taxes": {
        "code": _OPTIONAL,
        "rate": _Kind("quantity"),
        "base": _Kind("money", absent=None),
        "amount": _MONEY,
    },
    "lines": {
        "description": _REQUIRED,
        "category": _OPTIONAL,
        "sku": _OPTIONAL,
        "quantity": _Kind("quantity", absent="1"),
        "unit": _OPTIONAL,
        "amount": _MONEY,
    },
}
"""The fields of the canonical receipt: of its head (under ``""``) and of the entries of its lists."""


@dataclass(frozen=True, slots=True)
class _Field:
    """One compiled field. ``convert`` of an amount takes the currency too."""

    name: str
    code: str
    place: str
    kind: _Kind
    column: Column | None
    """None when the type does not map the field."""
    convert: values.Converter
    default: str | int | None
    less: Sequence[_Field] = ()
    """Amounts to take off."""


@dataclass(frozen=True, slots=True)
class _Group:
    name: str
    place: str
    each: Lister
    fields: Sequence[_Field]


_Fault: TypeAlias = tuple[_Field, int, str]
"""A field, the number of the entry, and what is wrong with it there."""


class DocumentMapping:
    """The compiled mapping of one receipt type."""

    def __init__(self, spec: Mapping[str, Any], format_: Format, namespaces: Mapping[str, str]) -> None:
        """Compile ``spec``, which has passed the schema of type.yaml.

        Raises:
            ValueError: a place, a time's format or a zone is wrong; the text begins with which.
        """
        self._places: Places = XmlPlaces(namespaces) if format_ is Format.XML else JsonPlaces()
        self._head = _compile_fields("", spec, self._places.head)
        self._groups = []
        for name in ("taxes", "lines"):
            part = spec.get(name)
            place = part["each"] if part else ""
            each = _compile(f"{name}.each", self._places.each, place) if part else _no_entries
            fields = _compile_fields(name, part or {}, self._places.entry)
            self._groups.append(_Group(name, place, each, fields))

    def read(self, document: Any) -> tuple[dict[str, Any], list[Finding]]:
        """Return the canonical receipt and what is wrong with it; when anything is, the receipt is not to be used."""
        faults: list[_Fault] = []
        receipt: dict[str, Any] = {}
        for field in self._head:
            receipt[field.name] = _column(field, (document,), receipt.get("currency", ""), faults)[0]
        findings = [_finding(field, reason, field.place) for field, _, reason in faults]
        for group in self._groups:
            faults.clear()
            entries = self._entries(group, document, findings)
            columns = [_column(field, entries, receipt["currency"], faults) for field in group.fields]
            receipt[group.name] = list(map(_ENTRIES[group.name], *columns))
            for field, index, reason in sorted(faults[:FINDINGS_MAX], key=_index):
                where = self._places.name(group.place, index, entries[index], field.place)
                findings.append(_finding(field, reason, where))
        return receipt, findings

    def _entries(self, group: _Group, document: Any, findings: list[Finding]) -> Sequence[Any]:
        try:
            entries = group.each(document)
        except etree.XPathError:
            entries = None
        if entries is not None and len(entries) <= ENTRIES_MAX:
            return entries
        message = f"the receipt's {group.name} are no list of at most {ENTRIES_MAX} entries"
        findings.append(Finding(f"mapping:{group.name}", message, group.place))
        return ()


def _column(field: _Field, nodes: Sequence[Any], currency: str, faults: list[_Fault]) -> list[Any]:
    """Return the field's value at each of ``nodes``; what is wrong joins ``faults``."""
    if field.column is None:
        return [field.kind.absent] * len(nodes)
    try:
        found = field.column(nodes)
    except etree.XPathError:
        faults.append((field, 0, "could not be looked up by its XPath"))
        return [field.kind.absent] * len(nodes)
    try:
        column = field.convert(found, currency)
    except ValueError:  # something is missing or wrong
        column = [_cell(field, index, value, currency, faults) for index, value in enumerate(found)]
    for less in field.less:
        taken = _column(less, nodes, currency, faults)
        column = [_less(field, index, *pair, faults) for index, pair in enumerate(zip(column, taken, strict=True))]
    return column


def _cell(field: _Field, index: int, value: Any, currency: str, faults: list[_Fault]) -> Any:
    if value is None or (type(value) is str and not value.strip()):
        value = field.default
    if value is not None:
        try:
            return field.convert((value,), currency)[0]
        except ValueError as error:
            faults.append((field, index, str(error)))
    elif field.kind.required:
        faults.append((field, index, "is missing"))
    return field.kind.absent


def _less(field: _Field, index: int, amount: int | None, taken: int | None, faults: list[_Fault]) -> int | None:
    if amount is None or taken is None:
        return None
    if abs(amount - taken) > _INT64_MAX:
        faults.append((field, index, "is too large an amount"))
    return amount - taken


def _tax(code: str, rate: str, base: int | None, amount: int) -> dict[str, Any]:
    return {"code": code, "rate": rate, "base": base, "amount": amount}


def _line(description: str, category: str, sku: str, quantity: str, unit: str, amount: int) -> dict[str, Any]:  # noqa: PLR0917 - in the order of CANONICAL
    return {
        "description": description,
        "category": category,
        "sku": sku,
        "quantity": quantity,
        "unit": unit,
        "amount": amount,
    }


_ENTRIES: Mapping[str, Callable[..., dict[str, Any]]] = {"taxes": _tax, "lines": _line}


def _index(fault: _Fault) -> int:
    return fault[1]


def _finding(field: _Field, reason: str, where: str) -> Finding:
    return Finding(field.code, f"{field.name} {reason}", where)


def _no_entries(_: Any) -> Sequence[Any]:
    return ()


def _compile_fields(group: str, spec: Mapping[str, Any], compile_place: Callable[[str], Column]) -> list[_Field]:
    prefix = f"{group}." if group else ""
    return [
        _compile(f"{prefix}{name}", _compile_field, prefix, name, kind, spec.get(name), compile_place)
        for name, kind in CANONICAL[group].items()
    ]


def _compile(name: str, compiler: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return compiler(*arguments)
    except ValueError as error:
        raise ValueError(f"mapping.{name}: {error}") from error


def _compile_field(prefix: str, name: str, kind: _Kind, spec: Any, compile_place: Callable[[str], Column]) -> _Field:
    options = {"at": spec} if isinstance(spec, str) else spec or {}
    at = _as_list(options.get("at", []))
    convert = _converter(kind, options)
    column = _joined([compile_place(place) for place in at]) if at else None
    if "value" in options:
        column = _constant(options["value"])
    code = f"mapping:{prefix}{name}"
    less = [
        _Field(name, code, place, _Kind("money", absent=None), compile_place(place), convert, default=0)
        for place in _as_list(options.get("less", []))
    ]
    return _Field(name, code, " + ".join(at), kind, column, convert, options.get("default"), less)


def _converter(kind: _Kind, options: Mapping[str, Any]) -> values.Converter:
    if kind.holds == "money":
        return values.amounts_in_minor if options.get("unit") == "minor" else values.amounts_in_major
    if kind.holds == "time":
        zone = options.get("zone")
        try:
            tz = ZoneInfo(zone) if zone else None
        except (ValueError, OSError, LookupError) as error:
            raise ValueError(f"{zone!r} is no time zone that this machine knows (IANA: Europe/Kyiv)") from error
        pattern = options.get("format", "iso")
        return values.iso_times(tz) if pattern == "iso" else values.patterned_times(pattern, tz)
    return {"text": values.texts, "quantity": values.quantities, "currency": values.currencies}[kind.holds]


def _as_list(places: str | list[str]) -> list[str]:
    return [places] if isinstance(places, str) else places


def _constant(value: Any) -> Column:
    return lambda nodes: [value] * len(nodes)


def _joined(columns: Sequence[Column]) -> Column:
    if len(columns) == 1:
        return columns[0]
    return lambda nodes: [_join(parts) for parts in zip(*(column(nodes) for column in columns), strict=True)]


def _join(parts: Sequence[Any]) -> str | None:
    return None if None in parts or "" in parts else "".join(str(part).strip() for part in parts)
