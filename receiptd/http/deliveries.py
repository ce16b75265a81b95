"""Webhooks as their client sees them: what was sent, and once more."""

from __future__ import annotations

from receiptd.domain.contract import Contract
from receiptd.domain.identifiers import RECEIPT_ID
from receiptd.domain.lifecycle import ReplayAsked
from receiptd.http import representations
from receiptd.http.answers import json_answer
from receiptd.http.message import Request, Response
from receiptd.http.paging import Pages, read_query
from receiptd.http.problems import ProblemError
from receiptd.http.receipts import no_receipt, require_json
from receiptd.pipeline.writer import Writer
from receiptd.ports import Clock

PATH = "/v1/webhooks/deliveries"


class Deliveries:
    """The calls about webhooks."""

    def __init__(self, pages: Pages, writer: Writer, clock: Clock) -> None:
        self._pages = pages
        self._writer = writer
        self._clock = clock

    async def page(self, request: Request, contract: Contract) -> Response:
        """Give a page of the webhooks that are owed or were sent."""
        require_json(request)
        query = read_query(request, contract.client_id, with_delivery=True)
        return await self._pages.answer(PATH, "deliveries", query, representations.delivery, "application/json")

    async def replay(self, request: Request, contract: Contract) -> Response:
        """Send a receipt's webhook once more, under the same ``webhook-id``; 202 once that is durable."""
        require_json(request)
        receipt_id = request.params[0]
        if not RECEIPT_ID.match(receipt_id):
            raise no_receipt()
        receipt = await self._writer.apply(contract.client_id, receipt_id, ReplayAsked(self._clock.now()))
        if receipt.delivery is None:
            raise ProblemError(
                "no-webhook", "The receipt has not ended yet, or it ended without a webhook address; nothing was sent."
            )
        return json_answer(202, representations.delivery(receipt))
