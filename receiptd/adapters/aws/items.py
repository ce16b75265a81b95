"""Receipts as items of DynamoDB: which attribute holds what, and the statements that write them.

Names are single letters and what is large is packed, because a write that leaves an item of more than 1,024 bytes,
names included, costs a second unit. A receipt of 2 kB makes an item of about 900.

| attribute | holds |
| --- | --- |
| ``c`` | partition key: the client's id, with ``#n`` in its further partitions |
| ``r`` | sort key: the receipt's id, which begins with its day |
| ``t`` ``a`` | type, time of acceptance (seconds since the epoch) |
| ``v`` ``s`` ``d`` ``z`` | version, state and delivery's state by a letter (no ``d``: no webhook), settled (0 or 1) |
| ``p`` ``b`` | progress (packing.py) and document (records.py) |
| ``w`` | the mark of the write that made this version: random bytes, by which a writer knows its own after a timeout |
| ``x`` | when DynamoDB may delete it (seconds since the epoch); present while the receipt is settled, only then |
| ``n`` ``h`` | instead of ``b``: how many chunks hold the document, and their common name |

A chunk's partition key is ``client#receipt``, where no page comes across it. Its sort key begins with the digest of the
whole document, so that what two processes write under one receipt id at once does not mix.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from receiptd.adapters.aws.dynamodb import Item, Statement
from receiptd.adapters.aws.packing import Packer
from receiptd.adapters.records import Progress, Record, RecordCodec, progress_of
from receiptd.domain.errors import StorageError
from receiptd.domain.receipt import DeliveryState, Receipt, ReceiptState

DOCUMENT_MAX_BYTES: Final = 300_000
"""A larger document goes into chunks of this size: an item holds 400 KiB at most, with the findings in its progress."""
CHUNK_GRACE_S: Final = 14 * 86_400
"""So much longer do chunks live than their receipt: one that is reopened in its last hour must not lose them."""
LETTERS: Final[dict[str, str]] = {
    ReceiptState.PROCESSING: "P",
    ReceiptState.COMPLETE: "C",
    ReceiptState.FAILED: "F",
    DeliveryState.OWED: "O",
    DeliveryState.DELIVERED: "D",
    DeliveryState.EXHAUSTED: "E",
    DeliveryState.DISABLED: "I",
}
"""States of receipts and deliveries as they are stored."""

_NAMES: Final = {letter: name for name, letter in LETTERS.items()}
_ROOM: Final = 200
"""Bytes of an item beside its progress and document, roughly; this is for the size of batches."""


class Items:
    """Makes the statements and reads the items of one table. Not thread-safe."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._records = RecordCodec(dense=True)
        self._packer = Packer()

    def insertion(
        self, partition: str, receipt: Receipt, mark: bytes, expires_at: float | None
    ) -> tuple[Statement, list[Statement]]:
        """Return the statement that puts a receipt where there is none, and those that write its chunks before it."""
        record = self._records.record(receipt)
        progress, document = self._packer.pack(record.progress), record.document
        names = "crta"
        parameters: list[dict[str, Any]] = [
            {"S": partition},
            {"S": record.receipt_id},
            {"S": record.type_id},
            {"N": repr(record.accepted_at)},
        ]
        names += _changing(parameters, record, progress, mark, expires_at)
        size = _ROOM + len(progress)
        chunks: list[Statement] = []
        if len(document) <= DOCUMENT_MAX_BYTES:
            names += "b"
            parameters.append({"B": _base64(document)})
            size += len(document)
        else:
            names += "nh"
            chunks = self._chunks(record)
            parameters += [{"N": str(len(chunks))}, {"S": _chunk_name(document)}]
        return Statement(_insert(self._table, names), parameters, size), chunks

    def update(
        self, partition: str, receipt: Receipt, expected_version: int, mark: bytes, expires_at: float | None
    ) -> Statement:
        """Return the statement that replaces a receipt's progress, if it is of ``expected_version``."""
        progress = progress_of(receipt)
        packed = self._packer.pack(progress.progress)
        parameters: list[dict[str, Any]] = []
        names = _changing(parameters, progress, packed, mark, expires_at)
        parameters += [{"S": partition}, {"S": receipt.receipt_id}, {"N": str(expected_version)}]
        return Statement(_update(self._table, names), parameters, _ROOM + len(packed))

    def chunk_expiry(self, chunk_key: Item, expires_at: float) -> Statement:
        """Return the statement that lets a chunk expire, some time after its receipt."""
        at = {"N": str(math.ceil(expires_at) + CHUNK_GRACE_S)}
        return Statement(_update(self._table, "x", ""), [at, chunk_key["c"], chunk_key["r"]], _ROOM)

    def receipt(self, client_id: str, item: Item, chunks: Sequence[Item] = ()) -> Receipt:
        """Return the receipt that an item holds; ``chunks``: those of its document, in any order.

        Raises:
            StorageError: it is not one of ours or damaged, or a chunk is missing.
        """
        try:
            if is_in_chunks(item):
                parts = {chunk["r"]["S"]: chunk["b"]["B"] for chunk in chunks}
                document = b"".join([a2b_base64(parts[each["r"]["S"]]) for each in chunk_keys(client_id, item)])
            else:
                document = a2b_base64(item["b"]["B"])
            delivery = item.get("d")
            record = Record(
                client_id,
                item["r"]["S"],
                item["t"]["S"],
                float(item["a"]["N"]),
                int(item["v"]["N"]),
                _NAMES[item["s"]["S"]],
                None if delivery is None else _NAMES[delivery["S"]],
                int(item["z"]["N"]),
                self._packer.unpack(a2b_base64(item["p"]["B"])),
                document,
            )
        except (KeyError, ValueError, TypeError) as error:
            raise StorageError(
                f"a stored item of {client_id} cannot be read: {type(error).__name__} {error}"
            ) from error
        return self._records.receipt(record)

    def _chunks(self, record: Record) -> list[Statement]:
        """Return the statements that put a large document into chunks."""
        document, statements = record.document, []
        partition, name = {"S": f"{record.client_id}#{record.receipt_id}"}, _chunk_name(document)
        text = _insert(self._table, "crb")
        for number, at in enumerate(range(0, len(document), DOCUMENT_MAX_BYTES)):
            part = document[at : at + DOCUMENT_MAX_BYTES]
            parameters = [partition, {"S": f"{name}#{number:05d}"}, {"B": _base64(part)}]
            statements.append(Statement(text, parameters, _ROOM + len(part)))
        return statements


