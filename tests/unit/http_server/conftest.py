"""The tests of the HTTP server run on both event loops."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

sys.path.append(str(Path(__file__).parent))  # the suite's own module: http_wire


def pytest_asyncio_loop_factories(config, item):
    """Run each test on asyncio's own loop and on uvloop."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
