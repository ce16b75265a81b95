"""The AWS store as one thing to open and close: ledger, queues, contracts, identity, clients and exports of an account.

Opening reads once what never changes: the names, where the services are, and for a daemon the user pool. A command asks
for the pool and the bucket when it needs them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cache, partial
from typing import Any, Final, Protocol, Self

from receiptd.adapters.aws import resources
from receiptd.adapters.aws.account import NO_CREDENTIALS, UNREACHABLE, ClientError, find_pool, locate
from receiptd.adapters.aws.app_clients import AppClients
from receiptd.adapters.aws.cognito import CognitoIdentity, Issuer, discover
from receiptd.adapters.aws.contracts import AwsContracts
from receiptd.adapters.aws.dynamodb import DynamoDb
from receiptd.adapters.aws.errors import AwsError
from receiptd.adapters.aws.exports import S3Exports
from receiptd.adapters.aws.ledger import AwsLedger, LedgerForClients
from receiptd.adapters.aws.queue import AwsQueue
from receiptd.adapters.aws.queue_urls import MISSING
from receiptd.adapters.aws.resources import Place, Resources
from receiptd.adapters.aws.session import AwsSession
from receiptd.adapters.aws.sqs import Sqs
from receiptd.adapters.aws.usage import Usage
from receiptd.domain.errors import ConfigurationError, StorageError
from receiptd.domain.lifecycle import RECOVERY_QUEUE, WEBHOOK_QUEUE, registrar_queue
from receiptd.ports import Clock, HttpClient
from receiptd.settings import AwsSettings

_PACE_S: Final = 1.0
"""A long poll ends at the first message: with this pause after it, a daemon takes ten at a time from 10 a second on."""
_READ_LINGER_S: Final = 0.04
"""As long as the writer waits in config/aws.toml: what is about to change is read by the write that changes it."""
_NOBODY: Final = "-"


class ClosableHttpClient(HttpClient, Protocol):
    """An HTTP client that ends with the store."""

    async def close(self) -> None:
        """Close every connection."""
        ...


@dataclass(slots=True)
class _Kept:
    """Days that settled receipts are kept, by type; None: for ever."""

    by_type: Mapping[str, float | None] = field(default_factory=dict)
    others: float | None = None

    def days(self, type_id: str) -> float | None:
        return self.by_type.get(type_id, self.others)


@dataclass(slots=True, kw_only=True)
class AwsStore:
    """The adapters of an open account."""

    ledger: AwsLedger
    reader: LedgerForClients
    queue: AwsQueue
    contracts: AwsContracts
    exports: S3Exports
    usage: Usage
    """Requests and capacity units so far."""
    issuer: None = None
    """Cognito gives the tokens ..."""
    token_url: str = ""
    """... here, as a daemon's store knows."""

    _pool: _Pool
    _kept: _Kept
    _http: ClosableHttpClient
    _clock: Clock
    _identity: CognitoIdentity | None = None

    @classmethod
    async def open(
        cls,
        settings: AwsSettings,
        registrars: Sequence[str],
        http: ClosableHttpClient,
        clock: Clock,
        *,
        daemon: bool = True,
    ) -> Self:
        """Open what ``settings`` name.

        Args:
            settings: account, region and prefix.
            registrars: the ids of the registrars, each of which has a queue.
            http: makes the exchanges; it is closed with the store.
            clock: the time.
            daemon: see that tables, queues and user pool are there, and be ready to verify tokens. Commands say False.

        Raises:
            ConfigurationError: there is no region, or something of that prefix is missing.
            StorageError: AWS cannot be reached, or refuses.
        """
        try:
            usage, kept = Usage(), _Kept()
            session = AwsSession(http, usage, region=settings.region, endpoint_url=settings.endpoint_url)
            names = resources.load(settings.prefix, registrars, Place(session.region))
            sqs, dynamodb_wire = await asyncio.gather(session.wire("sqs"), session.wire("dynamodb"))
            dynamodb = DynamoDb(dynamodb_wire, usage)
            contracts = AwsContracts(dynamodb, names.contracts.name, clock)
            name_of, dead_name_of = cache(names.queue_name), cache(names.dead_queue_name)
            queue = AwsQueue(Sqs(sqs), clock, name_of, dead_name_of, pace_s=_PACE_S if daemon else 0.0)

            async def bucket() -> str:
                return resources.load(settings.prefix, registrars, await locate(session)).bucket.name

            ledger = AwsLedger(
                dynamodb,
                names.receipts.name,
                queue,
                contracts.get,
                kept.days,
                read_linger_s=_READ_LINGER_S,
                now=clock.now,
            )
            store = cls(
                ledger=ledger,
                reader=LedgerForClients(ledger),
                queue=queue,
                contracts=contracts,
                exports=S3Exports(session, bucket),
                usage=usage,
                _pool=_Pool(session, http, names, emulated=bool(settings.endpoint_url)),
                _kept=kept,
                _http=http,
                _clock=clock,
            )
            if daemon:
                await asyncio.gather(store._need_tables(names), store._need_queues(registrars), store._need_pool())
        except BaseException:
            await http.close()
            raise
        return store

    @property
    def identity(self) -> CognitoIdentity:
        """Verifies tokens, in a daemon."""
        assert self._identity is not None, "the store was opened for a command"
        return self._identity

    async def clients(self) -> AppClients:
        """Return the pool's clients. Raises ConfigurationError and StorageError."""
        return await self._pool.clients()

    async def expire(self, before_day: date | None, by_type: Mapping[str, date | None] | None = None) -> int:
        """Delete nothing: DynamoDB's TTL does, when it is time. What settles from now on is marked with that time.

        Args:
            before_day: the day (UTC) before which receipts go today; None: they are kept.
            by_type: the same for types that have days of their own.

        Returns:
            0.
        """
        today = datetime.fromtimestamp(self._clock.now(), UTC).date()
        self._kept.others = _days(today, before_day)
        self._kept.by_type = {type_id: _days(today, day) for type_id, day in (by_type or {}).items()}
        return 0

    def tasks(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, None]]]:
        """Return what must run while a daemon does."""
        return {"identity": self.identity.run}

    def checks(self) -> Mapping[str, str]:
        """Return how it is, part by part; ``failing`` is not fit to serve."""
        return {"identity": self.identity.health}

    async def close(self) -> None:
        """Finish what the ledger does aside, and close every connection."""
        try:
            await self.ledger.close()
            if self._identity is not None:
                await self._identity.close()
        finally:
            await self._http.close()

    async def _need_tables(self, names: Resources) -> None:
        """See that the tables are there, by reading what nobody has."""
        for table, get in (
            (names.contracts.name, partial(self.contracts.get, _NOBODY)),
            (names.receipts.name, partial(self.ledger.get, _NOBODY, _NOBODY)),
        ):
            try:
                await get()
            except StorageError as error:
                if _code(error) == "ResourceNotFoundException":
                    raise ConfigurationError(f"there is no table {table}: receiptd aws provision makes it") from error
                raise

    async def _need_queues(self, registrars: Sequence[str]) -> None:
        """See that the queues are there: one that is missing fails whatever owes a message there."""
        try:
            names = (RECOVERY_QUEUE, WEBHOOK_QUEUE, *map(registrar_queue, registrars))
            await asyncio.gather(*map(self.queue.find, names))
        except StorageError as error:
            if _code(error) in MISSING:
                raise ConfigurationError(str(error)) from error
            raise

    async def _need_pool(self) -> None:
        issuer = await self._pool.issuer()
        self._identity = CognitoIdentity(self._http, self._clock, issuer, self._pool.server)
        self.token_url = issuer.token_url


