"""The checker's rules: one function per question, each naming the invariant (design, section 3) that it holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from lab.history import LOST, Fate, History, Post, Read
from lab.index import Index, Kind, Violation

Rule = Callable[[History, Index], Iterator[Violation]]

_VERDICT_STATES = {"registered": "REGISTERED", "rejected": "REJECTED"}
_EVENTS = {"COMPLETE": "receipt.complete", "FAILED": "receipt.failed"}


def accepted_receipts_end(history: History, index: Index) -> Iterator[Violation]:
    """Invariants 1 and 2: what was answered 2xx is there, and has ended."""
    for receipt_id in index.accepted:
        final = history.finals.get(receipt_id)
        if final is None or final.status != 200:
            status = "was never read" if final is None else f"reads {final.status}"
            yield Violation(Kind.LOST, 1, receipt_id, f"was accepted, and {status} at the end")
        elif not final.terminal:
            parts = ", ".join(f"{name} {state}" for name, state in final.registrations.items())
            yield Violation(Kind.LOST, 2, receipt_id, f"is still {final.state} at the end ({parts})")


def fates_are_met(history: History, index: Index) -> Iterator[Violation]:
    """Invariant 6: a good document is COMPLETE, a rejected one FAILED."""
    for receipt_id, post in index.accepted.items():
        final = history.finals.get(receipt_id)
        fate = history.documents[post.digest].fate
        if final is not None and final.terminal and final.state != fate:
            yield Violation(Kind.UNEXPECTED, 6, receipt_id, f"ended {final.state}; its document asks for {fate}")


def answers_are_right(history: History, index: Index) -> Iterator[Violation]:
    """Invariants 3 and 13: only bad documents are refused, only good ones taken; a 503 or 429 says when to return."""
    del index
    for post in history.posts:
        document = history.documents[post.digest]
        subject = post.receipt_id or post.key or post.digest
        if post.status in {429, 503}:
            if not post.retry_after:
                yield Violation(Kind.UNEXPECTED, 13, subject, f"{post.status} without Retry-After")
        elif post.accepted:
            if document.fate is Fate.REFUSED:
                yield Violation(Kind.UNEXPECTED, 3, subject, f"answered {post.status}, though {document.why}")
            elif not post.receipt_id:
                yield Violation(Kind.UNEXPECTED, 1, subject, f"answered {post.status} without a receipt id")
        elif post.refused:
            if document.fate is not Fate.REFUSED:
                yield Violation(Kind.UNEXPECTED, 3, subject, f"a good document got {post.status}: {post.detail}")
        elif post.status != LOST:
            yield Violation(Kind.UNEXPECTED, 13, subject, f"answered {post.status}: {post.detail}")


def keys_are_idempotent(history: History, index: Index) -> Iterator[Violation]:
    """Invariant 4: one key, one receipt; the same body gets the same id, another body is refused."""
    del index
    by_key: dict[tuple[str, str], list[Post]] = defaultdict(list)
    for post in history.posts:
        if post.accepted:
            by_key[post.client, post.key or f"sha256:{post.digest}"].append(post)
    for (_, key), posts in by_key.items():
        ids = sorted({post.receipt_id for post in posts})
        if len(ids) > 1:
            yield Violation(Kind.DUPLICATE, 4, ids[0], f"key {key} was accepted as {len(ids)} receipts: {ids[1:]}")
        if len({post.digest for post in posts}) > 1:
            yield Violation(Kind.UNEXPECTED, 4, ids[0], f"key {key} was accepted with more than one body")


def refused_is_not_registered(history: History, index: Index) -> Iterator[Violation]:
    """Invariant 3: nothing answered 4xx is registered, and nothing that nobody posted."""
    for effect in history.effects:
        digest = index.source(effect, history)
        if not digest:
            yield Violation(Kind.UNEXPECTED, 3, effect.key, f"{effect.registrar} holds what nobody posted")
            continue
        answers = index.answered.get(digest, ())
        refused = any(p.refused for p in answers) and not any(p.accepted for p in answers)
        if refused or history.documents[digest].fate is Fate.REFUSED:
            yield Violation(Kind.UNEXPECTED, 3, effect.key, f"{effect.registrar} holds a document that was refused")


def registered_once(history: History, index: Index) -> Iterator[Violation]:
    """Invariants 2 and 5: one effect per registrar and receipt, always under the receipt's own id, same bytes."""
    keys: dict[tuple[str, str], list[str]] = defaultdict(list)
    for effect in history.effects:
        digest = index.source(effect, history)
        keys[effect.registrar, digest].append(effect.key)
        if effect.effects > 1:
            text = f"{effect.registrar} registered it {effect.effects} times"
            yield Violation(Kind.DUPLICATE, 5, effect.key, text)
        if set(effect.receipt_ids) - {effect.key}:
            text = f"{effect.registrar} saw it as {sorted(effect.receipt_ids)} under this key"
            yield Violation(Kind.UNEXPECTED, 5, effect.key, text)
        if len(effect.digests) > 1:
            text = f"{effect.registrar} was sent {len(effect.digests)} different bodies"
            yield Violation(Kind.UNEXPECTED, 9, effect.key, text)
    for (registrar, digest), found in keys.items():
        if digest and len(found) > 1:
            yield Violation(Kind.DUPLICATE, 5, found[0], f"{registrar} registered it again as {found[1:]}")
        ids = index.ids.get(digest, set())
        for key in found:
            if digest and ids and key not in ids:
                text = f"{registrar} registered {sorted(ids)} under this other key"
                yield Violation(Kind.DUPLICATE, 5, key, text)


