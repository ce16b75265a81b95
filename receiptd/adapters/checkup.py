"""What ``receiptd doctor`` finds: one verdict for each thing that the daemon needs, whatever the backend."""

from __future__ import annotations

from enum import StrEnum

from receiptd.domain.values import value


class Verdict(StrEnum):
    """How a thing is."""

    OK = "ok"
    MISSING = "missing"
    DIFFERS = "differs"
    FORBIDDEN = "forbidden"
    UNREACHABLE = "unreachable"
    UNTOLD = "untold"
    """It cannot be asked about here (an emulator lacks the call). No fault."""


@value
class Finding:
    """One verdict.

    ``attribute``, ``expected`` and ``found`` say what differs; ``action`` and ``arn`` what is forbidden, as an IAM
    policy names it.
    """

    kind: str
    name: str
    verdict: Verdict
    attribute: str = ""
    expected: str = ""
    found: str = ""
    action: str = ""
    arn: str = ""
    detail: str = ""
    """What an operator should know besides: what was answered, or what to do."""

    @property
    def well(self) -> bool:
        """Whether nothing needs to be done about it."""
        return self.verdict in {Verdict.OK, Verdict.UNTOLD}
