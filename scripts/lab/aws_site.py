"""A site on an emulator of AWS: its own tables, queues and user pool, behind a proxy that can misbehave."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection
from urllib.parse import urlsplit

import orjson

from lab.children import Child, free_ports
from lab.emulator import Emulator, environment
from lab.site import REGISTRARS, Site, SiteError
from receiptd.adapters.aws import resources
from receiptd.adapters.aws.resources import Place
from receiptd.domain.lifecycle import RECOVERY_QUEUE, WEBHOOK_QUEUE, registrar_queue

_PREFIX = "receiptd"
_REGION = "us-east-1"
_TIMEOUT_S = 10.0


class AwsSite(Site):
    """One site. Daemons reach AWS through the proxy, with a session's credentials from it; commands reach it directly.

    Args:
        settings: as of ``Site``.
        registrar: as of ``Site``.
        deadline_s: as of ``Site``.
        daemons: how many share the tables.
        visibility_s: of the queues; provisioned ones have 60 s.
        seed: of the proxy's draws.
        dynamodb: the emulator of DynamoDB, ``local`` or ``ministack``.
    """

    chooses_ids = False

    def __init__(
        self,
        *,
        settings: Mapping[str, str],
        registrar: str = "",
        deadline_s: float = 30.0,
        daemons: int = 1,
        visibility_s: int = 60,
        seed: int = 1,
        dynamodb: str = "local",
    ) -> None:
        super().__init__(
            settings={**settings, "STORAGE__BACKEND": "aws", "AWS__PREFIX": _PREFIX, "AWS__REGION": _REGION},
            registrar=registrar,
            deadline_s=deadline_s,
            daemons=daemons,
        )
        self._proxy: Child | None = None
        (self._proxy_port,) = free_ports(1)
        self._emulator = Emulator(dynamodb=dynamodb)
        try:
            self.command("aws", "provision")
            self._set_visibility(visibility_s)
            target = ["--target", self._emulator.endpoint, "--port", str(self._proxy_port), "--seed", str(seed)]
            self._proxy = self.spawn("proxy", "-m", "lab.fault_proxy", *target)
        except BaseException:
            self.remove()
            raise

    @property
    def proxy_url(self) -> str:
        """Where the proxy listens, soon after the site was made."""
        return f"http://127.0.0.1:{self._proxy_port}"

    @property
    def proxy(self) -> Child:
        """The proxy's process."""
        assert self._proxy is not None
        return self._proxy

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of daemons: AWS is the proxy."""
        ours = super().environment(AWS__ENDPOINT_URL=self.proxy_url, **more)
        kept = {name: value for name, value in ours.items() if not name.startswith("AWS_")}
        nowhere = os.fspath(self.folder / "no-aws-file")
        return {
            **kept,
            "AWS_CONFIG_FILE": nowhere,
            "AWS_SHARED_CREDENTIALS_FILE": nowhere,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.proxy_url}/_credentials",
        }

    def command_environment(self) -> dict[str, str]:
        """Return the environment of commands: AWS is the emulator."""
        ours = super().environment()
        ours = {name: value for name, value in ours.items() if not name.startswith("AWS_")}
        theirs = environment(self._emulator.endpoint)
        return {**ours, **{name: theirs[name] for name in theirs if name.startswith(("AWS_", "RECEIPTD_AWS__"))}}

    def close(self) -> None:
        """End the proxy and the emulator."""
        if self._proxy is not None:
            self._proxy.stop()
        self._emulator.close()

    def depths(self, queues: Sequence[str]) -> dict[str, int]:
        """Return how many messages each queue holds: visible, delayed and in work."""
        names = [f"ApproximateNumberOfMessages{which}" for which in ("", "NotVisible", "Delayed")]
        found = {}
        for queue in queues:
            request = {"QueueUrl": self._queue_url(queue), "AttributeNames": names}
            attributes = self._sqs("GetQueueAttributes", request)["Attributes"]
            found[queue] = sum(int(attributes[name]) for name in names)
        return found

    def _set_visibility(self, seconds: int) -> None:
        for queue in (RECOVERY_QUEUE, WEBHOOK_QUEUE, *map(registrar_queue, REGISTRARS)):
            attributes = {"VisibilityTimeout": str(seconds)}
            self._sqs("SetQueueAttributes", {"QueueUrl": self._queue_url(queue), "Attributes": attributes})

    def _queue_url(self, queue: str) -> str:
        names = resources.load(_PREFIX, list(REGISTRARS), Place(_REGION))
        return str(self._sqs("GetQueueUrl", {"QueueName": names.queue_name(queue)})["QueueUrl"])

    def _sqs(self, operation: str, content: Mapping[str, object]) -> dict[str, dict[str, str]]:
        headers = {
            "X-Amz-Target": f"AmazonSQS.{operation}",
            "Content-Type": "application/x-amz-json-1.0",
            "Authorization": f"AWS4-HMAC-SHA256 Credential=test/20260101/{_REGION}/sqs/aws4_request, Signature=0",
        }
        connection = HTTPConnection(urlsplit(self._emulator.endpoint).netloc, timeout=_TIMEOUT_S)
        try:
            connection.request("POST", "/", orjson.dumps(content), headers)
            reply = connection.getresponse()
            body = reply.read()
        except OSError as error:
            raise SiteError(f"{operation}: {error}") from error
        finally:
            connection.close()
        if reply.status != 200:
            raise SiteError(f"{operation}: {body.decode(errors='replace')}")
        answer: dict[str, dict[str, str]] = orjson.loads(body or b"{}")
        return answer
