"""The supervisor: names and guards every task of the process.

A core task is meant to run for ever. One that ends, by an exception or by returning, is a fault: the supervisor
remembers it and asks for the drain, so that the process exits non-zero and is replaced instead of limping on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

_log = logging.getLogger("receiptd.supervisor")


class Supervisor:
    """Owns the process's long-lived tasks, in the order in which they were started."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        """Set when the process should drain: by a signal, or by a fault."""
        self.fault: str = ""
        """The name of the first core task that ended, and why; empty while all is well."""
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._stopped: set[asyncio.Task[Any]] = set()

    def start(self, name: str, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run ``coroutine`` as the core task ``name``. Raises ValueError for a name already in use."""
        if name in self._tasks:
            coroutine.close()
            raise ValueError(f"there is a task {name!r} already")
        task = asyncio.create_task(coroutine, name=name)
        self._tasks[name] = task
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task.get_name(), None)
        if task.cancelled():
            if task in self._stopped:
                return
            error: BaseException | None = asyncio.CancelledError()
        else:
            error = task.exception()
        reason = "returned" if error is None else f"failed: {type(error).__name__}: {error}"
        _log.critical("core task ended", extra={"task": task.get_name(), "reason": reason}, exc_info=error)
        if not self.fault:
            self.fault = f"{task.get_name()} {reason}"
        self.stopping.set()

    async def stop(self, *names: str) -> None:
        """Cancel the tasks whose names are, or begin with one of, ``names`` (all without names) and wait for them."""
        chosen = [t for n, t in self._tasks.items() if not names or n.startswith(names)]
        self._stopped.update(chosen)
        for task in chosen:
            task.cancel()
        await asyncio.gather(*chosen, return_exceptions=True)
