"""What the demo posts: the samples of the bundled receipt types under numbers of their own, and some hostile bytes."""

from __future__ import annotations

import codecs
import random
import re
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from receiptd.cli.demo.books import Expected, Posting
from receiptd.documents import BUNDLED_ROOT

_NUMBERS: Final = {
    "retail-receipt": re.compile(r'("number": ?")[^"]+'),
    "retail-receipt-xml": re.compile(r"(<(?:\w+:)?Number>)[^<]+"),
    "prro-check": re.compile(r"(<ORDERNUM>)\d+"),
}
"""Where each type has its document's number, after the group."""

_VALID_PER_TYPE: Final = 12
_MEDIA_TYPES: Final = {".json": "application/json", ".xml": "application/xml"}
_SHUFFLE_SEED: Final = 7
_BOMB: Final = b"""<?xml version="1.0"?>
<!DOCTYPE receipt [<!ENTITY a "boom"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>
<receipt>&c;</receipt>
"""
_NESTED: Final = b"[" * 100_000 + b"]" * 100_000


def postings(run: str) -> list[Posting]:
    """Return what is posted, in order. ``run`` makes the numbers and keys of one demo differ from another's."""
    mixed = [*_valid(run), *_rejected_later(run), *_invalid(run), *_hostile(run)]
    random.Random(_SHUFFLE_SEED).shuffle(mixed)  # noqa: S311 - an order, not a secret
    first = next(one for one in mixed if one.expected == "COMPLETE")
    retry = Posting(
        title="the same once more",
        body=first.body,
        content_type=first.content_type,
        key=first.key,
        expected="replayed",
    )
    reuse = Posting(
        title="another document under that key",
        body=retail_receipt(f"{run}-other"),
        content_type="application/json",
        key=first.key,
        expected="refused",
    )
    return [*mixed, retry, reuse]


def retail_receipt(number: str) -> bytes:
    """Return a valid retail receipt (JSON) of this number."""
    return _numbered("retail-receipt", _samples("retail-receipt", "valid")[0], number)


def _valid(run: str) -> Iterator[Posting]:
    for type_id in _NUMBERS:
        samples = _samples(type_id, "valid")
        for serial, sample in enumerate(islice(cycle(samples), _VALID_PER_TYPE), start=1):
            yield _posting(type_id, sample, run, f"{serial:03d}", "COMPLETE")


def _rejected_later(run: str) -> Iterator[Posting]:
    """Valid documents that a registrar refuses: the stand-ins go by a mark in the number."""
    for mark, who in (("REJECT", "both"), ("REJECT-TAX", "tax"), ("REJECT-WAREHOUSE", "warehouse")):
        yield Posting(
            title=f"retail-receipt that {who} will not take",
            body=retail_receipt(f"{run}-{mark}"),
            content_type="application/json",
            key=f"{run}-{mark}",
            expected="FAILED",
        )


def _invalid(run: str) -> Iterator[Posting]:
    for type_id in _NUMBERS:
        for serial, sample in enumerate(_samples(type_id, "invalid"), start=1):
            yield _posting(type_id, sample, run, f"9{serial:02d}", "refused")


def _hostile(run: str) -> Iterator[Posting]:
    for key, title, body, content_type in (
        ("bomb", "XML with an entity bomb", _BOMB, "application/xml"),
        ("nested", "JSON nested 100,000 deep", _NESTED, "application/json"),
        ("garbage", "bytes that are no JSON", b"\x00\xff{not json", "application/json"),
        ("unknown", "JSON of no known type", b'{"type": "shopping-list"}', "application/json"),
    ):
        yield Posting(title=title, body=body, content_type=content_type, key=f"{run}-{key}", expected="refused")


def _samples(type_id: str, kind: str) -> list[Path]:
    folder = BUNDLED_ROOT / type_id / "samples" / kind
    return sorted(path for path in folder.iterdir() if path.suffix in _MEDIA_TYPES)


def _posting(type_id: str, sample: Path, run: str, serial: str, expected: Expected) -> Posting:
    return Posting(
        title=f"{type_id} {sample.stem}",
        body=_numbered(type_id, sample, f"{run}-{serial}"),
        content_type=_MEDIA_TYPES[sample.suffix],
        key=f"{run}-{type_id}-{serial}",
        expected=expected,
    )


def _numbered(type_id: str, sample: Path, number: str) -> bytes:
    """Return the sample's bytes under another number (ASCII), all else as it was, whatever the encoding.

    The fiscal number of ``prro-check`` has digits only.
    """
    body = sample.read_bytes()
    encoding = "utf-16" if body.startswith(codecs.BOM_UTF16_LE) else "latin-1"  # the latter keeps any other's bytes
    value = re.sub(r"\D", "", number) if type_id == "prro-check" else number
    return _NUMBERS[type_id].sub(rf"\g<1>{value}", body.decode(encoding)).encode(encoding)
