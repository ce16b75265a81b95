"""Quick: a Python function made for one mapping, which reads a document that has nothing unusual about it.

For a mapping of three fields in a JSON document it is, with the names of its constants told:

    def read(document):
        v = document['currency']
        currency = v if v in SCALES else CURRENCY_CODE(v, '')
        scale = SCALES[currency]
        v = document['number']
        number = v.strip() if type(v) is str and len(v) <= 1000 else TEXT(v)
        if not number: raise ValueError
        entries = document.get('lines')
        if entries is None: entries = ()
        elif type(entries) is not list or len(entries) > 1000: raise ValueError
        lines = []
        for node in entries:
            v = node['sum']
            if type(v) is float and -1e15 < (w := v * scale) < 1e15 and (amount := round(w)) / scale == v: pass
            else: amount = MAJOR_AMOUNT(v, currency)
            lines.append({'description': '', ..., 'amount': amount})
        return {'currency': currency, 'number': number, ..., 'lines': lines}

In XML one ``concat()`` gives all values of a node. Where the root or an entry has only children and their attributes to
give, its children are looked up by their tags, which costs less; most entries have theirs where the entry before did.
What a type's author wrote gets into the source as a literal (``repr``) and in no other way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from lxml import etree

from receiptd.documents import values
from receiptd.documents.mapping.fields import Field, Group
from receiptd.documents.places import JsonPlace, JsonPlaces
from receiptd.documents.xml_document import Element
from receiptd.documents.xml_places import XmlPlace, XmlPlaces
from receiptd.domain.money import exponent

UNUSUAL = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, etree.LxmlError)
"""What the function raises when it gives up. It does not say what is wrong, nor that anything is."""

_LIST_STEPS = 2
_SEPARATOR = chr(0xE000)  # for private use; a document that has it gives too many parts, and is unusual


def compile_quick(
    places: JsonPlaces | XmlPlaces, head: Sequence[Field], groups: Sequence[Group], entries_max: int
) -> Callable[[Any], dict[str, Any]]:
    """Return the function: the document in, the canonical receipt out. It raises one of ``UNUSUAL``."""
    writer = _Xml(places) if isinstance(places, XmlPlaces) else _Json(places)
    writer.put(0, "def read(document):")
    receipt = [(field.name, value) for field, value in zip(head, writer.fields(1, head, "document"), strict=True)]
    for group in groups:
        receipt.append((group.name, group.name))
        writer.entries(1, group, entries_max)
        writer.put(1, f"{group.name} = []")
        writer.put(1, "for node in entries:")
        entry = zip(group.fields, writer.fields(2, group.fields, "node"), strict=True)
        writer.put(2, f"{group.name}.append({_display((field.name, value) for field, value in entry)})")
    writer.put(1, f"return {_display(receipt)}")
    scope = writer.constants
    exec(compile("\n".join(writer.lines), "<mapping>", "exec"), scope)  # noqa: S102 - only this module wrote it
    function: Callable[[Any], dict[str, Any]] = scope["read"]
    return function


def _display(members: Any) -> str:
    return "{" + ", ".join(f"{name!r}: {value}" for name, value in members) + "}"


class _Writer:
    """Writes the source. A field's raw value goes through ``v``; its value has the field's name."""

    absent = "v is None"
    """What is true of a raw value that is not there."""
    textual = "type(v) is str and "
    """What is true of text, as far as it needs asking."""
    integer = f"str(v) if type(v) is int and {-values.INTEGER_MAX} < v < {values.INTEGER_MAX}"
    """A whole number as text, and when."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.constants: dict[str, Any] = {}

    def put(self, depth: int, line: str) -> None:
        self.lines.append("    " * depth + line)

    def constant(self, value: Any) -> str:
        name = f"C{len(self.constants)}"
        self.constants[name] = value
        return name

    def fields(self, depth: int, fields: Sequence[Field], node: str) -> list[str]:
        """Write the fields of a node; return for each the expression of its value."""
        mapped = [part for field in fields if field.place for part in (field, *field.less)]
        self.prepare(depth, mapped, node)
        return [self._field(depth, field, node) for field in fields]

    def prepare(self, depth: int, fields: Sequence[Field], node: str) -> None:
        """Write what the look-ups of a node share."""

    def entries(self, depth: int, group: Group, entries_max: int) -> None:
        """Write what finds the entries of a list."""
        self.put(depth, f"entries = {self.constant(group.each)}(document)")
        self.put(depth, f"if entries is None or len(entries) > {entries_max}: raise ValueError")

    def look_up(self, field: Field, node: str, *, sure: bool) -> str:  # noqa: ARG002 - what it is for differs by format
        """Return the expression of a raw value; ``sure`` when it may raise for a value that is not there."""
        return f"{self.constant(field.get)}({node})"

    def _field(self, depth: int, field: Field, node: str) -> str:
        if field.get is None:
            return repr(field.kind.absent)
        if field.literal is not None and field.kind.holds != "money":
            self.put(depth, f"{field.name} = {field.convert(field.literal, '')!r}")
        else:
            self._value(depth, field, node)
        if field.name == "currency":
            self.put(depth, f"scale = {self.constant(_SCALES)}[currency]")
        return field.name

    def _value(self, depth: int, field: Field, node: str) -> None:
        name, put = field.name, self.put
        sure = _sure(field)
        put(depth, f"v = {self.look_up(field, node, sure=sure)}")
        if field.default is not None:
            put(depth, f"if {self.absent}: v = {values.written(field.default)!r}")
        elif not sure:
            put(depth, f"if {self.absent}: {name} = {field.kind.absent!r}")
            put(depth, "else:")
            depth += 1
        self._convert(depth, field)
        for less in field.less:
            put(depth, f"v = {self.look_up(less, node, sure=False)}")
            put(depth, f"if not ({self.absent}): {name} -= {self.constant(less.convert)}(v, currency)")
            put(depth, f"if not {-values.INT64_MAX} <= {name} <= {values.INT64_MAX}: raise ValueError")

    def _convert(self, depth: int, field: Field) -> None:
        name = field.name
        convert = self.constant(field.convert)
        if field.convert is values.text:
            self.put(depth, f"{name} = v.strip() if {self.textual}len(v) <= {values.TEXT_MAX_CHARS} else {convert}(v)")
            if field.required or field.default is not None:
                self.put(depth, f"if not {name}: raise ValueError")
        elif field.convert is values.currency_code:
            self.put(depth, f"{name} = v if v in {self.constant(_SCALES)} else {convert}(v, '')")
        elif field.convert in {values.quantity, values.rate}:
            self.put(depth, f"{name} = {self.integer} else {convert}(v, '')")
        elif field.convert is values.major_amount:
            exact = (
                f"{-values.FLOAT_EXACT} < (w := v * scale) < {values.FLOAT_EXACT} and ({name} := round(w)) / scale == v"
            )
            if self.textual:
                self.put(depth, f"if type(v) is float and {exact}: pass")
            cents = "v[-3:-2] == '.' and (w := v.replace('.', '', 1)).isdecimal() and w.isascii() and len(w) < 16"
            self.put(depth, f"{'el' if self.textual else ''}if scale == 100 and {self.textual}{cents}: {name} = int(w)")
            self.put(depth, f"else: {name} = {convert}(v, currency)")
        else:
            self.put(depth, f"{name} = {convert}(v, {'currency' if field.kind.holds == 'money' else repr('')})")


