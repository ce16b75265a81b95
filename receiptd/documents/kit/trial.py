"""Trial: what a part of a mapping takes out of the samples; a guess that gives nothing, or a finding, is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from receiptd.documents.findings import CODE
from receiptd.documents.mapping import DocumentMapping
from receiptd.documents.media import Format
from receiptd.domain.money import to_major

_NO_MONEY = {"value": "XXX"}


class Trial:
    """Runs parts of a mapping over the sample documents."""

    def __init__(self, documents: Sequence[Any], format_: Format, namespaces: Mapping[str, str]) -> None:
        """``documents`` are as the format's decoder gave them."""
        self._documents = documents
        self._format = format_
        self._namespaces = namespaces
        self.currency: Any = _NO_MONEY
        """What stands for the currency in a trial of amounts, until it is known."""

    def receipts(self, spec: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        """Return what ``spec``, some fields of a mapping, gives for each sample; None when any gives a finding."""
        try:
            mapping = DocumentMapping({"currency": self.currency, **spec}, self._format, self._namespaces)
        except ValueError:
            return None
        read = [mapping.read(document) for document in self._documents]
        fields = tuple(f"mapping:{name}" for name in spec)
        if any(finding.code.startswith((*fields, CODE)) for _, findings in read for finding in findings):
            return None
        return [receipt for receipt, _ in read]

    def values(self, field: str, spec: Any) -> list[Any] | None:
        """Return one field of the head for each sample; None when it fails in any."""
        receipts = self.receipts({field: spec})
        return None if receipts is None else [receipt[field] for receipt in receipts]

    def entries(self, group: str, spec: Mapping[str, Any]) -> list[list[dict[str, Any]]] | None:
        """Return the entries of a list for each sample; None when any gives a finding."""
        receipts = self.receipts({group: spec})
        return None if receipts is None else [receipt[group] for receipt in receipts]

    def written(self, amount: int | None) -> str:
        """Return an amount of the first sample as people write it; empty for none."""
        receipts = self.receipts({})
        return to_major(amount, receipts[0]["currency"]) if receipts and amount is not None else ""
