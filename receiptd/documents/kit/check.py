"""Checking a folder: whether its files make a receipt type, and whether its samples show what they should."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from receiptd.documents.catalogue import ReceiptTypes
from receiptd.documents.errors import DocumentError, RenderingError
from receiptd.documents.kit import FILL_IN
from receiptd.documents.kit.samples import Sample, check_samples, content_type, expectation, pins, sample_paths
from receiptd.documents.media import Format
from receiptd.documents.receipt_type import ReceiptType
from receiptd.documents.type_file import NAME, TypeFile
from receiptd.domain.errors import ConfigurationError
from receiptd.domain.receipt import Submission

_SAMPLE_SUFFIXES = frozenset({".json", ".xml"})
_BESIDE = frozenset({".yaml", ".yml", ".md", ".txt"})


@dataclass(slots=True)
class Report:
    """What is to be said of one folder."""

    folder: Path
    name: str
    """``ID@VERSION``, or the folder's name while there is no such."""
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    accepted: list[Path] = field(default_factory=list)
    """The expectations that were written."""

    @property
    def ok(self) -> bool:
        """Whether there is no fault, and every sample shows what it should."""
        return not self.faults and not any(sample.differences for sample in self.samples)


def type_folders(path: Path) -> list[Path]:
    """Return the folders of receipt types that ``path`` stands for: itself, or all that are in it, as a root.

    Raises:
        ConfigurationError: it is no folder, or there is no ``type.yaml`` in it or in a folder of it.
    """
    if path.is_file():
        raise ConfigurationError(f"{path}: is a file; name the folder of a receipt type, such as {path.parent}")
    if not path.is_dir():
        raise ConfigurationError(f"{path}: there is no such folder")
    if (path / NAME).is_file():
        return [path]
    found = sorted(folder for folder in path.iterdir() if folder.is_dir() and folder.name[0] not in "._")
    if not any((folder / NAME).is_file() for folder in found):
        raise ConfigurationError(
            f"{path}: there is no {NAME} in it, nor in a folder of it; see: receiptd types new --help"
        )
    return found


def check_folder(
    folder: Path,
    others: Sequence[ReceiptType] = (),
    tell: Callable[[Path], None] = lambda _: None,
    *,
    accept: bool = False,
) -> Report:
    """Check the receipt type in ``folder``: every file of it, every sample.

    ``others`` are the types beside which it is to stand: a document that may be of two is a fault. ``tell`` hears of
    each sample before it is run. With ``accept``, what a sample shows becomes what it must show, as long as valid ones
    are valid and invalid ones invalid.
    """
    report = Report(folder, folder.name)
    try:
        type_ = ReceiptType(TypeFile.read(folder))
    except ConfigurationError as error:
        report.faults += str(error).splitlines()
        return report
    report.name = type_.name
    report.faults += _fill_ins(type_.file)
    try:
        type_.compile()
    except ConfigurationError as error:
        report.faults += [line for line in str(error).splitlines() if FILL_IN not in line]
    if report.faults:
        return report
    report.faults += _ambiguity(type_, others)
    report.warnings += _warnings(type_)
    try:
        for sample in check_samples(type_, tell):
            report.samples.append(_with_templates(type_, sample))
        report.faults += _ambiguous_samples(type_, others)
    except ConfigurationError as error:
        report.faults += str(error).splitlines()
    except OSError as error:
        report.faults.append(f"{error.filename}: cannot be read: {error.strerror}")
    if accept:
        _accept(report)
    return report


