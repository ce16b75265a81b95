"""Samples: what a receipt type's own examples show, against what they must show.

A folder's ``samples/valid/*`` give no finding that is an error; each ``samples/invalid/NAME.json`` or ``NAME.xml`` has
a ``NAME.findings.yaml`` beside it: a list of ``{code, where}``, in any order, where ``where`` may be left out. The
code of a refusal (``json-malformed``) stands for itself. Samples are recognised, not hinted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from receiptd.documents.catalogue import ReceiptTypes
from receiptd.documents.errors import DocumentError
from receiptd.documents.receipt_type import load_type
from receiptd.domain.errors import ConfigurationError
from receiptd.domain.receipt import Finding

_CONTENT_TYPES = {".json": "application/json", ".xml": "application/xml"}


def run_samples(folder: Path) -> list[str]:
    """Check every sample of the receipt type in ``folder``; return a line for each difference, none when all is well.

    Raises:
        ConfigurationError: the type cannot be loaded, or an expectation cannot be read.
    """
    types = ReceiptTypes([load_type(folder)])
    differences: list[str] = []
    for path in _documents(folder / "samples" / "valid"):
        found = _run(types, path)
        if any(finding.severity == "error" for finding in found):
            differences += [f"{path}: unexpected {_told(finding)}" for finding in found]
    for path in _documents(folder / "samples" / "invalid"):
        differences += [f"{path}: {difference}" for difference in _compare(_expected(path), _run(types, path))]
    return differences


def _documents(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix in _CONTENT_TYPES)


def _run(types: ReceiptTypes, path: Path) -> tuple[Finding, ...]:
    try:
        return types.check(path.read_bytes(), _CONTENT_TYPES[path.suffix]).findings
    except DocumentError as error:
        return (Finding(error.code, error.detail, error.where),)


def _expected(path: Path) -> list[dict[str, Any]]:
    beside = path.with_suffix(".findings.yaml")
    try:
        expected = yaml.safe_load(beside.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{beside}: not readable; list the findings that {path.name} must give") from error
    if not isinstance(expected, list) or not all(isinstance(entry, dict) and "code" in entry for entry in expected):
        raise ConfigurationError(f"{beside}: not a list of objects with code and, perhaps, where")
    return expected


def _compare(expected: list[dict[str, Any]], found: tuple[Finding, ...]) -> list[str]:
    left = list(found)
    differences = []
    for entry in sorted(expected, key=lambda entry: "where" not in entry):  # the exact ones choose first
        match = next((f for f in left if f.code == entry["code"] and entry.get("where", f.where) == f.where), None)
        if match is None:
            differences.append(f"missing {entry['code']} {entry.get('where', '')}".rstrip())
        else:
            left.remove(match)
    return differences + [f"unexpected {_told(finding)}" for finding in left]


def _told(finding: Finding) -> str:
    return f"{finding.code} {finding.where}: {finding.message}"