class _Pool:
    """Finds the user pool, once."""

    def __init__(self, session: AwsSession, http: HttpClient, names: Resources, *, emulated: bool) -> None:
        self._session = session
        self._http = http
        self._name = names.pool.name
        self._emulated = emulated
        self._found: tuple[str, Issuer] | None = None
        self.server = names.pool.server

    async def issuer(self) -> Issuer:
        """Return its metadata. Raises ConfigurationError and StorageError."""
        return (await self._find())[1]

    async def clients(self) -> AppClients:
        """Return its clients. Raises ConfigurationError and StorageError."""
        pool_id, issuer = await self._find()
        return AppClients(self._session, pool_id, self.server, issuer.token_url)

    async def _find(self) -> tuple[str, Issuer]:
        if self._found is None:
            try:
                async with self._session.client("cognito-idp") as cognito:
                    endpoint_url, pool_id = cognito.meta.endpoint_url, await find_pool(cognito, self._name)
            except NO_CREDENTIALS as error:
                raise StorageError("no AWS credentials: set AWS_PROFILE, or give the instance a role") from error
            except (ClientError, *UNREACHABLE) as error:
                raise StorageError(f"Cognito: {error}") from error
            if pool_id is None:
                raise ConfigurationError(f"there is no user pool {self._name}: receiptd aws provision makes it")
            self._found = pool_id, await discover(self._http, endpoint_url, pool_id, emulated=self._emulated)
        return self._found


def _code(error: StorageError) -> str:
    """Return the service's code of what is behind ``error``; empty when there is none."""
    return error.__cause__.code if isinstance(error.__cause__, AwsError) else ""


def _days(today: date, before_day: date | None) -> float | None:
    return None if before_day is None else float((today - before_day).days)
