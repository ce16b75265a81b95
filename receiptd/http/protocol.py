"""One inbound connection: its phases, its timeouts, and the order of its answers.

One request at a time: bytes behind the request in hand stay unparsed, and reading pauses, until its answer is
written. So answers cannot change places, and a peer that pipelines costs one read buffer. Nothing of a request is
logged or quoted in an error (invariant 14).
"""

from __future__ import annotations

import asyncio
import logging
import math
from http import HTTPStatus
from typing import Literal, TypeAlias

from receiptd.http.encoding import CLOSE, CONTINUE, KEEP_ALIVE
from receiptd.http.message import Request, Response
from receiptd.http.parsing import RequestParser
from receiptd.http.state import ServerState
from receiptd.http.syntax import RefusedError

logger = logging.getLogger("receiptd.http")


Phase: TypeAlias = Literal["head", "body", "handler", "flush", "linger", "closed"]
"""What a connection waits for:

- ``head``: the head of a request, or its first byte; ``body``: the rest of it;
- ``handler``: the application's answer; ``flush``: a peer that leaves its answer unread;
- ``linger``: the peer's close; what it still sends is discarded, so that it sees the answer (RFC 9112, section 9.6);
- ``closed``: the transport's own end.

Words and no Enum: reading a member of one costs 0.1 us in Python 3.11, six times a request.
"""


