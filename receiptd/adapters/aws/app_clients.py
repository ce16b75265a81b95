"""The Clients port on a Cognito user pool: each client is an app client, whose id Cognito makes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from receiptd.adapters.aws.account import NO_CREDENTIALS, UNREACHABLE, ClientError, Clients, code_of
from receiptd.domain.contract import Access
from receiptd.domain.errors import ConfigurationError, ReceiptdError, StorageError
from receiptd.ports import ClientCredentials

_NAME_MAX_CHARS: Final = 128
_NOT_IN_NAMES: Final = re.compile(r"[^\w\s+=,.@-]")
_SECRETS_MAX: Final = 2
_UNKNOWN: Final = frozenset({"InvalidAction", "UnknownOperationException"})


class AppClients:
    """The app clients of one pool.

    Args:
        session: gives Cognito's client.
        pool_id: the user pool.
        server: the resource server's identifier, which its scopes begin with.
        token_url: where clients get tokens.
    """

    def __init__(self, session: Clients, pool_id: str, server: str, token_url: str) -> None:
        self._session = session
        self._pool_id = pool_id
        self._server = server
        self.token_url = token_url
        """Where clients get tokens; empty: the pool has no domain, and gives none."""

    async def add(self, client_id: str, name: str, access: Access) -> ClientCredentials:
        """Make a client; see ``ports.Clients.add``. Raises ConfigurationError and StorageError."""
        if client_id:
            raise ConfigurationError("a client's id cannot be chosen on AWS: Cognito makes it")
        scopes = ["read", "write"] if access is Access.READ_WRITE else ["read"]
        async with self._cognito() as cognito:
            answer = await cognito.create_user_pool_client(
                UserPoolId=self._pool_id,
                ClientName=_NOT_IN_NAMES.sub("-", name)[:_NAME_MAX_CHARS] or "client",
                GenerateSecret=True,
                AllowedOAuthFlows=["client_credentials"],
                AllowedOAuthFlowsUserPoolClient=True,
                AllowedOAuthScopes=[f"{self._server}/{scope}" for scope in scopes],
            )
        made = answer["UserPoolClient"]
        return ClientCredentials(made["ClientId"], made["ClientSecret"])

    async def rotate(self, client_id: str, *, drop_old: bool) -> str:
        """Make a new secret; see ``ports.Clients.rotate``. Cognito keeps two, and never lets go of the last one.

        Raises:
            ReceiptdError: there is no such client, or this Cognito (an emulator's) keeps one secret only.
            StorageError: Cognito cannot be reached, or refuses.
        """
        names = {"UserPoolId": self._pool_id, "ClientId": client_id}
        async with self._cognito() as cognito:
            answer = await cognito.list_user_pool_client_secrets(**names)
            former = sorted(answer["ClientSecrets"], key=lambda each: each["ClientSecretCreateDate"])
            while len(former) >= _SECRETS_MAX:
                await cognito.delete_user_pool_client_secret(**names, ClientSecretId=former.pop(0)["ClientSecretId"])
            made = await cognito.add_user_pool_client_secret(**names)
            for each in former if drop_old else ():
                await cognito.delete_user_pool_client_secret(**names, ClientSecretId=each["ClientSecretId"])
        return str(made["ClientSecretDescriptor"]["ClientSecretValue"])

    @asynccontextmanager
    async def _cognito(self) -> AsyncIterator[Any]:
        """Give Cognito's client; its errors become ours."""
        try:
            async with self._session.client("cognito-idp") as cognito:
                yield cognito
        except ClientError as error:
            if code_of(error) in _UNKNOWN:
                raise ReceiptdError(f"this Cognito cannot do that: {error}") from error
            if code_of(error) == "ResourceNotFoundException":
                raise ReceiptdError(f"user pool {self._pool_id}: {error}") from error
            raise StorageError(f"Cognito: {error}") from error
        except (*NO_CREDENTIALS, *UNREACHABLE) as error:
            raise StorageError(f"Cognito cannot be reached: {error}") from error
