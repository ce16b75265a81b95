"""The lean client of the hot calls: signed JSON to one service, over the process's own HTTP client.

What a call costs is one HTTP exchange and its JSON; botocore lends its credential chain and its endpoints
(``session.py``). Everything rare goes through aiobotocore itself.

A call has one deadline, retries included. What may pass (no answer, 5xx, throttling) is tried again after a pause with
full jitter; whether an earlier try took effect is the caller's to find out, so an error says when that is unknown.
"""

from __future__ import annotations

import asyncio
import random
import time
import zlib
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final, Protocol

import orjson

from receiptd.adapters.aws.errors import SKEWED_CLOCK, STALE_CREDENTIALS, AwsError
from receiptd.adapters.aws.signing import Keys, Signer
from receiptd.adapters.aws.usage import Usage
from receiptd.domain.addresses import parse_url
from receiptd.domain.errors import OutboundError
from receiptd.ports import HttpCall, HttpClient, HttpReply

CONTENT_TYPE: Final = "application/x-amz-json-1.0"
ANSWER_MAX_BYTES: Final = 32 * 1024 * 1024
"""More than the largest answer that a service gives: BatchGetItem's 16 MB of items, as base64."""

_ATTEMPTS_MAX: Final = 8
_PAUSE_S: Final = 0.05
_THROTTLED_PAUSE_S: Final = 0.2
_PAUSE_MAX_S: Final = 2.0
_TRY_MIN_S: Final = 0.1
"""With less time left, another try would only make it unknown whether it took effect."""
_CLOCK_TOLERANCE_S: Final = 60.0
_MESSAGE_MAX: Final = 300
_OK: Final = 200  # RFC 9110, section 15.3.1
_SERVER_ERROR: Final = 500  # RFC 9110, section 15.6


class KeySource(Protocol):
    """Where credentials come from."""

    async def keys(self, refused: Keys | None = None) -> Keys:
        """Return the credentials in force, others than ``refused`` if there are any.

        Raises:
            AwsError: there are none now.
        """
        ...


