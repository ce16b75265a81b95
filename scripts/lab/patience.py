"""Waiting for what announces itself by no event: another process, or counters that change a thousand times a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_PAUSE_S = 0.02


async def until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait until ``condition`` holds, or ``timeout_s`` seconds have passed; return whether it does."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not condition():
        if loop.time() > deadline:
            return False
        await asyncio.sleep(_PAUSE_S)
    return True