class Connection(asyncio.Protocol):
    """Serves the requests of one peer, in order."""

    __slots__ = (
        "_aborted",
        "_buffered_bytes",
        "_closing",
        "_discarded_bytes",
        "_eof",
        "_held",
        "_held_from",
        "_lost",
        "_parser",
        "_phase",
        "_reading_paused",
        "_state",
        "_task",
        "_transport",
        "_writing_paused",
        "deadline",
    )

    _transport: asyncio.Transport
    _parser: RequestParser

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._phase: Phase = "head"
        self.deadline = math.inf
        self._held = b""
        self._held_from = 0
        self._buffered_bytes = 0
        self._discarded_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._aborted = False
        self._closing = False
        self._eof = False
        self._lost = False
        self._reading_paused = False
        self._writing_paused = False

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection; turn it away when there are too many."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass of asyncio's
        state = self._state
        peer = transport.get_extra_info("peername")
        self._parser = RequestParser(state.limits, peer[0] if isinstance(peer, tuple) else "")
        full = len(state.connections) >= state.limits.connections_max
        state.register(self)
        if full or state.draining:
            # No lingering here: the peer may miss the answer, but connections stay bounded.
            state.stats.refused += 1
            refusal = self._problem(RefusedError(503, "overloaded", "Too many connections are open."))
            self._transport.write(state.encoder.encode(refusal, CLOSE))
            self._close()
        else:
            self._expect_within(state.limits.head_timeout_s)

    def data_received(self, data: bytes) -> None:
        """Take what the peer sent; keep it for later while a request is in hand."""
        phase = self._phase
        if phase == "linger":
            self._discarded_bytes += len(data)
            if self._discarded_bytes > self._state.limits.linger_max_bytes:
                self._close()
        elif phase != "closed":
            self._buffered_bytes += len(data)
            self._state.buffered_bytes += len(data)
            if phase in {"head", "body"}:
                self._consume(data, 0)
            else:
                self._hold(self._held[self._held_from :] + data, 0)

    def eof_received(self) -> bool:
        """Note that the peer has sent its last byte; it may still read, so what is in hand is answered."""
        self._eof = True
        if self._phase in {"head", "body"}:
            self._end_requests()
        elif self._phase == "linger":
            self._close()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - any reason is the peer's good right
        """Forget the connection; a running handler goes on, for its work is durable, and its answer is dropped."""
        self._lost = True
        self._phase = "closed"
        self.deadline = math.inf
        if self._task is None:
            self._forget()

    def pause_writing(self) -> None:
        """Start no further request while answers pile up."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """Go on once the peer has read enough."""
        self._writing_paused = False
        if self._phase == "flush":
            self._answered()

    # Called by the server

    def expire(self) -> None:
        """End what has waited past ``deadline``."""
        phase = self._phase
        if phase == "body" or (phase == "head" and self._parser.head_bytes):
            self._refuse(RefusedError(408, "request-timeout", "The request took too long to arrive."))
        elif phase in {"head", "linger"}:
            self._close()
        else:
            self._transport.abort()

    def drain(self) -> None:
        """Close at once when idle; otherwise answer the request that has begun, and close then."""
        self._closing = True
        if self._phase == "head" and not self._parser.head_bytes:
            self._close()

    def abort(self) -> asyncio.Task[None] | None:
        """Drop the connection without an answer; cancel its handler and return that task, if it runs."""
        self._aborted = True
        self._transport.abort()
        if self._task is not None:
            self._task.cancel()
        return self._task

    # Requests

    def _consume(self, data: bytes, position: int) -> None:
        """Parse ``data`` from ``position`` up to the end of a request, hand that to the application, keep the rest."""
        parser = self._parser
        try:
            while position < len(data):
                if self._phase == "head":
                    position = self._take_head(data, position)
                elif self._phase == "body":
                    self._check_room(0)
                    position = parser.feed_body(data, position)
                    if parser.complete:
                        self._start_handler()
                else:
                    break
        except RefusedError as error:
            self._refuse(error)
        else:
            if position < len(data) and self._phase == "handler":
                self._hold(data, position)

    def _take_head(self, data: bytes, start: int) -> int:
        """Feed the head and, when it is complete, let the application judge it; return the new position."""
        state, parser = self._state, self._parser
        position = parser.feed_head(data, start)
        request = parser.request
        if request is None:
            self._check_room(0)
            if parser.head_bytes == position - start:
                self._expect_within(state.limits.head_timeout_s)
            return position
        try:
            refusal = state.application.admit(request, parser.content_length)
        except Exception as error:  # noqa: BLE001 - logged as a fault and answered 500, like one of handle()
            refusal = self._fault(error)
        if refusal is not None:
            self._turn_away(refusal)
            return position
        parser.begin_body()
        if not parser.complete:
            self._check_room(max(0, (parser.content_length or 0) - (len(data) - position)))
            if position < len(data):
                position = parser.feed_body(data, position)
            elif parser.expects_continue:
                self._transport.write(CONTINUE)
        if parser.complete:
            self._start_handler()
        else:
            self._phase = "body"
            self._expect_within(state.limits.body_timeout_s)
        return position

    def _start_handler(self) -> None:
        request = self._parser.request
        assert request is not None
        self._phase = "handler"
        self.deadline = math.inf
        self._state.stats.requests += 1
        self._task = self._state.loop.create_task(self._serve(request))

    async def _serve(self, request: Request) -> None:
        """Run the handler, which has a task of its own, and send its answer if the peer is still there."""
        answer = b""
        try:
            response = await self._state.application.handle(request)
            answer = self._encode(response)
        except (Exception, asyncio.CancelledError) as error:
            # A cancellation that abort() did not ask for came from inside the handler: a fault like any other.
            if self._aborted:
                raise
            answer = self._encode(self._fault(error))
        finally:
            self._task = None
            if self._lost:
                self._forget()
            elif not answer:
                self._transport.abort()
        if not self._lost:
            self._send(answer)

    def _answered(self) -> None:
        """Go on after an answer: with the next request, or to the end of the connection."""
        if self._closing:
            self._hang_up()
            return
        self._release()
        self._phase = "head"
        self._expect_within(self._state.limits.idle_timeout_s)
        if self._held:
            data, self._held = self._held, b""
            self._consume(data, self._held_from)
        if self._phase in {"head", "body"}:
            if self._eof:
                self._end_requests()
            elif self._reading_paused:
                self._resume_reading()

    def _end_requests(self) -> None:
        """Close after the peer's end of file, which must not come inside a request."""
        if self._parser.head_bytes:
            self._refuse(RefusedError(400, "bad-request", "The request is incomplete."))
        else:
            self._close()

    # Answers

    def _refuse(self, error: RefusedError) -> None:
        self._turn_away(self._problem(error))

    def _turn_away(self, response: Response) -> None:
        """Answer in place of the handler, and close: the rest of the request is not parsed."""
        self._state.stats.refused += 1
        self._closing = True
        self._send(self._encode(response))

    def _problem(self, error: RefusedError) -> Response:
        response = self._state.application.refuse(error.status, error.code, error.detail)
        if error.status != HTTPStatus.SERVICE_UNAVAILABLE or b"retry-after:" in response.headers.lower():
            return response
        return Response(response.status, response.body, response.headers + b"Retry-After: 1\r\n")

    def _fault(self, error: BaseException) -> Response:
        """Log and count what escaped the application, and return the answer to it."""
        self._state.stats.faults += 1
        logger.error("A request failed.", exc_info=error)
        return self._problem(RefusedError(500, "internal", "The request failed for a reason on this side."))

    def _encode(self, response: Response) -> bytes:
        """Return the bytes that answer the request in hand; decide whether the connection ends with them."""
        parser = self._parser
        request = parser.request
        if response.close or not parser.keep_alive:
            self._closing = True
        connection = CLOSE if self._closing else KEEP_ALIVE if parser.http_1_0 else b""
        head_only = request is not None and request.method == "HEAD"
        return self._state.encoder.encode(response, connection, head_only=head_only)

    def _send(self, answer: bytes) -> None:
        self._transport.write(answer)
        if self._writing_paused:
            limits = self._state.limits
            self._phase = "flush"
            self._expect_within(limits.write_timeout_s + len(answer) / limits.write_rate_min_bytes_s)
        else:
            self._answered()

    # The connection

    def _hang_up(self) -> None:
        """End the connection after its last answer, which the peer can read whatever it still sends."""
        parser = self._parser
        if self._eof or (parser.complete and not parser.keep_alive and not self._held):
            self._close()
            return
        self._held = b""
        self._release()
        self._phase = "linger"
        self._expect_within(self._state.limits.linger_timeout_s)
        try:
            self._transport.write_eof()
        except OSError:  # the peer is gone already
            self._transport.abort()
            return
        if self._reading_paused:
            self._resume_reading()

    def _close(self) -> None:
        """Close once what is written has been sent; the transport says when that is done."""
        self._held = b""
        self._release()
        self._phase = "closed"
        self._expect_within(self._state.limits.write_timeout_s)
        self._transport.close()

    def _forget(self) -> None:
        self._held = b""
        self._release()
        self._parser.close()
        self._state.forget(self)

    def _expect_within(self, timeout_s: float) -> None:
        self.deadline = self._state.loop.time() + timeout_s

    def _check_room(self, coming_bytes: int) -> None:
        """Refuse the request if what is here and ``coming_bytes`` more exceed the shared buffer (invariant 13)."""
        if self._state.buffered_bytes + coming_bytes > self._state.limits.buffered_max_bytes:
            raise RefusedError(503, "overloaded", "Too many request bytes are waiting here.")

    def _hold(self, data: bytes, position: int) -> None:
        """Keep what came behind the request in hand, and take no more from the peer for now."""
        self._held, self._held_from = data, position
        if not self._reading_paused and not self._eof and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if not self._eof and not self._transport.is_closing():
            self._reading_paused = False
            self._transport.resume_reading()

    def _release(self) -> None:
        """Drop the request in hand, and give its room in the shared buffer back."""
        self._parser.reset()
        kept_bytes = len(self._held) - self._held_from if self._held else 0
        self._state.buffered_bytes -= self._buffered_bytes - kept_bytes
        self._buffered_bytes = kept_bytes
