"""A daemon's own counts of what is paid for, from the text of its /metrics (Prometheus exposition format)."""

from __future__ import annotations

import re
from typing import Final

_SAMPLE: Final = re.compile(r"^(\w+)(?:\{([^}]*)\})? (\S+)$", re.MULTILINE)


def total(metrics: str, name: str, *labels: str) -> float:
    """Return the sum of a metric's samples that have all of ``labels``, such as ``kind="read"``."""
    return sum(
        float(value)
        for found, own, value in _SAMPLE.findall(metrics)
        if found == name and all(label in own for label in labels)
    )


def per_receipt(metrics: str) -> dict[str, float]:
    """Return requests and units for each receipt that was accepted.

    Raises:
        ValueError: none was, or it is no daemon on AWS.
    """
    receipts = total(metrics, "receiptd_receipts_accepted_total")
    requests = total(metrics, "receiptd_aws_requests_total", 'service="sqs"')
    if not receipts or not requests:
        raise ValueError("these metrics tell of no receipt that was accepted on AWS")
    return {
        "sqs_requests": requests / receipts,
        "write_units": total(metrics, "receiptd_aws_capacity_units_total", 'kind="write"') / receipts,
        "read_units": total(metrics, "receiptd_aws_capacity_units_total", 'kind="read"') / receipts,
    }
