"""The contracts on DynamoDB: what is kept in memory, for how long, and through what."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from faulty_proxy import Refusal

from receiptd.adapters.aws import contracts as contracts_module
from receiptd.adapters.aws.contracts import AwsContracts
from receiptd.domain.contract import Contract
from receiptd.domain.errors import StorageError

SHOP = Contract(client_id="shop", name="Крамниця", webhook_secrets=("bmV3",), partitions=(("", 2), ("20260314", 8)))


class OwnClock:
    def __init__(self):
        self.at = 1_000.0

    def now(self):
        return self.at


@pytest.fixture
def clock():
    return OwnClock()


@pytest.fixture
def make_contracts(tables, clock):
    """Makes the contracts of one more process."""
    return lambda: AwsContracts(tables.dynamodb, tables.contracts, clock)


@pytest.fixture
def contracts(make_contracts):
    return make_contracts()


def away(proxy, monkeypatch):
    monkeypatch.setattr(contracts_module, "_READ_S", 0.1)
    proxy.before = lambda *_: Refusal("InternalServerError", 500)


async def test_an_answer_is_kept_for_five_seconds(contracts, make_contracts, clock, proxy):
    await contracts.put(SHOP)
    other = make_contracts()
    assert await other.get("shop") == SHOP
    revoked = replace(SHOP, active=False)
    await contracts.put(revoked)
    clock.at += 4.9
    assert await other.get("shop") == SHOP
    assert proxy.count("GetItem") == 1
    clock.at += 0.2
    assert await other.get("shop") == revoked


async def test_that_there_is_none_is_kept_too(contracts, make_contracts, clock, proxy):
    for _ in range(3):
        assert await contracts.get("nobody") is None
    assert proxy.count("GetItem") == 1


async def test_many_who_ask_at_once_share_a_read(contracts, make_contracts, proxy):
    await contracts.put(SHOP)
    other = make_contracts()
    assert await asyncio.gather(*(other.get("shop") for _ in range(50))) == [SHOP] * 50
    assert proxy.count("GetItem") == 1


async def test_one_who_gives_up_does_not_take_the_others_read_along(contracts, make_contracts):
    await contracts.put(SHOP)
    other = make_contracts()
    impatient, patient = asyncio.create_task(other.get("shop")), asyncio.create_task(other.get("shop"))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == SHOP


async def test_answers_outlive_an_outage_for_half_a_minute_and_no_longer(contracts, clock, proxy, monkeypatch):
    await contracts.put(SHOP)
    away(proxy, monkeypatch)
    clock.at += 6
    assert await contracts.get("shop") == SHOP
    calls = len(proxy.requests)
    assert calls > 1
    clock.at += 0.5
    assert await contracts.get("shop") == SHOP
    assert len(proxy.requests) == calls, "an outage is not asked about at every request"
    clock.at += 22
    with pytest.raises(StorageError):
        await contracts.get("shop")
    with pytest.raises(StorageError):
        await contracts.get("nobody")
    proxy.before = lambda *_: None
    assert await contracts.get("shop") == SHOP


async def test_a_put_that_failed_leaves_nothing_in_memory(contracts, proxy, monkeypatch):
    await contracts.put(SHOP)
    proxy.before = lambda *_: Refusal("AccessDeniedException")
    with pytest.raises(StorageError, match="AccessDenied"):
        await contracts.put(replace(SHOP, active=False))
    proxy.before = lambda *_: None
    assert await contracts.get("shop") == SHOP


async def test_a_read_from_before_a_put_does_not_outlive_it(contracts, make_contracts, proxy):
    await contracts.put(SHOP)
    revoked = replace(SHOP, active=False)
    other = make_contracts()
    reading = asyncio.create_task(other.get("shop"))
    await asyncio.sleep(0)
    await other.put(revoked)
    await reading
    assert await other.get("shop") == revoked


async def test_the_memory_is_bounded_invariant_13(contracts, monkeypatch):
    monkeypatch.setattr(contracts_module, "_CACHED_MAX", 3)
    for number in range(10):
        await contracts.get(f"client-{number}")
    assert len(contracts._cached) == 3
    assert not contracts._reading


async def test_a_list_of_many_pages_is_whole_and_in_order(contracts, proxy):
    def small_pages(name, body):
        if name == "Scan":
            body["Limit"] = 2

    proxy.before = small_pages
    made = [replace(SHOP, client_id=f"client-{number}") for number in (3, 1, 4, 0, 2)]
    for contract in made:
        await contracts.put(contract)
    assert list(await contracts.list()) == sorted(made, key=lambda contract: contract.client_id)
    assert proxy.count("Scan") >= 3


async def test_a_damaged_contract_is_an_error_of_its_own(contracts, tables):
    await tables.dynamodb.put(tables.contracts, {"c": {"S": "shop"}, "j": {"S": "{"}}, timeout_s=5)
    with pytest.raises(StorageError, match="cannot be read"):
        await contracts.get("shop")
    await tables.dynamodb.put(tables.contracts, {"c": {"S": "shop"}, "other": {"N": "1"}}, timeout_s=5)
    with pytest.raises(StorageError, match="cannot be read"):
        await contracts.get("shop")


async def test_an_id_that_would_reach_into_anothers_partitions_is_refused(contracts):
    with pytest.raises(ValueError, match="#"):
        await contracts.put(replace(SHOP, client_id="shop#1"))
