"""The Saxon process of one type's stylesheets, as its parent sees it: started, asked, bounded in time, replaced.

Saxon runs in a process of its own, not only in a thread: saxonche holds the interpreter's lock for as long as Saxon
works, so that a thread would stop the event loop all the same; Saxon cannot be interrupted; and running out of memory
in it ends the process that it runs in.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import orjson

from receiptd.documents.findings import FINDINGS_MAX
from receiptd.domain.errors import OverloadedError

COMPILATION_MAX_S = 60.0
EVALUATION_MAX_S = 10.0
"""EN 16931 takes 5 ms for a usual invoice: who reaches this has rules and a document that explode together."""
DATA_MAX_BYTES = 1024 * 1024 * 1024

_HERE = Path(__file__).parent
_CHUNK_BYTES = 65_536


class SaxonEndedError(Exception):
    """The process ended before it answered: out of memory, killed, or it could not be started."""


class SaxonProcess:
    """One process; it is started when it is needed, and again when it has ended. Its calls may come from any thread."""

    def __init__(self, stylesheets: list[dict[str, str]], documents: Sequence[str]) -> None:
        """Hold what each process compiles, and the URLs of the only ``documents`` that it then may read.

        A stylesheet is ``{"text": ...}`` or ``{"file": absolute path}``.
        """
        self._task = orjson.dumps(
            {
                "stylesheets": stylesheets,
                "documents": documents,
                "summary": (_HERE / "svrl.xsl").read_text("utf-8"),
                "findings_max": FINDINGS_MAX,
                "data_max_bytes": DATA_MAX_BYTES,
            }
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def compile(self) -> list[tuple[int, str]]:
        """Start the process, and return for each stylesheet that does not compile its index and why.

        Raises:
            SaxonEndedError: it ended.
            TimeoutError: it took more than 60 s.
        """
        with self._lock:
            faults: list[tuple[int, str]] = self._start()
            return faults

    def evaluate(self, document: bytes) -> list[Any]:
        """Return what each stylesheet finds in ``document``; see ``saxon_worker``.

        Raises:
            SaxonEndedError: two processes, one after the other, ended over this document.
            OverloadedError: no process can be started right now.
            TimeoutError: it took more than 10 s; the process is ended.
        """
        with self._lock:
            try:
                return self._evaluate(document)
            except SaxonEndedError:  # perhaps not through this document
                return self._evaluate(document)

    def stop(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                _pipe(pipe).close()

    def _evaluate(self, document: bytes) -> list[Any]:
        if self._process is None:
            try:
                self._start()
            except (SaxonEndedError, TimeoutError) as error:  # it did start once: that says nothing of the document
                raise OverloadedError(f"the Schematron process cannot be started right now: {error}") from error
        findings: list[Any] = self._ask(document, EVALUATION_MAX_S)
        return findings

    def _start(self) -> Any:
        self.stop()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-P", str(_HERE / "saxon_worker.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                stderr=subprocess.DEVNULL,  # Saxon's diagnoses quote documents
            )
        except OSError as error:
            raise SaxonEndedError(str(error)) from error
        return self._ask(self._task, COMPILATION_MAX_S)

    def _ask(self, message: bytes, timeout_s: float) -> Any:
        """Send ``message`` and return the answer; a process that gives none is stopped."""
        assert self._process is not None
        answered = False
        try:
            rest = memoryview(len(message).to_bytes(4, "big") + message)
            while rest:
                rest = rest[_pipe(self._process.stdin).write(rest) :]
            answer = _Answer(_pipe(self._process.stdout), time.monotonic() + timeout_s)
            body = answer.read(int.from_bytes(answer.read(4), "big"))
            answered = True
        except BrokenPipeError as error:
            raise SaxonEndedError("it ended") from error
        finally:
            if not answered:
                self.stop()
        return orjson.loads(body)


class _Answer:
    """Reads from a pipe until a deadline."""

    def __init__(self, pipe: IO[bytes], deadline: float) -> None:
        self._pipe = pipe
        self._deadline = deadline
        self._poll = select.poll()
        self._poll.register(pipe, select.POLLIN)

    def read(self, size: int) -> bytes:
        parts = []
        while size:
            if not self._poll.poll(max(0.0, self._deadline - time.monotonic()) * 1000):
                raise TimeoutError
            part = os.read(self._pipe.fileno(), min(size, _CHUNK_BYTES))
            if not part:
                raise SaxonEndedError("it ended")
            size -= len(part)
            parts.append(part)
        return b"".join(parts)


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
