"""JSON Schema (jsonschema-rs), compiled once, with every reference kept in the folder.

All faults of a document are named, and never its values. Diagnosis is bounded as well as the list is: jsonschema-rs
collects every error before it gives the first, at some 12 us each.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson

from receiptd.documents.errors import bounded
from receiptd.documents.findings import CODE, FINDINGS_MAX, pointer
from receiptd.documents.folder import locate
from receiptd.domain.errors import ConfigurationError
from receiptd.domain.receipt import Finding

_DIAGNOSED_VALUES_MAX = 2_000


class JsonSchema:
    """A JSON Schema of the draft that its ``$schema`` names (4 to 2020-12; without one, 2020-12).

    ``format`` is asserted where the type says so. Patterns run on an engine that is linear in the text; a ``regex``
    with lookaround or backreferences is refused.
    """

    def __init__(self, path: Path, folder: Path, *, assert_formats: bool = False) -> None:
        """Compile the schema at ``path``; ``$ref`` reaches files of ``folder`` only. Raises ConfigurationError."""
        try:
            self._validator = jsonschema_rs.validator_for(
                orjson.loads(path.read_bytes()),
                mask="the value",
                validate_formats=assert_formats,
                pattern_options=jsonschema_rs.RegexOptions(),
                retriever=lambda uri: orjson.loads(locate(folder, uri).read_bytes()),
                base_uri="receipt-type:///" + path.name,
            )
        except jsonschema_rs.ValidationError as error:
            place = pointer(error.instance_path) or "the top"
            reason = f"at {place}, {bounded(error.message)}"
            raise ConfigurationError(f"{path}: no usable JSON Schema: {reason}") from error
        except (OSError, ValueError, jsonschema_rs.ReferencingError) as error:
            raise ConfigurationError(f"{path}: no usable JSON Schema: {bounded(str(error))}") from error

    def findings(self, document: Any) -> list[Finding]:
        """Return what is wrong with a JSON value: everything, or in a large document the first fault only."""
        if self._validator.is_valid(document):
            return []
        if _is_large(document):
            try:
                self._validator.validate(document)
            except jsonschema_rs.ValidationError as error:
                return [_finding(error)]
        return [_finding(error) for error in islice(self._validator.iter_errors(document), FINDINGS_MAX)]


def _finding(error: jsonschema_rs.ValidationError) -> Finding:
    return Finding(CODE, bounded(error.message), pointer(error.instance_path))


def _is_large(value: Any) -> bool:
    """Whether ``value`` holds more values than are diagnosed one by one."""
    level, count = [value], 1
    while level:
        level = [
            child
            for container in level
            if type(container) in (dict, list)
            for child in (container.values() if type(container) is dict else container)
        ]
        count += len(level)
        if count > _DIAGNOSED_VALUES_MAX:
            return True
    return False
