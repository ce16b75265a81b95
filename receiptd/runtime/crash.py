"""Crash points: named places where a fault-injection run makes the process die, as a power cut would.

``RECEIPTD_CRASH_AT=after-commit:40`` kills the process (SIGKILL, no clean-up) at the fortieth pass of that point.
Without the variable a point costs one function call.
"""

from __future__ import annotations

import os
import signal

POINTS = frozenset(
    {
        "before-commit",
        "after-commit",
        "before-answer",
        "before-submit",
        "after-submit",
        "before-callback-commit",
        "after-callback-commit",
        "before-webhook",
        "after-webhook",
        "before-acknowledge",
    }
)
AWS_POINTS = frozenset({"after-messages"})
"""Points that only the AWS adapters pass: a change's messages are sent, and its row is not written yet."""
VARIABLE = "RECEIPTD_CRASH_AT"


class _Trap:
    """The armed point, and how many more passes it lets by."""

    name = ""
    passes_left = 0


def arm(specification: str) -> None:
    """Arm ``point`` or ``point:n``. Raises ValueError for an unknown point or a count below 1."""
    name, _, count = specification.partition(":")
    if name not in POINTS | AWS_POINTS:
        raise ValueError(f"there is no crash point {name!r}; points are {', '.join(sorted(POINTS | AWS_POINTS))}")
    passes = int(count or 1)
    if passes < 1:
        raise ValueError("a crash point is counted from 1")
    _Trap.name, _Trap.passes_left = name, passes


def point(name: str) -> None:
    """Die here if this point is armed and its count is reached."""
    if _Trap.name == name:
        _Trap.passes_left -= 1
        if _Trap.passes_left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


def arm_from_environment() -> None:
    """Arm what ``RECEIPTD_CRASH_AT`` names, if anything. Raises ValueError."""
    specification = os.environ.get(VARIABLE, "")
    if specification:
        arm(specification)
