"""What to try next, as lines that work when they are pasted."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from receiptd.cli.demo.client import Client
from receiptd.cli.demo.documents import retail_receipt


def show(directory: Path, settings: Path, client: Client, simulator_url: str, receipt_id: str) -> None:
    """Print the lines. The token and a document lie in files, the token's readable by its owner only.

    Args:
        directory: where the files are put.
        settings: the daemon's settings file.
        client: whose token it is.
        simulator_url: the stand-ins' URL.
        receipt_id: a receipt of the client that is complete.
    """
    token, document = directory / "token", directory / "receipt.json"
    token.touch(mode=0o600)
    token.write_text(client.token, encoding="ascii")
    document.write_bytes(retail_receipt("by-hand-1"))
    command = shlex.quote(str(Path(sys.executable).with_name("receiptd")))
    config = f"--config {shlex.quote(str(settings))}"
    curl = 'curl -sS -H "Authorization: Bearer $TOKEN"'
    receipt = f"{client.url}/v1/receipts/{receipt_id}"
    print(
        f"""
The daemon goes on serving until Ctrl-C. What to try, in another terminal:

  TOKEN=$(cat {shlex.quote(str(token))})

  # post a receipt and wait for its end; post it again, and the answer is replayed
  {curl} -i -H 'Content-Type: application/json' -H 'Prefer: wait=10' \\
    --data-binary @{shlex.quote(str(document))} {client.url}/v1/receipts

  # where one stands, and the very bytes that were posted
  {curl} {receipt}/status
  {curl} {receipt}/document

  # the webhooks that were sent, and one of them once more (it will be told here)
  {curl} '{client.url}/v1/webhooks/deliveries?limit=3'
  {curl} -X POST {client.url}/v1/webhooks/deliveries/{receipt_id}/replay

  # the tax registrar goes down: receipts posted now wait for it; then it is back
  curl -sS -X PUT {simulator_url}/_control -d '{{"registrars": {{"tax": {{"down": true}}}}}}'
  curl -sS -X PUT {simulator_url}/_control -d '{{"registrars": {{"tax": {{"down": false}}}}}}'

  # what operators see
  curl -sS {client.url}/readyz
  curl -sS {client.url}/metrics
  {command} receipts list --state FAILED {config}
  {command} dlq list {config}

The API is described at {client.url}/docs
""",
        flush=True,
    )
