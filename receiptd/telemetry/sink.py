"""Where log lines go: a bounded buffer and one thread, so that a slow reader of our logs never stops the event loop."""

from __future__ import annotations

import queue
import sys
import threading
from typing import BinaryIO

_LINES_MAX = 20_000
_STOP_WAIT_S = 2.0


class LineSink:
    """Writes lines in order from its own thread; while the reader is too slow, new lines are dropped and counted."""

    def __init__(self, stream: BinaryIO | None = None) -> None:
        self._stream = stream or sys.stderr.buffer
        self._lines: queue.Queue[bytes | None] = queue.Queue(_LINES_MAX)
        self.dropped = 0
        self._thread = threading.Thread(target=self._write, name="log-sink", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Take a line (with its newline); never waits."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Write what is left, waiting two seconds at most."""
        try:
            self._lines.put(None, timeout=_STOP_WAIT_S)
        except queue.Full:
            return
        self._thread.join(_STOP_WAIT_S)

    def _write(self) -> None:
        while True:
            parts = [self._lines.get()]
            while not self._lines.empty():
                parts.append(self._lines.get())
            lines = [part for part in parts if part is not None]
            try:
                self._stream.write(b"".join(lines))
                self._stream.flush()
            except (OSError, ValueError):
                self.dropped += len(lines)  # the reader is gone; logging must not end the daemon
            if len(lines) != len(parts):
                return
