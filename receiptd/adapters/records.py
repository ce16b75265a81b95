"""The stored form of receipts and contracts, shared by every adapter that keeps them.

A receipt is stored in two parts, because one never changes and the other does at every commit: the *document* (what
was submitted, as one zstd frame) and the *progress* (registrations, findings and delivery, as compact JSON). What
adapters query or compare stands beside them in plain columns. Lists are only ever extended at their end, so that two
versions of the daemon read each other's rows during a rollout.

Frames are compressed with a dictionary trained on receipts (scripts/train_dictionary.py), named by the dictionary id
inside the frame (RFC 8878, section 3.1.1.1.3): dictionaries can be added, but one that was used is never removed.
Each frame carries a checksum of its content, because neither SQLite nor DynamoDB tells us when a byte has rotted.
"""

from __future__ import annotations

import struct
from dataclasses import fields
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import orjson
import zstandard

from receiptd.domain.contract import Access, Contract
from receiptd.domain.errors import StorageError
from receiptd.domain.identifiers import digest
from receiptd.domain.receipt import (
    Delivery,
    DeliveryState,
    Finding,
    Receipt,
    ReceiptState,
    Registration,
    RegistrationState,
    Severity,
    Submission,
)

DICTIONARY_IDS = (32_769,)
"""Of the dictionaries in the package; the last one compresses. Ids below 32,768 are reserved by RFC 8878."""

CONTENT_MAX_BYTES = 256 * 1024 * 1024
"""No frame of ours holds more: an HTTP body is at most 64 MiB, and its canonical form is of the same order."""

_LEVEL = 3
_DENSE = zstandard.ZstdCompressionParameters(
    strategy=zstandard.STRATEGY_GREEDY,
    window_log=14,
    chain_log=14,
    hash_log=14,
    search_log=4,
    min_match=5,
    write_checksum=1,
    write_content_size=1,
    write_dict_id=1,
)
_DENSE_MAX_BYTES = 2**14
_LENGTHS = struct.Struct(">II")
_LAST_SECOND = datetime.max.replace(tzinfo=UTC, microsecond=0).timestamp()


class Progress(NamedTuple):
    """The part of a stored receipt that a commit replaces."""

    version: int
    state: str
    delivery: str | None
    """The delivery's state; None when no webhook is owed."""
    settled: int
    """1 when nothing is owed any more."""
    progress: bytes


class Record(NamedTuple):
    """A receipt as it is stored; a plain tuple, because it is the parameters of a statement as it stands."""

    client_id: str
    receipt_id: str
    type_id: str
    accepted_at: float
    version: int
    state: str
    delivery: str | None
    settled: int
    progress: bytes
    document: bytes


class RecordCodec:
    """Turns receipts into records and back. Not thread-safe: every thread has its own.

    ``dense`` spends 10 us more on a small receipt to make it a tenth smaller, where a store charges by the kilobyte.
    Either codec reads what the other wrote.
    """

    def __init__(self, *, dense: bool = False) -> None:
        dictionaries = _dictionaries()
        self._compressor = zstandard.ZstdCompressor(
            level=_LEVEL, dict_data=dictionaries[DICTIONARY_IDS[-1]], write_checksum=True
        )
        self._dense = (
            zstandard.ZstdCompressor(compression_params=_DENSE, dict_data=_dense_dictionary()) if dense else None
        )
        self._decompressors = {
            number: zstandard.ZstdDecompressor(dict_data=dictionary) for number, dictionary in dictionaries.items()
        }

    def record(self, receipt: Receipt) -> Record:
        """Return the whole stored form of ``receipt``."""
        submission = receipt.submission
        return Record(
            submission.client_id,
            submission.receipt_id,
            submission.type_id,
            submission.accepted_at,
            *progress_of(receipt),
            self._pack(submission),
        )

    def receipt(self, record: Record) -> Receipt:
        """Return the receipt that ``record`` holds. Raises StorageError when it cannot be read (damaged, too new)."""
        try:
            registrations, findings, delivery, updated_at, *_ = orjson.loads(record.progress)
            return Receipt(
                self._unpack(record),
                ReceiptState(record.state),
                tuple([_registration(values) for values in registrations]),
                tuple([_finding(values) for values in findings]),
                _delivery(delivery) if delivery else None,
                updated_at,
                record.version,
            )
        except (zstandard.ZstdError, ValueError, TypeError, struct.error, LookupError) as error:
            raise StorageError(f"the stored receipt {record.receipt_id} cannot be read: {error}") from error

    def _pack(self, submission: Submission) -> bytes:
        stated: str | None = submission.digest
        if self._dense is not None and stated == digest(submission.document):
            stated = None  # 40 bytes that can be had again
        facts = orjson.dumps(
            (
                submission.type_version,
                submission.content_type,
                stated,
                submission.webhook_url,
                submission.idempotency_key,
                submission.trace_id,
            )
        )
        lengths = _LENGTHS.pack(len(facts), len(submission.document))
        content = b"".join((lengths, facts, submission.document, submission.canonical))
        if self._dense is not None and len(content) <= _DENSE_MAX_BYTES:
            return self._dense.compress(content)
        return self._compressor.compress(content)

    def _unpack(self, record: Record) -> Submission:
        frame = zstandard.get_frame_parameters(record.document)
        if frame.content_size > CONTENT_MAX_BYTES:  # an unknown size is the largest number
            raise ValueError(f"its document claims to be of {frame.content_size} bytes")
        content = self._decompressors[frame.dict_id].decompress(record.document)
        facts_length, document_length = _LENGTHS.unpack_from(content)
        document_start = _LENGTHS.size + facts_length
        canonical_start = document_start + document_length
        facts = orjson.loads(content[_LENGTHS.size : document_start])
        type_version, content_type, stated, webhook_url, idempotency_key, trace_id, *_ = facts
        document = content[document_start:canonical_start]
        return Submission(
            receipt_id=record.receipt_id,
            client_id=record.client_id,
            type_id=record.type_id,
            type_version=type_version,
            accepted_at=record.accepted_at,
            content_type=content_type,
            digest=digest(document) if stated is None else stated,
            document=document,
            canonical=content[canonical_start:],
            webhook_url=webhook_url,
            idempotency_key=idempotency_key,
            trace_id=trace_id,
        )


