"""The chaos trial's clients: they post as real ones do, retry what got no answer, ask until a receipt is at rest."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

from lab.client import Session, content
from lab.history import LOST, Post, Read
from lab.orders import Order, Printer
from lab.recorder import Outstanding, Recorder
from receiptd.ports import HttpReply

_TICK_S = 0.02
_TASKS_MAX = 4_000
_POST_TIMEOUT_S = 5.0
_RETRY_MAX_S = 1.0
_CROWD = 50
_READERS = 24
_READ_PAUSES_S = (0.15, 0.3, 0.5)
_LATER_S = 30.0
_SLOW_READ_S = 2.0


class Customers:
    """Posts about ``rate`` documents a second until told to stop, then sees every post answered."""

    def __init__(self, sessions: Sequence[Session], recorder: Recorder, rng: random.Random, rate: float) -> None:
        self._sessions = sessions
        self._recorder = recorder
        self._rng = rng
        self._rate = rate
        self._printer = Printer(rng)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._keys = 0

    async def run(self) -> None:
        """Begin orders at the given rate, for ever."""
        begun_at, begun = time.monotonic(), 0
        while not self._stopping:
            due = int((time.monotonic() - begun_at) * self._rate)
            for _ in range(due - begun):
                if len(self._tasks) < _TASKS_MAX:
                    self._begin()
            begun = due
            await asyncio.sleep(_TICK_S)

    async def stop(self, timeout_s: float) -> None:
        """Begin no more; wait until every document has its answer, or give up on it after ``timeout_s`` seconds."""
        self._stopping = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)
        await self.cancel()

    async def cancel(self) -> None:
        """Drop what is under way; its posts stay undecided."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self) -> None:
        session = self._rng.choice(self._sessions)
        drawn = self._rng.random()
        if drawn < 0.68:
            work = self._post(session, self._printer.good(), self._key())
        elif drawn < 0.78:
            work = self._post(session, self._printer.good(), "")
        elif drawn < 0.84:
            work = self._post(session, self._printer.rejected(), self._key())
        elif drawn < 0.90:
            work = self._post(session, self._printer.refused(), self._key())
        elif drawn < 0.94:
            work = self._post_twice(session)
        elif drawn < 0.97:
            work = self._reuse_key(session)
        elif drawn < 0.998:
            work = self._post(session, self._printer.good(), self._key(), wait_s=2)
        else:
            work = self._crowd(session)
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()  # a fault of the trial itself must not pass unseen: the loop's handler reports it

    def _key(self) -> str:
        self._keys += 1
        return f"order-{self._keys:08d}-{self._rng.getrandbits(32):08x}"

    # -- what clients do -------------------------------------------------------------------------------------------

    async def _post(self, session: Session, order: Order, key: str, *, wait_s: int = 0) -> None:
        """Post until there is an answer that decides."""
        self._recorder.document(order.document)
        pause_s = 0.1
        while True:
            post = await self._post_once(session, order, key, wait_s)
            if post.accepted or post.refused:
                return
            if post.status not in {LOST, 429, 503}:
                return  # the checker will say what it thinks of that
            asked_s = float(post.retry_after) if post.retry_after.isdigit() else pause_s
            await asyncio.sleep(min(asked_s, _RETRY_MAX_S) * (0.5 + self._rng.random()))
            pause_s = min(pause_s * 2, _RETRY_MAX_S)

    async def _post_twice(self, session: Session) -> None:
        order, key = self._printer.good(), self._key()
        await self._post(session, order, key)
        await self._post(session, order, key)

    async def _reuse_key(self, session: Session) -> None:
        key = self._key()
        await self._post(session, self._printer.good(), key)
        await self._post(session, self._printer.other("its key was used before with another body"), key)

    async def _crowd(self, session: Session) -> None:
        """Fifty at once under one key."""
        order, key = self._printer.good(), self._key()
        await asyncio.gather(*[self._post(session, order, key) for _ in range(_CROWD)])

    async def _post_once(self, session: Session, order: Order, key: str, wait_s: int) -> Post:
        document = order.document
        headers = {"Content_Type": document.content_type}
        if key:
            headers["Idempotency_Key"] = f'"{key}"' if self._rng.random() < 0.5 else key
        if wait_s:
            headers["Prefer"] = f"wait={wait_s}"
        started = time.time()
        reply = await session.call(
            "POST", "/v1/receipts", body=order.body, timeout_s=_POST_TIMEOUT_S + wait_s, **headers
        )
        post = _as_post(session.client.client_id, key, document.digest, started, reply)
        self._recorder.post(post)
        return post


def _as_post(client: str, key: str, digest: str, started: float, reply: HttpReply | None) -> Post:
    if reply is None:
        return Post(client, key, digest, started, time.time(), LOST)
    told = content(reply)
    code = str(told.get("code", ""))
    about = str(told.get("id", "")) if code in {"", "receipt-invalid"} else ""
    detail = f"{code} {told.get('detail', '')} {told.get('findings', '')}".strip()[:400]
    retry_after = reply.headers.get("retry-after", "")
    return Post(client, key, digest, started, time.time(), reply.status, about, retry_after, detail)


class Watchers:
    """Reads the status of every accepted receipt, oldest first, until it is at rest."""

    def __init__(self, sessions: Sequence[Session], recorder: Recorder) -> None:
        self._sessions = {session.client.client_id: session for session in sessions}
        self._recorder = recorder
        self._asked: dict[str, tuple[int, float]] = {}

    async def run(self) -> None:
        """Read for ever."""
        queue: asyncio.Queue[Outstanding] = asyncio.Queue(_READERS)
        async with asyncio.TaskGroup() as group:
            for _ in range(_READERS):
                group.create_task(self._work(queue))
            while True:
                for receipt in list(self._recorder.outstanding.values()):
                    if self._due(receipt):
                        await queue.put(receipt)
                self._forget()
                await asyncio.sleep(_TICK_S)

    def _due(self, receipt: Outstanding) -> bool:
        """Whether to ask now; asking is noted."""
        now = time.time()
        times, last = self._asked.get(receipt.receipt_id, (0, receipt.accepted_at))
        pause_s = _READ_PAUSES_S[min(times, len(_READ_PAUSES_S) - 1)]
        if now - receipt.accepted_at > _LATER_S:
            pause_s = _SLOW_READ_S
        if now - last < pause_s:
            return False
        self._asked[receipt.receipt_id] = times + 1, now
        return True

    def _forget(self) -> None:
        if len(self._asked) > 2 * len(self._recorder.outstanding) + 1000:
            self._asked = {key: value for key, value in self._asked.items() if key in self._recorder.outstanding}

    async def _work(self, queue: asyncio.Queue[Outstanding]) -> None:
        while True:
            receipt = await queue.get()
            self._recorder.read(await read_status(self._sessions[receipt.client], receipt.receipt_id))


async def read_status(session: Session, receipt_id: str) -> Read:
    """Read a receipt's status."""
    started = time.time()
    reply = await session.call("GET", f"/v1/receipts/{receipt_id}/status", timeout_s=_POST_TIMEOUT_S)
    client = session.client.client_id
    if reply is None or reply.status != 200:
        return Read(client, receipt_id, started, time.time(), LOST if reply is None else reply.status)
    told = content(reply)
    registrations = {one["registrar"]: one["state"] for one in told["registrations"]}
    delivery = (told.get("webhook") or {}).get("state", "")
    return Read(client, receipt_id, started, time.time(), 200, told["status"], registrations, delivery)