def registrars_saw_all(history: History, index: Index) -> Iterator[Violation]:
    """Invariants 5 and 6: each registrar holds each accepted receipt; COMPLETE means that all of them confirmed."""
    for receipt_id in index.accepted:
        final = history.finals.get(receipt_id)
        if final is None or not final.settled:
            continue  # said already, or not decided yet
        verdicts = {}
        for registrar in history.registrars:
            effect = index.effects.get((registrar, receipt_id))
            if effect is None:
                yield Violation(Kind.UNEXPECTED, 5, receipt_id, f"ended {final.state}; {registrar} never saw it")
                continue
            verdicts[registrar] = effect.verdict
            shown = final.registrations.get(registrar, "missing")
            if shown != _VERDICT_STATES[effect.verdict]:
                text = f"the service says {registrar} {shown}, the registrar says {effect.verdict}"
                yield Violation(Kind.UNEXPECTED, 8, receipt_id, text)
        if final.state == "COMPLETE" and set(verdicts.values()) - {"registered"}:
            yield Violation(Kind.UNEXPECTED, 6, receipt_id, f"is COMPLETE, though {verdicts}")
        if final.state == "FAILED" and "rejected" not in verdicts.values():
            yield Violation(Kind.UNEXPECTED, 6, receipt_id, "is FAILED, though no registrar rejected it")


def registrations_settle(history: History, index: Index) -> Iterator[Violation]:
    """Invariants 5 and 11: no registration of an ended receipt is left lying."""
    for receipt_id in index.accepted:
        final = history.finals.get(receipt_id)
        if final is not None and final.terminal and not final.settled:
            parts = ", ".join(f"{name} {state}" for name, state in final.registrations.items())
            yield Violation(Kind.UNEXPECTED, 11, receipt_id, f"ended {final.state}, but {parts}")


def callbacks_are_judged(history: History, index: Index) -> Iterator[Violation]:
    """Invariant 8: a forged callback is never taken, a true one never refused."""
    del index
    for effect in history.effects:
        if effect.forged_taken:
            yield Violation(Kind.UNEXPECTED, 8, effect.key, f"a forged callback of {effect.registrar} was taken")
        if effect.callbacks_refused:
            yield Violation(Kind.UNEXPECTED, 8, effect.key, f"a true callback of {effect.registrar} was refused")


