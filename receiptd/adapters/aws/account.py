"""The account behind the credentials, and what the errors of aiobotocore's clients mean to the commands."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

import botocore.exceptions  # type: ignore[import-untyped]

from receiptd.adapters.aws.resources import Place
from receiptd.domain.errors import ConfigurationError, StorageError

ClientError: Final = botocore.exceptions.ClientError
UNREACHABLE: Final = (
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.ConnectionError,
    TimeoutError,
    OSError,
)
NO_CREDENTIALS: Final = (botocore.exceptions.NoCredentialsError, botocore.exceptions.PartialCredentialsError)
_FORBIDDEN: Final = frozenset({"AccessDenied", "AccessDeniedException", "AuthorizationError", "NotAuthorized"})
_UNSUPPORTED: Final = frozenset({"InvalidAction", "UnknownOperationException", "UnsupportedOperation"})
_NOT_IMPLEMENTED: Final = 501  # RFC 9110, section 15.6.2


class Clients(Protocol):
    """Gives aiobotocore clients (``session.AwsSession``)."""

    region: str

    def client(self, service: str) -> AbstractAsyncContextManager[Any]:
        """Return a client of ``service``, to be entered."""
        ...


async def locate(clients: Clients) -> Place:
    """Return the account, region and partition of the credentials. No permission is needed for that.

    Raises:
        StorageError: there are no credentials, they are refused, or AWS cannot be reached.
    """
    try:
        async with clients.client("sts") as sts:
            caller = await sts.get_caller_identity()
    except NO_CREDENTIALS as error:
        raise StorageError("there are no AWS credentials: set AWS_PROFILE, or give the instance a role") from error
    except (ClientError, *UNREACHABLE) as error:
        raise StorageError(f"AWS does not say whose credentials these are: {error}") from error
    return Place(region=clients.region, account=caller["Account"], partition=caller["Arn"].split(":")[1])


def code_of(error: Any) -> str:
    """Return the service's error code of a ClientError. SQS's codes have a prefix from its former protocol."""
    return str(error.response.get("Error", {}).get("Code", "")).removeprefix("AWS.SimpleQueueService.")


def forbidden(error: Any) -> bool:
    """Whether a ClientError says that IAM does not allow the call."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return code_of(error) in _FORBIDDEN or (code_of(error) == "403" and status == 403)  # noqa: PLR2004 - S3's HEAD has no body to hold a code


def unsupported(error: Any) -> bool:
    """Whether a ClientError says that the endpoint, an emulator, does not know the call or the service."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return code_of(error) in _UNSUPPORTED or status == _NOT_IMPLEMENTED


async def find_pool(cognito: Any, name: str) -> str | None:
    """Return the id of the user pool called ``name``, or None.

    Raises:
        ClientError: the service refused.
        ConfigurationError: several have that name, which Cognito allows, and whose tokens count is not for us to guess.
    """
    found = [
        str(pool["Id"])
        async for page in cognito.get_paginator("list_user_pools").paginate(PaginationConfig={"PageSize": 60})
        for pool in page["UserPools"]
        if pool["Name"] == name
    ]
    if len(found) > 1:
        raise ConfigurationError(f"the name {name} is that of {len(found)} user pools: delete or rename all but one")
    return found[0] if found else None
