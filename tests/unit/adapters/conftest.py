"""An embedded store on a real file, a clock that tests own, and the makers of the contract suite."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from receiptd.adapters.embedded.store import FILE_NAME, EmbeddedStore
from receiptd.runtime.clock import SystemClock

sys.path.append(str(Path(__file__).parents[2] / "contract"))  # contract_makers


@dataclass
class ManualClock:
    """Stands still until it is told."""

    time: float = field(default_factory=time.time)

    def now(self):
        return self.time


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture(scope="session")
def store_with_key(tmp_path_factory):
    """A store that has its signing key already: making one takes as long as a dozen tests."""
    directory = tmp_path_factory.mktemp("with-key")

    async def make():
        await (await EmbeddedStore.open(directory, SystemClock())).close()

    asyncio.run(make())
    return directory / FILE_NAME


@pytest.fixture
def directory(tmp_path, store_with_key):
    shutil.copy(store_with_key, tmp_path / FILE_NAME)
    return tmp_path


@pytest.fixture
async def store(directory, clock):
    opened = await EmbeddedStore.open(directory, clock, visibility_s=30.0, receives_max=3)
    yield opened
    await opened.close()
