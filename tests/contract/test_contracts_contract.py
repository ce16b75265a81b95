"""What every Contracts owes (receiptd.ports.Contracts)."""

from __future__ import annotations

from dataclasses import replace

from receiptd.domain.contract import Access, Contract

FULL = Contract(
    client_id="shop",
    name="Крамниця «Сонце»",
    access=Access.READ,
    active=False,
    rate_per_s=12.5,
    burst=7,
    webhook_url="https://shop.example/hook",
    webhook_origins=("https://a.example", "https://b.example:8443"),
    webhook_secrets=("bmV3", "b2xk"),
    receipt_types=("till", "invoice"),
)


async def test_a_contract_comes_back_with_all_its_terms_invariant_1(open_backend):
    backend = await open_backend()
    await backend.contracts.put(FULL)
    await backend.close()
    assert await (await open_backend()).contracts.get("shop") == FULL


async def test_an_unknown_client_has_no_contract(backend):
    assert await backend.contracts.get("nobody") is None


async def test_a_contract_put_after_it_was_missed_is_found_by_who_put_it(backend):
    assert await backend.contracts.get("shop") is None
    await backend.contracts.put(FULL)
    assert await backend.contracts.get("shop") == FULL


async def test_putting_again_replaces(backend):
    await backend.contracts.put(replace(FULL, active=True))
    await backend.contracts.put(FULL)
    assert await backend.contracts.get("shop") == FULL
    assert list(await backend.contracts.list()) == [FULL]


async def test_the_list_is_by_client_id(backend):
    contracts = [Contract(client_id=name) for name in ("zebra", "apple", "mango")]
    for contract in contracts:
        await backend.contracts.put(contract)
    assert list(await backend.contracts.list()) == sorted(contracts, key=lambda c: c.client_id)
