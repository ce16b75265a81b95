"""The documents benchmark: what checking one document costs, beside the least that it could.

A check decodes, detects the type, validates, maps and asks the rules, with all bundled types loaded. Its floor parses
the same bytes and asks the same schema whether they are valid, with the bare libraries and nothing else. Both judge the
same documents in turns, in rounds of some milliseconds of this thread's CPU time, and the ratio is the median of the
rounds' ratios: a shared machine's mood then weighs on both alike. Every round has documents that were never seen
before, so that no cache can answer.

The documents have about 2,000 bytes and are what tills and web shops send. JSON, of eight: five compact in UTF-8
(JavaScript, Java, Go), one compact with letters escaped (PHP, .NET), one with spaces and letters escaped (Python), one
indented with whole cents (templates). XML, of sixteen: thirteen in UTF-8, four of them indented, two in windows-1251,
one in UTF-16.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import random
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import jsonschema_rs
import orjson
import yaml
from lxml import etree

from lab import documents
from receiptd.documents import BUNDLED_ROOT, ReceiptTypes
from receiptd.documents.json_document import decode_json
from receiptd.documents.mapping import DocumentMapping
from receiptd.documents.media import Format, media_of
from receiptd.documents.rules import Rules
from receiptd.documents.schemas.json_schema import JsonSchema
from receiptd.documents.schemas.xml_schema import XmlSchema
from receiptd.documents.xml_document import decode_xml

Document: TypeAlias = tuple[bytes, str]
"""Its bytes and its content type."""

_BATCH = 32
_WARM_UP_ROUNDS = 3
_TYPES_LOAD_MAX_S = 5.0
_WHOLE_TENTHS = re.compile(r"(?<=: )(\d+\.\d)(?=[,\n}])")
_JSON_STYLES: tuple[dict[str, Any] | None, ...] = (
    *(None, None, {"ensure_ascii": True, "separators": (",", ":")}, None),
    *(None, {"ensure_ascii": True}, None, {"ensure_ascii": False, "indent": 2}),
)
"""What json.dumps is told, of eight documents; None: as it is, which is what JavaScript, Java and Go write."""
_REPORTED_EVERY_S = 2.0
_STAGES = ("decode", "schema", "map", "rules", "write", "free")


@dataclass(frozen=True, slots=True)
class Subject:
    """One format: how its documents are made, and the floor that they are judged by."""

    name: str
    make: Callable[[random.Random], list[Document]]
    floor: Callable[[bytes], bool]
    stages: Stages


@dataclass(slots=True)
class Series:
    """The rounds of one format: CPU microseconds a document."""

    check_us: list[float] = field(default_factory=list)
    floor_us: list[float] = field(default_factory=list)
    stages_us: dict[str, list[float]] = field(default_factory=dict)
    bytes_: list[float] = field(default_factory=list)

    def report(self) -> dict[str, float]:
        """Return the medians."""
        ratios = [check / floor for check, floor in zip(self.check_us, self.floor_us, strict=True)]
        return {
            "us": round(statistics.median(self.check_us), 1),
            "floor_us": round(statistics.median(self.floor_us), 1),
            "ratio": round(statistics.median(ratios), 2),
        }


class Stages:
    """The parts of one type's check, one after the other. By the clock, because CPU time takes too long to read."""

    def __init__(self, folder: Path, decode: Callable[[bytes, str], Any]) -> None:
        spec = yaml.safe_load((folder / "type.yaml").read_bytes())
        self._decode = decode
        format_ = Format(spec["format"])
        schema = JsonSchema if format_ is Format.JSON else XmlSchema
        self._schema: JsonSchema | XmlSchema = schema(folder / spec["schema"], folder)
        self._mapping = DocumentMapping(spec["mapping"], format_, spec.get("namespaces", {}))
        self._rules = Rules(spec.get("rules", []))

    def run(self, batch: Sequence[Document]) -> dict[str, float]:
        """Return the microseconds a document of each part."""
        clock = time.perf_counter_ns
        ns = [0] * len(_STAGES)
        for body, content_type in batch:
            times = [clock()]
            document = self._decode(body, media_of(content_type, body).charset)
            times.append(clock())
            self._schema.findings(document)
            times.append(clock())
            receipt, _ = self._mapping.read(document)
            times.append(clock())
            self._rules.findings(receipt)
            times.append(clock())
            orjson.dumps(receipt)
            times.append(clock())
            del document, receipt
            times.append(clock())
            ns = [sum_ + after - before for sum_, before, after in zip(ns, times, times[1:], strict=False)]
        return {name: sum_ / 1000 / len(batch) for name, sum_ in zip(_STAGES, ns, strict=True)}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    option = parser.add_argument
    option(
        "--seconds", type=float, default=10.0, help="of measuring documents (default: 10); loading types comes on top"
    )
    option("--types", type=int, default=200, help="how many types to load (default: 200; 0: none)")
    option("--seed", type=int, default=1, help="of documents (default: 1)")


