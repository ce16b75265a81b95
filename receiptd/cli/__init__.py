"""The command line. ``main`` is the console script; each command imports what it needs when it runs."""

from __future__ import annotations

from receiptd.cli.main import main

__all__ = ["main"]
