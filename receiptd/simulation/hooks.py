"""The clients' webhook endpoints: they verify Standard Webhooks 1.0 signatures and remember what came."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import orjson

from receiptd.domain import signatures
from receiptd.http.message import Request, Response
from receiptd.simulation.answers import problem, retry_later
from receiptd.simulation.knobs import HookKnobs, Knobs
from receiptd.simulation.records import Book, Hook


class Hooks:
    """Every client's endpoint, by the client id in the path."""

    def __init__(self, knobs: Callable[[], Knobs], book: Book[Hook], rng: random.Random) -> None:
        self._knobs = knobs
        self._book = book
        self._rng = rng

    async def receive(self, client: str, request: Request) -> Response:
        """Answer ``POST /hooks/{client}``: 204 when taken, 401 when its signature does not verify."""
        knobs = self._knobs().hooks
        pause_s = knobs.latency_s + knobs.jitter_s * self._rng.random()
        if pause_s > 0:
            await asyncio.sleep(pause_s)
        webhook_id = request.headers.get(signatures.ID_HEADER, "")[:200]
        hook = self._book.find(client, webhook_id)
        now = time.time()
        if hook is None:
            hook = Hook(self._book.serial + 1, client, webhook_id, now)
            self._book.add(client, webhook_id, hook)
        hook.saw(_event(request.body), now)
        response = self._judge(hook, request, now) or self._misbehave(knobs) or Response(204)
        hook.last_status = response.status
        if response.status == 204:  # noqa: PLR2004 - the one success
            hook.taken += 1
            hook.taken_at = hook.taken_at or now
        return response

    def _judge(self, hook: Hook, request: Request, now: float) -> Response | None:
        secrets = self._knobs().webhook_secrets.get(hook.client)
        if not secrets:
            return None
        hook.judged = True
        try:
            signatures.verify(secrets, request.headers, request.body, now, self._knobs().hooks.tolerance_s)
        except signatures.SignatureError as error:
            hook.signatures_bad += 1
            return problem(401, str(error))
        return None

    def _misbehave(self, knobs: HookKnobs) -> Response | None:
        if knobs.gone:
            return problem(410, "this endpoint is gone, as its knobs ask")
        drawn = self._rng.random()
        if drawn < knobs.fail_rate:
            return problem(500, "the endpoint broke down, as its knobs ask")
        if drawn < knobs.fail_rate + knobs.throttle_rate:
            return retry_later(503, knobs.retry_after_s)
        return None


def _event(body: bytes) -> dict[str, object]:
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return event if isinstance(event, dict) else {}
