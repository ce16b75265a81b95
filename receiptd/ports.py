"""The ports: what the pipeline asks of the outside, and what every adapter of it owes.

One contract suite (tests/contract) runs on every adapter. All calls are made from the event loop's thread, and none of
them blocks it for longer than a local page read.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from receiptd.domain.contract import Access, Contract
from receiptd.domain.errors import StorageError
from receiptd.domain.receipt import Receipt, ReceiptState
from receiptd.domain.values import value


@value
class Message:
    """A message that a change owes, or that work sends. ``key`` names the work (a receipt id).

    Consumers are idempotent: a queue may hold several messages of one key, or (embedded) only the newest.
    ``body`` is small JSON text. ``visible_at`` is in seconds since the epoch. ``dead`` puts it straight among the dead
    letters, where it waits for an operator.
    """

    queue: str
    key: str
    body: str
    visible_at: float = 0.0
    dead: bool = False


@value
class Change:
    """The unit of durability: a receipt, the version it replaces (None: it must be absent), the messages it owes.

    ``receipt.version`` is already the new one (``expected_version + 1``, or 1).
    """

    receipt: Receipt
    expected_version: int | None
    messages: tuple[Message, ...] = ()


class Ledger(Protocol):
    """The receipts."""

    async def commit(self, changes: Sequence[Change]) -> Sequence[Receipt | StorageError | None]:
        """Make the changes durable; return for each the receipt as it now stands.

        A change that was done has its own receipt (the same object) in its place. One whose expected version does not
        hold is left undone: its place holds the receipt that stands there instead, or None when there is none. A
        StorageError in a place is of that change alone (invariant 12): whether it was done is unknown. When this
        returns, everything else is fsync'd or acknowledged (invariant 1). A receipt and its messages become durable
        together, or the messages first (invariant 11): then those of a change that is left undone have been sent, and
        find the receipt as it stands. At most one change per receipt a call.

        Raises:
            StorageError: nothing is promised for any change of the call; some may still have become durable.
        """
        ...

    async def get(self, client_id: str, receipt_id: str) -> Receipt | None:
        """Return the receipt as last acknowledged (a strongly consistent read, invariant 15), or None."""
        ...

    async def page(self, query: PageQuery) -> Page:
        """Return a page of one client's receipts in order of ``(accepted day, receipt id)``."""
        ...

    async def counts(self) -> Mapping[ReceiptState, int]:
        """Return how many receipts are in each state (for operators: may be expensive, may lag)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuery:
    """A client's receipts accepted in ``[start, end)`` (seconds since the epoch), after the id ``after``."""

    client_id: str
    start: float = 0.0
    end: float = 1e12
    after: str = ""
    limit: int = 100
    state: ReceiptState | None = None
    type_id: str = ""
    with_delivery: bool = False
    """Only receipts that owe or owed a webhook."""


@value
class Page:
    """Receipts, and the id to go on after (empty: this was the last page)."""

    receipts: tuple[Receipt, ...]
    next_after: str = ""


@value
class Received:
    """A received message with the handle that acknowledges it."""

    message: Message
    handle: str
    receives: int
    """How often it was received, this time included."""


class WorkQueue(Protocol):
    """Durable queues, by name: ``recovery``, ``webhooks``, ``registrar.<id>``. Each has its dead letters.

    Delivery is at least once and in no order. A received message is invisible for the queue's visibility timeout;
    after ``max_receives`` receives without acknowledgement it joins the dead letters.
    """

    async def send(self, messages: Sequence[Message]) -> None:
        """Make the messages durable. Raises StorageError."""
        ...

    async def post(self, messages: Sequence[Message]) -> Sequence[StorageError | None]:
        """Make the messages durable; return for each None, or why it may not be."""
        ...

    async def receive(self, queue: str, limit: int, wait_s: float) -> Sequence[Received]:
        """Return up to ``limit`` visible messages; wait up to ``wait_s`` seconds for the first. Empty when none."""
        ...

    async def acknowledge(self, queue: str, received: Sequence[Received]) -> None:
        """Remove the messages. Unknown or stale handles are ignored. Raises StorageError."""
        ...

    async def extend(self, queue: str, received: Sequence[Received], visible_in_s: float) -> None:
        """Keep the messages invisible for ``visible_in_s`` seconds from now (0: give them back at once)."""
        ...

    async def depth(self, queue: str) -> QueueDepth:
        """Return how much waits in ``queue`` (approximate)."""
        ...

    async def dead_letters(self, queue: str, limit: int) -> Sequence[Message]:
        """Return up to ``limit`` dead letters of ``queue``."""
        ...

    async def redrive(self, queue: str, keys: Sequence[str] | None) -> int:
        """Make dead letters live again (all, or those of ``keys``); return how many."""
        ...

    async def drop(self, queue: str, keys: Sequence[str] | None) -> int:
        """Remove dead letters for good (all, or those of ``keys``); return how many."""
        ...


