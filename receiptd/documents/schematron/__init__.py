"""Schematron (ISO/IEC 19757-3) for XML types: the optional extra ``receiptd[schematron]``."""

from receiptd.documents.schematron.validator import Schematron

__all__ = ["Schematron"]
