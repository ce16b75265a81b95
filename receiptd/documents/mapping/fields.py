"""The fields of the canonical receipt, and how the ``mapping`` of a type fills each.

A field is mapped by a place, or by an object with ``at`` (a place, or several whose texts are joined), ``first`` (the
first of several that holds something) or ``value`` (the same for every document), and optionally ``default`` (for when
the place is empty), ``required``, ``unit``, ``round`` and ``less`` for money, ``unit`` for a rate, ``format`` and
``zone`` for the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP
from functools import partial
from typing import Any

from receiptd.documents import values
from receiptd.documents.media import Format
from receiptd.documents.places import Getter, JsonPlace, JsonPlaces, Lister
from receiptd.documents.times import compile_time
from receiptd.documents.xml_places import XmlPlace, XmlPlaces

GROUPS = ("taxes", "lines")

_ROUNDING = {"half-up": ROUND_HALF_UP, "half-even": ROUND_HALF_EVEN}
_PROBE_CURRENCY = "CLF"  # of four decimals, the most there are: whatever can be an amount is one in it


@dataclass(frozen=True, slots=True)
class Kind:
    """What a canonical field holds, and what stands for it when the document lacks it."""

    holds: str = "text"
    required: bool = False
    absent: str | None = ""


_MONEY = Kind("money", required=True, absent=None)
_REQUIRED = Kind(required=True)
_OPTIONAL = Kind()

CANONICAL = {
    "": {
        "currency": Kind("currency", required=True),  # first, because the amounts need it
        "number": _REQUIRED,
        "issued_at": Kind("time", required=True),
        "seller": _REQUIRED,
        "buyer": _OPTIONAL,
        "total": _MONEY,
    },
    "taxes": {
        "code": _OPTIONAL,
        "rate": Kind("rate"),
        "base": Kind("money", absent=None),
        "amount": _MONEY,
    },
    "lines": {
        "description": _REQUIRED,
        "category": _OPTIONAL,
        "sku": _OPTIONAL,
        "quantity": Kind("quantity", absent="1"),
        "unit": _OPTIONAL,
        "amount": _MONEY,
    },
}
"""The fields of the canonical receipt: of its head (under ``""``) and of the entries of its lists."""


@dataclass(frozen=True, slots=True)
class Field:
    """One compiled field."""

    name: str
    code: str
    """Of its findings."""
    kind: Kind
    required: bool
    text: str = ""
    """Its places, for findings."""
    get: Getter | None = None
    """Takes the raw value from the document or the entry; None when the type does not map the field."""
    place: JsonPlace | XmlPlace | None = None
    """The place, when it is one and nothing else."""
    convert: values.Converter = values.text
    default: str | int | None = None
    literal: str | int | None = None
    """What ``value`` says: the same raw value for every document."""
    less: Sequence[Field] = ()
    """Amounts to take off."""

    def read(self, node: Any, currency: str) -> Any:
        """Return the field's value. Raises ValueError, whose text says what is wrong, without the value."""
        if self.get is None:
            return self.kind.absent
        value = self.get(node)
        if value is None or (type(value) is str and not value.strip()):
            value = self.default
        if value is None:
            if self.required:
                raise ValueError("is missing")
            return self.kind.absent
        converted = self.convert(value, currency)
        for less in self.less:
            converted -= less.read(node, currency) or 0
            if abs(converted) > values.INT64_MAX:
                raise ValueError("is too large an amount")
        return converted


@dataclass(frozen=True, slots=True)
class Group:
    """A list of the receipt: where its entries are, and their fields."""

    name: str
    text: str
    each: Lister
    fields: Sequence[Field]


