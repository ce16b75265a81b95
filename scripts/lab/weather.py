"""The weather of a chaos trial: how registrars, webhook endpoints and AWS misbehave, phase by phase."""

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

_PARTLY: Patch = {
    "throttle": 0.02,
    "error": 0.02,
    "error_after_effect": 0.01,
    "hang_after_effect": 0.005,
    "hang": 0.005,
    "reset_after_effect": 0.02,
    "damage": 0.02,
    "slow": 0.05,
    "entry_throttle": 0.02,
    "entry_conflict": 0.02,
    "entry_error": 0.02,
    "entry_error_after_effect": 0.02,
    "entry_stale": 0.02,
    "duplicate": 0.1,
    "hold": 0.1,
}

AWS_STORMS: Mapping[str, Patch] = {
    "aws-throttling": {"rates": {"*": {"throttle": 0.1, "entry_throttle": 0.15, "entry_conflict": 0.1}}},
    "aws-errors": {
        "rates": {"*": {"error": 0.1, "error_after_effect": 0.05, "entry_error": 0.1, "entry_error_after_effect": 0.05}}
    },
    "aws-timeouts": {"rates": {"*": {"hang": 0.01, "hang_after_effect": 0.03, "reset_after_effect": 0.1, "hang_s": 5}}},
    "aws-deliveries": {"rates": {"*": {"duplicate": 0.5, "hold": 0.3, "entry_stale": 0.2}}},
    "aws-damage": {"rates": {"*": {"damage": 0.1}}},
    "aws-slow": {"rates": {"*": {"slow": 0.3, "slow_s": 1.5}}},
    "aws-expired": {"expire": True, "rates": {"*": {"slow": 0.1, "slow_s": 0.3}}},
    "aws-tables-down": {"rates": {"BatchExecuteStatement": {"error": 1}, "GetItem": {"error": 0.5}}},
    "aws-queues-down": {"rates": {"SendMessageBatch": {"error": 1}, "ReceiveMessage": {"throttle": 1}}},
    "aws-keys-down": {"rates": {"GetKeys": {"error": 1}}},
    "aws-everything": {"expire": True, "rates": {"*": _PARTLY}},
}
"""What the fault-injecting proxy does to the calls of SQS and DynamoDB (aws_faults.py)."""


def forecast(rng: random.Random, *, aws: bool = False) -> Iterator[tuple[str, Patch]]:
    """Yield storms for ever; each comes once before any comes again, and a calm now and then.

    With ``aws`` they come in pairs: one of the peers, and one of AWS under the key ``aws``.
    """
    others = _turns(rng, [*AWS_STORMS, ""])
    for name in _turns(rng, [*STORMS, "calm"]):
        patch = STORMS.get(name, CALM)
        if aws:
            other = next(others)
            yield f"{name}+{other or 'calm'}", {**patch, "aws": AWS_STORMS.get(other, {})}
        else:
            yield name, patch


def _turns(rng: random.Random, names: list[str]) -> Iterator[str]:
    while True:
        rng.shuffle(names)
        yield from names


class World:
    """The simulator, from outside, and the proxy before AWS, if there is one at ``proxy_url``."""

    def __init__(self, url: str, proxy_url: str = "") -> None:
        self._url = url
        self._proxy_url = proxy_url
        self._http = outbound(8)
        self.clients: Mapping[str, str] = {}
        """The ids of clients that the webhook endpoints know by another name."""

    async def turn(self, patch: Patch) -> None:
        """Calm everything down, and turn the knobs. Raises SiteError."""
        await self._call("PUT", f"{self._url}/_control", orjson.dumps(CALM))
        peers = {part: knobs for part, knobs in patch.items() if part != "aws"}
        await self._call("PUT", f"{self._url}/_control", orjson.dumps(peers))
        if self._proxy_url:
            storm = {**patch.get("aws", {}), "reset": True}
            await self._call("PUT", f"{self._proxy_url}/_faults", orjson.dumps(storm))

    async def aws(self) -> dict[str, dict[str, int]]:
        """Return what the proxy before AWS has seen and done. Raises SiteError."""
        told: dict[str, dict[str, int]] = orjson.loads(await self._call("GET", f"{self._proxy_url}/_faults"))
        return told

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
                client=self.clients.get(row["client"], row["client"]),
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
            body = await self._call("GET", f"{self._url}{path}?after={after}&limit={_PAGE}")
            page = [orjson.loads(line) for line in body.splitlines()]
            rows += page
            if len(page) < _PAGE:
                return rows

    async def _call(self, method: str, url: str, body: bytes = b"") -> bytes:
        call = HttpCall(method=method, url=url, body=body, timeout_s=30.0, reply_max_bytes=_REPLY_MAX_BYTES)
        try:
            reply = await self._http.send(call)
        except OutboundError as error:
            raise SiteError(f"{url} does not answer: {error}") from error
        if reply.status != 200:
            raise SiteError(f"{url} answered {reply.status}: {reply.body[:500].decode(errors='replace')}")
        return reply.body
