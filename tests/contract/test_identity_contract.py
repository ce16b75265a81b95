"""What every Identity and Clients owe (receiptd.ports)."""

from __future__ import annotations

import time

import pytest

from receiptd.domain.contract import Access, Contract
from receiptd.domain.errors import TokenError


@pytest.fixture
async def rest(backend):
    return await backend.rest()


async def add(backend, rest, access=Access.READ_WRITE):
    """Add a client with a contract; return its credentials."""
    made = await rest.clients.add("", "Крамниця «Сонце» / 1", access)
    await backend.contracts.put(Contract(client_id=made.client_id, access=access))
    return made


@pytest.fixture
async def shop(backend, rest):
    return await add(backend, rest)


@pytest.fixture
async def token(rest, shop):
    return await rest.issue(shop)


async def test_a_good_token_says_whom_it_speaks_for(rest, shop, token):
    principal = await rest.identity.verify(token)
    assert principal.client_id == shop.client_id
    assert principal.scopes == {"receipts/read", "receipts/write"}
    assert time.time() < principal.expires_at < time.time() + 86_400
    assert await rest.identity.verify(token) == principal


async def test_a_token_of_a_reader_has_no_write_scope(backend, rest):
    reader = await add(backend, rest, Access.READ)
    assert (await rest.identity.verify(await rest.issue(reader))).scopes == {"receipts/read"}


async def test_two_clients_of_one_name_are_two(backend, rest, shop):
    assert (await add(backend, rest)).client_id != shop.client_id


async def test_a_secret_is_told_by_nobody_who_shows_credentials(shop):
    assert shop.client_secret not in repr(shop)


async def test_a_token_holds_beyond_a_restart(open_backend, backend, rest, shop, token):
    await backend.close()
    again = await (await open_backend()).rest()
    assert (await again.identity.verify(token)).client_id == shop.client_id


@pytest.mark.parametrize("part", [0, 1, 2])
async def test_a_token_with_a_changed_part_is_refused(rest, token, part):
    await rest.identity.verify(token)
    parts = token.split(".")
    parts[part] = parts[part][:-3] + ("AAA" if parts[part][-3:] != "AAA" else "BBB")
    with pytest.raises(TokenError):
        await rest.identity.verify(".".join(parts))


@pytest.mark.parametrize("garbage", ["", ".", "..", "...", "a.b.c", "Bearer", "é.è.ê", "\x00", "=" * 50, "e30.e30."])
async def test_garbage_is_refused(rest, garbage):
    with pytest.raises(TokenError):
        await rest.identity.verify(garbage)
