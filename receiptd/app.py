"""The composition root: builds the parts on a store, starts their tasks, and stops them in order. Nothing else does.

Stop order: readiness fails; the listener drains; the queues are no longer pulled; the lanes and deliveries finish what
is in hand, within the deadline; the writer flushes; the store closes. What is left comes back by its recovery message.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry

from receiptd.adapters.outbound.client import OutboundClient
from receiptd.documents import BUNDLED_ROOT, ReceiptTypes
from receiptd.domain.addresses import OPERATOR, AddressPolicy
from receiptd.domain.errors import ConfigurationError, StorageError
from receiptd.http.api import Api
from receiptd.http.server import HttpServer, ServerLimits
from receiptd.observation import observe
from receiptd.pipeline.callbacks import Callbacks
from receiptd.pipeline.checking import Checking
from receiptd.pipeline.delivery import Delivery
from receiptd.pipeline.dispatch import Dispatcher
from receiptd.pipeline.intake import Intake
from receiptd.pipeline.lanes import Lane
from receiptd.pipeline.outbox import Outbox
from receiptd.pipeline.recovery import Recovery
from receiptd.pipeline.registration import RegistrarClient
from receiptd.pipeline.watch import Watch
from receiptd.pipeline.writer import Writer
from receiptd.retention import Expiry, check_retention, expiry
from receiptd.runtime import crash
from receiptd.runtime.clock import SystemClock
from receiptd.runtime.notify import notify, watchdog, watchdog_interval_s
from receiptd.runtime.supervisor import Supervisor
from receiptd.settings import Configuration, Settings
from receiptd.stores import Store, open_store
from receiptd.telemetry.receipts import ReceiptTelemetry

_log = logging.getLogger("receiptd.app")
_STORE_DOUBT_S = 5.0
_EXPIRE_EVERY_S = 3600.0
_GC_THRESHOLDS = (50_000, 20, 100)
_HAND_POLL_S = 0.02


class Daemon:
    """One process of the service, built from a configuration on an open store."""

    def __init__(self, configuration: Configuration, store: Store, listener: socket.socket) -> None:
        settings = configuration.settings
        self._settings = settings
        self._store = store
        self._listener = listener
        self._clock = SystemClock()
        self._supervisor = Supervisor()
        self._draining = False

        public_url = settings.http.public_url.rstrip("/") or _url_of(listener)
        webhooks = settings.webhooks
        self._registrar_http = OutboundClient(
            OPERATOR,
            connections_per_origin=sum(registrar.concurrency for registrar in configuration.registrars) or 1,
        )
        self._webhook_http = OutboundClient(
            AddressPolicy(
                allow_loopback=webhooks.allow_loopback,
                allow_private=webhooks.allow_private,
                allow_http=webhooks.allow_http,
            ),
            connections_per_origin=webhooks.concurrency,
        )
        registrar_ids = frozenset(registrar.id for registrar in configuration.registrars)
        self._checking = Checking(partial(load_types, settings, registrar_ids))

        self._writer = Writer(store.ledger, self._clock, settings.writer, settings.recovery)
        self._outbox = Outbox(store.queue)
        self._lanes = {
            registrar.id: Lane(
                settings=registrar,
                client=RegistrarClient(registrar, self._registrar_http, self._clock, public_url, self._types),
                writer=self._writer,
                queue=store.queue,
                outbox=self._outbox,
                clock=self._clock,
            )
            for registrar in configuration.registrars
        }
        self._delivery = Delivery(
            settings=webhooks,
            http=self._webhook_http,
            contracts=store.contracts,
            writer=self._writer,
            queue=store.queue,
            outbox=self._outbox,
            clock=self._clock,
        )
        self._recovery = Recovery(
            settings=settings.recovery,
            queue=store.queue,
            writer=self._writer,
            lanes=self._lanes,
            delivery=self._delivery,
            clock=self._clock,
        )
        self._watch = Watch(store.reader, settings.http.waiters_max)
        self._intake = Intake(settings.http, self._checking, self._writer, self._clock)
        registry = CollectorRegistry()
        self._writer.listen(Dispatcher(self._lanes, self._delivery).committed)
        self._writer.listen(self._watch.committed)
        self._writer.listen(ReceiptTelemetry(registry, self._types, settings.log).committed)

        self._server = HttpServer(
            Api(
                intake=self._intake,
                watch=self._watch,
                callbacks=Callbacks(configuration.registrars, self._writer, self._clock),
                writer=self._writer,
                ledger=store.reader,
                contracts=store.contracts,
                identity=store.identity,
                issuer=store.issuer,
                token_url=store.token_url,
                clock=self._clock,
                settings=settings.http,
                registry=registry,
                readiness=self._readiness,
            ),
            ServerLimits(
                body_max_bytes=settings.http.body_max_bytes,
                connections_max=settings.http.connections_max,
                buffered_max_bytes=settings.http.buffered_max_bytes,
            ),
        )
        observe(
            registry,
            intake=self._intake,
            writer=self._writer,
            outbox=self._outbox,
            lanes=self._lanes,
            delivery=self._delivery,
            recovery=self._recovery,
            server=self._server,
            usage=store.usage,
        )

    async def run(self, announce: Callable[[str], None]) -> int:
        """Serve until a signal or a fault; return the exit status: 0 after a signal, 1 after a fault.

        ``announce`` is told the listener's URL once requests are answered.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._supervisor.stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._checking.reload)
        self._start_tasks()
        await self._server.start(sock=self._listener)
        # What lives now lives for ever; the collector need not look at it again (a fifth of the CPU otherwise).
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        url = _url_of(self._listener)
        announce(url)
        _log.info("ready", extra={"url": url, "registrars": sorted(self._lanes), "pid": os.getpid()})
        notify("READY=1")
        await self._supervisor.stopping.wait()
        if self._supervisor.fault:
            _log.critical("draining after a fault", extra={"fault": self._supervisor.fault})
        await self._stop()
        return 1 if self._supervisor.fault else 0

    def _start_tasks(self) -> None:
        start = self._supervisor.start
        start("types", self._checking.run())
        start("writer", self._writer.run())
        start("outbox", self._outbox.run())
        start("recovery", self._recovery.run())
        if any(self._settings.storage.retention_days.values()):
            start("expire", self._expire())
        for name, task in self._store.tasks().items():
            start(f"store.{name}", task())
        for lane in self._lanes.values():
            for name, task in lane.tasks().items():
                start(name, task())
        for name, task in self._delivery.tasks().items():
            start(name, task())
        interval_s = watchdog_interval_s()
        if interval_s is not None:
            start("watchdog", watchdog(interval_s))

    async def _stop(self) -> None:
        settings, loop = self._settings.shutdown, asyncio.get_running_loop()
        notify("STOPPING=1")
        self._draining = True
        _log.info("draining", extra={"deadline_s": settings.deadline_s})
        await asyncio.sleep(settings.readiness_delay_s)
        deadline = loop.time() + settings.deadline_s
        self._watch.close()
        try:
            await self._server.drain(settings.deadline_s)
            await self._supervisor.stop("recovery", "pull.", "expire")
            while self._in_hand and loop.time() < deadline:  # noqa: ASYNC110 - a sum over parts has no event of its own
                await asyncio.sleep(_HAND_POLL_S)
            await self._supervisor.stop("lane.", "delivery.", "outbox", "writer")
            await self._outbox.flush()
            await self._writer.flush()
        finally:
            left = self._in_hand
            await self._registrar_http.close()
            await self._webhook_http.close()
            await self._store.close()
            await self._supervisor.stop()
            self._checking.close()
            _log.info("stopped", extra={"left_to_recovery": left})

    @property
    def _in_hand(self) -> int:
        return self._delivery.depth + sum(lane.depth for lane in self._lanes.values())

    def _readiness(self) -> tuple[bool, dict[str, str]]:
        checks = {
            "draining": "yes" if self._draining else "no",
            "receipt_types": f"broken: {', '.join(sorted(self._checking.faults))}" if self._checking.faults else "ok",
            "store": "failing" if time.monotonic() - self._writer.failed_at < _STORE_DOUBT_S else "ok",
            "intake": "full" if self._intake.in_flight >= self._settings.http.in_flight_max else "ok",
        }
        checks |= {f"registrar.{name}": str(lane.breaker.state) for name, lane in self._lanes.items()}
        checks |= self._store.checks()
        well = checks["receipt_types"] == "ok" and "failing" not in checks.values()
        return well and not self._draining, checks

    def _types(self) -> ReceiptTypes:
        return self._checking.types

    async def _expire(self) -> None:
        """Remove settled receipts once their retention class says so: once a day, and when the types have changed."""
        done: Expiry | None = None
        while True:
            today = datetime.fromtimestamp(self._clock.now(), UTC).date()
            wanted = expiry(self._checking.types, self._settings.storage, today)
            try:
                if wanted != done:
                    await self._store.expire(wanted.before_day, wanted.by_type)
                    done = wanted
            except StorageError as error:
                _log.warning("expiry waits for the store", extra={"reason": str(error)})
            await asyncio.sleep(_EXPIRE_EVERY_S)


