"""The cost model, recomputed by hand from counted calls; the table of prices."""

import json
import math
import subprocess
import sys

import pytest

from lab import cost, cost_metrics, cost_model
from lab.cost_model import RECEIPTS, Measured

_LOAD = {
    "sqs_requests_per_receipt": 0.5,
    "write_units_per_receipt": 4.0,
    "read_units_per_receipt": 1.0,
    "cpu_us_per_receipt": 1000.0,
    "item_bytes": 900,
    "asked_bytes": 5000,
    "answered_bytes": 2000,
    "called_bytes": 5000,
    "told_bytes": 300,
    "sqs_bytes": 1700,
    "log_bytes": 400,
    "receipts": 1000,
}
_PRICES = cost_model.load_prices(cost.PRICES)


@pytest.fixture
def bill():
    one = Measured.of(_LOAD)
    return {line.name: line.dollars for line in cost_model.receiptd(_PRICES, one, one)}


def test_a_month_has_the_receipts_of_the_stated_hours():
    assert RECEIPTS == 30 * (12 * 3600 * 200 + 3 * 3600 * 1000) == 583_200_000
    assert 14.0 < RECEIPTS * 365 / 30 * 2000 / 1e12 < 14.3  # TB a year, of 2 kB each


def test_requests_and_units_cost_what_was_counted_times_the_price(bill):
    polls = 900 * 3600 / 20 * 4  # two instances, fifteen hours of thirty days
    assert bill["SQS"] == pytest.approx((583.2e6 * 0.5 + polls) * 0.40 / 1e6)
    assert bill["DynamoDB writes, on demand"] == pytest.approx(583.2 * 4 * 0.625)
    assert bill["DynamoDB reads, on demand"] == pytest.approx(583.2 * 0.125)
    assert bill["DynamoDB reads, assumed"] == pytest.approx(583.2 * (0.5 + 900 / 4096 / 2) * 0.125)


def test_bytes_cost_what_was_measured_times_the_price(bill):
    assert bill["DynamoDB storage"] == pytest.approx(0.5832 * 35 / 30 * 1000 * (0.25 + 0.20))
    assert bill["Logs"] == pytest.approx(583.2e6 * 400 / 1e9 * 0.53)
    assert bill["Data to the internet"] == pytest.approx(583.2e6 * 7000 / 1e9 * 0.09)
    assert bill["NAT, to registrars and webhooks"] == pytest.approx(1440 * 0.045 + 583.2e6 * 5300 / 1e9 * 0.045)
    assert bill["Endpoints of SQS and logs"] == pytest.approx(2880 * 0.01 + 583.2e6 * 2100 / 1e9 * 0.01)
    assert bill["S3"] == pytest.approx(583.2e6 * 12 * 384 / 1e9 * 0.023 + 3 * 0.005)


def test_the_load_balancer_costs_its_hours_and_its_largest_dimension(bill):
    by_connections = (360 * 200 / 25, 90 * 1000 / 25)  # more than 7 kB make: 5.04 and 25.2 units
    assert bill["ALB"] == pytest.approx(720 * 0.0225 + sum(by_connections) * 0.008)


def test_the_fleet_is_sized_by_measured_cpu():
    assert cost_model.instance_hours(1000, 1000) == 30 * 15 * 2
    assert cost_model.instance_hours(1000, 1500) == 30 * (12 * 2 + 3 * 3)  # 1.5 cores of load, 0.6 of each core
    assert cost_model.instance_hours(9000, 1500) == 30 * (12 * 3 + 3 * 3)


def test_provisioned_capacity_follows_the_load():
    one = Measured.of(_LOAD)
    reads = 1.0 + 0.5 + 900 / 4096 / 2
    hourly = 4 * 0.00065 + reads * 0.00013
    assert cost_model.provisioned(_PRICES, one, one) == pytest.approx((360 * 200 + 90 * 1000) / 0.7 * hourly)


def test_a_day_is_weighed_by_its_receipts():
    working, peak = Measured.of(_LOAD), Measured.of({**_LOAD, "sqs_requests_per_receipt": 0.1})
    share = 3 * 1000 / (3 * 1000 + 12 * 200)
    assert cost_model.mean_of(working, peak).sqs_requests == pytest.approx(0.5 - share * 0.4)


