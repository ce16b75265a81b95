from __future__ import annotations

import logging
import os
import pty
import sys

import pytest
import structlog

from receiptd.settings import LogSettings
from receiptd.telemetry import logs


@pytest.fixture
def line_sink(monkeypatch):
    """Collect what the process would log, and leave logging as it was."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    written = []
    monkeypatch.setattr(logs.LineSink, "write", lambda _, line: written.append(line))
    yield written
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("format_", ["json", "console"])
def test_a_traceback_shows_code_and_no_values_invariant_14(line_sink, format_):
    sink = logs.configure(LogSettings(format=format_))

    def fault() -> None:
        authorization = "very secret".replace(" ", "-")
        raise RuntimeError(f"a fault with a header of {len(authorization)} bytes")

    try:
        fault()
    except RuntimeError:
        logging.getLogger("receiptd.test").exception("it failed")
    sink.close()
    text = b"".join(line_sink).decode()
    assert "a fault with" in text
    assert "test_logs" in text
    assert "very-secret" not in text


def test_a_terminal_gets_colours_and_a_file_gets_json(line_sink, monkeypatch):
    _, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        logs.configure(LogSettings()).close()
        logging.getLogger("receiptd.test").warning("hello", extra={"count": 3})
    assert b"\x1b[" in line_sink[-1]
