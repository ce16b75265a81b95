"""A URL stands for a file of the folder."""

from __future__ import annotations

import pytest

from receiptd.documents.schemas.folder import locate


def test_locate_takes_the_longest_tail_of_a_url(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.json").write_text("")
    (tmp_path / "b.json").write_text("")
    assert locate(tmp_path, "https://example.org/x/a/b.json?v=1#/d") == (tmp_path / "a" / "b.json").resolve()
    assert locate(tmp_path, "urn/b.json") == (tmp_path / "b.json").resolve()
    with pytest.raises(FileNotFoundError):
        locate(tmp_path, "https://example.org/a/")
