"""Where the queues are in SQS: each name's URL, asked for once, and what their failures mean to the ports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from receiptd.adapters.aws.errors import AwsError
from receiptd.adapters.aws.sqs import Sqs
from receiptd.domain.errors import StorageError

MISSING: Final = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"})
"""What SQS calls a queue that is not there."""


class QueueUrls:
    """The URLs of live queues and of their dead letters.

    Args:
        sqs: the calls.
        name_of: from a queue's name here (``registrar.tax``) to its name in SQS.
        dead_name_of: the same, to the queue of its dead letters.
        timeout_s: the deadline of asking for a URL.
    """

    def __init__(
        self, sqs: Sqs, name_of: Callable[[str], str], dead_name_of: Callable[[str], str], *, timeout_s: float
    ) -> None:
        self._sqs = sqs
        self._name_of = name_of
        self._dead_name_of = dead_name_of
        self._timeout_s = timeout_s
        self._urls: dict[str, str] = {}

    async def of(self, queue: str, *, dead: bool = False) -> str:
        """Return the URL of ``queue``, or of its dead letters. Raises AwsError."""
        name = self._name(queue, dead=dead)
        url = self._urls.get(name)
        if url is None:
            url = self._urls[name] = await self._sqs.queue_url(name, timeout_s=self._timeout_s)
        return url

    def fault(self, queue: str, error: AwsError, *, dead: bool = False) -> StorageError:
        """Return what ``error`` is to a caller of the ports. A queue that is gone is asked for anew next time."""
        name = self._name(queue, dead=dead)
        if error.code in MISSING:
            self._urls.pop(name, None)
            fault = StorageError(f"there is no queue {name}: receiptd aws provision makes it")
        else:
            fault = StorageError(f"queue {name}: {error}")
        fault.__cause__ = error
        return fault

    def _name(self, queue: str, *, dead: bool) -> str:
        return self._dead_name_of(queue) if dead else self._name_of(queue)
