"""The stored form of receipts and contracts (receiptd.adapters.records)."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
import zstandard
from contract_makers import completed, new_receipt

from receiptd.adapters import records
from receiptd.adapters.records import (
    Record,
    RecordCodec,
    contract_from_json,
    contract_to_json,
    day_stamp,
    progress_of,
)
from receiptd.domain.contract import Access, Contract
from receiptd.domain.errors import StorageError
from receiptd.domain.receipt import Delivery, DeliveryState, Finding


@pytest.fixture
def codec():
    return RecordCodec()


@pytest.fixture
def receipt():
    return completed(
        new_receipt(findings=(Finding("rule", "odd"),)), delivery=Delivery(DeliveryState.DELIVERED, 2, 5.0, 0.0, 200)
    )


def test_a_record_has_its_columns_in_the_order_of_the_statements(codec, receipt):
    assert Record._fields == (
        "client_id",
        "receipt_id",
        "type_id",
        "accepted_at",
        "version",
        "state",
        "delivery",
        "settled",
        "progress",
        "document",
    )
    record = codec.record(receipt)
    assert record[4:9] == progress_of(receipt)
    assert record[:4] == ("shop", receipt.receipt_id, "till", receipt.submission.accepted_at)
    assert record[4:8] == (2, "COMPLETE", "DELIVERED", 1)


def test_a_frame_names_its_dictionary_and_checks_its_content(codec, receipt):
    frame = zstandard.get_frame_parameters(codec.record(receipt).document)
    assert frame.dict_id == records.DICTIONARY_IDS[-1]
    assert frame.has_checksum


def test_the_dictionary_earns_its_keep(codec):
    document = orjson.dumps(
        {"number": "R-1", "issued_at": "2026-03-14T12:00:00Z", "currency": "EUR", "total": "12.30", "lines": []}
    )
    receipt = new_receipt(document=document)
    plain = zstandard.ZstdCompressor(level=3).compress(document + document)
    assert len(codec.record(receipt).document) < len(plain) + 100  # digest, key and facts take more than that alone


@pytest.mark.parametrize("at", [0, 1, 5, 20, 40, -1])
def test_damage_of_any_byte_is_noticed_invariant_9(codec, receipt, at):
    record = codec.record(receipt)
    damaged = bytearray(record.document)
    damaged[at] ^= 0x55
    with pytest.raises(StorageError, match=receipt.receipt_id):
        codec.receipt(record._replace(document=bytes(damaged)))


@pytest.mark.parametrize(
    "damage",
    [
        {"document": b""},
        {"progress": b""},
        {"progress": b"{}"},
        {"progress": b"[1,2]"},
        {"progress": b'[[["tax"]],[],null,0.0]'},
        {"progress": b'[[["tax","DREAMING",0,0.0,0.0,"",""]],[],null,0.0]'},
        {"state": "DREAMING"},
    ],
)
def test_a_record_that_cannot_be_read_is_a_storage_error(codec, receipt, damage):
    with pytest.raises(StorageError, match=receipt.receipt_id):
        codec.receipt(codec.record(receipt)._replace(**damage))


def test_a_frame_that_would_unpack_to_too_much_is_refused_unread_invariant_13(codec, receipt, monkeypatch):
    record = codec.record(receipt)
    monkeypatch.setattr(records, "CONTENT_MAX_BYTES", 100)
    with pytest.raises(StorageError, match="claims to be"):
        codec.receipt(record)
    unknown = zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 90)
    with pytest.raises(StorageError, match="claims to be"):
        codec.receipt(record._replace(document=unknown))


def test_an_unknown_dictionary_is_a_storage_error(codec, receipt):
    with pytest.raises(StorageError):
        codec.receipt(codec.record(receipt)._replace(document=zstandard.ZstdCompressor().compress(b"no dictionary")))


def test_what_a_later_version_adds_at_the_end_is_left_out(codec, receipt):
    record = codec.record(receipt)
    registrations, findings, delivery, updated_at = orjson.loads(record.progress)
    later = [[[*r, "new"] for r in registrations], [[*f, 1] for f in findings], [*delivery, {}], updated_at, "new"]
    assert codec.receipt(record._replace(progress=orjson.dumps(later))) == receipt


def test_a_contract_comes_back():
    contract = Contract(client_id="shop", access=Access.READ, webhook_secrets=("a", "b"), receipt_types=("till",))
    assert contract_from_json(contract_to_json(contract)) == contract


def test_a_contract_of_another_version_is_read_by_what_is_known():
    stored = orjson.loads(contract_to_json(Contract(client_id="shop")))
    assert contract_from_json(orjson.dumps({**stored, "new": [1]})) == Contract(client_id="shop")
    del stored["burst"]
    assert contract_from_json(orjson.dumps(stored)) == Contract(client_id="shop")


@pytest.mark.parametrize("stored", [b"", b"[]", b"{}", b'{"client_id":"shop","access":"everything"}'])
def test_a_contract_that_cannot_be_read_is_a_storage_error_invariant_14(stored):
    with pytest.raises(StorageError) as raised:
        contract_from_json(stored)
    assert "everything" not in str(raised.value)


def test_day_stamps_are_in_utc_and_within_the_calendar():
    assert day_stamp(1_773_489_599.999) == "20260314"
    assert day_stamp(0.0) == day_stamp(-5.0) == "19700101"
    assert day_stamp(1e12) == day_stamp(float("inf")) == "99991231"


def test_an_equal_receipt_has_an_equal_record(codec, receipt):
    assert codec.record(receipt) == RecordCodec().record(replace(receipt))
