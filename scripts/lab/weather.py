"""The weather of a chaos trial: how registrars and webhook endpoints misbehave, phase by phase."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from lab.client import outbound
from lab.history import EffectSeen, HookSeen
from lab.site import SiteError
from receiptd.domain.errors import OutboundError
from receiptd.ports import HttpCall

_PAGE = 5_000
_REPLY_MAX_BYTES = 64 * 1024 * 1024

Patch = Mapping[str, Any]

_ALWAYS = {"callback_retry_max_s": 0.5}
"""Registrars come back soon with a callback that found nobody: the recovery to measure is the daemon's, not theirs."""

CALM: Patch = {"reset": True, "registrars": {"*": _ALWAYS}}

STORMS: Mapping[str, Patch] = {
    "slow": {
        "registrars": {"*": {"latency_s": 0.1, "jitter_s": 0.6, "callback_delay_s": 0.2, "callback_jitter_s": 0.5}}
    },
    "errors": {
        "registrars": {"*": {"error_rate": 0.2, "throttle_rate": 0.05, "garbage_rate": 0.05, "huge_rate": 0.01}}
    },
    "timeouts": {
        "registrars": {
            "*": {"timeout_after_effect_rate": 0.05, "timeout_before_effect_rate": 0.03, "reset_rate": 0.1, "hang_s": 3}
        }
    },
    "callbacks": {
        "registrars": {
            "*": {
                "duplicate_callback_rate": 0.4,
                "early_callback_rate": 0.3,
                "reorder_callback_rate": 0.3,
                "forged_callback_rate": 0.2,
                "contradict_callback_rate": 0.2,
                "never_callback_rate": 0.03,
            }
        }
    },
    "tax-down": {"registrars": {"tax": {"down": True}}},
    "webhooks": {"hooks": {"fail_rate": 0.3, "throttle_rate": 0.1, "jitter_s": 0.2}},
    "everything": {
        "registrars": {
            "*": {
                "jitter_s": 0.2,
                "error_rate": 0.05,
                "throttle_rate": 0.02,
                "timeout_after_effect_rate": 0.02,
                "timeout_before_effect_rate": 0.01,
                "garbage_rate": 0.01,
                "reset_rate": 0.03,
                "hang_s": 3,
                "duplicate_callback_rate": 0.2,
                "early_callback_rate": 0.1,
                "reorder_callback_rate": 0.1,
                "forged_callback_rate": 0.05,
                "contradict_callback_rate": 0.05,
                "never_callback_rate": 0.01,
            }
        },
        "hooks": {"fail_rate": 0.1, "throttle_rate": 0.05},
    },
}


def forecast(rng: random.Random) -> Iterator[tuple[str, Patch]]:
    """Yield storms for ever; each comes once before any comes again, and a calm now and then."""
    while True:
        names = [*STORMS, "calm"]
        rng.shuffle(names)
        for name in names:
            yield name, STORMS.get(name, CALM)


class World:
    """The simulator, from outside."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = outbound(8)

    async def turn(self, patch: Patch) -> None:
        """Calm everything down, and turn the knobs. Raises SiteError."""
        await self._call("PUT", "/_control", orjson.dumps(CALM))
        await self._call("PUT", "/_control", orjson.dumps(patch))

    async def effects(self) -> list[EffectSeen]:
        """Return what registrars hold. Raises SiteError."""
        rows = await self._all("/_effects")
        return [
            EffectSeen(
                registrar=row["registrar"],
                key=row["key"],
                effects=row["effects"],
                requests=row["requests"],
                verdict=row["verdict"],
                number=row["number"],
                receipt_ids=tuple(row["receipt_ids"]),
                digests=tuple(row["digests"]),
                callbacks_refused=row["callbacks_refused"],
                forged_taken=row["forged_taken"],
                verdict_taken_at=row["verdict_taken_at"],
            )
            for row in rows
        ]

    async def hooks(self) -> list[HookSeen]:
        """Return what webhook endpoints saw. Raises SiteError."""
        rows = await self._all("/_hooks")
        return [
            HookSeen(
                client=row["client"],
                webhook_id=row["webhook_id"],
                first_seen=row["first_seen"],
                attempts=row["attempts"],
                taken=row["taken"],
                judged=row["judged"],
                signatures_bad=row["signatures_bad"],
                types=tuple(row["types"]),
                receipt_ids=tuple(row["receipt_ids"]),
                states=tuple(row["states"]),
            )
            for row in rows
        ]

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def _all(self, path: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        while True:
            after = rows[-1]["serial"] if rows else 0
            body = await self._call("GET", f"{path}?after={after}&limit={_PAGE}")
            page = [orjson.loads(line) for line in body.splitlines()]
            rows += page
            if len(page) < _PAGE:
                return rows

    async def _call(self, method: str, path: str, body: bytes = b"") -> bytes:
        call = HttpCall(
            method=method, url=self._url + path, body=body, timeout_s=30.0, reply_max_bytes=_REPLY_MAX_BYTES
        )
        try:
            reply = await self._http.send(call)
        except OutboundError as error:
            raise SiteError(f"the simulator does not answer: {error}") from error
        if reply.status != 200:
            raise SiteError(f"the simulator answered {reply.status}: {reply.body[:500].decode(errors='replace')}")
        return reply.body