@dataclass(frozen=True, slots=True)
class Compiler:
    """Compiles the fields of one type's mapping. Raises ValueError whose text begins with ``mapping.FIELD: ``."""

    places: JsonPlaces | XmlPlaces

    @classmethod
    def of(cls, format_: Format, namespaces: Mapping[str, str]) -> Compiler:
        """Return the compiler for documents of one format."""
        return cls(XmlPlaces(namespaces) if format_ is Format.XML else JsonPlaces())

    def fields(self, group: str, spec: Mapping[str, Any]) -> list[Field]:
        """Compile the fields of the head (``""``) or of a list's entries."""
        prefix = f"{group}." if group else ""
        return [
            _named(f"{prefix}{name}", self._field, f"mapping:{prefix}{name}", name, kind, spec.get(name))
            for name, kind in CANONICAL[group].items()
        ]

    def group(self, name: str, spec: Mapping[str, Any] | None) -> Group:
        """Compile a list; one that the type does not map has no entries."""
        if spec is None:
            return Group(name, "", lambda _: (), self.fields(name, {}))
        return Group(
            name, spec["each"], _named(f"{name}.each", self.places.each, spec["each"]), self.fields(name, spec)
        )

    def _field(self, code: str, name: str, kind: Kind, spec: Any) -> Field:
        options = {"at": spec} if isinstance(spec, str) else spec
        if not options:
            return Field(name, code, kind, required=False)
        convert = _converter(kind, options)
        default = options.get("default")
        made = Field(
            name,
            code,
            kind,
            required=(kind.required or "required" in options) and "" not in {default, options.get("value")},
            convert=convert,
            default=None if default == "" else default,
            less=[
                self._located(Field(name, code, kind, required=False, convert=convert), [place])
                for place in _as_list(options.get("less", []))
            ],
        )
        _probe(made, default, options.get("value"))
        if "value" in options:
            return replace(made, literal=options["value"], get=lambda _: options["value"])
        if "first" in options:
            return self._located(made, options["first"], " | ", _first)
        separator = _separator(kind, options)
        return self._located(made, _as_list(options["at"]), " + ", partial(_joined, separator=separator))

    def _located(
        self,
        made: Field,
        at: Sequence[str],
        sign: str = "",
        combine: Callable[[Sequence[Getter]], Getter] | None = None,
    ) -> Field:
        places = [self.places.place(text) for text in at]
        if made.kind.holds == "money":
            for place in places:
                if isinstance(place, XmlPlace) and place.computed:
                    raise ValueError(
                        f"{place.text!r} computes, which XPath does in floating point; for money, name places, "
                        "take amounts off with less, or write sum(PLACE) alone"
                    )
        if len(places) == 1 or combine is None:
            return replace(made, text=places[0].text, get=places[0].get, place=places[0])
        return replace(made, text=sign.join(at), get=combine([place.get for place in places]))


def _named(name: str, compiler: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return compiler(*arguments)
    except ValueError as error:
        raise ValueError(f"mapping.{name}: {error}") from error


def _converter(kind: Kind, options: Mapping[str, Any]) -> values.Converter:
    if kind.holds == "money":
        minor = options.get("unit") == "minor"
        if "round" in options:
            return values.rounded_amount(_ROUNDING[options["round"]], minor=minor)
        return values.minor_amount if minor else values.major_amount
    if kind.holds == "time":
        return compile_time(options.get("format", "iso"), options.get("zone", ""))
    kinds: dict[str, values.Converter] = {
        "text": values.text,
        "quantity": values.quantity,
        "rate": values.fraction if options.get("unit") == "fraction" else values.rate,
        "currency": values.currency_code,
    }
    return kinds[kind.holds]


def _probe(made: Field, *literals: str | int | None) -> None:
    """Refuse a literal that no document could be read with."""
    for literal in literals:
        if literal is None or (literal == "" and made.kind.absent == "" and made.kind.holds in {"text", "rate"}):
            continue
        try:
            made.convert(literal, _PROBE_CURRENCY)
        except ValueError as error:
            raise ValueError(f"{literal!r} {error}") from error


def _separator(kind: Kind, options: Mapping[str, Any]) -> str:
    """What joins several places: nothing, or what ISO 8601 has between a date and a time."""
    return "T" if kind.holds == "time" and options.get("format", "iso") == "iso" else ""


def _as_list(places: str | list[str]) -> list[str]:
    return [places] if isinstance(places, str) else places


def _joined(getters: Sequence[Getter], separator: str) -> Getter:
    def get(node: Any) -> str | None:
        parts = [values.written(value).strip() if (value := get(node)) is not None else "" for get in getters]
        return separator.join(parts) if all(parts) else None

    return get


def _first(getters: Sequence[Getter]) -> Getter:
    def get(node: Any) -> Any:
        for get in getters:
            value = get(node)
            if value is not None and not (type(value) is str and not value.strip()):
                return value
        return None

    return get
