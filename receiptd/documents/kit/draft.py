"""Drafting: from sample documents to the folder of a new receipt type, for a person to look through and mend."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from receiptd.documents.errors import DocumentError, bounded
from receiptd.documents.json_document import decode_json
from receiptd.documents.kit.detection import Detection, detect
from receiptd.documents.kit.guesses import Guess, head_fields
from receiptd.documents.kit.inferred import infer_schema
from receiptd.documents.kit.lines import find_lines, guess_lines
from receiptd.documents.kit.outline import Outline
from receiptd.documents.kit.schema_files import copy_schema
from receiptd.documents.kit.taxes import guess_taxes
from receiptd.documents.kit.times import issued_at
from receiptd.documents.kit.totals import guess_total, guess_unit, totals
from receiptd.documents.kit.trial import Trial
from receiptd.documents.kit.type_text import Draft, type_yaml
from receiptd.documents.media import Format, media_of
from receiptd.documents.receipt_type import BODY_MAX_BYTES
from receiptd.documents.type_file import NAME, SCHEMA
from receiptd.documents.xml_document import decode_xml
from receiptd.domain.errors import ConfigurationError, ReceiptdError

_ID = re.compile(r"[a-z][a-z0-9-]{0,62}")
_ALIKE = 5
"""Of two samples of one type, at least one in so many of their members at the top is in both."""
_TELLING = 3
"""Fewer members than these say nothing of a document's type."""
_NO_ID = re.compile(r"[^a-z0-9]+")
_SUFFIXES = {Format.JSON: ".json", Format.XML: ".xml"}


@dataclass(frozen=True, slots=True)
class _Sample:
    path: Path
    body: bytes
    format: Format
    document: Any


def draft_type(
    type_id: str,
    samples: Sequence[Path],
    root: Path,
    registrars: Sequence[str],
    schema: Path | None = None,
    *,
    force: bool = False,
) -> Path:
    """Draft the folder ``root/type_id`` from samples (files, or folders of them); return it.

    ``schema`` is the schema of the documents, taken along with all that it refers to; without it, one is inferred for
    JSON. ``force`` writes over a folder that is there: its ``type.yaml`` and schema are replaced, samples are added.

    Raises:
        ConfigurationError: the name is no id of a type, the folder is there already, the schema cannot be used.
        ReceiptdError: the samples cannot be read, or are not of one type; a line for each.
    """
    if not _ID.fullmatch(type_id):
        slug = _NO_ID.sub("-", type_id.lower()).strip("-0123456789")[:63]
        raise ConfigurationError(
            f"{type_id!r} is no id of a receipt type: a-z, 0-9 and -, a letter first, at most 63"
            + (f"; take {slug}" if slug else "")
        )
    folder = root / type_id
    if folder.exists() and not force:
        raise ConfigurationError(
            f"{folder} is there already; take another name, or say --force to replace its type.yaml"
        )
    read = _read(samples)
    format_ = read[0].format
    documents = [sample.document for sample in read]
    outline = Outline(documents, format_)
    detection = detect(documents, outline, type_id, _json(schema) if schema and format_ is Format.JSON else None)
    was_there = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        schema_file = copy_schema(schema, folder, format_) if schema else ""
        draft = _guess(type_id, documents, outline, registrars, detection)
        if not schema_file and format_ is Format.JSON:
            schema_file = "schema.json"
            inferred = infer_schema(documents, title=type_id, whole_amounts=_is_minor(draft.head["total"]))
            _write(folder / schema_file, json.dumps(inferred, ensure_ascii=False, indent=2) + "\n")
        draft.schema = schema_file
        _write(folder / NAME, type_yaml(draft))
        shutil.copyfile(SCHEMA, folder / SCHEMA.name)
        _copy_samples(read, folder / "samples" / "valid")
        (folder / "samples" / "invalid").mkdir(parents=True, exist_ok=True)
    except (ConfigurationError, OSError):
        if not was_there:
            shutil.rmtree(folder)
        raise
    return folder


def _guess(
    type_id: str, documents: Sequence[Any], outline: Outline, registrars: Sequence[str], detection: Detection
) -> Draft:
    places = outline.head()
    trial = Trial(documents, outline.format, outline.namespaces)
    head = head_fields(places.values(), trial)
    head["issued_at"] = issued_at(places.values(), trial, outline.format)
    if head["currency"].spec is None:
        trial.currency = {"value": "EUR"}  # an amount of two decimals, as most are
    found = totals(places.values())
    chosen = find_lines(outline, places, found)
    unit, note = guess_unit(outline, places.values(), trial)
    head["total"] = guess_total(found, chosen.total if chosen else None, unit, note, trial)
    lines = guess_lines(chosen, outline, places, unit, trial) if chosen else {}
    taxes = guess_taxes(outline, places, chosen.place if chosen else None, unit, trial)
    written = json.dumps([[guess.spec for guess in part.values()] for part in (head, lines, taxes)])
    return Draft(
        id=type_id,
        format=outline.format,
        registrars=registrars,
        schema="",
        detection=detection,
        namespaces=outline.used([written]),
        head=head,
        lines=lines,
        taxes=taxes,
        adds_up=_adds_up(trial, head["total"], lines),
        samples=len(documents),
    )


