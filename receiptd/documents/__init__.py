"""Documents: from received bytes to a checked, canonical receipt. Pure: no input or output after the types are loaded.

``ReceiptTypes.check`` is the whole of it for a caller; the bytes that it is given are never changed.
"""

from receiptd.documents.catalogue import BUNDLED_ROOT, ReceiptTypes
from receiptd.documents.errors import DocumentError
from receiptd.documents.kit.samples import run_samples
from receiptd.documents.receipt_type import Checked, ReceiptType, load_type

__all__ = [
    "BUNDLED_ROOT",
    "Checked",
    "DocumentError",
    "ReceiptType",
    "ReceiptTypes",
    "load_type",
    "run_samples",
]
