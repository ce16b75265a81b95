"""Schemas: JSON Schema and XSD, compiled once, with every reference kept in the receipt type's folder."""
