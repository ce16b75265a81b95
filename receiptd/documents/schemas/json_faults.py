"""What an error of jsonschema-rs says in a finding: what is wrong, where, and no text of the document.

Names of properties, numbers and what the schema asks for are told; a text may be a person's name or a card's number.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from jsonschema_rs import ValidationError, ValidationErrorKind

from receiptd.documents.errors import bounded
from receiptd.documents.findings import CODE, pointer
from receiptd.domain.receipt import Finding

MASK: Final = "\N{SUBSTITUTE}"
"""What jsonschema-rs writes for the value that is wrong."""
_NUMBER_MAX_CHARS: Final = 40
_ALTERNATIVES_MAX: Final = 3
_CONTAINS: Final = frozenset({"contains", "minContains", "maxContains"})
_PROPERTIES: Final = frozenset({"additionalProperties", "unevaluatedProperties"})


def finding(error: ValidationError) -> Finding:
    """Return ``error`` as a finding."""
    return Finding(CODE, bounded(_message(error)), pointer(error.instance_path))


def _message(error: ValidationError, *, nested: bool = False) -> str:
    kind = error.kind
    keyword = error.schema_path[-1] if error.schema_path else ""
    match kind:
        case ValidationErrorKind.AnyOf() | ValidationErrorKind.OneOfNotValid():
            text = _none_fits(error, kind.context, nested=nested)
        case ValidationErrorKind.OneOfMultipleValid():
            fitting = [str(place) for place, faults in enumerate(kind.context, 1) if not faults]
            text = f"{_name(error.instance)} fits the alternatives {' and '.join(fitting)} of oneOf; one only may fit"
        case ValidationErrorKind.FalseSchema():
            text = "no property is allowed here" if keyword in _PROPERTIES else "nothing is allowed here"
        case ValidationErrorKind.PropertyNames():
            text = f"a property's name: {error.message}"
        case ValidationErrorKind.BacktrackLimitExceeded():
            text = "matching the properties' names against the patterns takes too long"
        case ValidationErrorKind.Contains() if keyword in _CONTAINS:
            text = f"the items are not what {keyword} asks for"
        case _:
            text = error.message.replace(MASK, _name(error.instance))
    return text


def _none_fits(error: ValidationError, alternatives: list[list[ValidationError]], *, nested: bool) -> str:
    depth = len(error.instance_path)
    if len(alternatives) == 1 and alternatives[0]:
        return _told(alternatives[0][0], depth, nested=nested)
    none = f"{_name(error.instance)} fits none of the {len(alternatives)} alternatives of {error.kind.name}"
    if nested:
        return none
    # The alternative that fits furthest into the document is the one that was meant: it comes first.
    faults = [min(some, key=lambda fault: len(fault.instance_path)) for some in sorted(alternatives, key=len) if some]
    faults.sort(key=lambda fault: -len(fault.instance_path))
    told = dict.fromkeys(_told(fault, depth, nested=True) for fault in faults[:_ALTERNATIVES_MAX])
    return f"{none}: {'; or '.join(told)}"


def _told(error: ValidationError, depth: int, *, nested: bool) -> str:
    below = pointer(error.instance_path[depth:])
    return f"{below}: {_message(error, nested=nested)}" if below else _message(error, nested=nested)


def _name(instance: Any) -> str:
    match instance:
        case bool():
            return "true" if instance else "false"
        case None:
            return "null"
        case int() | float() | Decimal():
            text = str(instance)
            return text if len(text) <= _NUMBER_MAX_CHARS else "the number"
        case str():
            return "the text"
        case list():
            return "the array"
        case _:
            return "the object"