def progress_of(receipt: Receipt) -> Progress:
    """Return the stored form of what may change in ``receipt``."""
    delivery = receipt.delivery
    return Progress(
        receipt.version,
        receipt.state.value,
        None if delivery is None else delivery.state.value,
        int(receipt.settled),
        orjson.dumps(
            (
                [
                    (r.registrar, r.state, r.attempts, r.updated_at, r.due_at, r.reference, r.reason)
                    for r in receipt.registrations
                ],
                [(f.code, f.message, f.where, f.severity) for f in receipt.findings],
                None
                if delivery is None
                else (
                    delivery.state,
                    delivery.attempts,
                    delivery.updated_at,
                    delivery.due_at,
                    delivery.last_status,
                    delivery.reason,
                ),
                receipt.updated_at,
            )
        ),
    )


def day_stamp(at: float) -> str:
    """Return the UTC day of ``at`` (seconds since the epoch) as receipt ids carry it; beyond year 9999 its last day."""
    return f"{datetime.fromtimestamp(min(max(at, 0.0), _LAST_SECOND), UTC):%Y%m%d}"


def contract_to_json(contract: Contract) -> bytes:
    """Return the stored form of ``contract``, its webhook secrets in clear: they sign, so they must be readable."""
    return orjson.dumps(contract)


def contract_from_json(stored: bytes) -> Contract:
    """Return the contract that ``stored`` holds; members that this version does not know are left out.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        members: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in orjson.loads(stored).items()
            if name in _CONTRACT_FIELDS
        }
        members["access"] = Access(members["access"])
        members["partitions"] = tuple((day, number) for day, number in members.get("partitions", ()))
        return Contract(**members)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StorageError(f"a stored contract cannot be read: {type(error).__name__}") from error


_CONTRACT_FIELDS = frozenset(field.name for field in fields(Contract))


# A later version may have added values at the end of each list; they are left out.


def _registration(values: list[Any]) -> Registration:
    return Registration(values[0], RegistrationState(values[1]), *values[2:7])


def _finding(values: list[Any]) -> Finding:
    return Finding(values[0], values[1], values[2], Severity(values[3]))


def _delivery(values: list[Any]) -> Delivery:
    return Delivery(DeliveryState(values[0]), *values[1:6])


@cache
def _dictionaries() -> dict[int, zstandard.ZstdCompressionDict]:
    folder = resources.files("receiptd.adapters") / "dictionary"
    loaded = {}
    for number in DICTIONARY_IDS:
        dictionary = zstandard.ZstdCompressionDict((folder / f"{number}.zdict").read_bytes())
        assert dictionary.dict_id() == number, f"{number}.zdict names another id"
        dictionary.precompute_compress(level=_LEVEL)
        loaded[number] = dictionary
    return loaded


@cache
def _dense_dictionary() -> zstandard.ZstdCompressionDict:
    dictionary = zstandard.ZstdCompressionDict(_dictionaries()[DICTIONARY_IDS[-1]].as_bytes())
    dictionary.precompute_compress(compression_params=_DENSE)
    return dictionary
