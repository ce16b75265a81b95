"""The way in for registrars' verdicts. They bear no token of ours: address and signature authenticate them."""

from __future__ import annotations

from receiptd.http.answers import json_answer
from receiptd.http.message import Request, Response
from receiptd.http.problems import problem
from receiptd.pipeline.callbacks import CallbackRefusedError, Callbacks

_UNAUTHORIZED = 401
_CHALLENGE = b'WWW-Authenticate: StandardWebhooks realm="receiptd"\r\n'
"""A 401 must carry a challenge (RFC 9110, section 15.5.2); no registered scheme stands for signed webhooks."""


class CallbackReceiver:
    """The call that takes callbacks."""

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks

    async def receive(self, request: Request) -> Response:
        """Hand a verdict on; answer 200 once it is durable (invariant 8)."""
        registrar, token = request.params
        try:
            result = await self._callbacks.receive(registrar, token, request.headers, request.body)
        except CallbackRefusedError as error:
            headers = _CHALLENGE if error.status == _UNAUTHORIZED else b""
            return problem(error.code, f"{error}.", status=error.status, headers=headers)
        return json_answer(200, {"result": result})