def _fill_ins(file: TypeFile) -> list[str]:
    """Return what the author of a draft has yet to say."""

    def places(spec: Any, place: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
        if isinstance(spec, str) and spec.startswith(FILL_IN):
            yield place, spec
        elif isinstance(spec, dict):
            for name, part in spec.items():
                yield from places(part, (*place, name))
        elif isinstance(spec, list):
            for index, part in enumerate(spec):
                yield from places(part, (*place, index))

    return [
        f"{file.fault(place, '').partition(': ')[0]}: {'.'.join(map(str, place))}: {text}"
        for place, text in places(file.spec, ())
    ]


def _ambiguity(type_: ReceiptType, others: Sequence[ReceiptType]) -> list[str]:
    try:
        ReceiptTypes([*_beside(type_, others), type_])
    except ConfigurationError as error:
        return str(error).splitlines()
    return []


def _ambiguous_samples(type_: ReceiptType, others: Sequence[ReceiptType]) -> list[str]:
    """Return the valid samples that another type claims too; which those are cannot be known without a document."""
    if not others:
        return []
    try:
        types = ReceiptTypes([*_beside(type_, others), type_])
    except ConfigurationError:
        return []  # reported already
    faults = []
    for path in sample_paths(type_.folder):
        if path.parent.name != "valid":
            continue
        try:
            types.recognise(path.read_bytes(), content_type(type_, path))
        except DocumentError as error:
            if error.code == "ambiguous-receipt-type":
                faults.append(f"{path}: {error.detail}")
    return faults


def _beside(type_: ReceiptType, others: Sequence[ReceiptType]) -> list[ReceiptType]:
    """Return the other types; a version of ``type_`` that is in force is no rival of it."""
    return [other for other in others if other.name != type_.name]


def _warnings(type_: ReceiptType) -> list[str]:
    samples = type_.folder / "samples"
    kinds = {path.parent.name for path in sample_paths(type_.folder)}
    warnings = [f"{samples / kind}: no {kind} samples" for kind in ("valid", "invalid") if kind not in kinds]
    if "schema" not in type_.file.spec:
        kind = "an .xsd" if type_.format is Format.XML else "a .json"
        warnings.append(f"{type_.file.path}: no schema ({kind} file); mapping and rules alone judge a document")
    if not type_.recognisers and not type_.media_types:
        warnings.append(f"{type_.file.path}: neither recognise nor media_types; clients must name the type in a header")
    for path in sorted(samples.glob("*/*")):
        if not path.is_file():
            what = "a folder" if path.is_dir() else "a link to nothing"
            warnings.append(f"{path}: is {what} and is passed over; samples are files of {path.parent}")
        elif path.suffix not in _SAMPLE_SUFFIXES | _BESIDE:
            warnings.append(f"{path}: is passed over; samples are .json or .xml files")
        if path.name.endswith((".expected.yaml", ".findings.yaml")) and not _has_document(path):
            warnings.append(f"{path}: there is no sample of that name beside it")
    return warnings


def _has_document(path: Path) -> bool:
    stem = path.name.removesuffix(".yaml").rpartition(".")[0]
    documents = [path.with_name(f"{stem}{suffix}") for suffix in _SAMPLE_SUFFIXES]
    return any(document.exists() and expectation(document) == path for document in documents)


def _with_templates(type_: ReceiptType, sample: Sample) -> Sample:
    """Return ``sample`` with what is wrong in what registrars would be sent of it."""
    if not type_.templates or not sample.expects_valid or sample.canonical is None:
        return sample
    from receiptd.documents.templates import facts_of  # noqa: PLC0415 - brings Jinja with it

    submission = Submission(
        client_id="sample",
        receipt_id="20260101-000000000000000000000000",
        type_id=type_.id,
        type_version=type_.version,
        content_type=content_type(type_, sample.path),
        digest="",
        document=sample.path.read_bytes(),
        canonical=orjson.dumps(sample.canonical),
        accepted_at=0.0,
    )
    differences = list(sample.differences)
    for template in type_.templates.values():
        try:
            template.render(facts_of(submission))
        except RenderingError as error:
            differences.append(str(error))
    return replace(sample, differences=tuple(differences))


def _accept(report: Report) -> None:
    """Write the expectations that the samples fulfil as they are."""
    for index, sample in enumerate(report.samples):
        if sample.is_valid is not sample.expects_valid or (sample.expects_valid and sample.canonical is None):
            continue  # that is a difference nobody can accept
        path = expectation(sample.path)
        path.write_text(pins(sample), encoding="utf-8")
        report.accepted.append(path)
        kept = tuple(difference for difference in sample.differences if difference.startswith("template "))
        report.samples[index] = replace(sample, differences=kept)
