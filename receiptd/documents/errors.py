"""Why a document is refused before anything is stored, or cannot be written as a template says."""

from __future__ import annotations

from receiptd.domain.errors import ReceiptdError

_DETAIL_MAX_CHARS = 300


class DocumentError(ReceiptdError):
    """The document cannot be taken: not well-formed, of no known type, too large. Nothing is stored.

    The texts may hold names that the document uses (elements, keys), never its values; both are bounded.

    Attributes:
        status: the HTTP status that says so: 400, 413, 415, 422, or 503 when the type itself is broken.
        code: stable and machine-readable, such as ``json-malformed``.
        detail: what is wrong and what would mend it, at most 300 characters.
        where: the place (``line 3, column 7``), or empty for the whole document.
    """

    code: str

    def __init__(self, status: int, code: str, detail: str, where: str = "") -> None:
        self.status = status
        self.code = code
        self.detail = bounded(detail)
        self.where = bounded(where)
        super().__init__(f"{code}: {self.detail}")


class RenderingError(ReceiptdError):
    """A template did not make what it promises. The text names it and the line, and holds no value of the receipt."""

    code = "rendering-failed"


def bounded(text: str) -> str:
    """Return ``text``, cut to 300 characters (with an ellipsis) when it is longer."""
    return text if len(text) <= _DETAIL_MAX_CHARS else text[: _DETAIL_MAX_CHARS - 1] + "…"
