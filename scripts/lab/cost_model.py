"""What receipts cost in dollars: counted calls and measured CPU, times the prices of config/prices.toml.

Everything is for one month at the load of the design: 200 receipts a second for twelve hours of a day and 1,000 for
three, nothing at night; with documents of 2 kB these are the 14 TB a year of its worst case. Free tiers and discounts
are left out. What no measurement gives is an assumption, named here and printed with every reckoning.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

DAYS: Final = 30
HOURS_A_MONTH: Final = DAYS * 24
WORKING_HOURS: Final = 12
WORKING_RATE: Final = 200
PEAK_HOURS: Final = 3
PEAK_RATE: Final = 1000
RECEIPTS: Final = DAYS * 3600 * (WORKING_HOURS * WORKING_RATE + PEAK_HOURS * PEAK_RATE)
"""Receipts a month."""
INSTANCES_MIN: Final = 2
"""One in each of two zones, whenever there is any load."""
ZONES: Final = 2
CPU_SHARE_MAX: Final = 0.6
"""The share of a core that a fleet is sized for."""
_GB: Final = 1e9
_MILLION: Final = 1e6
_POLL_S: Final = 20
_QUEUES_POLLED: Final = 4
_VOLUME_GB: Final = 8
_HOT_DAYS: Final = 35
_ITEM_OVERHEAD: Final = 100
"""Bytes that DynamoDB charges for each item beside its own."""
_ARCHIVE_BYTES: Final = 384
_ARCHIVE_MONTHS: Final = 12
_ARCHIVE_FILES_A_DAY: Final = 100
_READ_UNIT: Final = 4096
_CONNECTION_S: Final = 60
_CONNECTIONS_OF_LCU: Final = 25
_ACTIVE_OF_LCU: Final = 3000
_UTILISATION: Final = 0.7
"""What provisioned capacity is scaled to."""

Prices = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One item of a bill: what, how it comes about, and dollars a month."""

    name: str
    how: str
    dollars: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What one instance measured at one rate, for each receipt. Bytes are of HTTP, heads included."""

    sqs_requests: float
    write_units: float
    read_units: float
    cpu_us: float
    item_bytes: float
    asked_bytes: float
    """From clients and registrars to the daemon; ``answered_bytes``: its answers."""
    answered_bytes: float
    called_bytes: float
    """From the daemon to registrars and webhook endpoints; ``told_bytes``: their answers."""
    told_bytes: float
    sqs_bytes: float
    log_bytes: float

    @classmethod
    def of(cls, load: Mapping[str, Any]) -> Measured:
        """Return what a load of the bench's report says."""
        return cls(
            sqs_requests=load["sqs_requests_per_receipt"],
            write_units=load["write_units_per_receipt"],
            read_units=load["read_units_per_receipt"],
            cpu_us=load["cpu_us_per_receipt"],
            **{name: load[name] for name in cls.__dataclass_fields__ if name.endswith("_bytes")},
        )

    def mixed(self, other: Measured, share: float) -> Measured:
        """Return the mean of the two, of which the other has ``share``."""
        names = self.__dataclass_fields__
        return Measured(**{name: (1 - share) * getattr(self, name) + share * getattr(other, name) for name in names})


