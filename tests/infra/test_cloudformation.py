"""cloudformation/data.yaml: a stack of it is what the doctor asks for."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from receiptd.adapters.aws.doctor import examine
from receiptd.adapters.aws.resources import template_path


async def test_a_stack_is_all_that_the_daemon_needs(account, prefix):
    async with account.session.client("cloudformation") as cloudformation:
        await cloudformation.create_stack(
            StackName=prefix,
            TemplateBody=template_path().read_text(),
            Parameters=[{"ParameterKey": "Prefix", "ParameterValue": prefix}],
            Capabilities=["CAPABILITY_AUTO_EXPAND"],
        )
        async with asyncio.timeout(30):
            while True:
                [stack] = (await cloudformation.describe_stacks(StackName=prefix))["Stacks"]
                if not stack["StackStatus"].endswith("_IN_PROGRESS"):
                    break
                await asyncio.sleep(0.1)
    assert stack["StackStatus"] == "CREATE_COMPLETE", stack
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    assert outputs["ExportsBucketName"] == account.resources.bucket.name
    assert outputs["ReceiptsTableArn"].endswith(f"table/{account.resources.receipts.name}")
    found = [finding async for finding in examine(account.session, account.resources)]
    wrong = [finding for finding in found if not finding.well]
    # The emulator's stacks leave these out; the linter holds their form, and test_provision.py their effect.
    left_out = {"LifecycleConfiguration", "PointInTimeRecovery", "TimeToLive"}
    assert {finding.attribute for finding in wrong} <= left_out, wrong


def test_the_template_passes_its_linter():
    linter = shutil.which("cfn-lint", path=str(Path(sys.executable).parent)) or shutil.which("cfn-lint")
    if linter is None:
        pytest.skip("cfn-lint is not installed")
    done = subprocess.run([linter, str(template_path())], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
