"""Samples: what a receipt type's own examples show, against what they must show.

A folder's ``samples/valid/*`` give no finding that is an error. What a document there must become may be pinned by a
``NAME.expected.yaml`` beside it: some fields of the canonical receipt, and of a list its entries or their number.

A document of ``samples/invalid`` is refused, or gives a finding that is an error. A ``NAME.findings.yaml`` beside it
says which: a list of ``{code, where}``, in any order, where ``where`` may be left out; the code of a refusal
(``json-malformed``) stands for itself. Samples are recognised, not hinted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml

from receiptd.documents.catalogue import ReceiptTypes
from receiptd.documents.errors import DocumentError
from receiptd.documents.receipt_type import Checked, ReceiptType, load_type
from receiptd.domain.errors import ConfigurationError
from receiptd.domain.money import to_major
from receiptd.domain.receipt import Finding, Severity

_CONTENT_TYPES = {".json": "application/json", ".xml": "application/xml"}
_PINNED = ("number", "issued_at", "seller", "currency", "total")
_LISTS = ("taxes", "lines")
_VALUE_MAX_CHARS = 80
_CODES_MAX = 4


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample that was checked."""

    path: Path
    expects_valid: bool
    expected: str
    """What it must show, in a few words."""
    found: str
    """What it shows, in a few words."""
    differences: tuple[str, ...]
    """Empty when it shows what it must."""
    findings: tuple[Finding, ...]
    """What is wrong with it; a refusal is one finding."""
    canonical: Mapping[str, Any] | None
    """The canonical receipt, when it could be mapped."""

    @property
    def is_valid(self) -> bool:
        """Whether it would be accepted."""
        return all(finding.severity is not Severity.ERROR for finding in self.findings)

    @property
    def name(self) -> str:
        """The path from ``samples`` on."""
        return f"{self.path.parent.name}/{self.path.name}"


def run_samples(folder: Path) -> list[str]:
    """Check every sample of the receipt type in ``folder``; return a line for each difference, none when all is well.

    Raises:
        ConfigurationError: the type cannot be loaded, or an expectation cannot be read.
    """
    return [
        f"{sample.path}: {difference}"
        for sample in check_samples(load_type(folder))
        for difference in sample.differences
    ]


def sample_paths(folder: Path) -> list[Path]:
    """Return the documents of ``folder``'s samples, the valid ones first."""
    return [path for kind in ("valid", "invalid") for path in _documents(folder / "samples" / kind)]


def check_samples(type_: ReceiptType, tell: Callable[[Path], None] = lambda _: None) -> Iterator[Sample]:
    """Check every sample of ``type_``, which compiles, as if there were no other type; ``tell`` hears of each before.

    Raises:
        ConfigurationError: an expectation cannot be read.
    """
    types = ReceiptTypes([type_])
    for path in sample_paths(type_.folder):
        tell(path)
        yield _valid(types, type_, path) if path.parent.name == "valid" else _invalid(types, type_, path)


def content_type(type_: ReceiptType, path: Path) -> str:
    """Return the Content-Type with which a sample comes: the type's own, when that is all it is known by."""
    if not type_.recognisers and type_.media_types:
        return type_.media_types[0]
    return _CONTENT_TYPES[path.suffix]


def pins(sample: Sample) -> str:
    """Return the text of the expectation that ``sample`` fulfils as it is."""
    if not sample.expects_valid:
        entries = [
            {"code": finding.code} | ({"where": finding.where} if finding.where else {}) for finding in sample.findings
        ]
        return _dump(entries)
    receipt = sample.canonical or {}
    return _dump({name: receipt[name] for name in _PINNED} | {name: len(receipt[name]) for name in _LISTS})


def expectation(path: Path) -> Path:
    """Return where the expectation of the sample at ``path`` is."""
    return path.with_suffix(".expected.yaml" if path.parent.name == "valid" else ".findings.yaml")


def _documents(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix in _CONTENT_TYPES and path.is_file())


def _valid(types: ReceiptTypes, type_: ReceiptType, path: Path) -> Sample:
    findings, canonical = _run(types, type_, path)
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    differences = [f"unexpected {_told(finding)}" for finding in errors]
    pinned = expectation(path)
    if pinned.exists() and canonical is not None:
        differences += _compare_receipt(_read_receipt(pinned), canonical)
    expected = "valid, as pinned" if pinned.exists() else "valid"
    return Sample(path, True, expected, _found(findings, canonical), tuple(differences), findings, canonical)


def _invalid(types: ReceiptTypes, type_: ReceiptType, path: Path) -> Sample:
    findings, canonical = _run(types, type_, path)
    listed = expectation(path)
    if listed.exists():
        wanted = _read_findings(listed, path)
        expected = _findings([str(entry["code"]) for entry in wanted])
        differences = _compare_findings(wanted, findings)
    else:
        expected = "invalid"
        errors = [finding for finding in findings if finding.severity is Severity.ERROR]
        differences = [] if errors else ["nothing is wrong with it, and it must not pass"]
    return Sample(path, False, expected, _found(findings, canonical), tuple(differences), findings, canonical)


