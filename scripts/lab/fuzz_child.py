"""One fuzzer's process: coverage of our own modules guides it, and it ends with the time, or with the first failure."""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    """Fuzz the target that the first argument names; the others are libFuzzer's own."""
    name = sys.argv[1]
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["receiptd.documents"]):  # before anything imports them
        judge = importlib.import_module("lab.fuzz_targets").judge(name)
    atheris.Setup([sys.argv[0], *sys.argv[2:]], judge)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
