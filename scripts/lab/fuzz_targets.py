"""What fuzzing holds against: any bytes must get a verdict, soon, and nothing else may come out.

``json`` and ``xml`` are documents, judged by every type of the format; ``types`` are files of a receipt type's folder.
A judge returns when all is well and raises Broken, or whatever the tested code raised, when it is not.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import orjson

from receiptd.documents import BUNDLED_ROOT, Checked, DocumentError, ReceiptTypes, load_type
from receiptd.documents.json_document import decode_json
from receiptd.domain.errors import ConfigurationError

SECONDS_MAX = 1.0
"""CPU seconds that one verdict may take."""
_FINDINGS_MAX = 50
_TEXT_MAX_CHARS = 1_000
_STATUSES = frozenset({400, 413, 415, 422})
_SUFFIXES = {"json": ".json", "xml": ".xml"}
_SCHEMALESS = """
id: bare-FORMAT
version: 1
title: No schema stands before its mapping
format: FORMAT
registrars: [tax]
"""
_BARE_JSON = """
recognise: [{pointer: /bare, present: true}]
mapping:
  number: {at: [/number, /seller/store]}
  issued_at: {at: /issued_at, zone: Europe/Kyiv}
  seller: {at: /seller/tax_id, default: nobody}
  buyer: {at: buyer.id, required: true}
  currency: {at: /currency, default: EUR}
  total: {at: "lines[].amount | [0]", round: half-up}
  taxes: {each: /taxes, code: /code, rate: /rate, base: /base, amount: /amount}
  lines:
    each: "lines[?amount]"
    description: /description
    quantity: /quantity
    amount: {at: /amount, less: /discount, unit: minor, round: half-even}
rules:
  - id: sum
    that: sum(receipt.lines.map(l, l.amount)) <= receipt.total * 2
    message: "no: {money(receipt.total)}"
  - id: lines
    that: receipt.lines.all(l, l.quantity != "" && l.amount / l.amount == 1)
    message: "no: {receipt.buyer}"
