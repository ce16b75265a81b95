"""Batches that succeed in part: entries are taken out before the emulator sees them, or their success is denied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from lab.aws_deliveries import true_handle
from lab.aws_faults import Faults, Rates

Content: TypeAlias = dict[str, Any]

_MESSAGES = frozenset({"SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"})
_STATEMENT_CODES = {
    "entry_throttle": ("ThrottlingError", "ProvisionedThroughputExceeded"),
    "entry_conflict": ("TransactionConflict",),
    "entry_error": ("InternalServerError",),
    "entry_error_after_effect": ("InternalServerError",),
}
_LIES = "entry_error_after_effect"


@dataclass(frozen=True, slots=True)
class Plan:
    """What the emulator is asked (None: nothing), and how its answer is changed."""

    content: Content | None
    laid_over: Callable[[Content], Content]


class EntryFaults:
    """Plans for single calls."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def plan(self, operation: str, rates: Rates, body: bytes) -> Plan | None:
        """Return the plan for a call, or None when it has no entries."""
        if operation in _MESSAGES:
            return self._messages(operation, rates, orjson.loads(body))
        if operation == "BatchExecuteStatement":
            return self._statements(rates, orjson.loads(body))
        if operation == "BatchGetItem":
            return self._keys(rates, orjson.loads(body))
        return None

    def _messages(self, operation: str, rates: Rates, content: Content) -> Plan:
        faults = ("entry_error", _LIES) if operation == "SendMessageBatch" else ("entry_error", _LIES, "entry_stale")
        forwarded, failed, denied = [], [], []
        for entry in content["Entries"]:
            fault = self._faults.draw(rates, faults, operation)
            if fault:
                failed.append(_failed(entry["Id"], stale=fault == "entry_stale"))
            if fault == _LIES:
                denied.append(entry["Id"])
            if fault in {"", _LIES}:
                handle = {"ReceiptHandle": true_handle(entry["ReceiptHandle"])} if "ReceiptHandle" in entry else {}
                forwarded.append({**entry, **handle})

        def laid_over(answer: Content) -> Content:
            done = [one for one in answer.get("Successful") or () if one["Id"] not in denied]
            refused = [one for one in answer.get("Failed") or () if one["Id"] not in denied]
            return {**answer, "Successful": done, "Failed": refused + failed}

        return Plan({**content, "Entries": forwarded} if forwarded else None, laid_over)

    def _statements(self, rates: Rates, content: Content) -> Plan:
        faults = tuple(_STATEMENT_CODES)
        drawn = [self._faults.draw(rates, faults, "BatchExecuteStatement") for _ in content["Statements"]]
        forwarded = [one for one, fault in zip(content["Statements"], drawn, strict=True) if fault in {"", _LIES}]

        def laid_over(answer: Content) -> Content:
            given = iter(answer.get("Responses") or ())
            responses = []
            for fault in drawn:
                truth = next(given) if fault in {"", _LIES} else None
                responses.append(self._statement_failed(fault) if fault else truth)
            return {**answer, "Responses": responses}

        return Plan({**content, "Statements": forwarded} if forwarded else None, laid_over)

    def _statement_failed(self, fault: str) -> Content:
        code = self._faults.rng.choice(_STATEMENT_CODES[fault])
        return {"Error": {"Code": code, "Message": "as the proxy's rates ask"}}

    def _keys(self, rates: Rates, content: Content) -> Plan:
        forwarded: Content = {}
        left: Content = {}
        for table, asked in content["RequestItems"].items():
            sides: Mapping[bool, list[Any]] = {True: [], False: []}
            for key in asked["Keys"]:
                sides[self._faults.chance(rates, "entry_throttle", "BatchGetItem")].append(key)
            for target, keys in ((left, sides[True]), (forwarded, sides[False])):
                if keys:
                    target[table] = {**asked, "Keys": keys}

        def laid_over(answer: Content) -> Content:
            unprocessed = dict(answer.get("UnprocessedKeys") or {})
            for table, asked in left.items():
                keys = [*unprocessed.get(table, {}).get("Keys", ()), *asked["Keys"]]
                unprocessed[table] = {**asked, "Keys": keys}
            return {"Responses": {}, **answer, "UnprocessedKeys": unprocessed}

        return Plan({**content, "RequestItems": forwarded} if forwarded else None, laid_over)


def _failed(identity: str, *, stale: bool) -> Content:
    if stale:
        return {"Id": identity, "SenderFault": True, "Code": "ReceiptHandleIsInvalid", "Message": "it is stale"}
    return {"Id": identity, "SenderFault": False, "Code": "InternalError", "Message": "as the proxy's rates ask"}
