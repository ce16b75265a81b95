"""The fuzzers: mutated documents and mutated receipt types, guided by coverage, for a bounded time.

An input that breaks a promise of ``lab.fuzz_targets`` is kept in ``var/fuzz``; given again with --input it is judged
alone. The last line is JSON; exit status 1 means that something broke.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lab.fuzz_targets import TOKENS, judge, seeds

NAMES = ("json", "xml", "types")
_KEPT = Path(__file__).parents[2] / "var" / "fuzz"
_GRACE_S = 60.0
_RUNS = re.compile(r"number_of_executed_units: *(\d+)")
_ERROR = re.compile(
    r"^\s*(?:=== Uncaught Python exception: ===\n)?([\w.]*(?:Error|Exception|Broken)\b.*)$", re.MULTILINE
)
_TAIL_CHARS = 3_000


def fuzz(name: str, seconds: int, seed: int) -> dict[str, Any]:
    """Fuzz one target in a process of its own; return its runs and, when something broke, the failure."""
    kept = _KEPT / name
    kept.mkdir(parents=True, exist_ok=True)
    before = set(kept.iterdir())
    with tempfile.TemporaryDirectory(prefix="receiptd-fuzz-") as scratch:
        corpus, words = _write_seeds(Path(scratch), name)
        options = {
            "artifact_prefix": f"{kept}/",
            "dict": words,
            "max_total_time": seconds,
            "seed": seed,
            "max_len": 16_384,
            "len_control": 0,
            "timeout": 30,
            "rss_limit_mb": 1_024,
            "print_final_stats": 1,
            "verbosity": 1,
        }
        command = [sys.executable, "-m", "lab.fuzz_child", name, *(f"-{key}={value}" for key, value in options.items())]
        try:
            done = subprocess.run(
                [*command, str(corpus)],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds + _GRACE_S,
                check=False,
            )
            output, status = done.stdout + done.stderr, done.returncode
        except subprocess.TimeoutExpired:
            output, status = f"did not end within {seconds + _GRACE_S:.0f} s", -1
    runs = _RUNS.search(output)
    report: dict[str, Any] = {"runs": int(runs[1]) if runs else 0}
    if status != 0 or not report["runs"]:
        errors = _ERROR.findall(output)
        report["failure"] = {
            "error": errors[-1][:300] if errors else f"exit status {status}",
            "inputs": sorted(str(path) for path in set(kept.iterdir()) - before),
        }
        print(output[-_TAIL_CHARS:], file=sys.stderr)
    return report


def _write_seeds(scratch: Path, name: str) -> tuple[Path, Path]:
    """Write the corpus and the dictionary (in libFuzzer's form) and return their places."""
    corpus = scratch / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds(name)):
        (corpus / str(number)).write_bytes(seed)
    words = scratch / "words"
    escaped = ["".join(f"\\x{byte:02x}" for byte in token.encode()) for token in TOKENS[name]]
    words.write_text("".join(f'"{word}"\n' for word in escaped), encoding="ascii")
    return corpus, words


def main() -> None:
    """Fuzz what is asked for and report."""
    parser = argparse.ArgumentParser(prog="fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("targets", nargs="*", choices=[[], *NAMES], help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (default: 0, another one each time)")
    parser.add_argument("--input", type=Path, metavar="FILE", help="judge this one input by the named target instead")
    arguments = parser.parse_args()
    names = list(dict.fromkeys(arguments.targets)) or list(NAMES)
    if arguments.input:
        for name in names:
            judge(name)(arguments.input.read_bytes())
        return
    if importlib.util.find_spec("atheris") is None:
        sys.exit("fuzz: atheris is not installed here (it exists for Linux); scripts/setup brings it where it can")
    each_s = max(1, round(arguments.seconds / len(names)))
    began = time.monotonic()
    reports = {}
    for name in names:
        print(f"{name}: {each_s} s", file=sys.stderr, flush=True)
        reports[name] = fuzz(name, each_s, arguments.seed)
        failure = reports[name].get("failure")
        said = (
            f"BROKEN: {failure['error']}; kept: {', '.join(failure['inputs']) or 'nothing'}" if failure else "all well"
        )
        print(f"{name:8} {reports[name]['runs']:>9} inputs   {said}", flush=True)
    broken = any("failure" in report for report in reports.values())
    print(json.dumps({"seconds": round(time.monotonic() - began, 1), "targets": reports, "broken": broken}))
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