def partition_of(client_id: str, receipt_id: str, partitions: int) -> str:
    """Return the partition key of a receipt whose client had so many ``partitions`` on the receipt's day."""
    return client_id if partitions == 1 else partition_key(client_id, zlib.crc32(receipt_id.encode()) % partitions)


def partition_key(client_id: str, number: int) -> str:
    """Return the key of a client's partition of a number from 0."""
    return f"{client_id}#{number}" if number else client_id


def key(partition: str, receipt_id: str) -> Item:
    """Return an item's primary key."""
    return {"c": {"S": partition}, "r": {"S": receipt_id}}


def chunk_keys(client_id: str, item: Item) -> list[Item]:
    """Return the keys of the chunks that hold an item's document, in their order; none when it holds it itself."""
    if not is_in_chunks(item):
        return []
    partition, name = f"{client_id}#{item['r']['S']}", item["h"]["S"]
    return [key(partition, f"{name}#{number:05d}") for number in range(int(item["n"]["N"]))]


def is_in_chunks(item: Item) -> bool:
    """Say whether an item's document is in chunks."""
    return "n" in item


def left_over(chunks: Sequence[Statement], standing: Item) -> list[Item]:
    """Return the keys of what ``chunks`` wrote, unless they are those of the receipt that stands there."""
    name = standing["h"]["S"] if is_in_chunks(standing) else ""
    keys = [{"c": chunk.parameters[0], "r": chunk.parameters[1]} for chunk in chunks]
    return [key for key in keys if key["r"]["S"].partition("#")[0] != name]


def version(item: Item) -> int:
    """Return the version of a receipt's item. Raises StorageError when it is not one of ours."""
    try:
        return int(item["v"]["N"])
    except (KeyError, ValueError, TypeError) as error:
        raise StorageError("a stored item has no version") from error


def written_by(item: Item, mark: bytes) -> bool:
    """Say whether the write of this ``mark`` made the item's version."""
    written = item.get("w")
    return written is not None and written.get("B") == _base64(mark)


def _changing(
    parameters: list[dict[str, Any]], stored: Record | Progress, progress: bytes, mark: bytes, expires_at: float | None
) -> str:
    """Add what every commit writes of a ``Record`` or ``Progress`` to ``parameters``; return the attributes' names."""
    names = "vszpw"
    parameters += [
        {"N": str(stored.version)},
        {"S": LETTERS[stored.state]},
        {"N": str(stored.settled)},
        {"B": _base64(progress)},
        {"B": _base64(mark)},
    ]
    if stored.delivery is not None:
        names += "d"
        parameters.append({"S": LETTERS[stored.delivery]})
    if expires_at is not None:
        names += "x"
        parameters.append({"N": str(math.ceil(expires_at))})
    return names


def _chunk_name(document: bytes) -> str:
    return hashlib.blake2b(document, digest_size=12).hexdigest()


def _base64(content: bytes) -> str:
    return b2a_base64(content, newline=False).decode("ascii")


@lru_cache(maxsize=64)
def _insert(table: str, names: str) -> str:
    return f'INSERT INTO "{table}" VALUE {{{", ".join(f"{name!r}: ?" for name in names)}}}'


@lru_cache(maxsize=64)
def _update(table: str, names: str, condition: str = ' AND "v"=?') -> str:
    sets = " ".join(f'SET "{name}"=?' for name in names)
    expiry = "" if "x" in names else ' REMOVE "x"'
    return f'UPDATE "{table}" {sets}{expiry} WHERE "c"=? AND "r"=?{condition}'
