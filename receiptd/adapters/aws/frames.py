"""What a message is in SQS: a body of compact JSON that carries its key, its text and when it is due."""

from __future__ import annotations

from typing import Any

import orjson

from receiptd.ports import Message

# JSON may hold these as they are, a message of SQS may not.
_FORBIDDEN = {0xFFFE: "\\ufffe", 0xFFFF: "\\uffff"}


def frame(message: Message) -> str:
    """Return the body that carries ``message``; its queue is where it is sent to."""
    content: dict[str, Any] = {"k": message.key, "b": message.body}
    if message.visible_at:
        content["d"] = round(message.visible_at, 3)
    body = orjson.dumps(content).decode()
    return body if body.isascii() else body.translate(_FORBIDDEN)


def unframe(queue: str, body: str, *, dead: bool = False) -> Message | None:
    """Return the message that ``body`` carries, or None when it is none of ours."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(content, dict):
        return None
    key, text, due_at = content.get("k"), content.get("b"), content.get("d", 0.0)
    if not (isinstance(key, str) and isinstance(text, str) and isinstance(due_at, int | float)):
        return None
    return Message(queue, key, text, due_at, dead)
