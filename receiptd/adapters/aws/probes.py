"""Calls that try a permission and change nothing: each names a row, a message or an object that cannot be.

IAM judges a call before the service looks at what it asks for, so a call that would do nothing, or that the service
must refuse as malformed, tells whether it was allowed. Receiving is the exception: it may touch a message, and gives it
back at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

Probe: TypeAlias = tuple[str, Callable[[Any], Awaitable[Any]]]
"""An action as IAM names it, and a call (given the client) that needs it."""

_NOBODY: Final = "receiptd:doctor"  # a colon is in no client's id
_TOO_LARGE: Final = ({"S": _NOBODY}, {"S": "-"}, {"B": bytes(400 * 1024)})
_DAMAGED_MD5: Final = "AAAAAAAAAAAAAAAAAAAAAA=="


def receipts(table: str) -> list[Probe]:
    """Return what the ledger does to its table."""
    key = {"c": {"S": _NOBODY}, "r": {"S": "-"}}
    absent = {"TableName": table, "KeyConditionExpression": "c = :c", "ExpressionAttributeValues": {":c": key["c"]}}
    return [
        ("dynamodb:GetItem", lambda client: client.get_item(TableName=table, Key=key)),
        ("dynamodb:BatchGetItem", lambda client: client.batch_get_item(RequestItems={table: {"Keys": [key]}})),
        ("dynamodb:Query", lambda client: client.query(**absent, Limit=1)),
        ("dynamodb:Scan", lambda client: client.scan(TableName=table, Limit=1)),
        # No item can be that large; and no row has this key and a negative version.
        (
            "dynamodb:PartiQLInsert",
            _statement(f"INSERT INTO \"{table}\" VALUE {{'c': ?, 'r': ?, 'b': ?}}", *_TOO_LARGE),
        ),
        ("dynamodb:PartiQLUpdate", _statement(f'UPDATE "{table}" SET v=0 WHERE c=? AND r=? AND v=-1', *key.values())),  # noqa: S608 - the table's name is ours, and no statement takes it as a parameter
    ]


def contracts(table: str) -> list[Probe]:
    """Return what is done to the table of the contracts."""
    key = {"c": {"S": _NOBODY}}
    return [
        ("dynamodb:GetItem", lambda client: client.get_item(TableName=table, Key=key)),
        ("dynamodb:Scan", lambda client: client.scan(TableName=table, Limit=1)),
        (
            "dynamodb:PutItem",
            lambda client: client.put_item(TableName=table, Item=key, ConditionExpression="attribute_exists(c)"),
        ),
    ]


def queue(url: str) -> list[Probe]:
    """Return what is done to a queue: no message can hold a control character, and no message has the handle."""
    handle = {"QueueUrl": url, "ReceiptHandle": "receiptd-doctor"}
    return [
        ("sqs:SendMessage", lambda client: client.send_message(QueueUrl=url, MessageBody="\x01")),
        (
            "sqs:ReceiveMessage",
            lambda client: client.receive_message(QueueUrl=url, VisibilityTimeout=0, WaitTimeSeconds=0),
        ),
        ("sqs:DeleteMessage", lambda client: client.delete_message(**handle)),
        (
            "sqs:ChangeMessageVisibility",
            lambda client: client.change_message_visibility(**handle, VisibilityTimeout=0),
        ),
    ]


def objects(bucket: str) -> list[Probe]:
    """Return what is done to the objects of the bucket. S3 refuses one that is not what its digest says."""
    return [
        (
            "s3:PutObject",
            lambda client: client.put_object(
                Bucket=bucket, Key=_NOBODY, Body=b"receiptd", ContentMD5=_DAMAGED_MD5, ContentLength=8
            ),
        ),
        ("s3:GetObject", lambda client: client.head_object(Bucket=bucket, Key=_NOBODY)),
    ]


def _statement(text: str, *parameters: dict[str, Any]) -> Callable[[Any], Awaitable[Any]]:
    return lambda client: client.execute_statement(Statement=text, Parameters=list(parameters))