def load_prices(path: Path) -> Prices:
    """Read the table of prices."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def tiered(tiers: Sequence[Sequence[float]], millions: float) -> float:
    """Return the dollars for so many ``millions``; each tier is its end in millions and its price of one million."""
    dollars = start = 0.0
    for end, price in tiers:
        dollars += max(0.0, min(millions, end) - start) * price
        start = end
    return dollars


# -- this design ---------------------------------------------------------------------------------------------------


def receiptd(prices: Prices, working: Measured, peak: Measured) -> list[Line]:
    """Return the bill of the daemon, by what one instance measured in working hours and at the peak."""
    mean = mean_of(working, peak)
    million = RECEIPTS / _MILLION
    dynamodb, network = prices["dynamodb"], prices["network"]
    hours = instance_hours(working.cpu_us, peak.cpu_us)
    polls = hours * 3600 / _POLL_S * _QUEUES_POLLED / _MILLION
    lcu_hours = sum(days_hours * _lcu(rate, mean) for days_hours, rate in _segments())
    hot_gb = RECEIPTS * _HOT_DAYS / DAYS * (mean.item_bytes + _ITEM_OVERHEAD) / _GB
    read_once = mean.item_bytes / _READ_UNIT * 0.5

    def gb(size: float) -> float:
        return RECEIPTS * size / _GB

    endpoint_hours = 2 * ZONES * HOURS_A_MONTH
    return [
        Line(
            "SQS",
            f"{mean.sqs_requests:.3f} requests a receipt, counted; and {polls:.1f} M empty polls",
            (mean.sqs_requests * million + polls) * prices["sqs"]["million_requests"],
        ),
        Line(
            "DynamoDB writes, on demand",
            f"{mean.write_units:.3f} units a receipt, counted",
            mean.write_units * million * dynamodb["million_write_units"],
        ),
        Line(
            "DynamoDB reads, on demand",
            f"{mean.read_units:.3f} units a receipt, counted",
            mean.read_units * million * dynamodb["million_read_units"],
        ),
        Line(
            "DynamoDB reads, assumed",
            f"0.5 units for the contract, none cached; {read_once:.2f} for the archiver, who reads each receipt once",
            (0.5 + read_once) * million * dynamodb["million_read_units"],
        ),
        Line(
            "DynamoDB storage",
            f"{hot_gb:.0f} GB: items of {mean.item_bytes:.0f} B for {_HOT_DAYS} days, with recovery to a point in time",
            hot_gb * (dynamodb["storage_gb_month"] + dynamodb["backup_gb_month"]),
        ),
        Line(
            "EC2",
            f"{hours:.0f} instance hours: {working.cpu_us:.0f} and {peak.cpu_us:.0f} us a receipt, measured",
            hours * prices["ec2"]["instance_hour"] + hours / HOURS_A_MONTH * _VOLUME_GB * prices["ec2"]["gp3_gb_month"],
        ),
        Line(
            "ALB",
            f"{HOURS_A_MONTH} hours and {lcu_hours:.0f} LCU hours",
            HOURS_A_MONTH * prices["alb"]["hour"] + lcu_hours * prices["alb"]["lcu_hour"],
        ),
        _archive(prices),
        Line(
            "Logs",
            f"{gb(mean.log_bytes):.0f} GB: {mean.log_bytes:.0f} B a receipt, measured; kept for a month",
            gb(mean.log_bytes) * (prices["logs"]["ingested_gb"] + prices["logs"]["storage_gb_month"]),
        ),
        _out(prices, mean),
        Line(
            "NAT, to registrars and webhooks",
            f"{ZONES} gateways, {gb(mean.called_bytes + mean.told_bytes):.0f} GB",
            ZONES * HOURS_A_MONTH * network["nat_hour"] + gb(mean.called_bytes + mean.told_bytes) * network["nat_gb"],
        ),
        Line(
            "Endpoints of SQS and logs",
            f"2 in {ZONES} zones, {gb(mean.sqs_bytes + mean.log_bytes):.0f} GB; those of DynamoDB and S3 are free",
            endpoint_hours * network["endpoint_hour"] + gb(mean.sqs_bytes + mean.log_bytes) * network["endpoint_gb"],
        ),
    ]


def mean_of(working: Measured, peak: Measured) -> Measured:
    """Return the mean receipt of a day."""
    return working.mixed(peak, PEAK_HOURS * PEAK_RATE / (PEAK_HOURS * PEAK_RATE + WORKING_HOURS * WORKING_RATE))


def instance_hours(working_cpu_us: float, peak_cpu_us: float) -> float:
    """Return the instance hours of a month: a core each, none at night."""
    working = max(INSTANCES_MIN, math.ceil(WORKING_RATE * working_cpu_us / _MILLION / CPU_SHARE_MAX))
    peak = max(INSTANCES_MIN, math.ceil(PEAK_RATE * peak_cpu_us / _MILLION / CPU_SHARE_MAX))
    return DAYS * float(WORKING_HOURS * working + PEAK_HOURS * peak)


def provisioned(prices: Prices, working: Measured, peak: Measured) -> float:
    """Return the dollars a month for DynamoDB's writes and reads with provisioned capacity that follows the load."""
    dollars = 0.0
    for (hours, rate), one in zip(_segments(), (working, peak), strict=True):
        read_units = one.read_units + 0.5 + one.item_bytes / _READ_UNIT * 0.5
        dynamodb = prices["dynamodb"]
        hourly = one.write_units * dynamodb["wcu_hour"] + read_units * dynamodb["rcu_hour"]
        dollars += hours * rate / _UTILISATION * hourly
    return dollars


def _segments() -> tuple[tuple[float, float], tuple[float, float]]:
    """Return hours a month and receipts a second, of working hours and of the peak."""
    return (DAYS * WORKING_HOURS, WORKING_RATE), (DAYS * PEAK_HOURS, PEAK_RATE)


def _lcu(rate: float, mean: Measured) -> float:
    """Return the load balancer's capacity units: the largest of bytes, new and active connections."""
    gb_an_hour = rate * 3600 * (mean.asked_bytes + mean.answered_bytes) / _GB
    return max(gb_an_hour, rate / _CONNECTIONS_OF_LCU, rate * _CONNECTION_S / _ACTIVE_OF_LCU)


def _out(prices: Prices, mean: Measured) -> Line:
    gb = RECEIPTS * (mean.answered_bytes + mean.called_bytes) / _GB
    return Line("Data to the internet", f"{gb:.0f} GB, measured", gb * prices["network"]["out_gb"])


def _archive(prices: Prices) -> Line:
    gb = RECEIPTS * _ARCHIVE_MONTHS * _ARCHIVE_BYTES / _GB
    puts = DAYS * _ARCHIVE_FILES_A_DAY
    return Line(
        "S3",
        f"{gb:.0f} GB: {_ARCHIVE_MONTHS} months of {_ARCHIVE_BYTES} B a receipt; {puts} files a month",
        gb * prices["s3"]["storage_gb_month"] + puts / 1000 * prices["s3"]["thousand_puts"],
    )


