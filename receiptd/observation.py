"""Which numbers of which part are metrics. Parts keep plain counts; they are read when somebody scrapes."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from receiptd.http.server import HttpServer
from receiptd.pipeline.delivery import Delivery
from receiptd.pipeline.intake import Intake
from receiptd.pipeline.lanes import Lane
from receiptd.pipeline.outbox import Outbox
from receiptd.pipeline.recovery import Recovery
from receiptd.pipeline.writer import Writer
from receiptd.stores import Usage
from receiptd.telemetry.collector import Readings


def observe(
    registry: CollectorRegistry,
    *,
    intake: Intake,
    writer: Writer,
    outbox: Outbox,
    lanes: Mapping[str, Lane],
    delivery: Delivery,
    recovery: Recovery,
    server: HttpServer,
    usage: Usage | None,
) -> None:
    """Register the metrics of a daemon's parts."""
    readings = Readings()
    gauge, counter = readings.gauge, readings.counter
    gauge("receiptd_intake_in_flight", "POSTs being taken in.", lambda: [({}, intake.in_flight)])
    gauge("receiptd_writer_backlog", "Receipts with uncommitted changes.", lambda: [({}, writer.backlog)])
    gauge(
        "receiptd_lane_depth",
        "Receipts in a lane's memory.",
        lambda: [({"registrar": name}, lane.depth) for name, lane in lanes.items()],
    )
    gauge(
        "receiptd_lane_circuit_open",
        "1 while a registrar's circuit is not closed.",
        lambda: [({"registrar": name}, float(lane.breaker.state != "closed")) for name, lane in lanes.items()],
    )
    counter(
        "receiptd_registrar_calls",
        "Calls to registrars by outcome.",
        lambda: [
            ({"registrar": name, "outcome": kind}, count)
            for name, lane in lanes.items()
            for kind, count in lane.calls.items()
        ],
    )
    counter(
        "receiptd_webhook_calls",
        "Webhook calls by outcome.",
        lambda: [({"outcome": kind}, count) for kind, count in delivery.outcomes.items()],
    )
    gauge("receiptd_webhook_depth", "Webhooks in memory.", lambda: [({}, delivery.depth)])
    counter("receiptd_recovered", "Receipts that recovery took up.", lambda: [({}, recovery.taken_over)])
    counter("receiptd_parking_dropped", "Parkings left to recovery.", lambda: [({}, outbox.dropped)])
    counter(
        "receiptd_faults",
        "Unexpected errors over one receipt or request: logged, and left to recovery or answered 500.",
        lambda: [
            ({"part": "registration"}, sum(lane.faults for lane in lanes.values())),
            ({"part": "delivery"}, delivery.faults),
            ({"part": "http"}, server.stats.faults),
        ],
    )
    gauge("receiptd_http_connections", "Open connections.", lambda: [({}, server.stats.connections)])
    counter("receiptd_http_refused", "Requests refused before a call.", lambda: [({}, server.stats.refused)])
    if usage is not None:
        _observe_usage(readings, usage)
    registry.register(readings)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)


def _observe_usage(readings: Readings, usage: Usage) -> None:
    readings.counter(
        "receiptd_aws_requests",
        "Requests to AWS, retries included.",
        lambda: [({"service": name, "operation": call}, count) for (name, call), count in usage.requests.items()],
    )
    readings.counter(
        "receiptd_aws_request_failures",
        "Requests to AWS that failed, by its error code; no code: no answer.",
        lambda: [
            ({"service": name, "operation": call, "code": code}, count)
            for (name, call, code), count in usage.failures.items()
        ],
    )
    readings.counter(
        "receiptd_aws_capacity_units",
        "Capacity units consumed, as DynamoDB tells.",
        lambda: [
            ({"table": table, "operation": call, "kind": kind}, units)
            for kind, counted in (("read", usage.read_units), ("write", usage.write_units))
            for (table, call), units in counted.items()
        ],
    )
