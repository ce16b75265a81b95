"""One call to one registrar: the request that is sent, and what its answer means.

The receipt's id is the idempotency key of every call (invariant 5), so a call whose outcome is unknown is simply made
again. Only an answer that speaks about the receipt refuses it; an answer that speaks about us (401, 404, 429, 5xx) or
about nothing (garbage, silence) is a failed attempt. So is a receipt that cannot be written as its type says: it waits
until an operator has mended the type, and says nothing about the registrar.
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from receiptd.documents import ReceiptTypes
from receiptd.documents.errors import RenderingError
from receiptd.domain.errors import ConfigurationError, OutboundError
from receiptd.domain.lifecycle import AttemptFailed, Confirmed, Event, Refused, Submitted
from receiptd.domain.receipt import Receipt, RegistrationState, Submission
from receiptd.domain.values import value
from receiptd.pipeline.callback_tokens import CallbackTokens
from receiptd.ports import Clock, HttpCall, HttpClient, HttpReply
from receiptd.settings import RegistrarAuth, RegistrarSettings

_REASON_MAX = 300
_REFERENCE_MAX = 200
_PATIENCE_MAX_S = 3600.0


@value
class NotSent(AttemptFailed):
    """An attempt that failed on our side, before any call: retried and parked like another, no fault of the registrar.

    No call was made, so it is nothing to open the circuit for (invariant 12).
    """


class RegistrarClient:
    """Submits receipts to one registrar and asks it about them.

    ``types`` gives the receipt types in force: a type may say what it sends to whom, else the registrar's settings do.
    """

    def __init__(
        self,
        settings: RegistrarSettings,
        http: HttpClient,
        clock: Clock,
        public_url: str,
        types: Callable[[], ReceiptTypes],
    ) -> None:
        self._settings = settings
        self._types = types
        self._http = http
        self._clock = clock
        self._backoff = settings.retry.backoff()
        self._authorization = _authorization(settings.auth)
        self._callback_url = f"{public_url}/v1/callbacks/{settings.id}/"
        self.tokens = CallbackTokens(
            settings.id, tuple(secret.get_secret_value() for secret in settings.callback.secrets)
        )

    async def register(self, receipt: Receipt) -> Event:
        """Make the registration's next call and return what came of it; never raises for what the registrar does.

        A receipt whose callback is overdue is asked about first, where the registrar has a place to ask. No answer,
        and "never seen", both lead to a submission under the same key, which is safe to repeat.
        """
        registration = receipt.registration(self._settings.id)
        if registration is None or registration.state is not RegistrationState.SUBMITTED:
            return await self._submit(receipt)
        if self._settings.status_url:
            event = await self._ask(receipt)
            if not isinstance(event, AttemptFailed):
                return event
        if self._backoff.delay_s(registration.attempts + 1) is None:
            return AttemptFailed(self._settings.id, self._clock.now(), "no callback came", None)
        event = await self._submit(receipt)
        if isinstance(event, Submitted):
            return Submitted(event.registrar, event.at, event.deadline, event.reference, again=True)
        return event

    async def _submit(self, receipt: Receipt) -> Event:
        submission, settings = receipt.submission, self._settings
        try:
            content_type, body = await self._content(submission)
        except (ConfigurationError, RenderingError) as error:
            failed = self._failed(receipt, str(error))
            return NotSent(failed.registrar, failed.at, failed.reason, failed.retry_at, failed.durable)
        headers = {
            "Content-Type": content_type,
            "Idempotency-Key": submission.receipt_id,
            "Receipt-Id": submission.receipt_id,
            "Receipt-Type": f"{submission.type_id}@{submission.type_version}",
            "traceparent": traceparent(submission.trace_id),
            **self._authorization,
        }
        if settings.answers == "callback":
            token = self.tokens.make(submission.client_id, submission.receipt_id)
            headers["Callback-Url"] = self._callback_url + token
        call = HttpCall(method="POST", url=settings.url, headers=headers, body=body, timeout_s=settings.timeout_s)
        return await self._call(receipt, call, self._settings.refusal_statuses)

    async def _content(self, submission: Submission) -> tuple[str, bytes]:
        """Return the media type and the bytes to send. Raises ConfigurationError and RenderingError."""
        type_ = self._types().get(submission.type_id, submission.type_version)
        if type_ is None:  # it may have had a template, and what was promised to be sent is not ours to guess
            name = f"{submission.type_id}@{submission.type_version}"
            raise ConfigurationError(f"receipt type {name} is not loaded; add its folder again")
        sends = type_.sends.get(self._settings.id, self._settings.sends)
        if sends == "original":
            return submission.content_type, submission.document
        if sends == "canonical":
            return "application/json", submission.canonical
        from receiptd.documents.templates import facts_of  # noqa: PLC0415 - Jinja comes with the first template

        if not type_.compiled:
            await asyncio.to_thread(type_.compile)  # its schema may be a matter of a second
        template = type_.templates[sends]
        return template.media_type, template.render(facts_of(submission))

    async def _ask(self, receipt: Receipt) -> Event:
        url = self._settings.status_url.replace("{receipt_id}", receipt.receipt_id)
        call = HttpCall(method="GET", url=url, headers=self._authorization, timeout_s=self._settings.timeout_s)
        return await self._call(receipt, call, ())  # a status here speaks about our question, not about the receipt

    async def _call(self, receipt: Receipt, call: HttpCall, refusals: tuple[int, ...]) -> Event:
        try:
            reply = await self._http.send(call)
        except (OutboundError, ValueError) as error:
            return self._failed(receipt, str(error))
        return self._interpret(receipt, reply, refusals)

    def _interpret(self, receipt: Receipt, reply: HttpReply, refusals: tuple[int, ...]) -> Event:
        name, now = self._settings.id, self._clock.now()
        body = _decode(reply.body)
        reference = str(body.get("reference", ""))[:_REFERENCE_MAX]
        status = body.get("status")
        if reply.status in refusals:
            return Refused(name, now, _reason(body, f"refused with status {reply.status}"), reference)
        if reply.status in (200, 201) and status == "registered":
            return Confirmed(name, now, reference)
        if reply.status in (200, 201) and status == "rejected":
            return Refused(name, now, _reason(body, "rejected"), reference)
        if reply.status == 202 and self._settings.answers == "callback":  # noqa: PLR2004 - RFC 9110, section 15.3.3
            # The older the receipt, the less often it is asked about.
            patience_s = max(self._settings.callback.deadline_s, (now - receipt.submission.accepted_at) / 2)
            return Submitted(name, now, now + min(patience_s, _PATIENCE_MAX_S), reference)
        return self._failed(
            receipt,
            f"answered {reply.status} without a verdict",
            retry_after_s(reply.headers, self._settings.retry.cap_s),
        )

    def _failed(self, receipt: Receipt, reason: str, wait_s: float = 0.0) -> AttemptFailed:
        registration = receipt.registration(self._settings.id)
        attempts = registration.attempts + 1 if registration else 1
        now = self._clock.now()
        delay_s = self._backoff.delay_s(attempts)
        if delay_s is None:
            return AttemptFailed(self._settings.id, now, reason[:_REASON_MAX], None)
        delay_s = max(delay_s, wait_s)
        durable = delay_s > self._settings.retry.hot_max_s
        return AttemptFailed(self._settings.id, now, reason[:_REASON_MAX], now + delay_s, durable)


def retry_after_s(headers: Mapping[str, str], cap_s: float) -> float:
    """Return the seconds of a Retry-After header (RFC 9110, section 10.2.3; the delta form), at most ``cap_s``."""
    value = headers.get("retry-after", "").strip()
    return min(float(value), cap_s) if value.isascii() and value.isdigit() else 0.0


def traceparent(trace_id: str) -> str:
    """Return a W3C traceparent of a new span in the trace ``trace_id`` (32 hex digits; empty: a new trace)."""
    trace_id = trace_id or f"{random.getrandbits(128):032x}"
    return f"00-{trace_id}-{random.getrandbits(64) or 1:016x}-01"


def _authorization(auth: RegistrarAuth) -> dict[str, str]:
    match auth.type:
        case "bearer":
            return {"Authorization": f"Bearer {auth.token.get_secret_value()}"}
        case "basic":
            pair = f"{auth.username}:{auth.password.get_secret_value()}".encode()
            return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        case "header":
            return {auth.header: auth.token.get_secret_value()}
        case _:
            return {}


def _decode(body: bytes) -> dict[str, Any]:
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _reason(body: Mapping[str, Any], otherwise: str) -> str:
    reason = body.get("reason")
    return reason[:_REASON_MAX] if isinstance(reason, str) and reason else otherwise
