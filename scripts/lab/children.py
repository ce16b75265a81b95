"""Child processes of a run: started on chosen cores, measured through /proc, ended by their own id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_NANOSECONDS = 1e9
_LINE_MAX = 800


def free_ports(count: int) -> list[int]:
    """Return ``count`` loopback ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Child:
    """One process. It runs in ``folder``, where what it prints is appended to ``NAME.log``."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        cpu: int | None = None,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.started_at = time.time()
        # In a session of its own: an interrupt from the keyboard is the run's to act on, in its order.
        with self.log.open("ab") as sink:
            self._process = subprocess.Popen(
                arguments,
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
        if cpu is not None:
            os.sched_setaffinity(self._process.pid, {cpu})

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    @property
    def status(self) -> int | None:
        """The exit status; negative for the signal that ended it; None while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        """End it as a power cut would, and wait until it is gone."""
        if self.alive:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Ask it to end; kill it when it has not within ``timeout_s`` seconds."""
        if self.alive:
            self._process.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def cpu_s(self) -> float:
        """Return the CPU seconds that its living threads have used (from the scheduler, to the nanosecond)."""
        total = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except FileNotFoundError:  # the thread has just ended
                continue
        return total / _NANOSECONDS

    def rss_mb(self) -> float:
        """Return its resident memory in MB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * _PAGE_BYTES / 1e6

    def tail(self, lines: int = 12) -> str:
        """Return the end of what it wrote; of a long line, its beginning and its end."""
        return "\n".join(_short(line) for line in self.log.read_text(errors="replace").splitlines()[-lines:])


def _short(line: str) -> str:
    half = _LINE_MAX // 2
    return line if len(line) <= _LINE_MAX else f"{line[:half]} ... {line[-half:]}"