def _adds_up(trial: Trial, total: Guess, lines: dict[str, Guess]) -> bool | None:
    spec = {name: guess.spec for name, guess in lines.items()}
    if total.spec is None or not spec or None in spec.values():
        return False
    receipts = trial.receipts({"total": total.spec, "lines": spec}) or []
    with_lines = [receipt for receipt in receipts if receipt["lines"]]
    if not with_lines or any(sum(line["amount"] for line in one["lines"]) != one["total"] for one in with_lines):
        return False
    return True if len(with_lines) == len(receipts) else None


def _is_minor(total: Guess) -> bool:
    return isinstance(total.spec, dict) and total.spec.get("unit") == "minor"


def _read(samples: Sequence[Path]) -> list[_Sample]:
    """Read and decode the samples as the daemon would."""
    read, faults = [], []
    for path in _paths(samples):
        try:
            read.append(_decoded(path))
        except OSError as error:
            faults.append(f"{path}: cannot be read: {error.strerror}")
        except DocumentError as error:
            faults.append(f"{path}: {error}" + (f" ({error.where})" if error.where else ""))
        except ReceiptdError as error:
            faults.append(f"{path}: {error}")
    faults += [] if faults else _mixture(read)
    if faults:
        raise ReceiptdError("\n".join(faults))
    return read


def _paths(samples: Sequence[Path]) -> list[Path]:
    paths: list[Path] = []
    for path in samples:
        if not path.is_dir():
            paths.append(path)
            continue
        found = sorted(entry for entry in path.iterdir() if entry.suffix in _SUFFIXES.values() and entry.is_file())
        if not found:
            raise ReceiptdError(
                f"{path}: there is no sample, no .json or .xml file, in this folder; name one by --from"
            )
        paths += found
    return paths


def _decoded(path: Path) -> _Sample:
    """Return the sample at ``path``. Raises OSError, and ReceiptdError for what is no receipt."""
    body = path.read_bytes()
    if not body.strip():
        raise ReceiptdError("is empty; a sample is a receipt as a client sends it")
    if len(body) > BODY_MAX_BYTES:
        raise ReceiptdError(
            f"has {len(body)} bytes; no document of more than {BODY_MAX_BYTES} is taken: give a smaller one"
        )
    try:
        format_ = media_of("", body).format
    except DocumentError as error:
        neither = "is neither a JSON object nor an XML document; a sample is a receipt as a client sends it, in UTF-8"
        raise ReceiptdError(neither) from error
    document = (decode_json if format_ is Format.JSON else decode_xml)(body)
    if isinstance(document, list):
        raise ReceiptdError("is a JSON array, not an object, as a receipt is; write each receipt to a file of its own")
    return _Sample(path, body, format_, document)


def _mixture(read: Sequence[_Sample]) -> list[str]:
    """Return what tells that the samples are not of one type."""
    first = read[0]
    for sample in read[1:]:
        if sample.format is not first.format:
            told = f"{first.path} is {first.format.value.upper()}, {sample.path} is {sample.format.value.upper()}"
            return [f"{told}; a receipt type is of one format, so draft a type of each"]
    if first.format is Format.XML:
        return []
    for sample in read[1:]:
        common, all_ = first.document.keys() & sample.document.keys(), first.document.keys() | sample.document.keys()
        if len(common) * _ALIKE < len(all_) and min(len(first.document), len(sample.document)) >= _TELLING:
            told = (
                f"{first.path} and {sample.path} have hardly a member in common ({', '.join(sorted(common)) or 'none'})"
            )
            return [f"{told}; draft a type of each kind of document"]
    return []


def _copy_samples(samples: Sequence[_Sample], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for sample in samples:
        suffix = _SUFFIXES[sample.format]
        stem = sample.path.name.removesuffix(suffix)
        name = next(n for n in (stem, *(f"{stem}-{number}" for number in range(2, 10_000))) if n not in taken)
        taken.add(name)
        _write(folder / f"{name}{suffix}", sample.body)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(
            f"{path}: no usable JSON Schema, which samples in JSON need: {bounded(str(error))}"
        ) from error


def _write(path: Path, content: str | bytes) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
