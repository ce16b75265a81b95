"""Holds an account against cloudformation/data.yaml, and tries every permission that the daemon needs.

Nothing is changed. What depends on a parameter that is the operator's choice (protection from deletion, days of an
export) is not compared.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from receiptd.adapters.aws import probes
from receiptd.adapters.aws.account import UNREACHABLE, ClientError, Clients, code_of, find_pool, forbidden, unsupported
from receiptd.adapters.aws.provision import domain_owner, expires, public_access, same, scopes_of
from receiptd.adapters.aws.resources import Bucket, Queue, Resources, Table
from receiptd.adapters.checkup import Finding, Verdict
from receiptd.domain.errors import ConfigurationError

_MISSING: Final = frozenset(
    {"404", "NoSuchBucket", "NonExistentQueue", "QueueDoesNotExist", "ResourceNotFoundException"}
)
_PROVISION: Final = "receiptd aws provision makes it; in production, the stack of cloudformation/data.yaml"


async def examine(clients: Clients, resources: Resources) -> AsyncIterator[Finding]:
    """Yield what is found, resource by resource; one that is well and fully allowed is one finding."""
    names = [*(table.name for table in resources.tables), *(queue.name for queue in resources.queues)]
    async with clients.client("dynamodb") as client:
        for table in resources.tables:
            async for finding in _Visit("table", table.name, client, names).of(_table, resources, table):
                yield finding
    async with clients.client("sqs") as client:
        for queue in resources.queues:
            async for finding in _Visit("queue", queue.name, client, names).of(_queue, resources, queue):
                yield finding
    async with clients.client("s3") as client:
        async for finding in _Visit("bucket", resources.bucket.name, client).of(_bucket, resources, resources.bucket):
            yield finding
    async with clients.client("cognito-idp") as client:
        async for finding in _Visit("user pool", resources.pool.name, client).of(_pool, resources, resources.pool):
            yield finding


def policy(findings: Iterable[Finding]) -> dict[str, Any] | None:
    """Return an IAM policy that allows what is forbidden; None when nothing is."""
    actions: dict[str, set[str]] = {}
    for finding in findings:
        if finding.verdict is Verdict.FORBIDDEN:
            actions.setdefault(finding.arn, set()).add(finding.action)
    grants: dict[tuple[str, ...], list[str]] = {}
    for arn, allowed in actions.items():
        grants.setdefault(tuple(sorted(allowed)), []).append(arn)
    if not grants:
        return None
    statements = [{"Effect": "Allow", "Action": list(a), "Resource": sorted(arns)} for a, arns in grants.items()]
    return {"Version": "2012-10-17", "Statement": statements}


class _GoneError(Exception):
    """The resource is not there, or cannot be looked at: there is no point in asking more."""


class _Visit:
    """The examination of one resource: it collects findings, and knows what an error says about it."""

    def __init__(self, kind: str, name: str, client: Any, declared: Iterable[str] = ()) -> None:
        self.client = client
        self._declared = set(declared)
        self._kind = kind
        self._name = name
        self._findings: list[Finding] = []

    async def of(
        self, work: Callable[[_Visit, Resources, Any], Awaitable[None]], resources: Resources, wanted: Any
    ) -> AsyncIterator[Finding]:
        """Do the work and yield its findings; an ``ok`` when there is none that asks for something."""
        try:
            await work(self, resources, wanted)
        except _GoneError:
            pass
        except ConfigurationError as error:
            self.tell(Verdict.DIFFERS, detail=str(error))
        except ClientError as error:  # it was there a moment ago
            self.tell(Verdict.MISSING, detail=str(error))
        except UNREACHABLE as error:
            self.tell(Verdict.UNREACHABLE, detail=str(error))
        if all(finding.well for finding in self._findings):
            self._findings.insert(0, Finding(kind=self._kind, name=self._name, verdict=Verdict.OK))
        for finding in self._findings:
            yield finding

    def tell(self, verdict: Verdict, **facts: str) -> None:
        """Note a finding."""
        self._findings.append(Finding(kind=self._kind, name=self._name, verdict=verdict, **facts))

    def compare(self, attribute: str, expected: object, found: object) -> None:
        """Note a difference, if there is one."""
        if expected != found:
            self.tell(Verdict.DIFFERS, attribute=attribute, expected=_text(expected), found=_text(found))

    async def look(self, action: str, arn: str, call: Awaitable[Any]) -> Any:
        """Return what ``call`` answers; None when it is forbidden or not supported here, which is noted.

        Raises:
            ClientError: the resource is not there.
        """
        try:
            return await call
        except ClientError as error:
            if code_of(error) in _MISSING:
                raise
            if forbidden(error):
                self.tell(Verdict.FORBIDDEN, action=action, arn=arn)
            elif unsupported(error):
                self.tell(Verdict.UNTOLD, action=action, detail="this endpoint does not know the call")
            else:
                self.tell(Verdict.UNREACHABLE, action=action, detail=str(error))
            return None

    async def find(
        self, action: str, arn: str, call: Awaitable[Any], others: Callable[[], Awaitable[list[str]]]
    ) -> Any:
        """Return what ``call`` answers about the resource itself. When it is missing, ``others`` may be its namesakes.

        Raises:
            _GoneError: it is missing, or cannot be looked at; that is noted.
        """
        try:
            answer = await self.look(action, arn, call)
        except ClientError as error:
            await self.missing(others)
            raise _GoneError from error
        if answer is None:
            raise _GoneError
        return answer

    async def missing(self, others: Callable[[], Awaitable[list[str]]]) -> None:
        """Note that it is missing, and what may be meant to be it."""
        try:
            near = difflib.get_close_matches(self._name, set(await others()) - self._declared, n=1, cutoff=0.85)
        except ClientError:  # to list is no permission that the daemon needs
            near = []
        hint = f"there is {near[0]}: is the name or the prefix wrong? Otherwise {_PROVISION}" if near else _PROVISION
        self.tell(Verdict.MISSING, detail=hint)

    async def try_all(self, tried: Iterable[probes.Probe], arn: str) -> None:
        """Try permissions: any answer but a refusal by IAM says that the call is allowed."""
        for action, call in tried:
            try:
                await call(self.client)
            except ClientError as error:
                if forbidden(error):
                    self.tell(Verdict.FORBIDDEN, action=action, arn=arn)


async def _table(visit: _Visit, resources: Resources, table: Table) -> None:
    client, arn = visit.client, resources.place.arn("dynamodb", f"table/{table.name}")

    async def others() -> list[str]:
        return list((await client.list_tables())["TableNames"])

    call = client.describe_table(TableName=table.name)
    found = (await visit.find("dynamodb:DescribeTable", arn, call, others))["Table"]
    visit.compare("TableStatus", "ACTIVE", found["TableStatus"])
    visit.compare("KeySchema", table.key, {part["AttributeName"]: part["KeyType"] for part in found["KeySchema"]})
    types = {part["AttributeName"]: part["AttributeType"] for part in found["AttributeDefinitions"]}
    visit.compare("AttributeDefinitions", table.attributes, {name: types.get(name) for name in table.attributes})
    if table.ttl:
        call = client.describe_time_to_live(TableName=table.name)
        if answer := await visit.look("dynamodb:DescribeTimeToLive", arn, call):
            ttl = answer["TimeToLiveDescription"]
            on = ttl["TimeToLiveStatus"] in {"ENABLED", "ENABLING"}
            visit.compare("TimeToLive", table.ttl, ttl.get("AttributeName", "") if on else "off")
    call = client.describe_continuous_backups(TableName=table.name)
    if table.restorable and (answer := await visit.look("dynamodb:DescribeContinuousBackups", arn, call)):
        recovery = answer["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
        visit.compare("PointInTimeRecovery", "ENABLED", recovery.get("PointInTimeRecoveryStatus", "DISABLED"))
    tried = probes.receipts if table == resources.receipts else probes.contracts
    await visit.try_all(tried(table.name), arn)


async def _queue(visit: _Visit, resources: Resources, queue: Queue) -> None:
    client, arn = visit.client, resources.place.arn("sqs", queue.name)

    async def others() -> list[str]:
        return [url.rsplit("/", 1)[1] for url in (await client.list_queues(MaxResults=1000)).get("QueueUrls", [])]

    url = (await visit.find("sqs:GetQueueUrl", arn, client.get_queue_url(QueueName=queue.name), others))["QueueUrl"]
    call = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    if answer := await visit.look("sqs:GetQueueAttributes", arn, call):
        found = answer["Attributes"]
        for name, expected in queue.attributes.items():
            if not same(expected, found.get(name, "")):
                visit.compare(name, expected, found.get(name, "none"))
    await visit.try_all(probes.queue(url), arn)


async def _bucket(visit: _Visit, _resources: Resources, bucket: Bucket) -> None:
    client, arn = visit.client, f"arn:{_resources.place.partition}:s3:::{bucket.name}"

    async def others() -> list[str]:
        return [each["Name"] for each in (await client.list_buckets())["Buckets"]]

    await visit.find("s3:ListBucket", arn, client.head_bucket(Bucket=bucket.name), others)
    blocked = await visit.look("s3:GetBucketPublicAccessBlock", arn, public_access(client, bucket.name))
    if blocked is not None:
        visit.compare("PublicAccessBlock", dict(bucket.blocked), blocked)
    expiring = await visit.look("s3:GetLifecycleConfiguration", arn, expires(client, bucket.name))
    if expiring is not None:
        visit.compare("LifecycleConfiguration", "objects expire", "objects expire" if expiring else "none")
    await visit.try_all(probes.objects(bucket.name), f"{arn}/*")


async def _pool(visit: _Visit, resources: Resources, pool: Any) -> None:
    client = visit.client

    async def others() -> list[str]:
        return [each["Name"] for each in (await client.list_user_pools(MaxResults=60))["UserPools"]]

    async def identify() -> str:
        return await find_pool(client, pool.name) or ""

    pool_id = await visit.find("cognito-idp:ListUserPools", "*", identify(), others)
    if not pool_id:
        await visit.missing(others)
        raise _GoneError
    arn = resources.place.arn("cognito-idp", f"userpool/{pool_id}")

    async def scopes() -> Mapping[str, Any]:
        return {"found": await scopes_of(client, pool_id, pool.server)}

    if answer := await visit.look("cognito-idp:DescribeResourceServer", arn, scopes()):
        expected = ", ".join(f"{pool.server}/{scope}" for scope in sorted(pool.scopes))
        found = ", ".join(f"{pool.server}/{scope}" for scope in sorted(set(answer["found"] or ()) & set(pool.scopes)))
        visit.compare("scopes of the resource server", expected, found or "none")
    owner = await visit.look("cognito-idp:DescribeUserPoolDomain", "*", domain_owner(client, pool.domain))
    if owner is not None:
        visit.compare(f"domain {pool.domain}", pool_id, owner or "none")


def _text(given: object) -> str:
    return given if isinstance(given, str) else json.dumps(given)
