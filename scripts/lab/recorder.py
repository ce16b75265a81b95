"""The recorder: keeps what clients saw while a run goes on, and what is still outstanding."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from lab.history import LOST, Document, History, Post, Read


@dataclass(slots=True)
class Outstanding:
    """An accepted receipt that has not been seen at rest."""

    client: str
    receipt_id: str
    accepted_at: float
    ended: bool = False
    """Whether a read has shown its terminal state; its webhook may still be owed."""


@dataclass(slots=True)
class Recorder:
    """Writes the history. All calls come from one event loop."""

    history: History
    outstanding: dict[str, Outstanding] = field(default_factory=dict)
    """By receipt id, in the order of acceptance."""
    accepted: dict[str, str] = field(default_factory=dict)
    """By receipt id: the client."""
    lost_answers: int = 0
    statuses: dict[int, int] = field(default_factory=dict)

    def document(self, document: Document) -> None:
        """Note a document before it is posted."""
        self.history.documents[document.digest] = document

    def post(self, post: Post) -> None:
        """Note a POST and its answer."""
        self.history.posts.append(post)
        self.statuses[post.status] = self.statuses.get(post.status, 0) + 1
        if post.status == LOST:
            self.lost_answers += 1
        if post.accepted and post.receipt_id and post.receipt_id not in self.accepted:
            self.accepted[post.receipt_id] = post.client
            self.outstanding[post.receipt_id] = Outstanding(post.client, post.receipt_id, post.ended)

    def read(self, read: Read) -> None:
        """Note a status read; a receipt at rest is no longer outstanding."""
        if read.status == LOST:
            return
        self.history.reads.append(read)
        receipt = self.outstanding.get(read.receipt_id)
        if receipt is not None and read.terminal:
            receipt.ended = True
            if read.at_rest:
                del self.outstanding[read.receipt_id]

    def unfinished(self, receipt_ids: Iterable[str] | None = None) -> list[str]:
        """Return which receipts (of these, or all) have not been seen terminal."""
        chosen = self.outstanding if receipt_ids is None else receipt_ids
        found = (self.outstanding.get(receipt_id) for receipt_id in chosen)
        return [one.receipt_id for one in found if one is not None and not one.ended]

    def summary(self) -> str:
        """Return the totals for a progress line."""
        statuses = {str(status or "lost"): count for status, count in sorted(self.statuses.items())}
        return f"accepted={len(self.accepted)} outstanding={len(self.outstanding)} posts={json.dumps(statuses)}"
