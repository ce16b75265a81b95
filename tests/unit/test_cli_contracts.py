"""The partitions of a contract on the command line, on a real store."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from receiptd.cli.main import app


@pytest.fixture
def contracts(tmp_path):
    config = tmp_path / "settings.toml"
    (tmp_path / "registrars").mkdir()
    config.write_text(f'[storage]\npath = "{tmp_path}"\n')

    def run(*arguments):
        return CliRunner().invoke(app, ["contracts", *arguments, "--config", str(config)])

    return run


def partitions(contracts):
    return json.loads(contracts("show", "shop", "--json").stdout)["partitions"]


def test_a_contract_is_added_with_partitions_and_given_more_from_tomorrow_on(contracts):
    assert contracts("add", "Shop", "--client-id", "shop", "--partitions", "2").exit_code == 0
    assert partitions(contracts) == ["2"]
    changed = json.loads(contracts("partition", "shop", "8", "--json").stdout)
    assert (changed["client_id"], changed["partitions"]) == ("shop", 8)
    assert partitions(contracts) == ["2", f"8 from {changed['from']}"]
    assert contracts("partition", "shop", "4").stdout == f"shop: 4 partitions from {changed['from']} on\n"
    assert partitions(contracts) == ["2", f"4 from {changed['from']}"]


def test_a_contract_has_one_partition_by_default_and_a_number_has_bounds(contracts):
    assert contracts("add", "Shop", "--client-id", "shop").exit_code == 0
    assert partitions(contracts) == []
    assert contracts("partition", "shop", "0").exit_code == 2
    assert contracts("partition", "shop", "65").exit_code == 2
    assert contracts("add", "Other", "--partitions", "0").exit_code == 2
