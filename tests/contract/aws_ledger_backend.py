"""The AWS adapters behind the contract suite.

Tables are of one store's own: a directory names it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from aws_account_backend import open_account
from aws_backend import VISIBILITY_S, open_queue

from lab.emulator import ENDPOINT, shared_endpoint
from receiptd.adapters.aws.contracts import AwsContracts
from receiptd.adapters.aws.dynamodb import DynamoDb
from receiptd.adapters.aws.errors import AwsError
from receiptd.adapters.aws.ledger import AwsLedger
from receiptd.adapters.aws.signing import Keys
from receiptd.adapters.aws.usage import Usage
from receiptd.adapters.aws.wire import Wire
from receiptd.adapters.outbound.client import OutboundClient
from receiptd.domain.addresses import OPERATOR
from receiptd.runtime.clock import SystemClock

RECEIVES_MAX = 3
_TIMEOUT_S = 20.0


@dataclass
class Tables:
    """The two tables, and the calls to them."""

    dynamodb: DynamoDb
    wire: Wire
    usage: Usage
    http: OutboundClient
    receipts: str
    contracts: str


class _Keys:
    async def keys(self, refused=None):
        return Keys("test", "test")


async def open_tables(prefix, url=""):
    """Open the tables under ``prefix``, made as needed, on the emulator or what stands before it at ``url``."""
    usage, http = Usage(), OutboundClient(OPERATOR, connections_per_origin=32)
    wire = Wire(
        "dynamodb",
        "DynamoDB_20120810",
        endpoint_url=url or shared_endpoint(),
        region="us-east-1",
        credentials=_Keys(),
        http=http,
        usage=usage,
    )
    tables = Tables(DynamoDb(wire, usage), wire, usage, http, f"{prefix}-receipts", f"{prefix}-contracts")
    for name, keys in ((tables.receipts, "cr"), (tables.contracts, "c")):
        request = {
            "TableName": name,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"} for key in keys],
            "KeySchema": [
                {"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)
            ],
        }
        try:
            await wire.call("CreateTable", request, timeout_s=_TIMEOUT_S)
        except AwsError as error:
            assert error.code == "ResourceInUseException", error  # noqa: PT017 - it may be there already
    return tables


async def open_aws_ledger(directory, make, make_rest):
    """Open the adapters of the store at ``directory``; ``make`` builds the suite's Backend of them."""
    tables = await open_tables(f"contract-{hashlib.sha256(str(directory).encode()).hexdigest()[:16]}")
    queue, close_queue = await open_queue(directory, receives_max=RECEIVES_MAX)
    contracts = AwsContracts(tables.dynamodb, tables.contracts, SystemClock())
    ledger = AwsLedger(tables.dynamodb, tables.receipts, queue, contracts.get)

    open_accounts = []
    closed = []

    async def rest():
        account, close_account = await open_account(make_rest)
        open_accounts.append(close_account)
        return account

    async def close():
        if not closed:
            closed.append(True)
            for close_account in open_accounts:
                await close_account()
            await ledger.close()
            await tables.http.close()
            await close_queue()

    return make(
        ledger,
        queue,
        contracts,
        rest,
        close,
        ["aws", str(directory)],
        {ENDPOINT: shared_endpoint()},
        visibility_s=VISIBILITY_S,
        receives_max=RECEIVES_MAX,
        messages_first=True,
    )
