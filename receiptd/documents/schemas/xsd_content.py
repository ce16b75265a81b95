"""Content models of an XSD made harmless: the same documents are valid, and libxml2 has one way only to read each.

Where a repeated group holds parts that repeat themselves, ``(a+ | b+)*``, libxml2 tries every division of a run of
elements: thirty of them and a fault cost it half a second, in every parent of the document. The inner repetition says
nothing that the outer does not, so it goes: ``(a | b)*``.
"""

from __future__ import annotations

from receiptd.documents.xml_document import Element

_XSD = "{http://www.w3.org/2001/XMLSchema}"
_CHOICE, _SEQUENCE = f"{_XSD}choice", f"{_XSD}sequence"
_PARTICLES = tuple(f"{_XSD}{name}" for name in ("element", "group", "choice", "sequence", "any"))


def flatten_repetitions(root: Element) -> None:
    """Take the inner repetitions out of the repeated groups of a schema document, in place; outer groups come first."""
    for group in root.iter(_CHOICE, _SEQUENCE):
        if group.get("maxOccurs") == "unbounded":
            _flatten(group)


def _flatten(group: Element) -> None:
    parts = list(group.iterchildren(*_PARTICLES))
    if not any(part.get("maxOccurs", "1") not in {"0", "1"} for part in parts):
        return
    # A sequence of nothing but optional parts, repeated, is any of them in any order; of one part it is that part.
    if group.tag == _SEQUENCE and len(parts) > 1:
        if any(part.get("minOccurs", "1") != "0" for part in parts):
            return
        group.tag = _CHOICE
    for part in parts:
        least = part.get("minOccurs", "1")
        if least in {"0", "1"} and part.get("maxOccurs", "1") != "0":
            part.set("maxOccurs", "1")
            if least == "0":
                part.set("minOccurs", "1")
                group.set("minOccurs", "0")
