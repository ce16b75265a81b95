"""A history, looked up by what the checker's rules ask for; and the violations that they find."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum

from lab.history import LOST, EffectSeen, History, HookSeen, Post


class Kind(StrEnum):
    """How bad news is counted."""

    LOST = "lost"
    DUPLICATE = "duplicate_effects"
    UNEXPECTED = "unexpected"
    UNBALANCED = "unbalanced"


@dataclass(frozen=True, slots=True)
class Violation:
    """One breach of an invariant. ``subject`` is the receipt id, or the key or digest of what never got one."""

    kind: Kind
    invariant: int
    subject: str
    text: str


@dataclass(slots=True)
class Index:
    """The history's cross-references."""

    accepted: dict[str, Post] = field(default_factory=dict)
    """By receipt id: the first answer that accepted it."""
    ids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By digest: the ids under which the document was accepted."""
    answered: dict[str, list[Post]] = field(default_factory=lambda: defaultdict(list))
    """By digest: the posts that got an answer, in order."""
    effects: dict[tuple[str, str], EffectSeen] = field(default_factory=dict)
    """By registrar and idempotency key."""
    digests: dict[str, str] = field(default_factory=dict)
    """By document number: the digest."""
    hooks: dict[tuple[str, str], HookSeen] = field(default_factory=dict)
    """By client and webhook id."""

    @classmethod
    def of(cls, history: History) -> Index:
        """Build the index."""
        index = cls()
        for post in sorted(history.posts, key=lambda p: p.ended):
            if post.status != LOST:
                index.answered[post.digest].append(post)
            if post.accepted and post.receipt_id:
                index.accepted.setdefault(post.receipt_id, post)
                index.ids[post.digest].add(post.receipt_id)
        index.effects = {(e.registrar, e.key): e for e in history.effects}
        index.digests = {d.number: d.digest for d in history.documents.values()}
        index.hooks = {(h.client, h.webhook_id): h for h in history.hooks}
        return index

    def source(self, effect: EffectSeen, history: History) -> str:
        """Return the digest of the document that an effect came from; empty when nobody posted such a one."""
        if history.registrars.get(effect.registrar) == "original":
            digest = effect.digests[0] if effect.digests else ""
            return digest if digest in history.documents else ""
        return self.digests.get(effect.number, "")

    def undecided(self, digest: str) -> bool:
        """Whether every answer to a document was lost or said "not now": anything may have become of it."""
        return not any(p.accepted or p.refused for p in self.answered.get(digest, ()))
