"""Counts and durations of the calls: plain counters on the way, turned into Prometheus families when scraped."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class CallMetrics(Collector):
    """``receiptd_http_requests_total{call,status}`` and ``receiptd_http_request_duration_seconds{call}``.

    prometheus_client's own counters cost some microseconds an observation, these a few tenths.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests: dict[tuple[str, int], int] = {}
        self._durations: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        registry.register(self)

    def count(self, call: str, status: int) -> None:
        """Count an answer of ``call``."""
        key = (call, status)
        self._requests[key] = self._requests.get(key, 0) + 1

    def observe(self, call: str, duration_s: float) -> None:
        """Record how long ``call`` took, from the complete request to its answer."""
        buckets = self._durations.get(call)
        if buckets is None:
            buckets = self._durations[call] = [0] * (len(_BOUNDS_S) + 1)
            self._sums[call] = 0.0
        buckets[bisect_left(_BOUNDS_S, duration_s)] += 1
        self._sums[call] += duration_s

    def collect(self) -> Iterator[Metric]:
        """Yield the families (called by the registry)."""
        requests = CounterMetricFamily("receiptd_http_requests", "Answered requests.", labels=("call", "status"))
        for (call, status), count in sorted(self._requests.items()):
            requests.add_metric((call, str(status)), count)
        yield requests
        durations = HistogramMetricFamily(
            "receiptd_http_request_duration_seconds",
            "From the complete request to its answer; requests that asked to wait are left out.",
            labels=("call",),
        )
        for call, counts in sorted(self._durations.items()):
            running, buckets = 0, []
            for bound, count in zip((*map(str, _BOUNDS_S), "+Inf"), counts, strict=True):
                running += count
                buckets.append((bound, running))
            durations.add_metric((call,), buckets, self._sums[call])
        yield durations
