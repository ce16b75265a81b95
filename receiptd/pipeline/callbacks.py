"""Callbacks: a registrar's verdict, verified, matched and durable before it is acknowledged (invariant 8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from receiptd.domain.errors import ReceiptdError, UnknownReceiptError
from receiptd.domain.lifecycle import Confirmed, Refused
from receiptd.domain.receipt import FINAL_REGISTRATIONS, Registration, RegistrationState
from receiptd.domain.signatures import SignatureError, verify
from receiptd.pipeline.callback_tokens import CallbackTokens
from receiptd.pipeline.writer import Writer
from receiptd.ports import Clock
from receiptd.runtime import crash
from receiptd.settings import RegistrarSettings

_TEXT_MAX = 300


class CallbackRefusedError(ReceiptdError):
    """The callback is not accepted; ``status`` is the HTTP status that says why."""

    code = "callback-refused"

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Callbacks:
    """Takes the verdicts of registrars that answer later."""

    def __init__(self, registrars: tuple[RegistrarSettings, ...], writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock
        self._secrets: dict[str, tuple[str, ...]] = {}
        self._tokens: dict[str, CallbackTokens] = {}
        for registrar in registrars:
            if registrar.callback.secrets:
                secrets = tuple(secret.get_secret_value() for secret in registrar.callback.secrets)
                self._secrets[registrar.id] = secrets
                self._tokens[registrar.id] = CallbackTokens(registrar.id, secrets)

    async def receive(self, registrar: str, token: str, headers: Mapping[str, str], body: bytes) -> str:
        """Apply a verdict; return once it is durable.

        Returns:
            ``applied``; ``duplicate`` when the same verdict stood already; ``ignored`` when another one did: the first
            verdict is final, and the answer says so instead of asking for a repeat.

        Raises:
            CallbackRefusedError: forged, for no receipt of ours, or without a verdict.
            StorageError: whether it was stored is unknown; the registrar should repeat it.
        """
        tokens = self._tokens.get(registrar)
        found = tokens.read(token) if tokens else None
        if found is None:
            raise CallbackRefusedError(404, "callback-unknown", "this callback address belongs to no receipt")
        now = self._clock.now()
        try:
            verify(self._secrets[registrar], headers, body, now)
        except SignatureError as error:
            raise CallbackRefusedError(401, "callback-signature", str(error)) from error
        client_id, receipt_id = found
        verdict = _verdict(body, receipt_id)
        reference = _text(verdict, "reference")
        event: Confirmed | Refused
        if verdict["status"] == "registered":
            event, wanted = Confirmed(registrar, now, reference), RegistrationState.REGISTERED
        else:
            reason = _text(verdict, "reason") or "rejected"
            event, wanted = Refused(registrar, now, reason, reference), RegistrationState.REJECTED
        try:
            before = await self._writer.current(client_id, receipt_id)
            stood = before is not None and _is_final(before.registration(registrar))
            crash.point("before-callback-commit")
            receipt = await self._writer.apply(client_id, receipt_id, event)
        except UnknownReceiptError as error:
            raise CallbackRefusedError(404, "callback-unknown", "there is no such receipt any more") from error
        crash.point("after-callback-commit")
        registration = receipt.registration(registrar)
        if registration is None or registration.state is not wanted:
            return "ignored"
        return "duplicate" if stood else "applied"


def _is_final(registration: Registration | None) -> bool:
    return registration is not None and registration.state in FINAL_REGISTRATIONS


def _verdict(body: bytes, receipt_id: str) -> dict[str, Any]:
    try:
        verdict = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise CallbackRefusedError(400, "callback-malformed", "the body is not JSON") from error
    if not isinstance(verdict, dict) or verdict.get("status") not in ("registered", "rejected"):
        raise CallbackRefusedError(
            400, "callback-malformed", 'the body must be an object whose "status" is "registered" or "rejected"'
        )
    if verdict.get("receipt_id", receipt_id) != receipt_id:
        raise CallbackRefusedError(400, "callback-mismatch", "the body names another receipt than the address")
    return verdict


def _text(verdict: Mapping[str, Any], name: str) -> str:
    value = verdict.get(name, "")
    return value[:_TEXT_MAX] if isinstance(value, str) else ""
