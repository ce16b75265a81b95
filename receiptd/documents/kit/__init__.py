"""The kit of who writes receipt types: ``check`` runs a folder's samples, ``draft`` begins a folder from samples.

Nothing here is on the way of a receipt.
"""

FILL_IN = "FILL IN"
"""What begins a place that a draft leaves to its author."""
