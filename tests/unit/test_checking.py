"""Checking: types compile when first needed, in a thread; a reload replaces the set as a whole or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from pathlib import Path

import orjson
import pytest
import yaml

from receiptd.documents import DocumentError, ReceiptTypes
from receiptd.domain.errors import ConfigurationError, OverloadedError
from receiptd.pipeline import checking as module
from receiptd.pipeline.checking import Checking

SPEC = {
    "id": "slip",
    "version": 1,
    "title": "A slip",
    "format": "json",
    "schema": "schema.json",
    "registrars": ["tax"],
    "recognise": [{"pointer": "/kind", "equals": "slip"}],
    "mapping": {
        "number": "/no",
        "issued_at": {"value": "2026-05-01T10:00:00Z"},
        "seller": {"value": "shop"},
        "currency": {"value": "EUR"},
        "total": {"value": 1},
        "lines": {"each": "/lines", "description": "/name", "amount": "/sum"},
    },
}
BODY = b'{"kind":"slip","no":"7"}'
XML = b"<Bon no='7'/>"


def write(root: Path, spec: dict, schema: dict | None = None) -> Path:
    folder = root / f"{spec['id']}-{spec['version']}"
    folder.mkdir(exist_ok=True)
    (folder / "type.yaml").write_text(yaml.safe_dump(spec))
    (folder / "schema.json").write_bytes(orjson.dumps(schema or {}))
    return folder


@contextlib.asynccontextmanager
async def running(root: Path):
    checking = Checking(lambda: ReceiptTypes.read([root]))
    task = asyncio.create_task(checking.run())
    try:
        yield checking
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        checking.close()


async def until(holds) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.01)


async def test_a_type_compiles_in_a_thread_when_its_first_document_comes(tmp_path):
    write(tmp_path, SPEC)
    checking = Checking(lambda: ReceiptTypes.read([tmp_path]))
    (type_,) = checking.types
    compiled_by = []
    compile_ = type_.compile
    type_.compile = lambda: (compiled_by.append(threading.current_thread().name), compile_())
    results = await asyncio.gather(*(checking.check(BODY, "") for _ in range(20)))
    assert all(checked.valid for checked in results)
    assert type_.compiled
    assert all(name.startswith("receipt-types") for name in compiled_by)
    checking.close()


async def test_all_types_are_compiled_in_the_background(tmp_path):
    for number in range(5):
        write(tmp_path, SPEC | {"id": f"slip-{number}", "recognise": []})
    async with running(tmp_path) as checking:
        await until(lambda: all(type_.compiled for type_ in checking.types))


async def test_a_type_that_does_not_compile_is_told_and_answers_503(tmp_path, caplog):
    write(tmp_path, SPEC, {"type": "strng"})
    write(tmp_path, SPEC | {"id": "good", "recognise": []})
    async with running(tmp_path) as checking:
        await until(lambda: checking.faults)
        for _ in range(2):
            with pytest.raises(DocumentError, match="slip@1 cannot be used") as caught:
                await checking.check(BODY, "")
            assert (caught.value.status, caught.value.code) == (503, "receipt-type-broken")
        assert (await checking.check(BODY, "", "good")).valid
        assert list(checking.faults) == ["slip@1"]
        assert "a receipt type does not compile" in caplog.text


async def test_a_reload_mends_it(tmp_path):
    write(tmp_path, SPEC, {"type": "strng"})
    async with running(tmp_path) as checking:
        await until(lambda: checking.faults)
        write(tmp_path, SPEC, {"type": "object"})
        checking.reload()
        await until(lambda: not checking.faults)
        assert (await checking.check(BODY, "")).valid


async def test_a_set_that_does_not_load_is_refused_as_a_whole(tmp_path, caplog):
    write(tmp_path, SPEC)
    async with running(tmp_path) as checking:
        await until(lambda: next(iter(checking.types)).compiled)
        before = checking.types
        write(tmp_path, SPEC | {"version": 2})
        broken = write(tmp_path, SPEC | {"id": "broken", "recognise": []}, {"type": "strng"})
        checking.reload()
        await until(lambda: "the old ones stay" in caplog.text)
        reason = next(record.reason for record in caplog.records if hasattr(record, "reason"))
        assert str(broken / "schema.json") in reason
        assert checking.types is before
        assert (await checking.check(BODY, "")).type_version == 1

        write(tmp_path, SPEC | {"id": "broken", "recognise": []})
        caplog.set_level(logging.INFO)
        checking.reload()
        await until(lambda: checking.types is not before)
        assert (await checking.check(BODY, "")).type_version == 2


async def test_the_loop_goes_on_while_types_are_read_anew(tmp_path):
    write(tmp_path, SPEC)
    slow = threading.Event()

    def load() -> ReceiptTypes:
        if threading.current_thread() is not threading.main_thread():
            assert slow.wait(5)
        return ReceiptTypes.read([tmp_path])

    checking = Checking(load)
    task = asyncio.create_task(checking.run())
    await until(lambda: next(iter(checking.types)).compiled)
    before = checking.types
    checking.reload()
    for _ in range(5):
        assert (await checking.check(BODY, "")).valid
        await asyncio.sleep(0.01)
    assert checking.types is before
    slow.set()
    await until(lambda: checking.types is not before)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    checking.close()


def test_types_that_cannot_be_read_stop_the_start(tmp_path):
    (tmp_path / "slip").mkdir()
    with pytest.raises(ConfigurationError, match=r"type\.yaml"):
        Checking(lambda: ReceiptTypes.read([tmp_path]))


async def test_what_waits_for_a_thread_is_bounded(tmp_path, monkeypatch):
    """Invariant 13."""
    write(tmp_path, SPEC)
    monkeypatch.setattr(module, "SLOW_MAX", 3)
    checking = Checking(lambda: ReceiptTypes.read([tmp_path]))
    (type_,) = checking.types
    hold, compile_ = threading.Event(), type_.compile
    type_.compile = lambda: (hold.wait(5), compile_())
    waiting = [asyncio.create_task(checking.check(BODY, "")) for _ in range(3)]
    await asyncio.sleep(0)
    started = time.monotonic()
    with pytest.raises(OverloadedError):
        await checking.check(BODY, "")
    assert time.monotonic() - started < 1
    hold.set()
    assert all(checked.valid for checked in await asyncio.gather(*waiting))
    assert (await checking.check(BODY, "")).valid
    checking.close()
