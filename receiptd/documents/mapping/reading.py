"""Reading: a document of one type in, the canonical receipt out, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from receiptd.documents.errors import bounded
from receiptd.documents.findings import FINDINGS_MAX
from receiptd.documents.mapping.fields import GROUPS, Compiler, Field, Group
from receiptd.documents.mapping.quick import UNUSUAL, compile_quick
from receiptd.documents.media import Format
from receiptd.domain.receipt import Finding

ENTRIES_MAX = 1_000
"""Lines, or taxes, in one receipt."""

_CAREFUL_READS = 8


class DocumentMapping:
    """The compiled mapping of one receipt type."""

    def __init__(self, spec: Mapping[str, Any], format_: Format, namespaces: Mapping[str, str]) -> None:
        """Compile ``spec``, which has passed the schema of type.yaml, or some fields of it; the others stay empty.

        Raises:
            ValueError: a place, a literal, a time's format or a zone is wrong; the text begins with
                ``mapping.FIELD: ``.
        """
        compiler = Compiler.of(format_, namespaces)
        self._places = compiler.places
        self._head = compiler.fields("", spec)
        self._groups = [compiler.group(name, spec.get(name)) for name in GROUPS]
        self._quick: Callable[[Any], dict[str, Any]] = self._warm_up
        self._reads = 0

    def read(self, document: Any) -> tuple[dict[str, Any], list[Finding]]:
        """Return the canonical receipt and what is wrong with it; when anything is, the receipt is not to be used."""
        try:
            return self._quick(document), []
        except UNUSUAL:
            return self.read_carefully(document)

    def read_carefully(self, document: Any) -> tuple[dict[str, Any], list[Finding]]:
        """Return what ``read`` does, at some five times the cost."""
        findings: list[Finding] = []
        receipt = _read(self._head, document, "", findings, lambda field: field.text)
        for group in self._groups:
            receipt[group.name] = [
                _read(
                    group.fields,
                    entry,
                    receipt["currency"],
                    findings,
                    partial(self._where, group.text, index, entry),
                )
                for index, entry in enumerate(_entries(group, document, findings))
            ]
        return receipt, findings

    def _where(self, each: str, index: int, entry: Any, field: Field) -> str:
        return self._places.where(each, index, entry, field.text)

    def _warm_up(self, document: Any) -> dict[str, Any]:
        """Have the quick function made once it is worth its 3 ms, which a mapping that is merely tried out is not."""
        self._reads += 1
        if self._reads <= _CAREFUL_READS:
            raise LookupError
        self._quick = compile_quick(self._places, self._head, self._groups, ENTRIES_MAX)
        return self._quick(document)


def _read(
    fields: Sequence[Field], node: Any, currency: str, findings: list[Finding], where: Callable[[Field], str]
) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for field in fields:
        try:
            read[field.name] = field.read(node, currency or read.get("currency", ""))
        except ValueError as error:
            read[field.name] = field.kind.absent
            if len(findings) < FINDINGS_MAX:
                findings.append(Finding(field.code, bounded(f"{field.name} {error}"), where(field)))
    return read


def _entries(group: Group, document: Any, findings: list[Finding]) -> Sequence[Any]:
    try:
        entries = group.each(document)
    except ValueError:
        entries = None
    if entries is not None and len(entries) <= ENTRIES_MAX:
        return entries
    message = f"the receipt's {group.name} are no list of at most {ENTRIES_MAX} entries"
    findings.append(Finding(f"mapping:{group.name}", message, group.text))
    return ()
