"""Which backend the acceptance tests run on: ``pytest tests/acceptance --backend aws``."""

from __future__ import annotations


def pytest_addoption(parser):
    parser.addoption(
        "--backend",
        choices=("embedded", "aws"),
        default="embedded",
        help="What the daemons of tests/acceptance keep their data in. aws: an emulator, started where "
        "RECEIPTD_AWS__ENDPOINT_URL names none.",
    )
