"""SQS behind the contract suite: queues of one store's own on an emulator, which a directory's name tells apart."""

from __future__ import annotations

import hashlib

import orjson

from lab.emulator import shared_endpoint
from receiptd.adapters.aws.queue import AwsQueue
from receiptd.adapters.aws.signing import Keys
from receiptd.adapters.aws.sqs import Sqs
from receiptd.adapters.aws.usage import Usage
from receiptd.adapters.aws.wire import Wire
from receiptd.adapters.outbound.client import OutboundClient
from receiptd.domain.addresses import OPERATOR
from receiptd.runtime.clock import SystemClock

QUEUES = ("jobs", "recovery", "registrar.tax", "webhooks")
VISIBILITY_S = 1
"""SQS counts whole seconds."""
_TIMEOUT_S = 5.0


class _Keys:
    async def keys(self, refused=None):
        return Keys("test", "test")


async def open_queue(directory, *, receives_max):
    """Open the queues of the store at ``directory``, made if need be; return them and what closes them."""
    prefix = f"contract-{hashlib.sha256(str(directory).encode()).hexdigest()[:16]}"
    http = OutboundClient(OPERATOR)
    wire = Wire(
        "sqs",
        "AmazonSQS",
        endpoint_url=shared_endpoint(),
        region="us-east-1",
        credentials=_Keys(),
        http=http,
        usage=Usage(),
    )

    def name_of(queue):
        return f"{prefix}-{queue.replace('.', '-')}"

    for queue in QUEUES:
        await _make(wire, name_of(queue), receives_max)
    queue = AwsQueue(Sqs(wire), SystemClock(), name_of, lambda queue: f"{name_of(queue)}-dlq")
    return queue, http.close


async def _make(wire, name, receives_max):
    dead = await wire.call("CreateQueue", {"QueueName": f"{name}-dlq"}, timeout_s=_TIMEOUT_S)
    request = {"QueueUrl": dead["QueueUrl"], "AttributeNames": ["QueueArn"]}
    arn = (await wire.call("GetQueueAttributes", request, timeout_s=_TIMEOUT_S))["Attributes"]["QueueArn"]
    policy = orjson.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": receives_max}).decode()
    attributes = {"VisibilityTimeout": str(VISIBILITY_S), "RedrivePolicy": policy}
    await wire.call("CreateQueue", {"QueueName": name, "Attributes": attributes}, timeout_s=_TIMEOUT_S)
