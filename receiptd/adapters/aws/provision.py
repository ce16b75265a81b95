"""Makes what cloudformation/data.yaml declares where it is missing: for development. Production makes a stack of it.

Run again it does nothing. What exists keeps its data; attributes that can be changed in place are brought to what is
declared, so that a run that was cut short is completed by the next.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from receiptd.adapters.aws.account import UNREACHABLE, ClientError, Clients, code_of, find_pool, unsupported
from receiptd.adapters.aws.resources import Bucket, Queue, Resources, Table, UserPool
from receiptd.domain.errors import StorageError
from receiptd.domain.values import value

_NOT_FOUND: Final = "ResourceNotFoundException"
_MISSING_QUEUE: Final = frozenset({"NonExistentQueue", "QueueDoesNotExist"})
_WAIT: Final = {"Delay": 1, "MaxAttempts": 120}
_DEFAULT_REGION: Final = "us-east-1"


@value
class Step:
    """What became of one resource: ``created``, ``changed`` (the details say what), ``kept``, or ``skipped``."""

    kind: str
    name: str
    outcome: str
    detail: str = ""


async def provision(clients: Clients, resources: Resources, begin: Callable[[str, str], None]) -> AsyncIterator[Step]:
    """Make what is missing, one resource after the other; yield what became of each.

    Args:
        clients: of the account to make it in.
        resources: what is wanted.
        begin: told each resource's kind and name before work on it begins.

    Raises:
        StorageError: a resource could not be made; those before it are.
    """
    works: list[tuple[str, str, str, Callable[[Any], Any]]] = [
        *(("dynamodb", "table", table.name, lambda c, t=table: _table(c, t)) for table in resources.tables),
        *(("sqs", "queue", queue.name, lambda c, q=queue: _queue(c, q)) for queue in resources.queues),
        ("s3", "bucket", resources.bucket.name, lambda c: _bucket(c, resources.bucket, resources.place.region)),
        ("cognito-idp", "user pool", resources.pool.name, lambda c: _pool(c, resources.pool)),
    ]
    for service, kind, name, work in works:
        begin(kind, name)
        try:
            async with clients.client(service) as client:
                changes = await work(client)
        except (ClientError, *UNREACHABLE) as error:
            if not isinstance(error, ClientError) or not unsupported(error):
                raise StorageError(f"{kind} {name} could not be made: {error}") from error
            yield Step(kind=kind, name=name, outcome="skipped", detail="this endpoint does not know the service")
            continue
        outcome = "kept" if not changes else "created" if changes[0] == "created" else "changed"
        yield Step(kind=kind, name=name, outcome=outcome, detail=", ".join(changes) if outcome == "changed" else "")


async def _table(dynamodb: Any, table: Table) -> list[str]:
    changes = []
    try:
        await dynamodb.describe_table(TableName=table.name)
    except ClientError as error:
        if code_of(error) != _NOT_FOUND:
            raise
        await dynamodb.create_table(
            TableName=table.name,
            KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in table.key.items()],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": t} for name, t in table.attributes.items()],
            BillingMode="PAY_PER_REQUEST",
            SSESpecification={"Enabled": True},
            DeletionProtectionEnabled=table.protected,
        )
        changes.append("created")
    await dynamodb.get_waiter("table_exists").wait(TableName=table.name, WaiterConfig=_WAIT)
    if table.ttl:
        answer = await dynamodb.describe_time_to_live(TableName=table.name)
        if answer["TimeToLiveDescription"]["TimeToLiveStatus"] not in {"ENABLED", "ENABLING"}:
            wanted = {"AttributeName": table.ttl, "Enabled": True}
            await dynamodb.update_time_to_live(TableName=table.name, TimeToLiveSpecification=wanted)
            changes.append("TimeToLive")
    if table.restorable and not await _restorable(dynamodb, table.name):
        await dynamodb.update_continuous_backups(
            TableName=table.name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
        )
        changes.append("PointInTimeRecovery")
    return changes


async def _restorable(dynamodb: Any, name: str) -> bool:
    """Whether the table can be restored, or whether nothing can be (DynamoDB Local keeps no backups)."""
    try:
        answer = await dynamodb.describe_continuous_backups(TableName=name)
    except ClientError as error:
        if unsupported(error):
            return True
        raise
    description = answer["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
    return bool(description.get("PointInTimeRecoveryStatus") == "ENABLED")


async def _queue(sqs: Any, queue: Queue) -> list[str]:
    try:
        url = (await sqs.get_queue_url(QueueName=queue.name))["QueueUrl"]
    except ClientError as error:
        if code_of(error) not in _MISSING_QUEUE:
            raise
        await sqs.create_queue(QueueName=queue.name, Attributes=dict(queue.attributes))
        return ["created"]
    found = (await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"]))["Attributes"]
    wanted = {name: text for name, text in queue.attributes.items() if not same(text, found.get(name, ""))}
    if wanted:
        await sqs.set_queue_attributes(QueueUrl=url, Attributes=wanted)
    return list(wanted)


def same(expected: str, found: str) -> bool:
    """Whether two attributes of a queue are the same: a policy is JSON, spaced and ordered as it likes."""
    if expected == found or not expected.startswith("{") or not found:
        return expected == found
    given, there = json.loads(expected), json.loads(found)
    return {k: str(v) for k, v in given.items()} == {k: str(v) for k, v in there.items()}


async def _bucket(s3: Any, bucket: Bucket, region: str) -> list[str]:
    changes = []
    try:
        await s3.head_bucket(Bucket=bucket.name)
    except ClientError as error:
        if code_of(error) != "404":
            raise
        elsewhere = {} if region == _DEFAULT_REGION else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        await s3.create_bucket(Bucket=bucket.name, ObjectOwnership="BucketOwnerEnforced", **elsewhere)
        changes.append("created")
    created = bool(changes)
    if created or await public_access(s3, bucket.name) != dict(bucket.blocked):
        await s3.put_public_access_block(Bucket=bucket.name, PublicAccessBlockConfiguration=dict(bucket.blocked))
        changes.append("PublicAccessBlock")
    if created or not await expires(s3, bucket.name):
        await s3.put_bucket_lifecycle_configuration(
            Bucket=bucket.name,
            LifecycleConfiguration={
                "Rules": [
                    {
                        "ID": "expire",
                        "Status": "Enabled",
                        "Filter": {"Prefix": ""},
                        "Expiration": {"Days": bucket.expire_days},
                        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
                    }
                ]
            },
        )
        changes.append("Lifecycle")
    return changes  # every new object has been encrypted (AES256) since 2023, so there is nothing to set for that


async def public_access(s3: Any, name: str) -> dict[str, bool]:
    """Return how the bucket is kept from the public; empty when it is not. Raises ClientError."""
    try:
        answer = await s3.get_public_access_block(Bucket=name)
    except ClientError as error:
        if code_of(error) == "NoSuchPublicAccessBlockConfiguration":
            return {}
        raise
    return dict(answer["PublicAccessBlockConfiguration"])


async def expires(s3: Any, name: str) -> bool:
    """Whether the bucket's objects are deleted after some time. Raises ClientError."""
    try:
        answer = await s3.get_bucket_lifecycle_configuration(Bucket=name)
    except ClientError as error:
        if code_of(error) == "NoSuchLifecycleConfiguration":
            return False
        raise
    return any(rule["Status"] == "Enabled" and "Days" in rule.get("Expiration", {}) for rule in answer["Rules"])