"""
_BARE_XML = """
recognise: [{root: Bare}]
namespaces: {r: "urn:receiptd:retail-receipt:1"}
mapping:
  number: string(//r:Number)
  issued_at: {at: "//*[local-name()='IssuedAt']", zone: Europe/Kyiv}
  seller: {at: "//@taxId", default: nobody}
  currency: {at: "@currency", default: EUR}
  total: {at: "sum(//r:Amount)", round: half-up}
  taxes: {each: "//r:Tax", code: "@code", rate: "@rate", base: "r:Base", amount: "r:Amount"}
  lines:
    each: "//r:Line"
    description: r:Description
    quantity: r:Quantity
    unit: r:Quantity/@unit
    amount: {at: r:Amount, round: half-even}
"""

_JSON_TOKENS = (
    *("{", "}", "[", "]", ":", ",", '"', "\\", "\\u0022", "\\u0000", "\\ud83d\\ude00", "\\ud800", "null", "true", "-0"),
    *("1e-400", "1e308", "0.1e-330", "12345678901234567", "0.12345678901234567", "9" * 101, "NaN", "\ufeff", "\x00"),
    *('"type":"retail-receipt"', '"bare":1', '"total":', '"amount":', '"lines":[', '"currency":"JPY"', "2026-02-30"),
)
_XML_TOKENS = (
    *(
        "<",
        ">",
        "</",
        "/>",
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "<?x ",
        "?>",
        "<!DOCTYPE ",
        "&#0;",
        "&lt;",
        "&#x10ffff;",
    ),
    *('<?xml version="1.0" encoding="windows-1251"?>', 'encoding="UTF-16"', "<Receipt", "<CHECK", "<Line>", "<ROW>"),
    *('xmlns="urn:receiptd:retail-receipt:1"', 'xmlns:a="', "xsi:nil=", "xsi:type=", "\ufeff", "NaN", "1e9", "-1"),
)
_TYPE_TOKENS = (
    *(
        "&a ",
        "*a",
        "<<: ",
        "!!python/object:os.system",
        "!!binary ",
        "? ",
        "- ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        "|",
        ">-",
        "%",
    ),
    *("$ref", "$id", "#/$defs/x", "pattern", "(?=x)", "http://x/y.json", "each", "less", "round", "unix", "present"),
    *(
        "../",
        "/etc/passwd",
        "1e999",
        ".inf",
        ".nan",
        "0x10",
        "2026-01-01",
        "\x00",
        "\ufeff",
        "9" * 30,
        "sum(",
        "receipt.",
    ),
)


class Broken(AssertionError):  # noqa: N818 - what it says of the promise
    """A promise does not hold."""


TOKENS: Mapping[str, Sequence[str]] = {"json": _JSON_TOKENS, "xml": _XML_TOKENS, "types": _TYPE_TOKENS}
"""What to mix in, by target."""


def seeds(name: str) -> list[bytes]:
    """Return what to begin with."""
    return _type_seeds() if name == "types" else _document_seeds(name)


def judge(name: str) -> Callable[[bytes], None]:
    """Return who judges inputs of the target, with all that it tests imported and loaded."""
    return _TypeJudge() if name == "types" else DocumentJudge(name)


class DocumentJudge:
    """Holds every verdict on a document against what verdicts promise."""

    def __init__(self, format_: str) -> None:
        root = Path(tempfile.mkdtemp(prefix="receiptd-fuzz-"))
        try:
            bare = root / "bare"
            bare.mkdir()
            grammar = _SCHEMALESS.replace("FORMAT", format_) + (_BARE_JSON if format_ == "json" else _BARE_XML)
            (bare / "type.yaml").write_text(grammar, encoding="utf-8")
            self._types = ReceiptTypes.load([BUNDLED_ROOT, root])
        finally:
            shutil.rmtree(root)
        self._content_type = f"application/{format_}"
        self._hints = ["", *(type_.id for type_ in self._types if type_.format.value == format_)]

    def __call__(self, body: bytes) -> None:
        """Judge ``body`` as it shows itself, then as each type that a client could name."""
        for hint in self._hints:
            refused = self._judge(body, hint)
            if refused and refused.status == 400:  # no type will read what cannot be decoded
                return

    def _judge(self, body: bytes, hint: str) -> DocumentError | None:
        with _Stopwatch():
            try:
                checked = self._types.check(body, self._content_type, hint)
            except DocumentError as error:
                if error.status not in _STATUSES or not error.code or not error.detail:
                    raise Broken(f"a refusal that says nothing: {error.status} {error.code}") from error
                _require_texts([error.detail, error.where])
                return error
        _require_checked(checked)
        return None


def _require_checked(checked: Checked) -> None:
    if len(checked.findings) > _FINDINGS_MAX:
        raise Broken(f"{len(checked.findings)} findings")
    _require_texts([text for finding in checked.findings for text in (finding.code, finding.message, finding.where)])
    if not checked.canonical:
        if checked.valid:
            raise Broken("valid, yet without a canonical receipt")
        return
    receipt = orjson.loads(checked.canonical)
    if orjson.dumps(receipt) != checked.canonical or decode_json(checked.canonical) != receipt:
        raise Broken("the canonical receipt does not round-trip")
    amounts = [receipt["total"], *(entry["amount"] for name in ("lines", "taxes") for entry in receipt[name])]
    if not all(type(amount) is int for amount in amounts):
        raise Broken("an amount of the canonical receipt is no integer")


def _require_texts(texts: Iterable[str]) -> None:
    for text in texts:
        if len(text) > _TEXT_MAX_CHARS:
            raise Broken(f"a text of {len(text)} characters")
        text.encode()  # lone surrogates raise here


class _Stopwatch:
    """Raises Broken when what is done inside takes too much CPU time."""

    def __enter__(self) -> None:
        self._started = time.thread_time()

    def __exit__(self, *_: object) -> None:
        took_s = time.thread_time() - self._started
        if took_s > SECONDS_MAX:
            raise Broken(f"took {took_s:.2f} s of CPU time")


class _TypeJudge:
    """Loads a folder with one file replaced, which one its first byte tells: a type, or ConfigurationError."""

    def __init__(self) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="receiptd-fuzz-"))
        self._folders = {}
        for name in ("retail-receipt", "retail-receipt-xml"):
            folder = self._folders[name] = self._root / name
            shutil.copytree(BUNDLED_ROOT / name, folder)
            for schema in ("retail-receipt/schema.json", "retail-receipt-xml/schema.xsd"):  # whichever it names
                shutil.copy(BUNDLED_ROOT / schema, folder)
        self(b"id: x")  # so that everything is imported

    def __call__(self, data: bytes) -> None:
        name = "retail-receipt-xml" if data.startswith(b"<") or b"format: xml" in data else "retail-receipt"
        file = "schema.json" if data.startswith(b"{") else "schema.xsd" if data.startswith(b"<") else "type.yaml"
        path = self._folders[name] / file
        before = path.read_bytes()
        path.write_bytes(data)
        try:
            with _Stopwatch():
                try:
                    type_ = load_type(path.parent)
                except ConfigurationError as error:
                    if not str(error):
                        raise Broken("a refusal that says nothing") from error
                    return
            types = ReceiptTypes([type_])
            for sample in (path.parent / "samples" / "valid").iterdir():
                try:
                    _require_checked(types.check(sample.read_bytes(), f"application/{sample.suffix[1:]}", type_.id))
                except DocumentError:
                    continue
        finally:
            path.write_bytes(before)

    def __del__(self) -> None:
        shutil.rmtree(self._root, ignore_errors=True)


def _document_seeds(format_: str) -> list[bytes]:
    bodies = [path.read_bytes() for path in sorted(BUNDLED_ROOT.glob(f"*/samples/*/*{_SUFFIXES[format_]}"))]
    if format_ == "json":
        bodies += [body.replace(b'"type"', b'"bare"', 1) for body in bodies]
    return bodies


def _type_seeds() -> list[bytes]:
    names = ("type.yaml", "schema.json", "schema.xsd")
    bare = [
        (_SCHEMALESS.replace("FORMAT", name) + text).encode()
        for name, text in (("json", _BARE_JSON), ("xml", _BARE_XML))
    ]
    return [path.read_bytes() for name in names for path in sorted(BUNDLED_ROOT.glob(f"*/{name}"))] + bare
