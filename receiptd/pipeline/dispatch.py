"""The dispatcher: hands each committed receipt to whoever acts on its effects."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from receiptd.domain.lifecycle import Deliver, Effect, Submit
from receiptd.domain.receipt import Receipt
from receiptd.pipeline.delivery import Delivery
from receiptd.pipeline.lanes import Lane

_log = logging.getLogger("receiptd.dispatch")


class Dispatcher:
    """Listens to the writer; what it cannot place is brought back by the receipt's recovery message."""

    def __init__(self, lanes: Mapping[str, Lane], delivery: Delivery) -> None:
        self._lanes = lanes
        self._delivery = delivery

    def committed(self, before: Receipt | None, receipt: Receipt, effects: tuple[Effect, ...]) -> None:
        """Act on the effects of a commit (a writer's listener)."""
        del before
        for effect in effects:
            if isinstance(effect, Submit):
                lane = self._lanes.get(effect.registrar)
                if lane is None:
                    _log.error("registrar is not configured", extra={"registrar": effect.registrar})
                else:
                    lane.offer(receipt)
            elif isinstance(effect, Deliver):
                self._delivery.offer(receipt)
