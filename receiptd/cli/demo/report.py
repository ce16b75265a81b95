"""What the demo shows: its progress while it runs, and a table of how each posting ended."""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections.abc import Collection, Sequence
from typing import Final

from receiptd.cli import support
from receiptd.cli.demo.books import Outcome, books
from receiptd.cli.demo.configuration import REGISTRARS

_PLAIN_EVERY_S: Final = 1.0
_WIDTH_WITHOUT_TERMINAL: Final = 400
_INDENT: Final = 6
_BAR: Final = 24


class Progress:
    """One line that is written over again on a terminal; elsewhere a line a second, when something has changed."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._live = sys.stdout.isatty()
        self._last = ""
        self._last_at = 0.0

    def show(self, outcomes: Sequence[Outcome], verified: Collection[str], *, final: bool = False) -> None:
        """Show how things stand; ``final`` ends the line."""
        totals = books([outcome for outcome in outcomes if outcome.answered], verified)
        done = sum(outcome.ended for outcome in outcomes)
        waiting = totals["accepted"] - totals["complete"] - totals["failed"]
        line = (
            f"{done:3d} of {self._total} ended: {totals['complete']} complete, {totals['failed']} failed, "
            f"{totals['rejected']} refused, {waiting} on their way, {totals['webhooks_verified']} webhooks"
        )
        if self._live:
            filled = _BAR * done // self._total
            print(f"\r\x1b[K[{'#' * filled}{'.' * (_BAR - filled)}] {line}", end="\n" if final else "", flush=True)
        elif line != self._last and (final or time.monotonic() - self._last_at > _PLAIN_EVERY_S):
            print(line, flush=True)
            self._last_at = time.monotonic()
            self._last = line


def print_outcomes(outcomes: Sequence[Outcome], verified: Collection[str]) -> None:
    """Print the table: a line for each posting, and its findings below it."""
    rows = [
        (
            str(number),
            outcome.posting.title,
            str(outcome.answered),
            _end(outcome),
            *(_registration(outcome, registrar) for registrar in REGISTRARS),
            "verified" if outcome.accepted and outcome.receipt_id in verified else "-",
        )
        for number, outcome in enumerate(outcomes, start=1)
    ]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL
    header, *lines = support.table(("", "posted", "answer", "end", *REGISTRARS, "webhook"), rows)
    print(header)
    for line, outcome in zip(lines, outcomes, strict=True):
        print(line)
        for note in _notes(outcome):
            print(" " * _INDENT + textwrap.shorten(support.one_line(note), width - _INDENT, placeholder=" ..."))


def _end(outcome: Outcome) -> str:
    if outcome.replayed:
        return "replayed"
    return outcome.state or ("refused" if outcome.refused else "LOST")


def _registration(outcome: Outcome, registrar: str) -> str:
    """Return the registrar's own number for the receipt, or how far it has come."""
    for registration in (outcome.receipt or {}).get("registrations", ()):
        if registration["registrar"] == registrar:
            return str(registration["reference"] if registration["state"] == "REGISTERED" else registration["state"])
    return "-"


def _notes(outcome: Outcome) -> list[str]:
    notes = [
        f"{finding['code']}{' at ' + finding['where'] if finding['where'] else ''}: {finding['message']}"
        for finding in outcome.findings
    ]
    if outcome.replayed:
        notes = [f"the same key again: {outcome.receipt_id} answered once more"]
    elif outcome.refused and not notes:
        notes = [str(outcome.answer.get("detail") or outcome.answer.get("title", ""))]
    if not outcome.as_expected:
        notes = [f"UNEXPECTED, should be {outcome.posting.expected}", *notes]
    return notes
