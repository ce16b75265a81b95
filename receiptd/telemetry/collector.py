"""Gauges and counters that components keep as plain numbers: read when the metrics are scraped, free in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

Reading = Callable[[], Iterable[tuple[dict[str, str], float]]]
"""Gives the samples of one metric: labels (bounded in number, never a client's id) and value."""


class Readings(Collector):
    """A collector of named readings."""

    def __init__(self) -> None:
        self._readings: list[tuple[type[GaugeMetricFamily | CounterMetricFamily], str, str, Reading]] = []

    def gauge(self, name: str, documentation: str, reading: Reading) -> None:
        """Add a gauge."""
        self._readings.append((GaugeMetricFamily, name, documentation, reading))

    def counter(self, name: str, documentation: str, reading: Reading) -> None:
        """Add a counter; ``name`` is without ``_total``."""
        self._readings.append((CounterMetricFamily, name, documentation, reading))

    def collect(self) -> Iterator[Metric]:
        """Read everything now."""
        for family, name, documentation, reading in self._readings:
            samples = list(reading())
            labels = sorted(samples[0][0]) if samples else []
            metric = family(name, documentation, labels=labels)
            for values, value in samples:
                metric.add_metric([values[label] for label in labels], value)
            yield metric
