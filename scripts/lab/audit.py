"""The audit at the end of a chaos trial: completes the history with what the service and its surroundings now say."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from urllib.parse import urlencode

from lab.client import Session, content
from lab.customers import read_status
from lab.history import LOST, Read
from lab.recorder import Recorder
from lab.site import SiteError
from lab.weather import World
from receiptd.domain.identifiers import digest
from receiptd.ports import HttpReply

_AT_ONCE = 32
_SAMPLE = 400
_PAGE = 2_000
_TRIES = 20
_PAUSE_S = 0.5


async def complete(recorder: Recorder, sessions: Sequence[Session], world: World, rng: random.Random) -> None:
    """Read every accepted receipt, a sample of documents, the lists, the registrars' and the endpoints' records.

    Raises:
        SiteError: the service does not let itself be audited.
    """
    history = recorder.history
    by_client = {session.client.client_id: session for session in sessions}
    gate = asyncio.Semaphore(_AT_ONCE)

    async def final(receipt_id: str, client: str) -> None:
        async with gate:
            history.finals[receipt_id] = await _at_rest(by_client[client], receipt_id)

    async def document(receipt_id: str, client: str) -> None:
        async with gate:
            reply = await by_client[client].call("GET", f"/v1/receipts/{receipt_id}/document")
        history.contents[receipt_id] = digest(reply.body) if reply is not None and reply.status == 200 else ""

    await asyncio.gather(*[final(*item) for item in recorder.accepted.items()])
    sample = rng.sample(sorted(recorder.accepted.items()), min(_SAMPLE, len(recorder.accepted)))
    await asyncio.gather(*[document(*item) for item in sample])
    for session in sessions:
        history.listed[session.client.client_id] = await listed(session)
    history.effects = await world.effects()
    history.hooks = await world.hooks()


async def _at_rest(session: Session, receipt_id: str) -> Read:
    """Read a status, again for a while if the last restart left something to do: a webhook to send once more."""
    for _ in range(_TRIES):
        read = await read_status(session, receipt_id)
        if read.status not in {LOST, 503} and (read.at_rest or not read.terminal):
            break
        await asyncio.sleep(_PAUSE_S)
    return read


async def listed(session: Session) -> dict[str, str]:
    """Page through everything that the service lists for a client: state by id."""
    found: dict[str, str] = {}
    cursor = ""
    while True:
        query = {"cursor": cursor, "limit": _PAGE} if cursor else {"limit": _PAGE}
        page = content(await _patiently(session, f"/v1/receipts?{urlencode(query)}"))
        rows = page["receipts"]
        found |= {row["id"]: row["status"] for row in rows}
        cursor = str(page.get("next") or "")
        if not rows or not cursor:
            return found


async def _patiently(session: Session, path: str) -> HttpReply:
    """Get ``path``; an answer that says "not now" is asked for again."""
    for _ in range(_TRIES):
        reply = await session.call("GET", path, timeout_s=60.0)
        if reply is not None and reply.status == 200:
            return reply
        if reply is not None and reply.status not in {429, 503}:
            break
        await asyncio.sleep(_PAUSE_S)
    raise SiteError(f"no list: {'lost' if reply is None else (reply.status, reply.body[:500])}")