def load_types(settings: Settings, registrars: frozenset[str]) -> ReceiptTypes:
    """Read the receipt types, without compiling them, and hold them against registrars and retention as configured.

    Raises:
        ConfigurationError: a type.yaml is wrong, asks for a registrar that has no file, or for a retention class that
            has no days.
    """
    roots: list[Path] = [BUNDLED_ROOT] if settings.receipt_types.bundled else []
    types = ReceiptTypes.read([*roots, *settings.receipt_types.roots])
    for receipt_type in types:
        missing = set(receipt_type.registrars) - registrars
        if missing:
            raise ConfigurationError(
                f"{receipt_type.file.path}: asks for registrars that have no file in registrars_dir: "
                f"{', '.join(sorted(missing))}"
            )
    check_retention(types, settings.storage)
    return types


async def serve(configuration: Configuration, *, announce: Callable[[str], None] = lambda _: None) -> int:
    """Run the daemon; return its exit status. ``announce`` is told the listener's URL once requests are answered.

    Raises:
        ConfigurationError: the address is taken, the store is in use, or a receipt type does not load.
    """
    try:
        crash.arm_from_environment()
    except ValueError as error:
        raise ConfigurationError(f"{crash.VARIABLE}: {error}") from error
    settings = configuration.settings
    wildcard = settings.http.host in ("0.0.0.0", "::")  # noqa: S104 - refused below unless the operator says more
    if wildcard and not settings.http.public_url:
        raise ConfigurationError(
            f"http.public_url: must say where registrars reach this service, since http.host is {settings.http.host}"
        )
    listener = _bind(settings.http.host, settings.http.port)
    try:
        store = await open_store(configuration, daemon=True)
    except BaseException:
        listener.close()
        raise
    try:
        daemon = Daemon(configuration, store, listener)
    except BaseException:
        await store.close()
        listener.close()
        raise
    return await daemon.run(announce)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"http.host, http.port: cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


def _url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
