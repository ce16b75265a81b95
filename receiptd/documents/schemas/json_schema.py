"""JSON Schema (jsonschema-rs), compiled once, with every reference kept in the folder.

A valid document costs one call. For one that is not, all faults are told; that is bounded too, for jsonschema-rs
collects every error, of each alternative of a union, before it gives the first, at some 20 us each.
"""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path
from typing import Any, Final

import jsonschema_rs

from receiptd.documents.errors import bounded
from receiptd.documents.findings import FINDINGS_MAX, pointer
from receiptd.documents.schemas.json_catalogue import JsonCatalogue
from receiptd.documents.schemas.json_faults import MASK, finding
from receiptd.documents.schemas.json_patterns import NAME_STEPS_MAX, PATTERN_FAULT, Budget, pattern_keyword
from receiptd.documents.schemas.json_unions import merge_constants, widest
from receiptd.domain.errors import ConfigurationError
from receiptd.domain.receipt import Finding

_DIAGNOSED_VALUES_MAX: Final = 2_000
_DIAGNOSED_ALTERNATIVES_MAX: Final = 4_000
_QUOTED: Final = re.compile("'(.+)'")
_UNMERGEABLE: Final = (b"Of/", b"draft-04")
"""What a file says that refers to an alternative by its position, or that is of the draft without ``const``."""


class JsonSchema:
    """A JSON Schema of the draft that its ``$schema`` names (4 to 2020-12; without one, 2020-12).

    ``$schema`` may also name a meta-schema of the folder. ``format`` is asserted where the type says so, and annotates
    elsewhere, as by default in draft 2020-12. A pattern with lookaround or backreferences has bounded time.
    """

    def __init__(self, path: Path, folder: Path, *, assert_formats: bool = False) -> None:
        """Compile the schema at ``path``; ``$ref`` reaches files of ``folder`` only. Raises ConfigurationError."""
        self._path = path
        self._folder = folder
        self._assert_formats = assert_formats
        self._budget: Budget | None = None
        self._widest = 1
        self._validator = self._compile(merge=True)

    def findings(self, document: Any) -> list[Finding]:
        """Return what is wrong with a JSON value: everything, or in a large document the first fault only."""
        if self._budget is not None:
            self._budget.renew()
        if self._validator.is_valid(document):
            return []
        if self._budget is not None:
            self._budget.renew()
        if _is_larger(document, min(_DIAGNOSED_VALUES_MAX, _DIAGNOSED_ALTERNATIVES_MAX // self._widest)):
            try:
                self._validator.validate(document)
            except jsonschema_rs.ValidationError as error:
                return [finding(error)]
        errors = islice(self._validator.iter_errors(document), FINDINGS_MAX)
        return list(dict.fromkeys(map(finding, errors)))

    def _compile(self, *, merge: bool) -> jsonschema_rs.Validator:
        catalogue = JsonCatalogue(self._folder)
        self._budget = None
        try:
            try:
                validator = self._build(catalogue, merge=merge)
            except jsonschema_rs.ValidationError:  # perhaps a pattern that the linear engine does not know
                self._budget = Budget()
                validator = self._build(catalogue, merge=merge)
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            if not (merge and _is_unmergeable(catalogue)):
                reason = catalogue.fault or _reason(error, catalogue)
                raise ConfigurationError(f"{self._path}: no usable JSON Schema: {reason}") from error
        else:
            if not (merge and _is_unmergeable(catalogue)):
                return validator
        return self._compile(merge=False)

    def _build(self, catalogue: JsonCatalogue, *, merge: bool) -> jsonschema_rs.Validator:
        def prepared(schema: Any) -> Any:
            if merge:
                merge_constants(schema)
            self._widest = max(self._widest, widest(schema))
            return schema

        self._widest = 1
        if self._budget is None:
            patterns: dict[str, Any] = {"pattern_options": jsonschema_rs.RegexOptions()}
        else:
            patterns = {  # the options are for patternProperties
                "pattern_options": jsonschema_rs.FancyRegexOptions(backtrack_limit=NAME_STEPS_MAX),
                "keywords": {"pattern": pattern_keyword(self._budget, MASK)},
            }
        schema = prepared(catalogue.read(self._path))
        standard = type(schema) is bool or "//json-schema.org/" in str(schema.get("$schema", "//json-schema.org/"))
        return jsonschema_rs.validator_for(
            schema,
            mask=MASK,
            # A meta-schema of the folder's own may say by its vocabularies that formats are asserted.
            validate_formats=self._assert_formats or (False if standard else None),
            retriever=lambda url: prepared(catalogue.get(url)),
            base_uri=catalogue.url(self._path),
            **patterns,
        )


def _is_unmergeable(catalogue: JsonCatalogue) -> bool:
    return any(mark in data for data in catalogue.loaded.values() for mark in _UNMERGEABLE)


def _reason(error: Exception, catalogue: JsonCatalogue) -> str:
    """Return what is wrong with the schema, and in which of several files."""
    if not isinstance(error, jsonschema_rs.ValidationError):
        return bounded(str(error))
    message = error.message.replace(MASK, "this").removeprefix(PATTERN_FAULT)
    if "Unknown meta-schema" in message:
        return "its $schema is none of the drafts 4, 6, 7, 2019-09 and 2020-12, nor a file of the folder"
    place = pointer(error.instance_path)
    named = _QUOTED.search(message)
    if place:
        files = catalogue.having(error.instance_path, error.instance)
    else:
        files = catalogue.naming(named[1]) if named else []
    where = f" in {', '.join(files[:3])}" if len(catalogue.loaded) > 1 and files else ""
    first = next(iter(catalogue.loaded.values()), b"")
    hint = "" if not place or b'"$schema"' in first else " (it names no $schema, so it is read as draft 2020-12)"
    return f"at {place or 'the top'}{where}, {bounded(message)}{hint}"


def _is_larger(value: Any, limit: int) -> bool:
    """Whether ``value`` holds more than ``limit`` values."""
    level, count = [value], 1
    while level:
        level = [
            child
            for container in level
            if type(container) in (dict, list)
            for child in (container.values() if type(container) is dict else container)
        ]
        count += len(level)
        if count > limit:
            return True
    return False
