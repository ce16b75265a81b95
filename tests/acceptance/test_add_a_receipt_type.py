"""README.md, "Add a receipt type", followed to the letter: its files saved, its commands run, its output compared."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TITLE = "Add a receipt type"
BLOCK = re.compile(r"^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
MARK = "\x1e"


def section(readme: str) -> str:
    found = re.search(rf"^## {TITLE}\n(.*?)(?=^## |\Z)", readme, re.DOTALL | re.MULTILINE)
    assert found, f"README.md has no section {TITLE!r}"
    return found[1]


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Return the commands of a console block, each with the output that is shown for it."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def steps(readme: str) -> list[tuple[str, str]]:
    """Return what to do, in order: ("FILE", name and content) or ("RUN", a console block)."""
    found = []
    for block in BLOCK.finditer(section(readme)):
        if title := re.search(r'title="([^"]+)"', block["info"]):
            found.append((title[1], block["text"]))
        elif block["info"] == "console":
            found.append(("", block["text"]))
    return found


def shows(line: str) -> str:
    return " ".join(line.split())


def test_the_readme_can_be_followed(tmp_path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    plan = steps((ROOT / "README.md").read_text(encoding="utf-8"))
    script, expected = ["set -u"], []
    for name, text in plan:
        if name:
            script.append(f"mkdir -p '{Path(name).parent}'; cat > '{name}' <<'END-OF-FILE'\n{text}END-OF-FILE")
            continue
        for command, output in commands(text):
            expected.append((command, output))
            script.append(f"printf '{MARK}'\n{command}\nprintf '\\n{MARK}%d' $?")
    assert len([name for name, _ in plan if name]) >= 3
    assert any("types new" in command for command, _ in expected)
    assert any("types check" in command for command, _ in expected)
    done = subprocess.run(
        ["bash"],
        input="\n".join(script),
        cwd=tmp_path,
        env={"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "LANG": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
    said = done.stdout.split(MARK)[1:]
    assert len(said) == 2 * len(expected), done.stdout
    for (command, output), printed, status in zip(expected, said[::2], said[1::2], strict=True):
        assert status.strip() == "0", f"$ {command}\n{printed}"
        left = [shows(line) for line in printed.splitlines()]
        for line in map(shows, output):
            if line in {"", "..."}:
                continue
            at = next((index for index, found in enumerate(left) if found.startswith(line)), None)
            assert at is not None, f"$ {command}\nREADME.md shows {line!r}; what came is:\n{printed}"
            del left[: at + 1]
