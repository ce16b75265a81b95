"""``receiptd doctor`` on an emulator that holds calls against IAM policies."""

from __future__ import annotations

import json
import subprocess
import sys

from receiptd.adapters.aws.doctor import examine, policy
from receiptd.adapters.aws.provision import provision
from receiptd.adapters.checkup import Verdict
from receiptd.adapters.embedded import doctor as embedded


async def make(account):
    async for _ in provision(account.session, account.resources, lambda _kind, _name: None):
        pass


async def look(account):
    return [finding async for finding in examine(account.session, account.resources)]


async def test_what_was_provisioned_is_well_and_nothing_is_left_behind(account):
    await make(account)
    found = await look(account)
    assert {finding.verdict for finding in found} == {Verdict.OK}
    assert len(found) == len(account.resources.tables) + len(account.resources.queues) + 2
    async with account.session.client("dynamodb") as dynamodb:
        for table in account.resources.tables:
            assert (await dynamodb.scan(TableName=table.name))["Items"] == []
    async with account.session.client("s3") as s3:
        assert "Contents" not in await s3.list_objects_v2(Bucket=account.resources.bucket.name)
    async with account.session.client("sqs") as sqs:
        for queue in account.resources.queues:
            url = (await sqs.get_queue_url(QueueName=queue.name))["QueueUrl"]
            assert "Messages" not in await sqs.receive_message(QueueUrl=url, WaitTimeSeconds=0)


async def test_a_message_that_waits_stays_visible(account):
    await make(account)
    name = account.resources.queue_name("recovery")
    async with account.session.client("sqs") as sqs:
        url = (await sqs.get_queue_url(QueueName=name))["QueueUrl"]
        await sqs.send_message(QueueUrl=url, MessageBody="work")
        await look(account)
        [message] = (await sqs.receive_message(QueueUrl=url, WaitTimeSeconds=2))["Messages"]
    assert message["Body"] == "work"


async def test_an_empty_account_misses_everything(account):
    assert {finding.verdict for finding in await look(account)} == {Verdict.MISSING}


async def test_what_is_wrong_is_told_by_name_and_attribute(account, prefix):
    await make(account)
    async with account.session.client("sqs") as sqs:
        url = (await sqs.get_queue_url(QueueName=f"{prefix}-recovery"))["QueueUrl"]
        await sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "5"})
        url = (await sqs.get_queue_url(QueueName=f"{prefix}-webhooks"))["QueueUrl"]
        await sqs.delete_queue(QueueUrl=url)
        await sqs.create_queue(QueueName=f"{prefix}-webhoks")
    async with account.session.client("dynamodb") as dynamodb:
        await dynamodb.update_time_to_live(
            TableName=f"{prefix}-receipts", TimeToLiveSpecification={"AttributeName": "x", "Enabled": False}
        )
    async with account.session.client("s3") as s3:
        await s3.delete_public_access_block(Bucket=account.resources.bucket.name)
    wrong = {finding.name: finding for finding in await look(account) if not finding.well}
    assert len(wrong) == 4
    recovery = wrong[f"{prefix}-recovery"]
    assert (recovery.verdict, recovery.attribute, recovery.expected, recovery.found) == (
        Verdict.DIFFERS,
        "VisibilityTimeout",
        "60",
        "5",
    )
    assert wrong[f"{prefix}-webhooks"].verdict is Verdict.MISSING
    assert f"there is {prefix}-webhoks" in wrong[f"{prefix}-webhooks"].detail
    assert (wrong[f"{prefix}-receipts"].attribute, wrong[f"{prefix}-receipts"].found) == ("TimeToLive", "off")
    assert wrong[account.resources.bucket.name].attribute == "PublicAccessBlock"


async def test_a_second_pool_of_the_name_is_told(account):
    await make(account)
    name = account.resources.pool.name
    async with account.session.client("cognito-idp") as cognito:
        second = (await cognito.create_user_pool(PoolName=name))["UserPool"]["Id"]
        (wrong,) = [finding for finding in await look(account) if not finding.well]
        await cognito.delete_user_pool(UserPoolId=second)
    assert (wrong.kind, wrong.name, wrong.verdict) == ("user pool", name, Verdict.DIFFERS)
    assert wrong.detail == f"the name {name} is that of 2 user pools: delete or rename all but one"