class _Json(_Writer):
    """Members are looked up in place, all else by the place's own getter."""

    def __init__(self, places: JsonPlaces) -> None:
        super().__init__()
        self._places = places

    def entries(self, depth: int, group: Group, entries_max: int) -> None:
        members = self._places.place(group.text).members if group.text else None
        if not members:
            super().entries(depth, group, entries_max)
            return
        self.put(depth, f"entries = {self._members(members, 'document')}")
        self.put(depth, "if entries is None: entries = ()")
        self.put(depth, f"elif type(entries) is not list or len(entries) > {entries_max}: raise ValueError")

    def look_up(self, field: Field, node: str, *, sure: bool) -> str:
        members = field.place.members if isinstance(field.place, JsonPlace) else None
        if members is None:
            return super().look_up(field, node, sure=sure)
        if sure:
            return node + "".join(f"[{name!r}]" for name in members)
        return self._members(members, node) if members else node

    def _members(self, members: Sequence[str], node: str) -> str:
        nothing = self.constant({})
        for name in members[:-1]:
            node = f"({node}.get({name!r}) or {nothing})"
        return f"{node}.get({members[-1]!r})"


class _Xml(_Writer):
    """The values of a node are looked up together, as strings; only sums are not."""

    absent = "not v"
    textual = ""
    integer = "v if len(v) < 19 and v.isdecimal() and v.isascii()"

    def __init__(self, places: XmlPlaces) -> None:
        super().__init__()
        self._places = places
        self._found: dict[int, str] = {}
        self._root = ""
        """The root element's name, once ``members`` holds its children by theirs."""

    def prepare(self, depth: int, fields: Sequence[Field], node: str) -> None:
        found = [(field, field.place) for field in fields if isinstance(field.place, XmlPlace)]
        joined = [(field, place) for field, place in found if place.joinable]
        roots = {place.root for _, place in joined}
        short = len(roots) == 1 and all(place.child or place.attribute for _, place in joined)
        if short and (node == "document") is (roots != {""}):
            self._children(depth, joined, node, *roots)
        elif joined:
            self._concat(depth, joined, node)

    def entries(self, depth: int, group: Group, entries_max: int) -> None:
        self.put(depth, "shape = None")
        root, *steps = self._places.steps(group.text) or [""]
        if not self._root or self._root != root or len(steps) != _LIST_STEPS:
            super().entries(depth, group, entries_max)
            return
        parent, tag = steps  # of several parents each has entries
        self.put(depth, f"parent = members.get({parent!r})")
        self.put(depth, "if parent is None or len(members) < len(document):")
        super().entries(depth + 1, group, entries_max)
        self.put(depth, "else:")
        self.put(depth + 1, f"if len(parent) > {entries_max}: raise ValueError")
        self.put(depth + 1, f"entries = [child for child in parent[:] if child.tag == {tag!r}]")

    def look_up(self, field: Field, node: str, *, sure: bool) -> str:
        return self._found.get(id(field)) or super().look_up(field, node, sure=sure)

    def _concat(self, depth: int, fields: Sequence[tuple[Field, XmlPlace]], node: str) -> None:
        names = [f"f{index}" for index in range(len(fields))]
        self._found |= {id(field): name for (field, _), name in zip(fields, names, strict=True)}
        if len(fields) == 1:
            self.put(depth, f"f0 = {self.constant(fields[0][0].get)}({node})")
            return
        parts = f",'{_SEPARATOR}',".join(place.text for _, place in fields)
        found = self.constant(self._places.compile(f"concat({parts})", parts))
        self.put(depth, f"{', '.join(names)} = {found}({node}).split({_SEPARATOR!r})")

    def _children(self, depth: int, fields: Sequence[tuple[Field, XmlPlace]], node: str, root: str) -> None:
        tags = list(dict.fromkeys(place.child for _, place in fields if place.child))
        surely = {place.child for field, place in fields if _sure(field)}
        if root:
            self._root, several = root, f"len(members) < len({node})"
            self.put(depth, f"if {node}.tag != {root!r}: raise ValueError")
            # of namesakes the first counts, so it goes in last
            self.put(depth, f"members = {{child.tag: child for child in {node}[::-1]}}")
            elements = [f"members[{tag!r}]" if tag in surely else f"members.get({tag!r})" for tag in tags]
        else:
            several = "namesakes"
            elements = self._positions(depth, tags, surely, node)
        for index, element in enumerate(elements):
            self.put(depth, f"e{index} = {element}")
        for field, place in fields:
            if not place.child:
                self._found[id(field)] = f"{node}.get({place.attribute!r})"
                continue
            element = f"e{tags.index(place.child)}"
            if place.attribute:  # of namesakes the first that has it counts
                others = f"{self.constant(field.get)}({node}) if {several} else None"
                found = f"{element}.get({place.attribute!r}) or ({others})"
            else:
                found = f"{element}.text if not len({element}) else {self.constant(_whole)}({element})"
            self._found[id(field)] = found if place.child in surely else f"None if {element} is None else {found}"

    def _positions(self, depth: int, tags: Sequence[str], surely: Collection[str], node: str) -> list[str]:
        """Write what finds an entry's children of these tags: where the entry before had them, if its tags are those.

        Before the loop, ``entries`` has made ``shape`` None.
        """
        if not tags:
            return []
        self.put(depth, f"children = {node}[:]")
        self.put(depth, "tags = [child.tag for child in children]")
        self.put(depth, "if tags != shape:")
        self.put(depth + 1, "shape, namesakes = tags, len(set(tags)) < len(tags)")
        for index, tag in enumerate(tags):
            missing = "" if tag in surely else f" if {tag!r} in tags else None"
            self.put(depth + 1, f"p{index} = tags.index({tag!r}){missing}")
        return [
            f"children[p{index}]" if tag in surely else f"None if p{index} is None else children[p{index}]"
            for index, tag in enumerate(tags)
        ]


class _Scales(dict[str, int]):
    """How many of its minor unit each currency has in one, by the codes that documents had so far: 17,576 at most."""

    def __missing__(self, currency: str) -> int:
        scale: int = 10 ** exponent(currency)
        self[currency] = scale
        return scale


_SCALES = _Scales()


def _sure(field: Field) -> bool:
    """Whether a document without the field is unusual."""
    return field.required and field.default is None


def _whole(element: Element) -> str:
    return "".join(map(str, element.itertext()))
