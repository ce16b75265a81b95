"""Templates: what a registrar gets where it is neither the document nor the canonical receipt."""

from receiptd.documents.templates.template import RENDERED_MAX_BYTES, Template, facts_of

__all__ = ["RENDERED_MAX_BYTES", "Template", "facts_of"]
