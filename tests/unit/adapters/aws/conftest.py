"""A stand-in of a service, an emulator of AWS, and what calls them."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from lab.emulator import Emulator
from receiptd.adapters.aws.signing import Keys
from receiptd.adapters.aws.usage import Usage
from receiptd.adapters.aws.wire import Wire
from receiptd.adapters.outbound.client import OutboundClient
from receiptd.domain.addresses import OPERATOR

sys.path.append(str(Path(__file__).parent))  # stand_in

from stand_in import GivenKeys, Service


@pytest.fixture
def usage():
    return Usage()


@pytest.fixture
async def http():
    client = OutboundClient(OPERATOR)
    yield client
    await client.close()


@pytest.fixture
async def service():
    stand_in = Service("")
    server = web.Server(stand_in.handle, access_log=None, handler_cancellation=True)
    runner = web.ServerRunner(server, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    stand_in.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    yield stand_in
    await runner.cleanup()


@pytest.fixture
def credentials():
    return GivenKeys([Keys("AKIDFIRST", "first", "token-1"), Keys("AKIDSECOND", "second", "token-2")])


@pytest.fixture
def make_wire(service, credentials, http, usage):
    def make(signing_name="sqs", target="AmazonSQS", **facts):
        whole = {
            "endpoint_url": service.url,
            "region": "eu-central-1",
            "credentials": credentials,
            "http": http,
            "usage": usage,
            **facts,
        }
        return Wire(signing_name, target, **whole)

    return make


@pytest.fixture
def wire(make_wire):
    return make_wire()


@pytest.fixture(scope="session")
def emulator():
    """An emulator of SQS on a free port, for as long as the tests run."""
    running = Emulator(dynamodb="ministack")
    yield running
    running.close()


@pytest.fixture
def sqs_wire(emulator, make_wire):
    """The wire to the emulator's SQS."""
    return make_wire(endpoint_url=emulator.endpoint, credentials=GivenKeys([Keys("test", "test")]))


@pytest.fixture
def make_queue(sqs_wire):
    """Makes a queue with its dead letters; returns its name."""

    async def make(*, visibility_s=1, receives_max=3):
        name = f"test-{uuid.uuid4().hex}"
        dead = await sqs_wire.call("CreateQueue", {"QueueName": f"{name}-dlq"}, timeout_s=5.0)
        request = {"QueueUrl": dead["QueueUrl"], "AttributeNames": ["QueueArn"]}
        arn = (await sqs_wire.call("GetQueueAttributes", request, timeout_s=5.0))["Attributes"]["QueueArn"]
        policy = {"deadLetterTargetArn": arn, "maxReceiveCount": receives_max}
        attributes = {"VisibilityTimeout": str(visibility_s), "RedrivePolicy": orjson.dumps(policy).decode()}
        await sqs_wire.call("CreateQueue", {"QueueName": name, "Attributes": attributes}, timeout_s=5.0)
        return name

    return make
