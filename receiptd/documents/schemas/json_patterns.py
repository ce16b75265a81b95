"""Patterns with lookaround or backreferences: matched by backtracking, within a bound for each text and each document.

Without them a pattern is matched in time linear in the text, and needs no bound. With them a hostile text can take
time without end, so that the steps of a match, and the CPU time that one document's matches take, are bounded.
"""

from __future__ import annotations

from time import thread_time
from typing import Any, Final

import jsonschema_rs

STEPS_MAX: Final = 4_000
"""Steps back in one match; fewer in a text of over 2,047 characters, for a step may look at all of it."""
NAME_STEPS_MAX: Final = 500
"""Likewise where the text is a property's name."""
PATTERN_FAULT: Final = "Failed to instantiate keyword class 'pattern': ValueError: "
"""What jsonschema-rs puts before the error of a pattern that is none."""
_FULL_STEPS_BITS: Final = 11
_BUDGET_S: Final = 0.012
_TOO_COSTLY: Final = "matching {mask} against the pattern takes too long"


class Budget:
    """The CPU time that the matches of one document may take together."""

    def __init__(self) -> None:
        self._left_s = _BUDGET_S

    def renew(self) -> None:
        """Begin another document."""
        self._left_s = _BUDGET_S

    @property
    def spent(self) -> bool:
        """Whether no time is left."""
        return self._left_s <= 0

    def charge(self, since: float) -> None:
        """Take off what was used since ``since``, an instant of ``thread_time``."""
        self._left_s -= thread_time() - since


def pattern_keyword(budget: Budget, mask: str) -> type[jsonschema_rs.KeywordValidator]:
    """Return the keyword ``pattern`` for jsonschema-rs: it charges ``budget`` and writes ``mask`` for the text."""

    class Pattern:
        def __init__(self, _parent: dict[str, Any], pattern: str, _path: list[str | int]) -> None:
            self._pattern = pattern
            self._matchers: dict[int, jsonschema_rs.Validator] = {}
            try:
                self._matcher(0)
            except jsonschema_rs.ValidationError:
                raise ValueError("this is not a regular expression of ECMA 262") from None

        def validate(self, instance: Any) -> None:
            if type(instance) is not str:
                return
            if budget.spent:
                raise ValueError(_TOO_COSTLY.format(mask=mask))
            began = thread_time()
            try:
                self._matcher(len(instance)).validate(instance)
            except jsonschema_rs.ValidationError as error:
                exceeded = isinstance(error.kind, jsonschema_rs.ValidationErrorKind.BacktrackLimitExceeded)
                raise ValueError(_TOO_COSTLY.format(mask=mask) if exceeded else error.message) from None
            finally:
                budget.charge(began)

        def _matcher(self, chars: int) -> jsonschema_rs.Validator:
            steps = STEPS_MAX >> max(0, chars.bit_length() - _FULL_STEPS_BITS) or 1
            if steps not in self._matchers:
                self._matchers[steps] = jsonschema_rs.validator_for(
                    {"pattern": self._pattern},
                    mask=mask,
                    pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=steps),
                )
            return self._matchers[steps]

    return Pattern
