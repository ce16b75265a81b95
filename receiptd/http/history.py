"""A client's receipts, page by page, in the order of their acceptance day and id."""

from __future__ import annotations

from receiptd.domain.contract import Contract
from receiptd.http import fields, representations
from receiptd.http.message import Request, Response
from receiptd.http.paging import NDJSON, Pages, read_query
from receiptd.http.receipts import not_acceptable

PATH = "/v1/receipts"
_OFFERS = ("application/json", NDJSON)


class History:
    """The call that pages through receipts."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def page(self, request: Request, contract: Contract) -> Response:
        """Give a page as one JSON object, or as NDJSON with the next page in the Link header only."""
        media_type = fields.negotiate(request.headers.get("accept"), _OFFERS)
        if media_type is None:
            raise not_acceptable(_OFFERS)
        query = read_query(request, contract.client_id)
        return await self._pages.answer(PATH, "receipts", query, representations.full, media_type)