def test_the_serverless_bill_by_hand():
    bill = {line.name: line.dollars for line in cost_model.serverless(_PRICES, Measured.of(_LOAD))}
    calls = 583.2 * 4.5
    assert bill["API Gateway (REST)"] == pytest.approx(333 * 3.5 + 667 * 2.8 + (calls - 1000) * 2.38)
    assert bill["Lambda requests"] == pytest.approx(583.2 * 11.5 * 0.20)
    assert bill["Lambda time"] == pytest.approx(583.2e6 * 0.25 * (8.5 * 0.05 + 3 * 0.2) * 0.0000133334)
    assert bill["SQS"] == pytest.approx(583.2 * 16 * 0.40)
    assert bill["SNS"] == pytest.approx(583.2 * 0.50)
    assert bill["DynamoDB writes, on demand"] == pytest.approx(583.2 * 5 * 2 * 3 * 0.625)
    assert bill["DynamoDB reads, on demand"] == pytest.approx(583.2 * 3.5 * 0.125)
    assert bill["DynamoDB storage"] == pytest.approx(0.5832 * 2 * 2700 * 0.25)
    assert bill["Logs"] == pytest.approx(583.2e6 * 11.5 * 400 / 1e9 * 0.53)


def test_tiers_are_cut_where_they_end():
    tiers = [[10, 2.0], [20, 1.0], [math.inf, 0.5]]
    assert [cost_model.tiered(tiers, millions) for millions in (0, 10, 15, 30)] == [0, 20, 25, 35]


def test_every_price_has_its_source_and_the_table_its_region_and_date():
    assert _PRICES["region"] == "us-east-1"
    assert len(_PRICES["date"].split("-")) == 3
    for name, section in _PRICES.items():
        if isinstance(section, dict):
            assert section["source"].startswith("https://aws.amazon.com/"), name
            assert all(price for price in section.values()), name


def test_the_command_prints_the_line_that_its_readers_expect(tmp_path):
    report = {"errors": 0, "loads": {"100": _LOAD, "500": {**_LOAD, "sqs_requests_per_receipt": 0.1}}}
    path = tmp_path / "bench.json"
    path.write_text(f"a table\n{json.dumps(report)}\n")
    environment = {"PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-m", "lab.cost", "--from-bench", str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=30)
    line = json.loads(done.stdout.splitlines()[-1])
    assert list(line) == [
        "usd_per_million",
        "serverless_usd_per_million",
        "ratio",
        "sqs_requests_per_receipt",
        "write_units_per_receipt",
        "read_units_per_receipt",
    ]
    assert line["ratio"] == pytest.approx(line["usd_per_million"] / line["serverless_usd_per_million"], abs=1e-3)
    assert "serverless design" in done.stdout


def test_a_report_without_counts_is_refused_plainly(tmp_path):
    path = tmp_path / "bench.json"
    path.write_text("{}\n")
    environment = {"PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-m", "lab.cost", "--from-bench", str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert done.stderr.startswith("cost: KeyError: 'loads'")


_METRICS = """# HELP receiptd_aws_requests_total Requests to AWS, retries included.
receiptd_receipts_accepted_total 1000.0
receiptd_aws_requests_total{operation="SendMessageBatch",service="sqs"} 110.0
receiptd_aws_requests_total{operation="ReceiveMessage",service="sqs"} 140.0
receiptd_aws_requests_total{operation="GetItem",service="dynamodb"} 9.0
receiptd_aws_capacity_units_total{kind="read",operation="GetItem",table="receiptd-receipts"} 700.5
receiptd_aws_capacity_units_total{kind="write",operation="BatchExecuteStatement",table="receiptd-receipts"} 3000.0
"""


def test_a_daemons_own_metrics_give_the_counts():
    counted = cost_metrics.per_receipt(_METRICS)
    assert counted == {"sqs_requests": 0.25, "write_units": 3.0, "read_units": 0.7005}


def test_the_metrics_of_an_embedded_daemon_are_refused():
    with pytest.raises(ValueError, match="no receipt"):
        cost_metrics.per_receipt("receiptd_receipts_accepted_total 5.0\n")
