"""Where log lines go: a bounded buffer and one thread, so that a slow reader of our logs never stops the event loop."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from typing import BinaryIO

_LINES_MAX = 20_000
_LINGER_S = 0.05
_STOP_WAIT_S = 2.0


class LineSink:
    """Writes lines in order from its own thread; while the reader is too slow, new lines are dropped and counted.

    The thread is woken once for all the lines of some 50 ms: waking it for each would cost more than the line.
    """

    def __init__(self, stream: BinaryIO | None = None) -> None:
        self._stream = stream or sys.stderr.buffer
        self._lines: deque[bytes] = deque()
        self._some = threading.Event()
        self._closing = threading.Event()
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="log-sink", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Take a line (with its newline); never waits."""
        if len(self._lines) >= _LINES_MAX:
            self.dropped += 1
            return
        self._lines.append(line)
        if not self._some.is_set():
            self._some.set()

    def close(self) -> None:
        """Write what is left, waiting two seconds at most."""
        self._closing.set()
        self._some.set()
        self._thread.join(_STOP_WAIT_S)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._some.wait()
            if not self._closing.is_set():
                time.sleep(_LINGER_S)
            self._some.clear()
            self._write()
        self._write()

    def _write(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        try:
            self._stream.write(b"".join(lines))
            self._stream.flush()
        except (OSError, ValueError):
            self.dropped += len(lines)  # the reader is gone; logging must not end the daemon
