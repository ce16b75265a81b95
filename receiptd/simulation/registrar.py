"""A registrar stand-in: takes submissions as a good registrar does, unless its knobs say otherwise.

A good registrar registers a receipt once per Idempotency-Key: a repeat gets the same reference, and the verdict again
if it is out. A receipt is rejected when its bytes contain ``-REJECT`` (say, a number that ends so); with
``-REJECT-<ID>`` only the registrar of that id (in capitals) rejects it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

import orjson

from receiptd.domain.identifiers import digest
from receiptd.http.message import Request, Response
from receiptd.simulation.answers import JSON_HEADERS, answer, problem, retry_later
from receiptd.simulation.callbacks import CallbackSender
from receiptd.simulation.knobs import ANSWER_FAULTS, Knobs, RegistrarKnobs
from receiptd.simulation.records import Book, Effect, Verdict

_MARK: Final = b"-REJECT"
_HUGE_BYTES: Final = 4 * 1024 * 1024
_KEY_MAX: Final = 256
_BEFORE_EFFECT: Final = frozenset({"error", "throttle", "timeout_before_effect"})


def verdict_on(registrar: str, body: bytes) -> Verdict:
    """Return what ``registrar`` thinks of the document ``body``."""
    _, mark, rest = body.replace(b"\0", b"").partition(_MARK)  # in UTF-16 a mark of ASCII has a zero beside each byte
    if not mark:
        return "registered"
    if not rest.startswith(b"-"):
        return "rejected"
    return "rejected" if rest[1:].startswith(registrar.upper().encode()) else "registered"


class Registrars:
    """Every registrar stand-in, by the id in the path."""

    def __init__(
        self,
        knobs: Callable[[], Knobs],
        book: Book[Effect],
        callbacks: CallbackSender,
        rng: random.Random,
        drop_connection: Callable[[], None],
    ) -> None:
        self._knobs = knobs
        self._book = book
        self._callbacks = callbacks
        self._rng = rng
        self._drop_connection = drop_connection

    async def submit(self, registrar: str, request: Request) -> Response:
        """Answer ``POST /{registrar}/receipts``."""
        knobs = self._knobs().registrar(registrar)
        key = request.headers.get("idempotency-key", "")
        if not 0 < len(key) <= _KEY_MAX:
            return problem(400, "an Idempotency-Key of 1 to 256 characters is needed")
        if knobs.answers == "callback" and not self._callbacks.signs_for(registrar):
            return problem(500, "no callback secret is known for this registrar; give its file with --config")
        await self._linger(knobs)
        fault = self._fault(knobs)
        if knobs.down or self._callbacks.full:
            return retry_later(503, knobs.retry_after_s)
        if fault in _BEFORE_EFFECT:
            return await self._spoil(fault, knobs)
        effect = self._register(registrar, key, request, knobs)
        url = request.headers.get("callback-url", "")
        if knobs.answers == "callback" and url:
            early = self._rng.random() < knobs.early_callback_rate
            await self._callbacks.report(effect, url, before_answer=early)
        if fault:
            return await self._spoil(fault, knobs)
        return _grammar(effect, decided=knobs.answers == "synchronous")

    async def status(self, registrar: str, key: str) -> Response:
        """Answer ``GET /{registrar}/receipts/{key}``: the verdict, 202 while it is not out, 404 when never seen."""
        knobs = self._knobs().registrar(registrar)
        await self._linger(knobs)
        if knobs.down:
            return retry_later(503, knobs.retry_after_s)
        effect = self._book.find(registrar, key)
        if effect is None:
            return problem(404, "this receipt was never submitted here")
        return _grammar(effect, decided=effect.verdict_at <= time.time())

    async def _linger(self, knobs: RegistrarKnobs) -> None:
        pause_s = knobs.latency_s + knobs.jitter_s * self._rng.random()
        if pause_s > 0:
            await asyncio.sleep(pause_s)

    def _fault(self, knobs: RegistrarKnobs) -> str:
        """Draw at most one fault of the answer."""
        drawn = self._rng.random()
        for fault in ANSWER_FAULTS:
            drawn -= getattr(knobs, f"{fault}_rate")
            if drawn < 0:
                return fault
        return ""

    async def _spoil(self, fault: str, knobs: RegistrarKnobs) -> Response:
        match fault:
            case "throttle":
                return retry_later(429, knobs.retry_after_s)
            case "garbage":
                return Response(200, b'\x00\xff{"status": registered', JSON_HEADERS)
            case "huge":
                return Response(200, b'{"status":"registered","reference":"' + b"9" * _HUGE_BYTES + b'"}', JSON_HEADERS)
            case "timeout_before_effect" | "timeout_after_effect":
                await asyncio.sleep(knobs.hang_s)
                self._drop_connection()
            case "reset":
                self._drop_connection()
        await asyncio.sleep(0)  # a dropped connection's task ends here
        return problem(500, "the registrar broke down, as its knobs ask")

    def _register(self, registrar: str, key: str, request: Request, knobs: RegistrarKnobs) -> Effect:
        now = time.time()
        effect = self._book.find(registrar, key)
        if effect is None:
            delay_s = 0.0
            if knobs.answers == "callback":
                delay_s = knobs.callback_delay_s + knobs.callback_jitter_s * self._rng.random()
            serial = self._book.serial + 1
            effect = Effect(
                serial=serial,
                registrar=registrar,
                key=key,
                reference=f"{registrar}-{serial:08d}",
                number=_number(request.body),
                verdict=verdict_on(registrar, request.body),
                first_seen=now,
                verdict_at=now + delay_s,
                effects=1,
            )
            self._book.add(registrar, key, effect)
        effect.saw(request.headers.get("receipt-id", ""), digest(request.body), now)
        return effect


def _grammar(effect: Effect, *, decided: bool) -> Response:
    if not decided:
        return answer(202, {"status": "accepted", "reference": effect.reference})
    reason = "" if effect.verdict == "registered" else "this receipt is not taken"
    return answer(200, {"status": effect.verdict, "reference": effect.reference, "reason": reason})


def _number(body: bytes) -> str:
    if not body.startswith(b"{"):
        return ""
    try:
        number = orjson.loads(body).get("number", "")
    except orjson.JSONDecodeError:
        return ""
    return str(number)[:100]
