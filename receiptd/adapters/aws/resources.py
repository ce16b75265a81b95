"""What the daemon keeps in an account, by name and attribute, as cloudformation/data.yaml declares it.

That file is the one source: a stack is made from it in production, ``receiptd aws provision`` makes the same for
development, ``receiptd doctor`` holds the account against it, and the adapters take their names from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final, TypeVar

from receiptd.adapters.aws.template import Declaration, Reference, Template
from receiptd.domain.errors import ConfigurationError
from receiptd.domain.values import value

_T = TypeVar("_T")
_URL_SUFFIXES: Final = {"aws-cn": "amazonaws.com.cn"}
UNKNOWN_ACCOUNT: Final = "000000000000"
"""Stands for the account's number where only names that do not hold it are asked for."""


@value
class Place:
    """Whose resources they are, and where."""

    region: str
    account: str = UNKNOWN_ACCOUNT
    partition: str = "aws"

    def arn(self, service: str, name: str) -> str:
        """Return the ARN of ``name`` (a table's begins with ``table/``)."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{name}"


@value
class Table:
    """A DynamoDB table."""

    name: str
    key: Mapping[str, str]
    """Attributes of the primary key, in order: name to HASH or RANGE."""
    attributes: Mapping[str, str]
    """Types of those attributes."""
    ttl: str
    """The attribute that holds when an item expires; empty: none does."""
    restorable: bool
    """Whether it can be restored to a point in time."""
    protected: bool
    """Whether it must be unprotected before it can be deleted. The operator's choice."""


@value
class Queue:
    """An SQS queue."""

    name: str
    attributes: Mapping[str, str]
    """As SQS's API has them: all values are text."""
    dead_name: str
    """The queue of its dead letters; empty: it is one itself."""


@value
class Bucket:
    """The bucket of exports."""

    name: str
    blocked: Mapping[str, bool]
    """How it is kept from the public."""
    expire_days: int
    """Days after which an object is deleted. The operator's choice."""


@value
class UserPool:
    """The pool whose clients are those of the service, with its resource server and its token endpoint's domain."""

    name: str
    domain: str
    server: str
    """The resource server's identifier: what comes before the slash in a scope."""
    scopes: Mapping[str, str]
    """The resource server's scopes, and what each grants."""


@value
class Resources:
    """Everything of one prefix in one account and region."""

    prefix: str
    place: Place
    tables: tuple[Table, ...]
    queues: tuple[Queue, ...]
    """A queue comes after that of its dead letters."""
    bucket: Bucket
    pool: UserPool

    @property
    def receipts(self) -> Table:
        """The ledger's table."""
        return self._table("receipts")

    @property
    def contracts(self) -> Table:
        """The contracts' table."""
        return self._table("contracts")

    def queue_name(self, queue: str) -> str:
        """Return what a queue of the ports (``recovery``, ``registrar.tax``) is called in SQS."""
        return self._queue(queue).name

    def dead_queue_name(self, queue: str) -> str:
        """Return what the queue of its dead letters is called in SQS."""
        return self._queue(queue).dead_name

    def _table(self, which: str) -> Table:
        return _one(self.tables, lambda table: table.name == f"{self.prefix}-{which}", f"table {which}")

    def _queue(self, queue: str) -> Queue:
        name = f"{self.prefix}-{queue.replace('.', '-')}"
        return _one(self.queues, lambda each: each.name == name and bool(each.dead_name), f"queue {queue}")


def load(prefix: str, registrars: Iterable[str], place: Place) -> Resources:
    """Read the template for ``prefix`` and the ids of the registrars.

    Raises:
        ConfigurationError: the template cannot be used, or a registrar's id cannot be part of a logical id.
    """
    ids = sorted(registrars)
    for registrar in ids:
        if not registrar.isalnum():
            raise ConfigurationError(
                f"registrar {registrar}: on AWS an id has letters and digits only; CloudFormation makes names of it"
            )
    template = Template(
        template_path(),
        {"Prefix": prefix, "Registrars": ids},
        {
            "AWS::AccountId": place.account,
            "AWS::Partition": place.partition,
            "AWS::Region": place.region,
            "AWS::URLSuffix": _URL_SUFFIXES.get(place.partition, "amazonaws.com"),
        },
    )
    return _Reader(template.declarations(), place).resources(prefix)


def template_path() -> Path:
    """Return where the template is: in the installed package, or in the source tree."""
    installed = Path(str(resources.files("receiptd"))) / "cloudformation" / "data.yaml"
    return installed if installed.is_file() else Path(__file__).parents[3] / "cloudformation" / "data.yaml"


