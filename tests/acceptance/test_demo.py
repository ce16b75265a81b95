"""The demo, as a stranger runs it: its books, and that it leaves no process behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from backends import Backend

from receiptd.cli.demo.books import Outcome, Posting, balanced, books
from receiptd.cli.demo.documents import postings
from receiptd.cli.demo.processes import environment

ROOT = Path(__file__).parents[2]


def _demo(directory: Path, backend: Backend, *arguments: str) -> subprocess.Popen[str]:
    variables = backend.variables(directory)
    config = [] if backend.own_issuer else ["--config", str(ROOT / "config" / "localstack.toml")]
    return subprocess.Popen(
        [sys.executable, "-m", "receiptd", "demo", "--port", "0", *config, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment({**variables, "TMPDIR": str(directory)}),
    )


def _processes(output: str) -> dict[str, int]:
    return {name: int(pid) for name, pid in re.findall(r"^(\w+) .*\(process (\d+)", output, re.MULTILINE)}


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_the_demo_posts_all_kinds_and_its_books_balance(tmp_path: Path, backend: Backend):
    demo = _demo(tmp_path, backend, "--exit")
    out, err = demo.communicate(timeout=120)
    assert demo.returncode == 0, out + err
    totals = json.loads(out.splitlines()[-1])
    assert totals["posted"] >= 40
    assert totals["posted"] == totals["accepted"] + totals["rejected"]
    assert totals["accepted"] == totals["complete"] + totals["failed"] == totals["webhooks_verified"]
    assert totals["failed"] >= 1
    assert totals["rejected"] >= 5
    assert totals["replayed"] == 1
    assert totals["processing"] == totals["lost"] == 0
    for shown in ("retail-receipt grocery", "windows-1251", "prro-check", "entity bomb", "rule:total-equals-lines"):
        assert shown in out
    processes = _processes(out)
    assert set(processes) == {"daemon", "registrars"}
    assert all(_gone(pid) for pid in processes.values())


@pytest.fixture
def begun(tmp_path: Path, backend: Backend) -> Iterator[Callable[[], tuple[subprocess.Popen[str], dict[str, int]]]]:
    """Start a demo and read its output up to its first postings."""
    started: list[subprocess.Popen[str]] = []

    def begin() -> tuple[subprocess.Popen[str], dict[str, int]]:
        demo = _demo(tmp_path, backend)
        started.append(demo)
        lines = []
        for line in demo.stdout:
            lines.append(line)
            if line.startswith("posting"):
                return demo, _processes("".join(lines))
        raise AssertionError(f"it ended early:\n{''.join(lines)}{demo.stderr.read()}")

    yield begin
    for demo in started:
        demo.terminate()
        demo.communicate(timeout=40)


def test_ctrl_c_ends_every_process(begun):
    demo, processes = begun()
    assert set(processes) == {"daemon", "registrars"}
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=40)
    assert demo.returncode == 1  # it had not come to its end
    assert all(_gone(pid) for pid in processes.values())


def test_a_dead_daemon_is_told_with_its_log_and_ends_the_demo(begun):
    demo, processes = begun()
    os.kill(processes["daemon"], signal.SIGKILL)
    _, err = demo.communicate(timeout=40)
    assert demo.returncode == 1
    assert "receiptd: daemon ended by itself" in err
    assert "Traceback" not in err
    assert _gone(processes["registrars"])


def test_there_are_three_types_and_every_kind_of_trouble():
    mixed = postings("1")
    titles = [posting.title for posting in mixed]
    assert len(mixed) >= 40
    for type_id in ("retail-receipt ", "retail-receipt-xml ", "prro-check "):
        assert sum(title.startswith(type_id) for title in titles) >= 12
    expected = [posting.expected for posting in mixed]
    assert {"COMPLETE", "FAILED", "refused", "replayed"} == set(expected)
    assert len({posting.key for posting in mixed}) == len(mixed) - 2  # a retry, and a key used twice
    assert any(b"windows-1251" in posting.body and posting.expected == "COMPLETE" for posting in mixed)


POSTING = Posting(title="t", body=b"{}", content_type="application/json", key="k")


def _outcome(answered: int, state: str = "", receipt_id: str = "r1", **more: bool) -> Outcome:
    receipt = {"status": state, "findings": []} if state else None
    return Outcome(POSTING, answered, {"id": receipt_id}, receipt=receipt, **more)


@pytest.mark.parametrize(
    ("outcomes", "verified"),
    [
        pytest.param([_outcome(202)], {"r1"}, id="a receipt that is unknown afterwards is lost"),
        pytest.param([_outcome(202, "PROCESSING")], set(), id="one that did not end"),
        pytest.param([_outcome(202, "COMPLETE")], set(), id="a webhook that did not come"),
        pytest.param([_outcome(202, "COMPLETE")], {"r1", "r2"}, id="a webhook of nobody's receipt"),
        pytest.param([_outcome(202, "FAILED")], {"r1"}, id="a good receipt that failed"),
        pytest.param([_outcome(422)], set(), id="a good receipt that was refused"),
        pytest.param([_outcome(500)], set(), id="an answer that says nothing"),
        pytest.param([_outcome(0)], set(), id="no answer at all"),
    ],
)
def test_books_that_do_not_balance(outcomes, verified):
    assert not balanced(books(outcomes, verified))


def test_books_that_balance():
    """Invariant 16."""
    totals = books([_outcome(202, "COMPLETE")], {"r1"})
    assert balanced(totals)
    assert (totals["posted"], totals["accepted"], totals["complete"], totals["webhooks_verified"]) == (1, 1, 1, 1)
