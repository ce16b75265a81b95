"""Recognisers: by what a document shows which type it is of, and which of them can never be told apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from receiptd.documents.media import Format
from receiptd.documents.places import compile_pointer

if TYPE_CHECKING:
    from receiptd.documents.receipt_type import ReceiptType


@dataclass(frozen=True, slots=True)
class Recogniser:
    """One way to know a document: its root element, or what is at a JSON Pointer."""

    place: str
    """The pointer, or empty for the root element."""
    value: str | int | bool | None
    """The root in Clark notation, or the pointer's value; None: any value that is there."""

    def __str__(self) -> str:
        """Return it as a person would say it."""
        if not self.place:
            return f"the root element is {self.value}"
        return f"{self.place} is there" if self.value is None else f"{self.place} is {self.value!r}"


def compile_recogniser(format_: Format, entry: dict[str, Any]) -> Recogniser:
    """Return the recogniser that an entry of ``recognise`` describes. Raises ValueError for one of another format."""
    if ("root" in entry) is not (format_ is Format.XML):
        raise ValueError("a type of format xml goes by root (and namespace), one of format json by pointer")
    if "root" in entry:
        namespace = entry.get("namespace")
        return Recogniser("", f"{{{namespace}}}{entry['root']}" if namespace else entry["root"])
    compile_pointer(entry["pointer"])
    return Recogniser(entry["pointer"], entry.get("equals"))


def ambiguities(types: Iterable[ReceiptType]) -> Iterator[str]:
    """Give a line for each mark by which a document would always be of two types; versions of one type may share it."""
    claims: dict[object, ReceiptType] = {}
    present: dict[str, ReceiptType] = {}
    for type_ in types:
        for recogniser in type_.recognisers:
            mark = (recogniser.place, type(recogniser.value), recogniser.value)  # True is no 1 in JSON
            if (other := claims.setdefault(mark, type_)).id != type_.id:
                yield _told(type_, other, f"a document where {recogniser}")
            if recogniser.place and recogniser.value is None:
                present[recogniser.place] = type_
        for essence in type_.media_types:
            if (other := claims.setdefault((type_.format, essence), type_)).id != type_.id:
                yield _told(type_, other, f"the media type {essence}")
    for type_ in types:
        for recogniser in type_.recognisers:
            rival = None if recogniser.value is None else present.get(recogniser.place)
            if rival is not None and rival.id != type_.id:
                yield _told(type_, rival, f"a document where {recogniser}")


def _told(one: ReceiptType, other: ReceiptType, what: str) -> str:
    return (
        f"{one.file.path}: {what} would be of both {one.id} and {other.id} ({other.file.path}); make one of them more "
        "particular, or take it off and let clients name the type in the header Receipt-Type"
    )
