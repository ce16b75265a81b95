"""``python -m receiptd``: the same as the console script."""

from __future__ import annotations

from receiptd.cli import main

if __name__ == "__main__":
    main()
