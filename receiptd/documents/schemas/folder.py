"""The folder of a receipt type as the only place that a schema's references reach: nothing is ever fetched."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit


def locate(folder: Path, uri: str) -> Path:
    """Return the file of ``folder`` that ``uri`` (a path, or a URL of any scheme) stands for: by its longest tail.

    ``https://example.org/schemas/common/money.json`` is ``common/money.json`` in the folder, or else ``money.json``.
    Nothing is fetched, and a link that leads out of the folder is not followed.

    Raises:
        FileNotFoundError: the folder has no such file.
    """
    root = folder.resolve()
    steps = [step for step in unquote(urlsplit(uri).path).split("/") if step not in ("", ".", "..")]
    for start in range(len(steps)):
        path = root.joinpath(*steps[start:]).resolve()
        if path.is_relative_to(root) and path.is_file():
            return path
    raise FileNotFoundError(f"{uri} is no file of {folder}; put it there, for nothing is fetched")