async def test_what_is_forbidden_comes_with_the_policy_that_allows_it(account, open_account, prefix, monkeypatch):
    await make(account)
    granted = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["sqs:Get*", "sqs:SendMessage", "dynamodb:Describe*"], "Resource": "*"}
        ],
    }
    async with account.session.client("iam") as iam:
        await iam.create_user(UserName=prefix)
        await iam.put_user_policy(UserName=prefix, PolicyName="granted", PolicyDocument=json.dumps(granted))
        key = (await iam.create_access_key(UserName=prefix))["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    async with open_account() as limited:
        found = [finding for finding in await look(limited) if not finding.well]
        assert {finding.verdict for finding in found} == {Verdict.FORBIDDEN}
        queue = [finding.action for finding in found if finding.name == f"{prefix}-recovery"]
        assert queue == ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"]
        arn = limited.resources.place.arn("sqs", f"{prefix}-recovery")
        assert {finding.arn for finding in found if finding.name == f"{prefix}-recovery"} == {arn}
        asked = policy(found)
        assert [entry["Action"] for entry in asked["Statement"] if arn in entry["Resource"]] == [sorted(queue)]

        # The emulator calls every PartiQL statement by the name of its API; AWS by what it does.
        asked["Statement"].append({"Effect": "Allow", "Action": "dynamodb:ExecuteStatement", "Resource": "*"})
        for attempt in range(3):  # what could not be looked at before has now more to tell
            async with account.session.client("iam") as iam:
                document = json.dumps(asked)
                await iam.put_user_policy(UserName=prefix, PolicyName=f"asked{attempt}", PolicyDocument=document)
            found = [finding for finding in await look(limited) if not finding.well]
            if not found:
                break
            asked = policy(found)
        assert found == []


def command(*arguments, env):
    return subprocess.run(
        [sys.executable, "-m", "receiptd", *arguments], env=env, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_command_says_unreachable_and_exits_1(variables):
    env = variables | {"RECEIPTD_AWS__ENDPOINT_URL": "http://127.0.0.1:9"}
    done = command("doctor", "--config", "config/localstack.toml", "--json", env=env)
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert report["well"] is False
    assert [f["name"] for f in report["findings"] if f["verdict"] == "unreachable"] == ["http://127.0.0.1:9"]


def test_the_commands_provision_and_doctor_agree(variables):
    made = command("aws", "provision", "--config", "config/localstack.toml", "--json", env=variables)
    assert made.returncode == 0, made.stderr
    assert {step["outcome"] for step in json.loads(made.stdout)} == {"created"}
    done = command("doctor", "--config", "config/localstack.toml", env=variables)
    assert done.returncode == 0, done.stdout
    assert f"{variables['RECEIPTD_AWS__PREFIX']}-registrar-warehouse-dlq" in done.stdout


def test_provision_refuses_the_embedded_backend(variables):
    done = command("aws", "provision", "--config", "config/embedded.toml", env=variables)
    assert done.returncode == 2
    assert "config/localstack.toml" in done.stderr


def test_the_embedded_store_is_examined(tmp_path, monkeypatch):
    [finding] = embedded.examine(tmp_path / "not" / "yet")
    assert (finding.verdict, finding.detail) == (Verdict.OK, "not there yet; the daemon makes it")
    database = tmp_path / "receiptd.db"
    database.touch(mode=0o644)
    found = [finding for finding in embedded.examine(tmp_path) if not finding.well]
    assert [(finding.attribute, finding.found) for finding in found] == [("mode", "0644")]
    [finding] = embedded.examine(database / "below")
    assert finding.verdict is Verdict.DIFFERS
    monkeypatch.setattr(embedded, "_FREE_MIN_BYTES", 1 << 60)
    assert "free bytes" in {finding.attribute for finding in embedded.examine(tmp_path)}
