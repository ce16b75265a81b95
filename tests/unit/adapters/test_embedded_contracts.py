"""How fresh the embedded contracts are (receiptd.adapters.embedded.contracts)."""

from __future__ import annotations

from dataclasses import replace

from receiptd.adapters.embedded import contracts as contracts_module
from receiptd.adapters.embedded.store import EmbeddedStore
from receiptd.domain.contract import Contract


async def test_a_revocation_by_a_command_is_noticed_within_seconds(store, directory, clock):
    contract = Contract(client_id="shop")
    await store.contracts.put(contract)
    assert (await store.contracts.get("shop")).active
    command = await EmbeddedStore.open(directory, clock, daemon=False)
    await command.contracts.put(replace(contract, active=False))
    await command.close()
    clock.time += 5.1
    assert not (await store.contracts.get("shop")).active


async def test_answers_come_from_memory_until_then_also_when_the_clock_steps_back(store, clock):
    await store.contracts.put(Contract(client_id="shop"))
    statements = []
    store.database._reader.set_trace_callback(statements.append)
    for _ in range(10):
        await store.contracts.get("shop")
    assert statements == []
    clock.time -= 3_600
    await store.contracts.get("shop")
    assert len(statements) == 1


async def test_memory_is_bounded_invariant_13(store, monkeypatch):
    monkeypatch.setattr(contracts_module, "_CACHED_MAX", 10)
    for n in range(50):
        assert await store.contracts.get(f"stranger-{n}") is None
    assert len(store.contracts._cached) == 10
