"""An emulator of the tests' own, and the daemon's commands' view of it."""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.emulator import Emulator, environment
from receiptd.accounts import session_of
from receiptd.adapters.aws.account import locate
from receiptd.adapters.aws.resources import Resources, load
from receiptd.adapters.aws.session import AwsSession
from receiptd.settings import load as load_settings

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config" / "localstack.toml"


@pytest.fixture(scope="module")
def emulator():
    """ministack alone: it keeps backups and IAM policies, which DynamoDB Local does not."""
    running = Emulator(dynamodb="ministack", authorize=True)
    yield running
    running.close()


@pytest.fixture
def prefix():
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.fixture
def variables(emulator, prefix, monkeypatch):
    found = environment(emulator.endpoint) | {"RECEIPTD_AWS__PREFIX": prefix}
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


@dataclass
class Account:
    session: AwsSession
    resources: Resources


@asynccontextmanager
async def opened():
    configuration = load_settings(CONFIG)
    async with session_of(configuration) as session:
        registrars = [registrar.id for registrar in configuration.registrars]
        yield Account(session, load(configuration.settings.aws.prefix, registrars, await locate(session)))


@pytest.fixture
async def account(variables):
    async with opened() as found:
        yield found


@pytest.fixture
def open_account():
    return opened
