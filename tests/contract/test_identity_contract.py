"""What every Identity owes (receiptd.ports.Identity)."""

from __future__ import annotations

import time

import pytest

from receiptd.domain.contract import Access, Contract
from receiptd.domain.errors import TokenError


@pytest.fixture
async def token(backend):
    await backend.contracts.put(Contract(client_id="shop"))
    return await backend.issue("shop")


async def test_a_good_token_says_whom_it_speaks_for(backend, token):
    principal = await backend.identity.verify(token)
    assert principal.client_id == "shop"
    assert principal.scopes == {"receipts/read", "receipts/write"}
    assert time.time() < principal.expires_at < time.time() + 86_400
    assert await backend.identity.verify(token) == principal


async def test_a_token_of_a_reader_has_no_write_scope(backend):
    await backend.contracts.put(Contract(client_id="reader", access=Access.READ))
    principal = await backend.identity.verify(await backend.issue("reader"))
    assert principal.scopes == {"receipts/read"}


async def test_a_token_holds_beyond_a_restart(open_backend, backend, token):
    await backend.close()
    assert (await (await open_backend()).identity.verify(token)).client_id == "shop"


@pytest.mark.parametrize("part", [0, 1, 2])
async def test_a_token_with_a_changed_part_is_refused(backend, token, part):
    await backend.identity.verify(token)
    parts = token.split(".")
    parts[part] = parts[part][:-3] + ("AAA" if parts[part][-3:] != "AAA" else "BBB")
    with pytest.raises(TokenError):
        await backend.identity.verify(".".join(parts))


@pytest.mark.parametrize("garbage", ["", ".", "..", "...", "a.b.c", "Bearer", "é.è.ê", "\x00", "=" * 50, "e30.e30."])
async def test_garbage_is_refused(backend, garbage):
    with pytest.raises(TokenError):
        await backend.identity.verify(garbage)
