"""Checking: the receipt types in force, how they are replaced, and the threads for what the loop must not wait for.

A document of a compiled type is judged on the loop's thread, in microseconds. A type that is not compiled yet, and
Schematron, take milliseconds; they go to threads of their own, and no more than a bounded number waits for them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from receiptd.documents import Checked, ReceiptType, ReceiptTypes
from receiptd.domain.errors import ConfigurationError, OverloadedError

SLOW_MAX = 64
"""Documents that may wait for a thread; the next is answered 503."""

_SLOW_THREADS = 4
"""Types take turns by themselves: one slow document holds up those of its own type."""

_log = logging.getLogger("receiptd.types")


class Checking:
    """Judges documents by the receipt types in force."""

    def __init__(self, load: Callable[[], ReceiptTypes]) -> None:
        """``load`` reads the types anew; it is asked now, and again on every reload. Raises ConfigurationError."""
        self.types = load()
        """The types in force; replaced as a whole."""
        self.faults: dict[str, str] = {}
        """What does not compile: the reason by the type's name. Empty while all is well."""
        self._load = load
        self._reload = asyncio.Event()
        self._compiler = ThreadPoolExecutor(1, "receipt-types")
        self._slow = ThreadPoolExecutor(_SLOW_THREADS, "schematron")
        self._waiting = 0

    async def check(self, body: bytes, content_type: str, type_hint: str = "") -> Checked:
        """Judge a document; see ``ReceiptTypes.check``.

        Raises:
            DocumentError: as ``ReceiptTypes.recognise`` does; 503, its type does not compile.
            OverloadedError: too many documents wait for a thread.
        """
        type_, document = self.types.recognise(body, content_type, type_hint)
        if type_.compiled and not type_.has_schematron:
            return type_.check(document)
        if self._waiting >= SLOW_MAX:
            raise OverloadedError(f"as many documents of {type_.name} as can wait are being checked right now")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            if not type_.compiled:
                await loop.run_in_executor(self._compiler, self._compile, type_)
            checked = type_.check(document)
            if not type_.has_schematron or not checked.valid:
                return checked
            return await loop.run_in_executor(self._slow, type_.schematron, document, checked)
        except ConfigurationError as error:
            raise type_.broken() from error
        finally:
            self._waiting -= 1

    def reload(self) -> None:
        """Ask for the types anew; ``run`` does it, and a set that does not load is refused."""
        self._reload.set()

    async def run(self) -> None:
        """Compile the types one after another, then wait for reloads; for ever."""
        loop = asyncio.get_running_loop()
        for type_ in self.types:
            try:
                await loop.run_in_executor(self._compiler, self._compile, type_)
            except ConfigurationError as error:
                _log.error("a receipt type does not compile", extra={"type": type_.name, "reason": str(error)})
        while True:
            await self._reload.wait()
            self._reload.clear()
            try:
                types = await loop.run_in_executor(self._compiler, self._load_whole)
            except ConfigurationError as error:
                _log.error("receipt types not reloaded, the old ones stay", extra={"reason": str(error)})
            else:
                self.types = types
                self.faults = {}
                _log.info("receipt types reloaded", extra={"types": [type_.name for type_ in types]})

    def close(self) -> None:
        """Let the threads end."""
        self._compiler.shutdown(wait=False, cancel_futures=True)
        self._slow.shutdown(wait=False, cancel_futures=True)

    def _compile(self, type_: ReceiptType) -> None:
        try:
            type_.compile()
        except ConfigurationError as error:
            if self.types.get(type_.id, type_.version) is type_:  # and not of a set that was replaced meanwhile
                self.faults[type_.name] = str(error)
            raise

    def _load_whole(self) -> ReceiptTypes:
        types = self._load()
        types.compile()
        return types
