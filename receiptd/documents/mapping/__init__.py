"""Mapping: from a document of one type to the canonical receipt, as its ``mapping`` says.

The canonical receipt is a JSON object with every key present; money is an integer of the currency's minor unit:

    currency, number, issued_at (ISO 8601 with offset), seller, buyer, total,
    taxes: [{code, rate, base, amount}], lines: [{description, category, sku, quantity, unit, amount}]

Text that the document lacks is ``""``, a tax base ``null``, a quantity ``"1"``; quantity and rate are decimal strings.

Every document is read twice over at most: quickly, by a function made for its type (``quick``), which gives up at
anything unusual; then carefully (``reading``), which gives the same receipt, or says what is wrong and where.
"""

from receiptd.documents.mapping.fields import CANONICAL
from receiptd.documents.mapping.reading import ENTRIES_MAX, DocumentMapping

__all__ = ["CANONICAL", "ENTRIES_MAX", "DocumentMapping"]