def measure(arguments: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Return the report and the table of it."""
    rng = random.Random(arguments.seed)
    types = ReceiptTypes.load([BUNDLED_ROOT])
    subjects = [_json_subject(), _xml_subject()]
    series = {subject.name: Series() for subject in subjects}
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)  # as the daemon has it
    began = told = time.monotonic()
    for number in itertools.count():
        for subject in subjects:
            _round(subject, series[subject.name], types, rng, number)
        now = time.monotonic()
        if now - told > _REPORTED_EVERY_S:
            told = now
            _progress(now - began, series)
        if number > _WARM_UP_ROUNDS and now - began > arguments.seconds:
            break
    result: dict[str, Any] = {name: one.report() for name, one in series.items()}
    if arguments.types:
        print(f"loading {arguments.types} types", file=sys.stderr, flush=True)
        result["types"] = _load_types(arguments.types)
        if result["types"]["load_s"] > _TYPES_LOAD_MAX_S:
            result["errors"] = [f"loading took more than {_TYPES_LOAD_MAX_S:g} s"]
    return result, _table(result, series)


def _round(subject: Subject, series: Series, types: ReceiptTypes, rng: random.Random, number: int) -> None:
    batch = subject.make(rng)

    def check() -> list[bool]:
        return [types.check(body, content_type).valid for body, content_type in batch]

    def floor() -> list[bool]:
        return [subject.floor(body) for body, _ in batch]

    sides: list[tuple[float, list[bool]]] = [
        _timed(side) for side in ((check, floor) if number % 2 else (floor, check))
    ]
    (check_us, valid), (floor_us, accepted) = sides if number % 2 else sides[::-1]
    if not all(valid) or not all(accepted):
        raise AssertionError(f"a good {subject.name} document was refused")
    stages = subject.stages.run(batch)
    if number < _WARM_UP_ROUNDS:
        return
    series.check_us.append(check_us / len(batch))
    series.floor_us.append(floor_us / len(batch))
    series.bytes_.append(sum(len(body) for body, _ in batch) / len(batch))
    for name, us in stages.items():
        series.stages_us.setdefault(name, []).append(us)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU microseconds that ``work`` took this thread, and what it returned."""
    started = time.thread_time_ns()
    done = work()
    return (time.thread_time_ns() - started) / 1000, done


def _json_subject() -> Subject:
    folder = BUNDLED_ROOT / "retail-receipt"
    validator = jsonschema_rs.validator_for(orjson.loads((folder / "schema.json").read_bytes()))

    def floor(body: bytes) -> bool:
        return validator.is_valid(orjson.loads(body))

    return Subject("json", _json_documents, floor, Stages(folder, decode_json))


def _xml_subject() -> Subject:
    folder = BUNDLED_ROOT / "retail-receipt-xml"
    schema = etree.XMLSchema(etree.parse(folder / "schema.xsd"))

    def floor(body: bytes) -> bool:
        return schema.validate(etree.fromstring(body))

    return Subject("xml", _xml_documents, floor, Stages(folder, decode_xml))


def _json_documents(rng: random.Random) -> list[Document]:
    """Make receipts as programs write them, by the shares that the module's docstring gives."""
    made = []
    for number, template in enumerate(documents.json_templates(rng, _BATCH)):
        body, style = template.fill(f"R-{rng.getrandbits(32):010d}"), _JSON_STYLES[number % len(_JSON_STYLES)]
        if style is not None:
            text = json.dumps(orjson.loads(body), **style)
            body = (_WHOLE_TENTHS.sub(r"\g<1>0", text) if "indent" in style else text).encode()
        made.append((body, template.content_type))
    return made


def _xml_documents(rng: random.Random) -> list[Document]:
    """Make receipts in UTF-8, windows-1251 and UTF-16, compact and indented."""
    made = []
    for number, template in enumerate(documents.xml_templates(rng, _BATCH)):
        body = template.fill(f"R-{rng.getrandbits(32):010d}")
        if number % 4 == 1:
            root = etree.fromstring(body)
            etree.indent(root)
            body = etree.tostring(root, xml_declaration=True, encoding="utf-8")
        made.append((body, template.content_type))
    return made


def _load_types(count: int) -> dict[str, float]:
    """Return how long ``count`` types take to be read, as the daemon does before it serves, and then to be compiled."""
    root = Path(tempfile.mkdtemp(prefix="receiptd-bench-"))
    try:
        samples = dict(_write_types(root, count))
        gc.collect()
        began = time.perf_counter()
        types = ReceiptTypes.read([root])
        read = time.perf_counter()
        types.compile()
        compiled = time.perf_counter()
        for type_id, (body, content_type) in samples.items():
            checked = types.check(body, content_type)
            if checked.type_id != type_id or not checked.valid:
                raise AssertionError(f"a good document of {type_id} was refused")
    finally:
        shutil.rmtree(root)
    return {
        "count": count,
        "read_s": round(read - began, 2),
        "compile_s": round(compiled - read, 2),
        "load_s": round(compiled - began, 2),
    }


def _write_types(root: Path, count: int) -> Iterator[tuple[str, Document]]:
    """Write copies of the bundled retail types, each with a mark of its own; yield its id and a good document."""
    for number in range(count):
        name, sample, content_type = (
            ("retail-receipt", "grocery.json", "application/json"),
            ("retail-receipt-xml", "hardware.xml", "application/xml"),
        )[number % 2]
        source = BUNDLED_ROOT / name
        type_id = f"{name}-{number}"
        marks = {
            f"id: {name}": f"id: {type_id}",
            "equals: retail-receipt": f"equals: {type_id}",
            "urn:receiptd:retail-receipt:1": f"urn:receiptd:{type_id}",
            '"retail-receipt"': f'"{type_id}"',
            "vnd.receiptd.retail-receipt": f"vnd.receiptd.{type_id}",
        }
        folder = root / type_id
        folder.mkdir()
        for path in source.glob("*.*"):
            (folder / path.name).write_bytes(_marked(path.read_bytes(), marks))
        yield type_id, (_marked((source / "samples" / "valid" / sample).read_bytes(), marks), content_type)


def _marked(text: bytes, marks: Mapping[str, str]) -> bytes:
    for old, new in marks.items():
        text = text.replace(old.encode(), new.encode())
    return text


def _progress(seconds: float, series: Mapping[str, Series]) -> None:
    reports = {name: one.report() for name, one in series.items()}
    told = [f"{name} {one['us']} us, floor {one['floor_us']}, ratio {one['ratio']}" for name, one in reports.items()]
    print(f"{seconds:.0f} s: {' | '.join(told)}", file=sys.stderr, flush=True)


def _table(result: Mapping[str, Any], series: Mapping[str, Series]) -> str:
    rows = [f"{'':8}{'document':>10}{'check':>10}{'floor':>10}{'ratio':>8}   parts"]
    for name, one in series.items():
        figures = result[name]
        parts = {stage: statistics.median(values) for stage, values in one.stages_us.items()}
        rest = figures["us"] - sum(parts.values())
        told = ", ".join(f"{stage} {us:.1f}" for stage, us in {**parts, "the rest": rest}.items())
        rows.append(
            f"{name:8}{statistics.median(one.bytes_):>8.0f} B{figures['us']:>7.1f} us{figures['floor_us']:>7.1f} us"
            f"{figures['ratio']:>8.2f}   {told}"
        )
    if "types" in result:
        types = result["types"]
        took = f"read in {types['read_s']} s, compiled in {types['compile_s']} s"
        rows.append(f"{types['count']} types: loaded in {types['load_s']} s; {took}")
    rows.append("CPU time of one thread; medians over rounds, the ratio's too.")
    return "\n".join(rows)
