"""Rules: CEL expressions over the canonical receipt that must hold, each with a severity and a message.

An expression sees ``receipt``, the canonical receipt (money in minor units, as int64), and two functions beside CEL's
own: ``sum(list)`` and, in messages, ``money(amount)``, which writes an amount in major units. ``receipt`` is used by
its fields only (``receipt.total``), and a line or a tax that is handed to CEL as a whole has those of its fields that
some rule of the type names.
"""

from receiptd.documents.rules.asking import Rules

__all__ = ["Rules"]
