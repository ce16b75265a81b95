"""Makes the kits of these tests importable, and Schematron rules."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))


@pytest.fixture
def rules(tmp_path):
    """Compiles a schema (or a stylesheet), with the files beside it; its processes end with the test."""
    from receiptd.documents.schematron import Schematron  # noqa: PLC0415 - an extra, which may be missing

    made = []

    def compile_(text: str, name: str = "rules.sch", **beside: str):
        for file, content in {name: text, **beside}.items():
            path = tmp_path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, "utf-8")
        made.append(Schematron([tmp_path / name], tmp_path))
        return made[-1]

    yield compile_
    for schematron in made:
        schematron._saxon.stop()