class Wire:
    """Calls operations of one service.

    Args:
        service: the service's signing name, such as ``dynamodb``.
        target: the prefix of ``X-Amz-Target``, such as ``DynamoDB_20120810``.
        endpoint_url: where the service is; it has no path.
        region: the region's name.
        credentials: gives the keys.
        http: makes the exchanges.
        usage: where requests and failures are counted.
        try_timeout_s: the longest that one try may take, beyond what the service is asked to wait.
    """

    def __init__(
        self,
        service: str,
        target: str,
        *,
        endpoint_url: str,
        region: str,
        credentials: KeySource,
        http: HttpClient,
        usage: Usage,
        try_timeout_s: float = 3.0,
    ) -> None:
        endpoint = parse_url(endpoint_url)
        if endpoint.path != "/":
            raise ValueError("an endpoint of AWS has no path")
        self._service = service
        self._target = target
        self._url = f"{endpoint.origin}/"
        self._signer = Signer(service, region, endpoint.authority)
        self._credentials = credentials
        self._http = http
        self._usage = usage
        self._try_timeout_s = try_timeout_s
        self._clock_offset_s = 0.0

    async def call(
        self, operation: str, request: Mapping[str, Any], *, timeout_s: float, waits_s: float = 0.0
    ) -> dict[str, Any]:
        """Call ``operation`` and return its decoded answer.

        Args:
            operation: the operation's name.
            request: its parameters, as the service's API names them; bytes are base64 text already.
            timeout_s: the deadline of the call, its retries and the pauses between them.
            waits_s: how long the service is asked to wait before it answers (long polling).

        Raises:
            AwsError: it failed, or the time is up.
        """
        body = orjson.dumps(request)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        refused: Keys | None = None
        clock_set = unknown = False
        attempt = 0
        while True:
            attempt += 1
            keys = None
            try:
                keys = await self._credentials.keys(refused)
                left_s = min(deadline - loop.time(), self._try_timeout_s + waits_s)
                return await self._try(operation, body, keys, left_s)
            except AwsError as error:
                self._usage.failures[self._service, operation, error.code] += 1
                error.unknown = unknown = unknown or error.unknown
                if attempt >= _ATTEMPTS_MAX or loop.time() >= deadline:
                    raise
                if error.code in STALE_CREDENTIALS and refused is None:
                    refused = keys
                    continue
                if isinstance(error, _SkewedClockError) and not clock_set:
                    self._clock_offset_s, clock_set = error.offset_s, True
                    continue
                pause_s = _pause_s(attempt, error)
                if not error.passing or loop.time() + pause_s + _TRY_MIN_S >= deadline:
                    raise
            await asyncio.sleep(pause_s)

    async def _try(self, operation: str, body: bytes, keys: Keys, timeout_s: float) -> dict[str, Any]:
        now = time.time() + self._clock_offset_s
        headers = self._signer.headers(keys, f"{self._target}.{operation}", CONTENT_TYPE, body, now)
        self._usage.requests[self._service, operation] += 1
        try:
            reply = await self._http.send(HttpCall("POST", self._url, headers, body, timeout_s, ANSWER_MAX_BYTES))
        except OutboundError as error:
            raise AwsError("", f"{operation}: {error}", unknown=error.sent) from error
        if reply.status != _OK:
            raise self._refusal(operation, reply)
        checksum = reply.headers.get("x-amz-crc32")
        if checksum is not None and checksum != str(zlib.crc32(reply.body)):
            raise AwsError("", f"{operation}'s answer was damaged on the way", unknown=True)
        answer = _decoded(reply.body)
        if answer is None:
            raise AwsError("", f"{operation} was answered with something else", unknown=True)
        return answer

    def _refusal(self, operation: str, reply: HttpReply) -> AwsError:
        answer = _decoded(reply.body) or {}
        # "com.amazonaws.dynamodb.v20120810#Code" and "Code:http://..." both occur.
        code = str(answer.get("__type") or reply.headers.get("x-amzn-errortype", ""))
        code = code.partition(":")[0].rpartition("#")[2] or f"HTTP {reply.status}"
        # What the service would have signed holds the session's token.
        message = str(answer.get("message") or answer.get("Message") or "").partition("The Canonical String")[0]
        text = f"{operation}: {message[:_MESSAGE_MAX]}"
        if code in SKEWED_CLOCK:
            offset_s = _clock_offset_s(reply.headers.get("date", ""))
            if abs(offset_s - self._clock_offset_s) > _CLOCK_TOLERANCE_S:
                return _SkewedClockError(code, text, reply.status, offset_s)
        return AwsError(code, text, status=reply.status, unknown=reply.status >= _SERVER_ERROR)


class _SkewedClockError(AwsError):
    """The service's clock is ``offset_s`` seconds ahead of ours, by more than signatures allow."""

    def __init__(self, code: str, message: str, status: int, offset_s: float) -> None:
        super().__init__(code, message, status=status)
        self.offset_s = offset_s


def _decoded(content: bytes) -> dict[str, Any] | None:
    """Return the JSON object that ``content`` is (nothing stands for an empty one), or None."""
    if not content:
        return {}
    try:
        answer = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return answer if isinstance(answer, dict) else None


def _clock_offset_s(date: str) -> float:
    """Return how far the sender of a Date field (RFC 9110, section 6.6.1) is ahead of us; 0 when it cannot be read."""
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except ValueError:
        return 0.0


def _pause_s(attempt: int, error: AwsError) -> float:
    base_s = _THROTTLED_PAUSE_S if error.throttled else _PAUSE_S
    return random.uniform(0, min(base_s * 2 ** (attempt - 1), _PAUSE_MAX_S))  # noqa: S311 - jitter
