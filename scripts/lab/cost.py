"""``cost``: from counted calls to dollars, item by item, beside the serverless design.

The counts are those of the bench (``bench pipeline --backend aws``), taken anew or from its JSON: one instance at the
rate that it has in working hours, and at the one that it has at the peak. A running daemon's own counts, from its
/metrics, may take the place of the bench's requests and units.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from lab import backends_bench, cost_metrics, cost_model, pipeline_bench
from lab.cost_model import INSTANCES_MIN, PEAK_RATE, WORKING_RATE, Line, Measured
from lab.site import ROOT, SiteError
from receiptd.settings import HttpSettings

PRICES: Final = ROOT / "config" / "prices.toml"
_RATES: Final = (WORKING_RATE / INSTANCES_MIN, PEAK_RATE / INSTANCES_MIN)


def main() -> None:
    """Count or read, reckon, print."""
    parser = argparse.ArgumentParser(prog="cost", description="What receipts cost on AWS, from counted calls.")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--measure", action="store_true", help="count anew, in half a minute (the default)")
    source.add_argument("--from-bench", metavar="FILE", help="the last line of: bench pipeline --backend aws")
    parser.add_argument(
        "--metrics", metavar="FILE", type=Path, help="a daemon's /metrics, in place of the bench's counts"
    )
    parser.add_argument("--prices", type=Path, default=PRICES, help="the table of prices")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    arguments = parser.parse_args()
    try:
        report = _read(Path(arguments.from_bench)) if arguments.from_bench else measure()
        working, peak = (Measured.of(report["loads"][f"{rate:g}"]) for rate in _RATES)
        if arguments.metrics:
            counted = cost_metrics.per_receipt(arguments.metrics.read_text(encoding="utf-8"))
            working, peak = replace(working, **counted), replace(peak, **counted)
    except (OSError, SiteError, ValueError, KeyError) as error:
        sys.exit(f"cost: {type(error).__name__}: {error}")
    prices = cost_model.load_prices(arguments.prices)
    if not arguments.json:
        print(tables(prices, working, peak))
    print(json.dumps(summary(prices, working, peak)))
    sys.exit(1 if report.get("errors") else 0)


def measure() -> dict[str, Any]:
    """Run the bench for as long as the counts need. Raises SiteError."""
    parser = argparse.ArgumentParser()
    pipeline_bench.add_options(parser)
    rates = [f"{rate:g}" for rate in _RATES]
    options = ["--backend", "aws", "--seconds", "1", "--slice", "1", "--open-slice", "8", "--rates", *rates]
    return backends_bench.run(parser.parse_args(options))


def _read(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8").rstrip().rpartition("\n")[2])
    return report


def summary(prices: Mapping[str, Any], working: Measured, peak: Measured) -> dict[str, float]:
    """Return the last line."""
    mean = cost_model.mean_of(working, peak)
    ours = cost_model.per_million(cost_model.total(cost_model.receiptd(prices, working, peak)))
    theirs = cost_model.per_million(cost_model.total(cost_model.serverless(prices, mean)))
    return {
        "usd_per_million": round(ours, 3),
        "serverless_usd_per_million": round(theirs, 3),
        "ratio": round(ours / theirs, 4),
        "sqs_requests_per_receipt": round(mean.sqs_requests, 4),
        "write_units_per_receipt": round(mean.write_units, 4),
        "read_units_per_receipt": round(mean.read_units, 4),
    }


def tables(prices: Mapping[str, Any], working: Measured, peak: Measured) -> str:
    """Return both bills for people, with what they rest on."""
    mean = cost_model.mean_of(working, peak)
    ours = cost_model.receiptd(prices, working, peak)
    theirs = cost_model.serverless(prices, mean)
    with_http = cost_model.total(cost_model.serverless(prices, mean, "http"))
    on_demand = sum(line.dollars for line in ours if line.name.startswith("DynamoDB") and "storage" not in line.name)
    provisioned = cost_model.provisioned(prices, working, peak)
    all_read = max(0.0, 1.5 - mean.read_units) * prices["dynamodb"]["million_read_units"]
    issued, clients = cost_model.tokens(prices)
    notes = [
        f"Prices: {prices['region']}, {prices['date']}, on demand, without free tiers (config/prices.toml).",
        (
            f"Load: {WORKING_RATE}/s for {cost_model.WORKING_HOURS} h a day, {PEAK_RATE}/s for "
            f"{cost_model.PEAK_HOURS} h, none at night, {cost_model.DAYS} days: "
            f"{cost_model.RECEIPTS / 1e6:.1f} million receipts a month."
        ),
        (
            f"Counts: one instance of {INSTANCES_MIN}, at {_RATES[0]:g}/s and at {_RATES[1]:g}/s; each receipt has 2 "
            "registrations, 2 callbacks, 1 webhook, 1.5 status reads."
        ),
        (
            f"EC2: at least {INSTANCES_MIN} instances of one core, each for {cost_model.CPU_SHARE_MAX:.0%} of it; "
            "a core there is taken to be as fast as the one here."
        ),
    ]
    also = [
        (
            "Status reads of the bench come where clients ask most: right after the POST and right after the webhook, "
            "when a write is about to answer them. "
            f"If each of them took a unit, a million would cost ${all_read:.3f} more."
        ),
        (
            f"In the first {HttpSettings().key_overlap_hours:g} hours of a UTC day (http.key_overlap_hours) a receipt "
            f"takes a read unit more than counted: ${prices['dynamodb']['million_read_units']:.3f} a million."
        ),
        (
            f"DynamoDB with provisioned capacity, scaled to 70 %: ${provisioned:,.0f} a month, not ${on_demand:,.0f}; "
            f"then ${cost_model.per_million(cost_model.total(ours) - on_demand + provisioned):.2f} a million."
        ),
        (
            f"The serverless design with an HTTP API: ${cost_model.per_million(with_http):.2f} a million; "
            f"the ratio then: {cost_model.total(ours) / with_http:.3f}."
        ),
        (
            f"In neither bill, for it is the same in both: Cognito, for 10,000 clients with a token a day "
            f"${issued:,.0f} a month, and ${clients:,.0f} if app clients are charged; Redshift."
        ),
    ]
    return "\n".join([*notes, "", *_bill("receiptd", ours), "", *_bill("the serverless design", theirs), "", *also, ""])


def _bill(title: str, bill: list[Line]) -> list[str]:
    rows = [f"{title:32} {'$ a million':>11} {'$ a month':>10}"]
    for line in (*bill, Line("together", "", cost_model.total(bill))):
        million = cost_model.per_million(line.dollars)
        rows.append(f"  {line.name:30} {million:11.3f} {line.dollars:10,.0f}  {line.how}".rstrip())
    return rows


if __name__ == "__main__":
    main()
