"""The fuzzers, for a few seconds each: they run, and what they try gets a verdict and nothing else."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[2] / "scripts" / "fuzz"


def fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([FUZZ, *arguments], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris is not installed (it exists for Linux)"
)
@pytest.mark.parametrize("target", ["json", "xml", "types"])
def test_fuzzing_finds_nothing(target):
    done = fuzz(target, "--seconds", "4", "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["broken"] is False
    assert report["targets"][target]["runs"] > 100


def test_one_input_is_judged_alone(tmp_path):
    document = tmp_path / "document.json"
    document.write_bytes(b'{"type":')
    assert fuzz("json", "--input", str(document)).returncode == 0