def _run(types: ReceiptTypes, type_: ReceiptType, path: Path) -> tuple[tuple[Finding, ...], Mapping[str, Any] | None]:
    try:
        checked: Checked = types.check(path.read_bytes(), content_type(type_, path))
    except DocumentError as error:
        return (Finding(error.code, error.detail, error.where),), None
    return checked.findings, orjson.loads(checked.canonical) if checked.canonical else None


def _found(findings: Sequence[Finding], canonical: Mapping[str, Any] | None) -> str:
    codes = [f"{f.code} (warning)" if f.severity is not Severity.ERROR else f.code for f in findings]
    if any(finding.severity is Severity.ERROR for finding in findings):
        return _findings(codes)
    total = f": {to_major(canonical['total'], canonical['currency'])} {canonical['currency']}" if canonical else ""
    lines = f", {_count(len(canonical['lines']), 'line')}" if canonical else ""
    return f"valid{total}{lines}" + (f", {_findings(codes)}" if codes else "")


def _findings(codes: Sequence[str]) -> str:
    """Return how many there are, and which, each once: in the same words for what was expected and what was found."""
    kinds = sorted(set(codes), key=lambda code: (code.endswith(" (warning)"), codes.index(code)))
    more = f" and {len(kinds) - _CODES_MAX} more" if len(kinds) > _CODES_MAX else ""
    return f"{_count(len(codes), 'finding')}: {', '.join(kinds[:_CODES_MAX])}{more}" if codes else "0 findings"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


# -- expectations ------------------------------------------------------------------------------------------------------


def _read_findings(path: Path, sample: Path) -> list[dict[str, Any]]:
    expected = _load(path, yaml.SafeLoader, f"list the findings that {sample.name} must give")
    if not isinstance(expected, list) or not all(isinstance(entry, dict) and "code" in entry for entry in expected):
        raise ConfigurationError(f"{path}: not a list of objects with code and, perhaps, where")
    return expected


def _compare_findings(expected: list[dict[str, Any]], found: Sequence[Finding]) -> list[str]:
    left = list(found)
    asked = all(f.severity is not Severity.ERROR or f.code.startswith("schematron") for f in found)
    differences = []
    for entry in sorted(expected, key=lambda entry: "where" not in entry):  # the exact ones choose first
        match = next((f for f in left if f.code == entry["code"] and entry.get("where", f.where) == f.where), None)
        if match is None:
            unasked = str(entry["code"]).startswith("schematron") and not asked
            reason = " (Schematron is asked once the schema and the rules hold)" if unasked else ""
            differences.append(f"missing {entry['code']} {entry.get('where', '')}".rstrip() + reason)
        else:
            left.remove(match)
    return differences + [f"unexpected {_told(finding)}" for finding in left]


def _read_receipt(path: Path) -> dict[str, Any]:
    expected = _load(path, yaml.BaseLoader, "write fields of the canonical receipt, such as total: 1234")
    if not isinstance(expected, dict):
        raise ConfigurationError(f"{path}: not an object; write fields of the canonical receipt, such as total: 1234")
    return expected


def _compare_receipt(expected: Any, found: Any, place: str = "") -> list[str]:
    """Return where ``found`` differs from what ``expected`` says of it; its scalars are texts."""
    if isinstance(expected, dict) and isinstance(found, Mapping):
        differences = [f"{place}{name}: there is no such field" for name in expected if name not in found]
        for name in expected.keys() & found.keys():
            differences += _compare_receipt(expected[name], found[name], f"{place}{name}.")
        return differences
    if isinstance(found, list) and isinstance(expected, list) and len(expected) == len(found):
        pairs = enumerate(zip(expected, found, strict=True))
        return [difference for i, (e, f) in pairs for difference in _compare_receipt(e, f, f"{place}{i}.")]
    count = str(len(expected)) if isinstance(expected, list) else expected
    told = str(len(found)) if isinstance(found, list) else "" if found is None else str(found)
    return [] if count == told else [f"{place.removesuffix('.')}: expected {_short(count)}, found {_short(told)}"]


def _load(path: Path, loader: Any, advice: str) -> Any:
    try:
        return yaml.load(path.read_bytes(), loader)  # noqa: S506 - a loader of plain values, in either case
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigurationError(f"{path}:{line}: is no YAML: {error.problem}; {advice}") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {' '.join(str(error).split())}; {advice}") from error


def _dump(value: Any) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120))


def _told(finding: Finding) -> str:
    kind = "" if finding.severity is Severity.ERROR else "warning "
    return f"{kind}{' '.join(filter(None, (finding.code, finding.where)))}: {finding.message}"


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _VALUE_MAX_CHARS else text[: _VALUE_MAX_CHARS - 1] + "…"
