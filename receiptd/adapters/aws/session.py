"""What botocore lends: the credential chain, the region, where the services are, and clients for the rare calls.

Endpoints and service models are read once, when a wire is made. Credentials are asked for anew every half minute, which
is when botocore itself looks whether an instance role's are about to expire; a failure to renew is no fault while the
former ones hold.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import botocore.exceptions  # type: ignore[import-untyped]
from aiobotocore.config import AioConfig  # type: ignore[import-untyped]
from aiobotocore.session import AioSession, get_session  # type: ignore[import-untyped]

from receiptd.adapters.aws.errors import AwsError
from receiptd.adapters.aws.signing import Keys
from receiptd.adapters.aws.usage import Usage
from receiptd.adapters.aws.wire import Wire
from receiptd.domain.errors import ConfigurationError
from receiptd.ports import HttpClient

_log = logging.getLogger("receiptd.aws")
_LOOK_EVERY_S: Final = 30.0
_RENEW_EVERY_S: Final = 5.0
_RESOLVE_MAX_S: Final = 5.0
_JSON_VERSION: Final = "1.0"
# Unreadable files, a role that cannot be assumed, no metadata service, and what aiobotocore lets through of its HTTP.
_CHAIN_ERRORS: Final = (botocore.exceptions.BotoCoreError, OSError, RuntimeError, ValueError)


class Credentials:
    """The credentials in force (``wire.KeySource``)."""

    def __init__(self, session: AioSession) -> None:
        self._session = session
        self._lock = asyncio.Lock()
        self._keys: Keys | None = None
        self._look_at = 0.0
        self._renewed_at = -_RENEW_EVERY_S

    async def keys(self, refused: Keys | None = None) -> Keys:
        """Return the keys in force; when the service has ``refused`` them, whatever the chain gives anew.

        Many callers whose keys were refused at once share one run of the chain.

        Raises:
            AwsError: the chain gives none now.
        """
        if self._serves(refused) and (not self._due or self._lock.locked()):
            assert self._keys is not None
            return self._keys
        async with self._lock:
            if not self._serves(refused):
                if self._keys is not None:
                    self._session = get_session()  # the chain runs anew: files and environment may hold others now
                    self._renewed_at = asyncio.get_running_loop().time()
                await self._look()
            elif self._due:
                await self._look()
            assert self._keys is not None
            return self._keys

    def _serves(self, refused: Keys | None) -> bool:
        """Whether the keys at hand are worth a try. Refused ones are when the chain has just been asked in vain."""
        if self._keys is None or self._keys != refused:
            return self._keys is not None
        return asyncio.get_running_loop().time() < self._renewed_at + _RENEW_EVERY_S

    @property
    def _due(self) -> bool:
        return asyncio.get_running_loop().time() >= self._look_at

    async def _look(self) -> None:
        self._look_at = asyncio.get_running_loop().time() + _LOOK_EVERY_S
        try:
            async with asyncio.timeout(_RESOLVE_MAX_S):
                found = await self._session.get_credentials()
                frozen = None if found is None else await found.get_frozen_credentials()
        except _CHAIN_ERRORS as error:
            if self._keys is None:
                raise AwsError("NoCredentials", f"the credential chain failed: {error}") from error
            _log.warning("credentials could not be renewed", extra={"reason": str(error)})
            return
        if frozen is not None:
            self._keys = Keys(frozen.access_key, frozen.secret_key, frozen.token or "")
        elif self._keys is None:
            raise AwsError("NoCredentials", "the environment, the AWS files and the instance role give no credentials")


class AwsSession:
    """One account and region, as the daemon sees it.

    Args:
        http: makes the exchanges of the hot calls. Long polls keep a connection each.
        usage: where requests are counted.
        region: the region; empty: as botocore's chain has it.
        endpoint_url: where all services are; empty: AWS itself, as botocore resolves it.
    """

    def __init__(self, http: HttpClient, usage: Usage, *, region: str = "", endpoint_url: str = "") -> None:
        self._http = http
        self._usage = usage
        self._endpoint_url = endpoint_url or None
        self._session = get_session()
        self.region: str = region or self._session.get_config_variable("region") or ""
        """The region's name."""
        if not self.region:
            raise ConfigurationError("no AWS region: set region in [aws], or AWS_REGION")
        self.credentials = Credentials(self._session)
        """The credentials in force."""

    def client(self, service: str) -> AbstractAsyncContextManager[Any]:
        """Return an aiobotocore client of ``service``, to be entered: for all but the hot calls."""
        config = AioConfig(connect_timeout=3, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 5})
        if service == "s3":
            # Presigned URLs must last longer than an hour and serve in every region. A bucket's own host name resolves
            # nowhere but in AWS.
            style = "path" if self._endpoint_url else "virtual"
            config = config.merge(AioConfig(signature_version="s3v4", s3={"addressing_style": style}))
        context: AbstractAsyncContextManager[Any] = self._session.create_client(
            service, region_name=self.region, endpoint_url=self._endpoint_url, config=config
        )
        return context

    async def wire(self, service: str) -> Wire:
        """Return the lean client of ``service`` (``sqs`` or ``dynamodb``), with what botocore knows of it.

        Raises:
            ConfigurationError: botocore cannot say where it is, or it does not speak JSON as the wire does.
        """
        try:
            async with self.client(service) as client:
                endpoint_url, model = client.meta.endpoint_url, client.meta.service_model
        except _CHAIN_ERRORS as error:
            raise ConfigurationError(f"{service}: {error}") from error
        if model.metadata.get("jsonVersion") != _JSON_VERSION:
            raise ConfigurationError(f"{service} does not speak JSON {_JSON_VERSION}")
        try:
            return Wire(
                model.signing_name,
                model.metadata["targetPrefix"],
                endpoint_url=endpoint_url,
                region=self.region,
                credentials=self.credentials,
                http=self._http,
                usage=self._usage,
            )
        except ValueError as error:
            raise ConfigurationError(f"{service} at {endpoint_url}: {error}") from error