# -- the serverless design -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Serverless:
    """The assumptions on the serverless design, for each receipt: its component table, one call a step."""

    posts: float = 1.0
    callbacks: float = 2.0
    status_reads: float = 1.5
    quick_steps: float = 8.5
    """POST, callbacks (2), status (1.5), validation, PROCESSING state, webhook events of the stream, archive (1)."""
    calling_steps: float = 3.0
    """Tax, warehouse and outbound webhook: they wait for somebody else."""
    quick_s: float = 0.05
    calling_s: float = 0.2
    memory_gb: float = 0.25
    messages_sent: float = 4.0
    """Validation, inbound webhooks (2), outbound webhook; the topic sends those of tax and warehouse for nothing."""
    messages_received: float = 6.0
    """Each received and deleted by itself."""
    publishes: float = 1.0
    writes: float = 5.0
    """New, PROCESSING, tax, warehouse with COMPLETE, webhook."""
    item_bytes: float = 2600.0
    """A document of 2 kB as it came, with its attributes; the index projects all of it, so each write is two."""
    state_reads: float = 2.0
    log_bytes: float = 400.0
    """The lines of Lambda itself, for each invocation."""
    hot_days: float = 30.0


def serverless(prices: Prices, mean: Measured, gateway: str = "rest", design: Serverless | None = None) -> list[Line]:
    """Return the bill of the serverless design; ``gateway``: ``rest`` or ``http``. Documents and peers are the same."""
    it = design or Serverless()
    million = RECEIPTS / _MILLION
    dynamodb = prices["dynamodb"]
    calls = it.posts + it.callbacks + it.status_reads
    steps = it.quick_steps + it.calling_steps
    gb_s = (it.quick_steps * it.quick_s + it.calling_steps * it.calling_s) * it.memory_gb
    requests = it.messages_sent + 2 * it.messages_received
    write_units = it.writes * 2 * math.ceil(it.item_bytes / 1024)
    read_units = (it.status_reads + it.state_reads) * math.ceil(it.item_bytes / _READ_UNIT)
    hot_gb = RECEIPTS * it.hot_days / DAYS * 2 * (it.item_bytes + _ITEM_OVERHEAD) / _GB
    log_gb = RECEIPTS * steps * it.log_bytes / _GB
    return [
        Line(
            f"API Gateway ({gateway.upper()})",
            f"{calls:g} calls a receipt: POST, {it.callbacks:g} callbacks, {it.status_reads:g} status reads",
            tiered(prices["api_gateway"][f"{gateway}_million_requests"], calls * million),
        ),
        Line(
            "Lambda requests",
            f"{steps:g} invocations a receipt",
            steps * million * prices["lambda"]["million_requests"],
        ),
        Line(
            "Lambda time",
            f"{gb_s:.3f} GB-s a receipt: {it.memory_gb:g} GB; {it.quick_steps:g} steps of {it.quick_s * 1000:g} ms, "
            f"{it.calling_steps:g} of {it.calling_s * 1000:g} ms; arm64",
            gb_s * RECEIPTS * prices["lambda"]["gb_second"],
        ),
        Line(
            "SQS",
            f"{requests:g} requests a receipt: {it.messages_sent:g} sends, {it.messages_received:g} receives and "
            "deletes, one message each",
            requests * million * prices["sqs"]["million_requests"],
        ),
        Line(
            "SNS",
            f"{it.publishes:g} publish a receipt",
            it.publishes * million * prices["sns"]["million_publishes"],
        ),
        Line(
            "DynamoDB writes, on demand",
            f"{write_units:g} units a receipt: {it.writes:g} writes of {it.item_bytes:g} B, in the table and its index",
            write_units * million * dynamodb["million_write_units"],
        ),
        Line(
            "DynamoDB reads, on demand",
            f"{read_units:g} units a receipt: {it.status_reads:g} status reads, {it.state_reads:g} by state handlers; "
            "streams that Lambda reads are free",
            read_units * million * dynamodb["million_read_units"],
        ),
        Line(
            "DynamoDB storage",
            f"{hot_gb:.0f} GB: table and index for {it.hot_days:g} days",
            hot_gb * dynamodb["storage_gb_month"],
        ),
        _archive(prices),
        Line(
            "Logs",
            f"{log_gb:.0f} GB: {it.log_bytes:g} B an invocation, kept for a month",
            log_gb * (prices["logs"]["ingested_gb"] + prices["logs"]["storage_gb_month"]),
        ),
        _out(prices, mean),
    ]


def total(bill: Sequence[Line]) -> float:
    """Return the dollars a month."""
    return sum(line.dollars for line in bill)


def per_million(dollars: float) -> float:
    """Return the dollars for each million receipts."""
    return dollars / RECEIPTS * _MILLION


def tokens(prices: Prices, clients: int = 10_000, tokens_a_day: float = 1.0) -> tuple[float, float]:
    """Return what Cognito takes a month for tokens and for its app clients, in either design."""
    cognito = prices["cognito"]
    issued = clients * tokens_a_day * DAYS / 1000 * cognito["thousand_tokens"]
    return issued, clients * cognito["app_client_month"]