@value
class QueueDepth:
    """Messages that are visible now, that wait for their time or are being worked on, and that are dead."""

    ready: int
    delayed: int
    dead: int


class Contracts(Protocol):
    """The contracts. ``get`` may answer from a cache that is at most 30 seconds old."""

    async def get(self, client_id: str) -> Contract | None:
        """Return the contract, active or not, or None."""
        ...

    async def put(self, contract: Contract) -> None:
        """Add or replace a contract, durably."""
        ...

    async def list(self) -> Sequence[Contract]:
        """Return every contract, by client id."""
        ...


@value
class Principal:
    """Who a verified token speaks for, and until when (seconds since the epoch)."""

    client_id: str
    scopes: frozenset[str]
    expires_at: float


class Identity(Protocol):
    """Verifies bearer tokens (RFC 6750, RFC 9068)."""

    async def verify(self, token: str) -> Principal:
        """Return whom ``token`` speaks for. Raises TokenError; a verdict is cached no longer than the token lives."""
        ...


@value
class ClientCredentials:
    """What a client shows at the token endpoint."""

    client_id: str
    client_secret: str = field(repr=False)


class Clients(Protocol):
    """The clients' credentials: what they get tokens for. What a client may do is its contract's to say."""

    @property
    def token_url(self) -> str:
        """Where clients get tokens; empty: from this service itself."""
        ...

    async def add(self, client_id: str, name: str, access: Access) -> ClientCredentials:
        """Make a client with a secret.

        Args:
            client_id: its id, or empty: one is made.
            name: what people call it.
            access: what its tokens may be for at most.

        Raises:
            ConfigurationError: the id is not one that can be chosen here.
            StorageError: whether it was made is unknown.
        """
        ...

    async def rotate(self, client_id: str, *, drop_old: bool) -> str:
        """Make a new secret and return it. The one before it holds until the next rotation, unless ``drop_old``.

        Raises:
            StorageError: whether it was made is unknown.
        """
        ...


class Exports(Protocol):
    """Files that are made once for whoever has their URL."""

    async def put(self, name: str, content_type: str, chunks: AsyncIterable[bytes]) -> None:
        """Store a file, all or nothing, in place of one of that name.

        Args:
            name: letters, digits, dots, dashes and underscores, in parts with slashes between.
            content_type: its media type.
            chunks: its content.

        Raises:
            ValueError: the name is not such a one.
            StorageError: it is not stored.
        """
        ...

    async def url(self, name: str, valid_s: int) -> str:
        """Return a URL that gives the file without further credentials, for ``valid_s`` seconds at most.

        Raises:
            StorageError: there is none to be had now.
        """
        ...


@value
class HttpReply:
    """A peer's answer. Header names are in lower case; of a repeated header the last one counts."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@value
class HttpCall:
    """One outbound POST or GET."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    timeout_s: float = 10.0
    reply_max_bytes: int = 65_536


class HttpClient(Protocol):
    """One outbound call over HTTP/1.1. Follows no redirect, keeps no cookie, answers any status as a reply."""

    async def send(self, call: HttpCall) -> HttpReply:
        """Send the call and return the whole reply.

        Raises:
            OutboundError: no complete reply came (``sent`` says whether the peer may have acted); timed out, reply
                longer than ``reply_max_bytes``, or not HTTP.
            DeniedAddressError: the address policy of this client forbids the URL's host.
            ValueError: the URL, the method or a header is malformed.
        """
        ...


class Clock(Protocol):
    """Time, so that tests can own it."""

    def now(self) -> float:
        """Return seconds since the epoch (UTC)."""
        ...