def states_never_go_back(history: History, index: Index) -> Iterator[Violation]:
    """Invariant 7: once a read has shown a terminal state, every later read shows the same."""
    del index
    for receipt_id, reads in _reads_by_id(history).items():
        state, shown_at = "", 0.0
        for read in sorted(reads, key=lambda r: r.ended):
            if read.status != 200:
                continue
            if state and read.started > shown_at and read.state != state:
                yield Violation(Kind.UNEXPECTED, 7, receipt_id, f"went from {state} to {read.state}")
                break
            if read.terminal and not state:
                state, shown_at = read.state, read.ended
        yield from _registrations_never_go_back(receipt_id, reads)


def _registrations_never_go_back(receipt_id: str, reads: list[Read]) -> Iterator[Violation]:
    final: dict[str, tuple[str, float]] = {}
    for read in sorted(reads, key=lambda r: r.ended):
        for registrar, state in read.registrations.items():
            known, shown_at = final.get(registrar, ("", 0.0))
            if known and read.started > shown_at and state != known:
                text = f"the registration with {registrar} went from {known} to {state}"
                yield Violation(Kind.UNEXPECTED, 7, receipt_id, text)
                return
            if not known and state in _VERDICT_STATES.values():
                final[registrar] = state, read.ended


def reads_are_fresh(history: History, index: Index) -> Iterator[Violation]:
    """Invariant 15: a read shows what was acknowledged before it began, to whomever."""
    for receipt_id, reads in _reads_by_id(history).items():
        post = index.accepted.get(receipt_id)
        if post is None:
            continue
        hook = index.hooks.get((post.client, f"msg_{receipt_id}"))
        for read in reads:
            if read.started <= post.ended or read.status == LOST:
                continue
            if read.status == 404:
                yield Violation(Kind.LOST, 15, receipt_id, "was accepted, and a later read did not find it")
            elif read.status not in {200, 304, 429, 503}:
                yield Violation(Kind.UNEXPECTED, 15, receipt_id, f"a status read was answered {read.status}")
            elif read.status == 200:
                if hook is not None and read.started > hook.first_seen and not read.terminal:
                    yield Violation(
                        Kind.UNEXPECTED, 15, receipt_id, f"read {read.state} after its webhook had gone out"
                    )
                yield from _shows_taken_verdicts(history, index, read)


def _shows_taken_verdicts(history: History, index: Index, read: Read) -> Iterator[Violation]:
    for registrar in history.registrars:
        effect = index.effects.get((registrar, read.receipt_id))
        if effect is None or not effect.verdict_taken_at or read.started <= effect.verdict_taken_at:
            continue
        shown = read.registrations.get(registrar, "missing")
        if shown != _VERDICT_STATES[effect.verdict]:
            text = f"read {registrar} {shown} after its callback ({effect.verdict}) was taken"
            yield Violation(Kind.UNEXPECTED, 15, read.receipt_id, text)


def bytes_are_kept(history: History, index: Index) -> Iterator[Violation]:
    """Invariant 9: the document reads back as it was posted."""
    for receipt_id, digest in history.contents.items():
        post = index.accepted.get(receipt_id)
        if post is not None and digest != post.digest:
            text = "its document reads back with other bytes" if digest else "its document could not be read back"
            yield Violation(Kind.UNEXPECTED, 9, receipt_id, text)


def webhooks_arrive(history: History, index: Index) -> Iterator[Violation]:
    """Invariant 10: each ended receipt's webhook was taken, well signed, under its stable id, telling the truth."""
    for receipt_id, post in index.accepted.items():
        final = history.finals.get(receipt_id)
        if post.client not in history.hooked or final is None or not final.terminal:
            continue
        hook = index.hooks.get((post.client, f"msg_{receipt_id}"))
        if hook is None or not hook.taken:
            what = "no webhook came" if hook is None else f"none of {hook.attempts} webhooks was taken"
            yield Violation(Kind.UNEXPECTED, 10, receipt_id, f"ended {final.state}, and {what}")
        elif hook.types != (_EVENTS[final.state],) or hook.states != (final.state,):
            yield Violation(Kind.UNEXPECTED, 10, receipt_id, f"is {final.state}, but webhooks said {hook.types}")
        elif final.delivery != "DELIVERED":
            text = f"its webhook was taken, and is shown as {final.delivery or 'not owed'}"
            yield Violation(Kind.UNEXPECTED, 10, receipt_id, text)


