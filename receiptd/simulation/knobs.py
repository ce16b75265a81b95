"""The knobs of the stand-ins: how they misbehave, as validated values that can be replaced at run time.

A rate is a probability in [0, 1] per request (or per callback). At most one fault of the answer is drawn for a
request, so the rates of ``ANSWER_FAULTS`` add up to 1 at most; the faults of a callback are drawn independently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from receiptd.domain.errors import ConfigurationError

Rate = Annotated[float, Field(ge=0, le=1)]
Pause = Annotated[float, Field(ge=0, le=3600)]

ANY = "*"
"""The registrar name whose knobs hold for every registrar without knobs of its own."""

ANSWER_FAULTS = (
    "error",
    "throttle",
    "timeout_before_effect",
    "timeout_after_effect",
    "garbage",
    "huge",
    "reset",
)
"""The faults of an answer, in the order in which they are drawn; each has a knob ``<fault>_rate``."""

_REGISTRARS_MAX = 64
_SECRETS_MAX = 10_000


class _Knobs(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RegistrarKnobs(_Knobs):
    """How one registrar behaves."""

    answers: Literal["callback", "synchronous"] = "callback"
    down: bool = False
    """Every request is answered 503, and no callback is sent."""
    latency_s: Pause = 0.0
    jitter_s: Pause = 0.0
    """Added to the latency, uniformly between zero and this."""
    callback_delay_s: Pause = 0.02
    callback_jitter_s: Pause = 0.0
    retry_after_s: Pause = 1.0
    """What a 429 or 503 asks for."""
    hang_s: Annotated[float, Field(gt=0, le=600)] = 30.0
    """How long a request that is never answered is held before its connection is closed."""

    error_rate: Rate = 0.0
    """500, nothing registered."""
    throttle_rate: Rate = 0.0
    """429 with Retry-After, nothing registered."""
    timeout_before_effect_rate: Rate = 0.0
    """No answer, nothing registered."""
    timeout_after_effect_rate: Rate = 0.0
    """No answer, but registered."""
    garbage_rate: Rate = 0.0
    """Registered, then 200 with a body that is not JSON."""
    huge_rate: Rate = 0.0
    """Registered, then 200 with a body of 4 MiB."""
    reset_rate: Rate = 0.0
    """Registered, then the connection is dropped without an answer."""

    duplicate_callback_rate: Rate = 0.0
    """The verdict is reported twice."""
    early_callback_rate: Rate = 0.0
    """The verdict is reported before the submission is answered."""
    reorder_callback_rate: Rate = 0.0
    """The callback is held back, so that others overtake it."""
    reorder_delay_s: Pause = 0.5
    never_callback_rate: Rate = 0.0
    """The verdict is reached but not reported; a repeated submission draws again."""
    forged_callback_rate: Rate = 0.0
    """The opposite verdict with a bad signature goes out first."""
    contradict_callback_rate: Rate = 0.0
    """Once the verdict was taken, its opposite is reported, truly signed."""
    callback_attempts: Annotated[int, Field(ge=1, le=1000)] = 40
    callback_retry_s: Annotated[float, Field(gt=0, le=60)] = 0.1
    """The first pause between the attempts of a callback; it doubles up to ``callback_retry_max_s``."""
    callback_retry_max_s: Annotated[float, Field(gt=0, le=3600)] = 2.0

    @model_validator(mode="after")
    def _rates_leave_room(self) -> Self:
        total = sum(getattr(self, f"{fault}_rate") for fault in ANSWER_FAULTS)
        if total > 1 + 1e-9:
            raise ValueError(f"the rates of the answer faults add up to {total:g}; at most one is drawn, so 1 at most")
        return self


class HookKnobs(_Knobs):
    """How the webhook endpoints behave."""

    latency_s: Pause = 0.0
    jitter_s: Pause = 0.0
    fail_rate: Rate = 0.0
    """500 without Retry-After."""
    throttle_rate: Rate = 0.0
    """503 with Retry-After."""
    retry_after_s: Pause = 1.0
    gone: bool = False
    """Every webhook is answered 410."""
    tolerance_s: Annotated[float, Field(gt=0, le=3600)] = 300.0
    """How far a webhook's timestamp may be from now (Standard Webhooks 1.0)."""


class Knobs(_Knobs):
    """All knobs. ``registrars`` is by registrar id; ``*`` holds for those that have none of their own."""

    registrars: Annotated[dict[str, RegistrarKnobs], Field(max_length=_REGISTRARS_MAX)] = {ANY: RegistrarKnobs()}
    hooks: HookKnobs = HookKnobs()
    webhook_secrets: Annotated[dict[str, tuple[str, ...]], Field(max_length=_SECRETS_MAX, repr=False)] = {}
    """By client: the secrets that its webhooks are signed with; without one a signature is not judged."""

    def registrar(self, name: str) -> RegistrarKnobs:
        """Return the knobs that hold for the registrar ``name``."""
        own = self.registrars.get(name)
        return own if own is not None else self.registrars[ANY]

    def merged(self, patch: Mapping[str, Any]) -> Knobs:
        """Return these knobs with ``patch`` (decoded JSON, same shape, all parts optional) laid over them.

        Knobs set for ``*`` are set for every registrar that has its own, too. A registrar that had none starts from
        those of ``*``.

        Raises:
            ConfigurationError: an unknown knob, or a value out of bounds; the message names each.
        """
        unknown = set(patch) - {"registrars", "hooks", "webhook_secrets"}
        changes = patch.get("registrars", {})
        if unknown or not isinstance(changes, dict) or not all(isinstance(c, dict) for c in changes.values()):
            raise ConfigurationError("give an object of registrars (by id, each an object), hooks and webhook_secrets")
        for_all = changes.get(ANY, {})
        registrars = {
            name: {**self.registrar(name).model_dump(), **for_all, **changes.get(name, {})}
            for name in (*self.registrars, *changes)
        }
        hooks, secrets = patch.get("hooks", {}), patch.get("webhook_secrets", {})
        if not isinstance(hooks, dict) or not isinstance(secrets, dict):
            raise ConfigurationError("hooks and webhook_secrets are objects")
        content = {
            "registrars": registrars,
            "hooks": {**self.hooks.model_dump(), **hooks},
            "webhook_secrets": {**self.webhook_secrets, **secrets},
        }
        try:
            return Knobs.model_validate(content)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_input=False, include_context=False)
            lines = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in problems]
            raise ConfigurationError("; ".join(lines)) from error
