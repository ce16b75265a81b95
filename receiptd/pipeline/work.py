"""What a durable message says: which receipt to take up, and what to do with it."""

from __future__ import annotations

from typing import Literal

import orjson

from receiptd.domain.values import value
from receiptd.ports import Message

Action = Literal["resume", "redrive", "abandon"]
_ACTIONS = frozenset({"resume", "redrive", "abandon"})


@value
class WorkItem:
    """A message's content: a receipt, and what to do with it (resume it, or an operator's redrive or abandon).

    ``version`` is that of the change that owed the message; 0: no change did, or it need not be waited for.
    """

    client_id: str
    receipt_id: str
    action: Action = "resume"
    reason: str = ""
    version: int = 0

    def message(self, queue: str, visible_at: float, *, dead: bool = False) -> Message:
        """Return the message that carries this item in ``queue``, visible at ``visible_at`` (seconds, epoch)."""
        body: dict[str, str | int] = {"client": self.client_id, "receipt": self.receipt_id}
        if self.version:
            body["version"] = self.version
        if self.action != "resume":
            body |= {"action": self.action, "reason": self.reason}
        return Message(queue, self.receipt_id, orjson.dumps(body).decode(), visible_at, dead)

    @classmethod
    def parse(cls, message: Message) -> WorkItem:
        """Read a message's body. Raises ValueError when it is not one of ours."""
        try:
            body = orjson.loads(message.body)
            action = body.get("action", "resume")
            if action not in _ACTIONS:
                raise ValueError(f"unknown action in a message of {message.queue}")
            reason, version = str(body.get("reason", "")), int(body.get("version", 0))
            return cls(str(body["client"]), str(body["receipt"]), action, reason, version)
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a message of {message.queue} is not a work item") from error
