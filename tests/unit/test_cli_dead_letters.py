"""``receiptd dlq drop`` on a real store."""

from __future__ import annotations

import asyncio
import json

import pytest
from typer.testing import CliRunner

from receiptd.adapters.embedded.store import EmbeddedStore
from receiptd.cli.main import app
from receiptd.domain.errors import ConfigurationError, ReceiptdError
from receiptd.ports import Message
from receiptd.runtime.clock import SystemClock


@pytest.fixture
def dlq(tmp_path):
    """Runs ``receiptd dlq`` on a store with three dead letters in ``webhooks``."""

    async def fill():
        store = await EmbeddedStore.open(tmp_path, SystemClock())
        await store.queue.send([Message("webhooks", f"k{n}", "{}", dead=True) for n in range(3)])
        await store.close()

    asyncio.run(fill())
    config = tmp_path / "settings.toml"
    (tmp_path / "registrars").mkdir()
    config.write_text(f'[storage]\npath = "{tmp_path}"\n')

    def run(*arguments, answer=None):
        return CliRunner().invoke(app, ["dlq", *arguments, "--config", str(config)], input=answer)

    run.keys = lambda: {one["key"] for one in json.loads(run("list", "webhooks", "--json").stdout)}
    return run


def test_one_letter_is_dropped(dlq):
    done = dlq("drop", "webhooks", "k1", "--yes")
    assert (done.exit_code, done.stdout) == (0, "webhooks: 1 dropped\n")
    assert dlq.keys() == {"k0", "k2"}


def test_all_letters_are_dropped_and_json_says_how_many(dlq):
    assert json.loads(dlq("drop", "webhooks", "--yes", "--json").stdout) == {"queue": "webhooks", "dropped": 3}
    assert dlq.keys() == set()


def test_it_asks_first_and_no_drops_nothing(dlq):
    refused = dlq("drop", "webhooks", answer="n\n")
    assert refused.exit_code == 1
    assert "every dead letter of webhooks" in refused.stderr
    assert len(dlq.keys()) == 3
    assert dlq("drop", "webhooks", "k0", "k1", "--json", answer="y\n").exit_code == 0
    assert dlq.keys() == {"k2"}


def test_nobody_to_ask_drops_nothing(dlq):
    assert dlq("drop", "webhooks").exit_code == 1
    assert len(dlq.keys()) == 3


def test_a_letter_that_is_not_there_is_told(dlq):
    result = dlq("drop", "webhooks", "k1", "nobody", "--yes")
    assert isinstance(result.exception, ReceiptdError)
    assert str(result.exception) == "1 of them are no dead letters of webhooks"
    assert dlq.keys() == {"k0", "k2"}


def test_an_unknown_queue_is_told_before_anything_is_asked(dlq):
    result = dlq("drop", "letters")
    assert isinstance(result.exception, ConfigurationError)