async def _pool(cognito: Any, pool: UserPool) -> list[str]:
    changes = []
    pool_id = await find_pool(cognito, pool.name)
    if pool_id is None:
        answer = await cognito.create_user_pool(
            PoolName=pool.name, AdminCreateUserConfig={"AllowAdminCreateUserOnly": True}
        )
        pool_id = answer["UserPool"]["Id"]
        changes.append("created")
    scopes = [{"ScopeName": name, "ScopeDescription": text} for name, text in pool.scopes.items()]
    found = await scopes_of(cognito, pool_id, pool.server)
    if found is None:
        await cognito.create_resource_server(
            UserPoolId=pool_id, Identifier=pool.server, Name=pool.server, Scopes=scopes
        )
        changes.append("resource server")
    elif not set(pool.scopes) <= found:
        await cognito.update_resource_server(
            UserPoolId=pool_id, Identifier=pool.server, Name=pool.server, Scopes=scopes
        )
        changes.append("scopes")
    if await domain_owner(cognito, pool.domain) != pool_id:
        await cognito.create_user_pool_domain(UserPoolId=pool_id, Domain=pool.domain)
        changes.append("domain")
    return changes


async def scopes_of(cognito: Any, pool_id: str, server: str) -> set[str] | None:
    """Return the scopes of a resource server; None when there is none. Raises ClientError."""
    try:
        answer = await cognito.describe_resource_server(UserPoolId=pool_id, Identifier=server)
    except ClientError as error:
        if code_of(error) == _NOT_FOUND:
            return None
        raise
    return {scope["ScopeName"] for scope in answer["ResourceServer"].get("Scopes", [])}


async def domain_owner(cognito: Any, domain: str) -> str:
    """Return the id of the user pool that has the domain; empty when none has. Raises ClientError."""
    answer = await cognito.describe_user_pool_domain(Domain=domain)
    return str(answer.get("DomainDescription", {}).get("UserPoolId", ""))
