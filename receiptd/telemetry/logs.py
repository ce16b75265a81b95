"""Logs: structlog in front, one line an event; JSON for machines, coloured text for a terminal.

No token, secret or document is ever logged (invariant 14): events carry ids, states, counts and our own words.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import orjson
import structlog

from receiptd.settings import LogSettings
from receiptd.telemetry.sink import LineSink


def configure(settings: LogSettings) -> LineSink:
    """Send the logs of the whole process to standard error through a sink; return the sink, to be closed last."""
    sink = LineSink()
    as_json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer(serializer=_dumps)
        if as_json
        # The default formatter shows the locals of every frame, and a document or a token may be among them.
        else structlog.dev.ConsoleRenderer(colors=True, exception_formatter=structlog.dev.plain_traceback)
    )
    final: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if as_json:
        final.append(structlog.processors.format_exc_info)
    handler = _SinkHandler(sink)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[*final, renderer]))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    structlog.configure(
        processors=[renderer], logger_factory=lambda *_: _SinkLogger(sink), cache_logger_on_first_use=True
    )
    return sink


def _dumps(value: Any, **_: Any) -> str:
    return orjson.dumps(value, default=str).decode()


class _SinkHandler(logging.Handler):
    """The end of the standard library's logging, for everything but the wide events."""

    def __init__(self, sink: LineSink) -> None:
        super().__init__()
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._sink.write(self.format(record).encode() + b"\n")
        except Exception:  # noqa: BLE001 - logging's own contract: report on stderr, never raise
            self.handleError(record)


class _SinkLogger:
    """The end of structlog's own loggers: takes a rendered line."""

    def __init__(self, sink: LineSink) -> None:
        self._sink = sink

    def msg(self, line: str) -> None:
        self._sink.write(line.encode() + b"\n")

    info = warning = error = debug = msg
