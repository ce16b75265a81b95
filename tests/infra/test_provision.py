"""``receiptd aws provision`` on an emulator: what it makes is what the template declares, once."""

from __future__ import annotations

import json

import pytest

from receiptd.adapters.aws.provision import provision
from receiptd.domain.errors import StorageError


async def steps(account):
    return [step async for step in provision(account.session, account.resources, lambda _kind, _name: None)]


async def test_all_is_made_once(account):
    assert {step.outcome for step in await steps(account)} == {"created"}
    assert {step.outcome for step in await steps(account)} == {"kept"}


async def test_the_queues_are_those_of_the_template(account, prefix):
    await steps(account)
    async with account.session.client("sqs") as sqs:
        url = (await sqs.get_queue_url(QueueName=f"{prefix}-registrar-tax"))["QueueUrl"]
        found = (await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"]))["Attributes"]
    redrive = json.loads(found["RedrivePolicy"])
    assert redrive["deadLetterTargetArn"].endswith(f":{prefix}-registrar-tax-dlq")
    assert int(redrive["maxReceiveCount"]) == 100
    wanted = {"MessageRetentionPeriod": "1209600", "ReceiveMessageWaitTimeSeconds": "20", "VisibilityTimeout": "60"}
    assert wanted.items() <= found.items()


async def test_a_run_that_was_cut_short_is_completed(account, prefix):
    async with account.session.client("dynamodb") as dynamodb:
        await dynamodb.create_table(
            TableName=f"{prefix}-receipts",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in "cr"],
            KeySchema=[{"AttributeName": "c", "KeyType": "HASH"}, {"AttributeName": "r", "KeyType": "RANGE"}],
            BillingMode="PAY_PER_REQUEST",
        )
    async with account.session.client("sqs") as sqs:
        await sqs.create_queue(QueueName=f"{prefix}-recovery", Attributes={"VisibilityTimeout": "5"})
    made = {step.name: step for step in await steps(account)}
    assert made[f"{prefix}-receipts"].detail == "TimeToLive, PointInTimeRecovery"
    assert made[f"{prefix}-recovery"].outcome == "changed"
    assert "RedrivePolicy" in made[f"{prefix}-recovery"].detail
    assert {step.outcome for step in await steps(account)} == {"kept"}


async def test_what_cannot_be_made_is_named(account, monkeypatch):
    monkeypatch.setattr(account.session, "_endpoint_url", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match=r"table .*-receipts could not be made"):
        await steps(account)
