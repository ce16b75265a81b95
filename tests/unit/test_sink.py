from __future__ import annotations

import io
import threading

from receiptd.telemetry import sink as module
from receiptd.telemetry.sink import LineSink


class Stuck(io.BytesIO):
    """A reader that takes nothing until it is let go."""

    def __init__(self):
        super().__init__()
        self.entered, self.go = threading.Event(), threading.Event()

    def write(self, data):
        self.entered.set()
        self.go.wait(10)
        return super().write(data)


def test_lines_come_out_in_order_and_close_writes_what_is_left():
    stream = io.BytesIO()
    sink = LineSink(stream)
    for number in range(1000):
        sink.write(b"%d\n" % number)
    sink.close()
    assert stream.getvalue().split() == [b"%d" % n for n in range(1000)]


def test_a_reader_that_stands_still_costs_lines_not_time_or_memory_invariant_13(monkeypatch):
    monkeypatch.setattr(module, "_LINES_MAX", 10)
    stream = Stuck()
    sink = LineSink(stream)
    sink.write(b"first\n")
    assert stream.entered.wait(5)
    for _ in range(25):
        sink.write(b"line\n")
    assert sink.dropped == 15
    stream.go.set()
    sink.close()
    assert stream.getvalue().count(b"line") == 10


def test_a_reader_that_is_gone_ends_nothing():
    stream = io.BytesIO()
    stream.close()
    sink = LineSink(stream)
    sink.write(b"line\n")
    sink.close()
    assert sink.dropped == 1
