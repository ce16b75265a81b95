"""Personal fields: what of a canonical receipt tells of a person, and is masked in logs and analytics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

MASK: Final = "***"


def mask(canonical: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """Return a copy of ``canonical`` with the text of ``fields`` replaced by ``***``; what is empty stays empty.

    A field is named as ``personal`` of ``type.yaml`` does: ``buyer``, ``lines.description``. One that is not there is
    passed over.
    """
    masked = dict(canonical)
    for field in fields:
        group, _, name = field.rpartition(".")
        if not group:
            _hide(masked, name)
        elif group in masked:
            masked[group] = entries = [dict(entry) for entry in masked[group]]
            for entry in entries:
                _hide(entry, name)
    return masked


def _hide(values: dict[str, Any], name: str) -> None:
    if values.get(name):
        values[name] = MASK
