"""What the commands ask of the backend beside its store: whether all is there, and on AWS to make it.

Like ``stores.py`` it may know the adapters, and imports one when it is asked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from receiptd.adapters.checkup import Finding, Verdict
from receiptd.adapters.outbound.client import OutboundClient
from receiptd.domain.addresses import OPERATOR
from receiptd.domain.errors import ConfigurationError, StorageError
from receiptd.settings import Configuration

if TYPE_CHECKING:
    from receiptd.adapters.aws.provision import Step
    from receiptd.adapters.aws.resources import Place, Resources
    from receiptd.adapters.aws.session import AwsSession


@asynccontextmanager
async def session_of(configuration: Configuration) -> AsyncIterator[AwsSession]:
    """Open the AWS account that the settings name. Raises ConfigurationError."""
    from receiptd.adapters.aws.session import AwsSession  # noqa: PLC0415 - see above
    from receiptd.adapters.aws.usage import Usage  # noqa: PLC0415 - see above

    http = OutboundClient(OPERATOR, connections_per_origin=2)
    try:
        settings = configuration.settings.aws
        yield AwsSession(http, Usage(), region=settings.region, endpoint_url=settings.endpoint_url)
    finally:
        await http.close()


async def provision(configuration: Configuration, tell: Callable[[str], None]) -> list[Step]:
    """Make what is missing in the AWS account; return what became of each resource.

    Args:
        configuration: the settings and the registrars.
        tell: told what is being worked on.

    Raises:
        ConfigurationError: the settings are not for AWS.
        StorageError: something could not be made.
    """
    from receiptd.adapters.aws.account import locate  # noqa: PLC0415 - see above
    from receiptd.adapters.aws.provision import provision as make  # noqa: PLC0415 - see above

    if configuration.settings.storage.backend != "aws":
        raise ConfigurationError('storage.backend is not "aws": try --config config/localstack.toml')
    async with session_of(configuration) as session:
        place = await locate(session)
        tell(f"account {place.account}, region {place.region}")
        resources = _resources(configuration, place)
        return [step async for step in make(session, resources, lambda kind, name: tell(f"{kind} {name} ..."))]


async def examine(configuration: Configuration) -> list[Finding]:
    """Return what there is to say about what the backend keeps its data in."""
    settings = configuration.settings
    if settings.storage.backend == "embedded":
        from receiptd.adapters.embedded import doctor as embedded  # noqa: PLC0415 - see above

        return list(embedded.examine(settings.storage.path))

    from receiptd.adapters.aws.account import locate  # noqa: PLC0415 - see above
    from receiptd.adapters.aws.doctor import examine as look  # noqa: PLC0415 - see above

    async with session_of(configuration) as session:
        try:
            place = await locate(session)
        except StorageError as error:
            where = settings.aws.endpoint_url or f"AWS in {session.region}"
            return [Finding(kind="account", name=where, verdict=Verdict.UNREACHABLE, detail=str(error))]
        return [
            Finding(kind="account", name=place.account, verdict=Verdict.OK, detail=place.region),
            *[finding async for finding in look(session, _resources(configuration, place))],
        ]


def policy(findings: Iterable[Finding]) -> dict[str, Any] | None:
    """Return an IAM policy that allows what is forbidden; None when nothing is."""
    forbidden = [finding for finding in findings if finding.verdict is Verdict.FORBIDDEN]
    if not forbidden:
        return None
    from receiptd.adapters.aws.doctor import policy as grant  # noqa: PLC0415 - see above

    return grant(forbidden)


def _resources(configuration: Configuration, place: Place) -> Resources:
    from receiptd.adapters.aws.resources import load  # noqa: PLC0415 - see above

    return load(configuration.settings.aws.prefix, [each.id for each in configuration.registrars], place)