class _Reader:
    """Makes values of declarations, and takes each property away as it is read: what is left is not understood."""

    def __init__(self, declarations: Mapping[str, Declaration], place: Place) -> None:
        self._place = place
        self._types = {name: declaration.type for name, declaration in declarations.items()}
        self._left = {name: dict(declaration.properties) for name, declaration in declarations.items()}
        self._queue_names = {
            Reference(name, "Arn"): self._left[name]["QueueName"] for name in self._named("AWS::SQS::Queue")
        }

    def resources(self, prefix: str) -> Resources:
        """Return what they declare."""
        queues = [self._queue(name) for name in self._named("AWS::SQS::Queue")]
        found = Resources(
            prefix=prefix,
            place=self._place,
            tables=tuple([self._table(self._left[name]) for name in self._named("AWS::DynamoDB::Table")]),
            queues=tuple(sorted(queues, key=lambda queue: bool(queue.dead_name))),
            bucket=self._bucket(self._left[self._single("AWS::S3::Bucket")]),
            pool=self._pool(),
        )
        for name, left in self._left.items():
            if left:
                raise ConfigurationError(f"{template_path()}: {name}: {', '.join(left)} is not understood")
        return found

    def _named(self, type_: str) -> list[str]:
        return [name for name, each in self._types.items() if each == type_]

    def _single(self, type_: str) -> str:
        return _one(self._named(type_), lambda _: True, type_)

    def _table(self, properties: dict[str, Any]) -> Table:
        take = properties.pop
        _expect(take("BillingMode"), "PAY_PER_REQUEST")
        _expect(take("SSESpecification"), {"SSEEnabled": True})
        ttl = take("TimeToLiveSpecification", {"AttributeName": "", "Enabled": True})
        _expect(ttl["Enabled"], expected=True)
        return Table(
            name=take("TableName"),
            key={part["AttributeName"]: part["KeyType"] for part in take("KeySchema")},
            attributes={part["AttributeName"]: part["AttributeType"] for part in take("AttributeDefinitions")},
            ttl=ttl["AttributeName"],
            restorable=take("PointInTimeRecoverySpecification")["PointInTimeRecoveryEnabled"],
            protected=take("DeletionProtectionEnabled") == "true",
        )

    def _queue(self, logical: str) -> Queue:
        properties = self._left[logical]
        name = properties.pop("QueueName")
        redrive = properties.pop("RedrivePolicy", None)
        attributes = {key: json.dumps(given) for key, given in properties.items()}
        properties.clear()
        dead_name = ""
        if redrive is not None:
            dead_name = self._queue_names[redrive["deadLetterTargetArn"]]
            arn = self._place.arn("sqs", dead_name)
            attributes["RedrivePolicy"] = json.dumps({**redrive, "deadLetterTargetArn": arn})
        return Queue(name=name, attributes=attributes, dead_name=dead_name)

    def _bucket(self, properties: dict[str, Any]) -> Bucket:
        take = properties.pop
        _expect(take("OwnershipControls"), {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]})
        [rule] = take("LifecycleConfiguration")["Rules"]
        days = rule.pop("ExpirationInDays")
        _expect(
            rule, {"Id": "expire", "Status": "Enabled", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}
        )
        [encryption] = take("BucketEncryption")["ServerSideEncryptionConfiguration"]
        _expect(encryption, {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}})
        return Bucket(name=take("BucketName"), blocked=take("PublicAccessBlockConfiguration"), expire_days=days)

    def _pool(self) -> UserPool:
        pool = self._single("AWS::Cognito::UserPool")
        server = self._left[self._single("AWS::Cognito::UserPoolResourceServer")]
        domain = self._left[self._single("AWS::Cognito::UserPoolDomain")]
        for other in (server, domain):
            _expect(other.pop("UserPoolId"), Reference(pool))
        _expect(self._left[pool].pop("AdminCreateUserConfig"), {"AllowAdminCreateUserOnly": True})
        server.pop("Name")
        return UserPool(
            name=self._left[pool].pop("UserPoolName"),
            domain=domain.pop("Domain"),
            server=server.pop("Identifier"),
            scopes={scope["ScopeName"]: scope["ScopeDescription"] for scope in server.pop("Scopes")},
        )


def _expect(found: Any, expected: Any) -> None:
    """Refuse a property that has another value than the one that provisioning knows how to make."""
    if found != expected:
        raise ConfigurationError(f"{template_path()}: {found!r} is not understood; only {expected!r} is")


def _one(items: Iterable[_T], wanted: Callable[[_T], bool], what: str) -> _T:
    found = [item for item in items if wanted(item)]
    if len(found) != 1:
        raise ConfigurationError(f"{template_path()}: there is {'no' if not found else 'more than one'} {what}")
    return found[0]
