"""The simulator: every stand-in, put together on one listener."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from receiptd.adapters.outbound.client import OutboundClient
from receiptd.domain.addresses import OPERATOR
from receiptd.http.server import HttpServer
from receiptd.simulation.application import KnobBoard, SimulatorApplication
from receiptd.simulation.callbacks import CallbackSender
from receiptd.simulation.hooks import Hooks
from receiptd.simulation.knobs import Knobs
from receiptd.simulation.records import Book, Effect, Hook
from receiptd.simulation.registrar import Registrars


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """What a simulator is made of. ``callback_secrets`` are by registrar; each signs that registrar's callbacks."""

    host: str = "127.0.0.1"
    port: int = 8090
    seed: int = 0
    keep: int = 100_000
    """Registrations, and webhooks, that are remembered; the oldest are forgotten first."""
    knobs: Knobs = field(default_factory=Knobs)
    callback_secrets: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)


class Simulator:
    """Serves the stand-ins between ``start`` and ``stop``, both on one event loop."""

    def __init__(self, options: SimulatorOptions) -> None:
        self._options = options
        rng = random.Random(options.seed)  # noqa: S311 - drawn faults need no secrecy
        board = KnobBoard(options.knobs)
        effects: Book[Effect] = Book(options.keep)
        hooks: Book[Hook] = Book(options.keep)
        self._client = OutboundClient(OPERATOR, connections_per_origin=256, user_agent="receiptd-simulate")
        self._callbacks = CallbackSender(self._client, options.callback_secrets, board, rng)
        registrars = Registrars(board, effects, self._callbacks, rng, self._drop_connection)
        application = SimulatorApplication(board, registrars, Hooks(board, hooks, rng), effects, hooks)
        self._server = HttpServer(application)

    @property
    def url(self) -> str:
        """Where the stand-ins are, without a trailing slash; of use once they were started."""
        return f"http://{self._options.host}:{self._server.port}"

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be listened on."""
        await self._server.start(self._options.host, self._options.port)

    async def stop(self, timeout_s: float = 1.0) -> None:
        """Stop listening, and give up calls and callbacks that are on their way after ``timeout_s`` seconds."""
        await self._callbacks.close()
        await self._server.drain(timeout_s)
        await self._client.close()

    def _drop_connection(self) -> None:
        """Reset the connection of the request that the current task answers; the task is cancelled with it."""
        state, task = self._server._state, asyncio.current_task()  # noqa: SLF001 - a fault that no good server offers
        for connection in state.connections if state else ():
            if getattr(connection, "_task", None) is task:
                connection.abort()
                return
