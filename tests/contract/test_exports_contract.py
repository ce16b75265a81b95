"""What every Exports owes (receiptd.ports.Exports)."""

from __future__ import annotations

import uuid

import pytest

from receiptd.domain.errors import StorageError

PART = 8 * 1024 * 1024


@pytest.fixture
async def rest(backend):
    return await backend.rest()


@pytest.fixture
def name():
    return f"shop/{uuid.uuid4().hex}.ndjson"


async def chunks(*parts):
    for part in parts:
        yield part


@pytest.mark.parametrize(
    "parts",
    [(), (b"",), (b"a", b"", b"b" * 100_000), (b"x" * PART,), (b"y" * 5_000_000, b"z" * 5_000_000, b"end")],
    ids=["nothing", "empty", "small", "a part", "parts"],
)
async def test_whoever_has_the_url_reads_what_was_put(rest, name, parts):
    await rest.exports.put(name, "application/x-ndjson", chunks(*parts))
    assert await rest.fetch(await rest.exports.url(name, 60)) == b"".join(parts)


async def test_putting_again_replaces(rest, name):
    await rest.exports.put(name, "text/plain", chunks(b"first, and longer"))
    await rest.exports.put(name, "text/plain", chunks(b"second"))
    assert await rest.fetch(await rest.exports.url(name, 60)) == b"second"


@pytest.mark.parametrize("size", [10, PART + 10])
async def test_a_source_that_fails_leaves_what_was_there(rest, name, size):
    await rest.exports.put(name, "text/plain", chunks(b"before"))

    async def failing():
        yield b"x" * size
        raise StorageError("the source is gone")

    with pytest.raises(StorageError, match="the source is gone"):
        await rest.exports.put(name, "text/plain", failing())
    assert await rest.fetch(await rest.exports.url(name, 60)) == b"before"


@pytest.mark.parametrize("name", ["", "/", "../x", "a/../b", "a//b", "a/", ".x", "a/.x", "a b", "a\\b", "é", "x" * 300])
async def test_a_name_leads_to_no_other_place(rest, name):
    with pytest.raises(ValueError, match="cannot name an export"):
        await rest.exports.put(name, "text/plain", chunks(b"x"))
    with pytest.raises(ValueError, match="cannot name an export"):
        await rest.exports.url(name, 60)
