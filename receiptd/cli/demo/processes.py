"""Processes of receiptd: started, waited for until they tell their address, and always ended by their own id."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from receiptd.domain.errors import ReceiptdError

_URL: Final = re.compile(rb"listen(?:ing|s)? on (http://\S+)\n")
_POLL_S: Final = 0.02
_START_S: Final = 30.0
_STOP_S: Final = 30.0
_TAIL_BYTES: Final = 4_000


class ProcessError(ReceiptdError):
    """A process did not start, or ended when it should not have; the message holds the end of its log."""

    code = "process-failed"


def environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment with ``variables``, without the settings that somebody exported in it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECEIPTD_")}
    return {**kept, "PYTHONUNBUFFERED": "1", **(variables or {})}


class Process:
    """One ``receiptd`` command that runs until it is stopped. Use it as a context manager, or call ``stop``.

    Args:
        name: names the log files ``<name>.out`` (standard output) and ``<name>.log`` (standard error).
        arguments: of the command, ``serve`` for one.
        logs: the directory of the log files; an earlier run's lines are kept before ours.
        variables: for its environment.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], logs: Path, variables: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = logs / f"{name}.log"
        self._out = logs / f"{name}.out"
        self._skip = self._out.stat().st_size if self._out.exists() else 0
        with self._out.open("ab") as out, self.log.open("ab") as log:
            # A session of its own: Ctrl-C in a terminal reaches the demo alone, which then ends the others in order.
            self._popen = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "receiptd", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                env=environment(variables),
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        """Return the process."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop it, whatever happened."""
        self.stop()

    @property
    def pid(self) -> int:
        """Its id."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._popen.poll() is None

    def url(self, timeout_s: float = _START_S) -> str:
        """Wait until it says where it listens and takes connections there; return that. Raises ProcessError."""
        deadline = time.monotonic() + timeout_s
        while True:
            said = _URL.search(self._out.read_bytes()[self._skip :])
            if said and _takes_connections(url := said[1].decode()):
                return url
            if not self.running:
                raise self.failure(f"ended with status {self._popen.returncode} before it listened")
            if time.monotonic() > deadline:
                raise self.failure(f"does not listen after {timeout_s:g} s")
            time.sleep(_POLL_S)

    def stop(self, timeout_s: float = _STOP_S) -> int:
        """Ask it to end (SIGTERM), make it after ``timeout_s`` seconds (SIGKILL); return its exit status."""
        if self.running:
            self._popen.terminate()
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """End it at once (SIGKILL); return its exit status."""
        self._popen.kill()
        return self._popen.wait()

    def failure(self, what: str) -> ProcessError:
        """Return the error that tells ``what`` happened, with the end of the log."""
        tail = self.log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()
        return ProcessError(f"{self.name} {what}; its log, {self.log}, ends with:\n{tail or '(nothing)'}")


def _takes_connections(url: str) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=1).close()
    except OSError:
        return False
    return True
