from __future__ import annotations

import asyncio

import pytest

from receiptd.runtime.supervisor import Supervisor


async def fails():
    raise RuntimeError("broken")


async def returns():
    return None


async def is_cancelled_by_a_stranger():
    asyncio.current_task().cancel()
    await asyncio.sleep(10)


@pytest.mark.parametrize("task", [fails, returns, is_cancelled_by_a_stranger])
async def test_a_core_task_that_ends_is_a_fault_and_asks_for_the_drain(task):
    supervisor = Supervisor()
    supervisor.start("core", task())
    await asyncio.wait_for(supervisor.stopping.wait(), 1)
    assert supervisor.fault.startswith("core ")


async def test_stopping_tasks_by_name_is_no_fault():
    supervisor = Supervisor()
    for name in ("lane.tax.0", "lane.tax.1", "writer"):
        supervisor.start(name, asyncio.sleep(10))
    await supervisor.stop("lane.")
    assert not supervisor.stopping.is_set()
    await supervisor.stop()
    assert not supervisor.fault


async def test_two_tasks_of_one_name_are_refused():
    supervisor = Supervisor()
    supervisor.start("core", asyncio.sleep(10))
    with pytest.raises(ValueError, match="core"):
        supervisor.start("core", asyncio.sleep(10))
    await supervisor.stop()
