"""The registrars' callbacks: signed, sent, tried again, and spoiled as the knobs ask.

A callback is due when its verdict is out. At most ``PENDING_MAX`` are on their way; a registrar with more answers 503.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import orjson

from receiptd.domain import signatures
from receiptd.domain.errors import OutboundError
from receiptd.ports import HttpCall, HttpClient
from receiptd.simulation.knobs import Knobs, RegistrarKnobs
from receiptd.simulation.records import Effect, Verdict

_log = logging.getLogger("receiptd.simulation")

PENDING_MAX: Final = 100_000
_REFUSALS: Final = frozenset({400, 401, 404, 410})
_OPPOSITE: Final[Mapping[Verdict, Verdict]] = {"registered": "rejected", "rejected": "registered"}
_FORGED_SECRET: Final = "Zm9yZ2VkLWZvcmdlZC1mb3JnZWQtZm9yZ2VkLWZvcmdlZCE="  # noqa: S105 - the forger's own, nobody trusts it


class CallbackSender:
    """Reports verdicts to the Callback-Url of each submission."""

    def __init__(
        self,
        client: HttpClient,
        secrets: Mapping[str, Sequence[str]],
        knobs: Callable[[], Knobs],
        rng: random.Random,
    ) -> None:
        self._client = client
        self._secrets = secrets
        self._knobs = knobs
        self._rng = rng
        self._urls: dict[tuple[str, str], str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def full(self) -> bool:
        """Whether no further callback can be taken on."""
        return len(self._tasks) >= PENDING_MAX

    def signs_for(self, registrar: str) -> bool:
        """Whether a secret is known to sign the callbacks of ``registrar`` with."""
        return bool(self._secrets.get(registrar))

    def pending(self, effect: Effect) -> bool:
        """Whether a callback for ``effect`` is on its way."""
        return (effect.registrar, effect.key) in self._urls

    async def report(self, effect: Effect, url: str, *, before_answer: bool) -> None:
        """See to it that the verdict of ``effect`` is reported to ``url`` once it is out.

        Args:
            effect: what was registered.
            url: the submission's Callback-Url; a callback already on its way goes to the newest one.
            before_answer: report now and return only when that was answered: the early callback.
        """
        pending = self.pending(effect)
        self._urls[effect.registrar, effect.key] = url
        if pending:
            return
        task = asyncio.create_task(self._report(effect, early=before_answer), name=f"callback {effect.key}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if before_answer:
            await asyncio.wait({task}, timeout=self._knobs().registrar(effect.registrar).hang_s)

    async def close(self) -> None:
        """Give up what is on its way."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _report(self, effect: Effect, *, early: bool) -> None:
        knobs = self._knobs().registrar(effect.registrar)
        try:
            if not early:
                held_back = knobs.reorder_delay_s * self._rng.random() if self._draw(knobs.reorder_callback_rate) else 0
                await asyncio.sleep(max(0.0, effect.verdict_at - time.time()) + held_back)
            if self._draw(knobs.never_callback_rate):
                return
            if self._draw(knobs.forged_callback_rate):
                await self._forge(effect)
            if not await self._deliver(effect, effect.verdict, knobs):
                return
            effect.verdict_taken_at = effect.verdict_taken_at or time.time()
            if self._draw(knobs.duplicate_callback_rate):
                await self._deliver(effect, effect.verdict, knobs)
            if self._draw(knobs.contradict_callback_rate):
                effect.contradicted = True
                await self._deliver(effect, _OPPOSITE[effect.verdict], knobs)
        except Exception:
            _log.exception("callback task failed", extra={"registrar": effect.registrar})
            raise
        finally:
            self._urls.pop((effect.registrar, effect.key), None)

    def _draw(self, rate: float) -> bool:
        return rate > 0 and self._rng.random() < rate

    async def _forge(self, effect: Effect) -> None:
        status = await self._post(effect, _OPPOSITE[effect.verdict], (_FORGED_SECRET,))
        if status // 100 == 2:  # noqa: PLR2004 - a class of statuses
            effect.forged_taken += 1

    async def _deliver(self, effect: Effect, verdict: Verdict, knobs: RegistrarKnobs) -> bool:
        """Report ``verdict`` until it is taken; return whether it was."""
        pause_s = knobs.callback_retry_s
        for _ in range(knobs.callback_attempts):
            down = self._knobs().registrar(effect.registrar).down
            status = 0 if down else await self._post(effect, verdict, self._secrets[effect.registrar])
            if status // 100 == 2:  # noqa: PLR2004 - a class of statuses
                effect.callbacks_taken += 1
                return True
            if status in _REFUSALS:
                effect.callbacks_refused += verdict == effect.verdict
                return False
            await asyncio.sleep(pause_s * (0.5 + self._rng.random()))
            pause_s = min(pause_s * 2, knobs.callback_retry_max_s)
        return False

    async def _post(self, effect: Effect, verdict: Verdict, secrets: Sequence[str]) -> int:
        """Post one signed callback; return the status, or 0 when no answer came."""
        reason = "" if verdict == "registered" else f"the {effect.registrar} registrar does not take this receipt"
        body = orjson.dumps(
            {"status": verdict, "reference": effect.reference, "reason": reason, "receipt_id": effect.key}
        )
        webhook_id = f"cb_{effect.reference}_{verdict}"
        timestamp_s = int(time.time())
        headers = {
            "Content-Type": "application/json",
            signatures.ID_HEADER: webhook_id,
            signatures.TIMESTAMP_HEADER: str(timestamp_s),
            signatures.SIGNATURE_HEADER: signatures.sign(secrets, webhook_id, timestamp_s, body),
        }
        url = self._urls.get((effect.registrar, effect.key), "")
        try:
            reply = await self._client.send(HttpCall(method="POST", url=url, headers=headers, body=body))
        except OutboundError:
            return 0
        return reply.status
