"""Retention: what settings and types say, what expires when, and what goes from a real store."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from receiptd import settings as settings_module
from receiptd.adapters.embedded.store import EmbeddedStore
from receiptd.documents import ReceiptTypes
from receiptd.domain.errors import ConfigurationError
from receiptd.domain.receipt import Delivery
from receiptd.ports import PageQuery
from receiptd.retention import check_retention, expiry
from receiptd.runtime.clock import SystemClock
from receiptd.settings import StorageSettings

sys.path.append(str(Path(__file__).parents[1] / "contract"))

from contract_makers import DAY_S, NOON, completed, create, new_receipt, next_version, update

TODAY = datetime.fromtimestamp(NOON, UTC).date()
MAPPING = {
    "number": "/n",
    "issued_at": "/at",
    "seller": "/s",
    "currency": "/c",
    "total": "/t",
    "lines": {"each": "/l", "description": "/d", "amount": "/a"},
}


def types(root, *entries):
    """Read types of ``(id, version, retention class)``."""
    for type_id, version, retention in entries:
        folder = root / f"{type_id}-{version}"
        folder.mkdir()
        spec = {"id": type_id, "version": version, "title": "T", "format": "json", "registrars": ["tax"]}
        spec |= {"mapping": MAPPING} | ({"retention": retention} if retention else {})
        (folder / "type.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    return ReceiptTypes.read([root])


def days(**classes):
    return StorageSettings(retention_days=classes)


# -- settings ------------------------------------------------------------------------------------------------------


def load(tmp_path, text=""):
    (tmp_path / "registrars").mkdir(exist_ok=True)
    file = tmp_path / "settings.toml"
    file.write_text(text)
    return settings_module.load(file).settings.storage.retention_days


def test_everything_is_kept_unless_somebody_says_otherwise(tmp_path, monkeypatch):
    assert load(tmp_path) == {"standard": 0}
    assert load(tmp_path, "[storage.retention_days]\nfiscal = 3650") == {"standard": 0, "fiscal": 3650}
    monkeypatch.setenv("RECEIPTD_STORAGE__RETENTION_DAYS__STANDARD", "35")
    assert load(tmp_path, "[storage.retention_days]\nfiscal = 3650") == {"standard": 35, "fiscal": 3650}


@pytest.mark.parametrize("wrong", ["fiscal = -1", "fiscal = 40001", "Fiscal = 1", "fiscal = 'long'", "a_b = 1"])
def test_a_wrong_number_of_days_or_name_of_a_class_is_refused(tmp_path, wrong):
    with pytest.raises(ConfigurationError, match="retention_days"):
        load(tmp_path, f"[storage.retention_days]\n{wrong}")


def test_a_class_without_days_is_refused_with_file_and_line(tmp_path):
    loaded = types(tmp_path, ("a", 1, ""), ("b", 1, "fiscal"), ("c", 1, "legal"))
    with pytest.raises(ConfigurationError) as refused:
        check_retention(loaded, days(fiscal=1))
    (fault,) = str(refused.value).splitlines()
    assert fault.startswith(f"{tmp_path / 'c-1' / 'type.yaml'}:")
    assert "add storage.retention_days.legal (0: for ever), or name one of fiscal, standard" in fault
    check_retention(loaded, days(fiscal=1, legal=0))


# -- what expires --------------------------------------------------------------------------------------------------


def test_each_type_has_the_days_of_its_class(tmp_path):
    loaded = types(tmp_path, ("a", 1, ""), ("b", 1, "fiscal"), ("c", 1, "ever"))
    found = expiry(loaded, days(standard=35, fiscal=3650, ever=0), date(2026, 3, 14))
    assert found.by_type == {"a": date(2026, 2, 7), "b": date(2016, 3, 16), "c": None}


def test_versions_of_a_type_stay_as_long_as_the_longest_of_their_classes(tmp_path):
    loaded = types(tmp_path, ("a", 1, "fiscal"), ("a", 2, ""), ("b", 1, "ever"), ("b", 2, "fiscal"))
    found = expiry(loaded, days(standard=1, fiscal=10, ever=0), TODAY)
    assert found.by_type == {"a": TODAY - timedelta(days=10), "b": None}


@pytest.mark.parametrize(("classes", "kept"), [({"standard": 5}, 5), ({"standard": 5, "x": 9}, 9), ({"x": 9}, None)])
def test_what_is_of_no_loaded_type_stays_as_long_as_anything(tmp_path, classes, kept):
    found = expiry(types(tmp_path), days(**classes), TODAY)
    assert found.before_day == (kept and TODAY - timedelta(days=kept))


# -- what goes -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def store(tmp_path_factory):
    opened = await EmbeddedStore.open(tmp_path_factory.mktemp("store"), SystemClock())
    yield opened
    await opened.close()


async def put(store, *receipts):
    await store.ledger.commit([create(receipt) for receipt in receipts])


async def settle(store, *receipts):
    await store.ledger.commit([update(completed(receipt)) for receipt in receipts])


async def standing(store):
    page = await store.ledger.page(PageQuery(client_id="shop", limit=10_000))
    return {receipt.receipt_id for receipt in page.receipts}


def of_age(age_days, type_id, count=1):
    return [new_receipt(at=NOON - age_days * DAY_S - n, type_id=type_id) for n in range(count)]


async def test_receipts_go_by_the_class_of_their_type(store, tmp_path):
    loaded = types(tmp_path, ("a", 1, ""), ("b", 1, "fiscal"), ("c", 1, "ever"))
    found = expiry(loaded, days(standard=10, fiscal=100, ever=0), TODAY)
    gone = [*of_age(11, "a", 150), *of_age(101, "b", 120)]
    kept = [*of_age(10, "a"), *of_age(100, "b", 130), *of_age(20_000, "c", 3), *of_age(9_000, "taken-off", 2)]
    mixed = sorted(gone + kept, key=lambda receipt: receipt.submission.accepted_at)
    await put(store, *mixed)
    await settle(store, *mixed)
    assert await store.expire(found.before_day, found.by_type) == 270
    assert await standing(store) == {receipt.receipt_id for receipt in kept}
    assert store.database.fetch("SELECT COUNT(*) FROM documents") == [(len(kept),)]
    for receipt in gone[:3]:
        assert await store.ledger.get("shop", receipt.receipt_id) is None
    assert await store.expire(found.before_day, found.by_type) == 0


async def test_what_is_not_settled_never_goes_invariant_2(store):
    processing, owing = of_age(400, "a", 2)
    await put(store, processing, owing)
    await store.ledger.commit([update(completed(owing, delivery=Delivery()))])
    assert await store.expire(TODAY, {"a": TODAY}) == 0
    assert await standing(store) == {processing.receipt_id, owing.receipt_id}
    await store.ledger.commit([update(next_version(completed(owing), delivery=None))])
    assert await store.expire(TODAY, {"a": TODAY}) == 1
    assert await standing(store) == {processing.receipt_id}


async def test_nothing_goes_when_everything_is_kept_for_ever(store):
    old = of_age(20_000, "a", 5)
    await put(store, *old)
    await settle(store, *old)
    assert await store.expire(None, {"a": None}) == 0
    assert len(await standing(store)) == 5


async def test_a_type_of_its_own_may_go_sooner_than_the_rest(store):
    old, other = of_age(3, "short"), of_age(3, "a")
    await put(store, *old, *other)
    await settle(store, *old, *other)
    assert await store.expire(None, {"short": TODAY}) == 1
    assert await standing(store) == {other[0].receipt_id}