def webhooks_are_genuine(history: History, index: Index) -> Iterator[Violation]:
    """Invariants 3 and 10: every webhook is signed, fresh, and about a receipt that its client was promised."""
    for hook in history.hooks:
        subject = hook.webhook_id
        if hook.signatures_bad or not hook.judged:
            yield Violation(Kind.UNEXPECTED, 10, subject, f"{hook.signatures_bad} webhooks were not validly signed")
        if len(hook.receipt_ids) != 1 or hook.webhook_id != f"msg_{hook.receipt_ids[0]}":
            yield Violation(Kind.UNEXPECTED, 10, subject, f"is about {list(hook.receipt_ids)}")
            continue
        post = index.accepted.get(hook.receipt_ids[0])
        if post is not None and post.client != hook.client:
            yield Violation(Kind.UNEXPECTED, 10, subject, f"went to {hook.client}, not to {post.client}")
        if post is None and not _maybe_accepted(history, index, hook.receipt_ids[0]):
            yield Violation(Kind.UNEXPECTED, 3, subject, "is about a receipt that nobody was promised")


def books_balance(history: History, index: Index) -> Iterator[Violation]:
    """Invariant 16: the service lists what it accepted, each in the state it reads; and nothing unexplained."""
    listed = {receipt_id: state for rows in history.listed.values() for receipt_id, state in rows.items()}
    owners = {receipt_id: client for client, rows in history.listed.items() for receipt_id in rows}
    for receipt_id, post in index.accepted.items():
        final = history.finals.get(receipt_id)
        state = final.state if final is not None else "unread"
        if listed.get(receipt_id) != state:
            text = f"is listed as {listed.get(receipt_id, 'nothing')}, and reads {state}"
            yield Violation(Kind.UNBALANCED, 16, receipt_id, text)
        elif owners[receipt_id] != post.client:
            yield Violation(Kind.UNBALANCED, 16, receipt_id, f"is listed under {owners[receipt_id]}")
    refused = {p.receipt_id for p in history.posts if p.refused and p.receipt_id}
    undecided = sum(1 for digest in {p.digest for p in history.posts} if index.undecided(digest))
    strangers = [i for i in listed if i not in index.accepted and i not in refused]
    if len(strangers) > undecided:
        text = f"{len(strangers)} receipts are listed that no answer explains; {undecided} documents are undecided"
        yield Violation(Kind.UNBALANCED, 16, strangers[0], text)
    for receipt_id in (refused & set(listed)) - set(index.accepted):
        if listed[receipt_id] != "FAILED":
            yield Violation(Kind.UNBALANCED, 16, receipt_id, f"was refused, and is listed as {listed[receipt_id]}")


def _maybe_accepted(history: History, index: Index, receipt_id: str) -> bool:
    """Whether the receipt may come from a document whose answers were all lost."""
    sources = [index.source(e, history) for e in history.effects if e.key == receipt_id]
    return any(digest and index.undecided(digest) for digest in sources)


def _reads_by_id(history: History) -> dict[str, list[Read]]:
    reads: dict[str, list[Read]] = defaultdict(list)
    for read in history.reads:
        reads[read.receipt_id].append(read)
    for receipt_id, read in history.finals.items():
        reads[receipt_id].append(read)
    return reads


RULES: tuple[Rule, ...] = (
    accepted_receipts_end,
    fates_are_met,
    answers_are_right,
    keys_are_idempotent,
    refused_is_not_registered,
    registered_once,
    registrars_saw_all,
    registrations_settle,
    callbacks_are_judged,
    states_never_go_back,
    reads_are_fresh,
    bytes_are_kept,
    webhooks_arrive,
    webhooks_are_genuine,
    books_balance,
)
