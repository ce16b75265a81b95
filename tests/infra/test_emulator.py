"""scripts/emulator: it ends with what started it, listens on loopback alone, and says what it uses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / "scripts" / "emulator")


def processes_of(session):
    """Return the living processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) in session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_gone(session, within_s=10.0):
    deadline = time.monotonic() + within_s
    while (left := processes_of(session)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def start(*options, command):
    return subprocess.Popen([SCRIPT, "run", *options, "--", *command], stdout=subprocess.PIPE, text=True)


REPORT = ["sh", "-c", "curl -s $RECEIPTD_AWS__ENDPOINT_URL/_ministack/health >/dev/null; env; echo ready; sleep 60"]


def facts(process):
    """Return the variables of the command, and the sessions of everything below the run."""
    variables = {}
    for line in process.stdout:
        if line.strip() == "ready":
            break
        name, _, value = line.strip().partition("=")
        variables[name] = value
    sessions, waiting = set(), [process.pid]
    while waiting:
        pid = waiting.pop()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        waiting += map(int, children)
        sessions |= {os.getsid(int(child)) for child in children}
    return variables, sessions - {os.getsid(0)}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_everything_ends_with_the_run(number):
    process = start(command=REPORT)
    variables, sessions = facts(process)
    assert variables["RECEIPTD_AWS__ENDPOINT_URL"].startswith("http://127.0.0.1:")
    assert variables["AWS_ACCESS_KEY_ID"]
    assert processes_of(sessions)
    process.send_signal(number)
    process.wait(10)
    process.stdout.close()
    assert wait_gone(sessions) == []


def test_it_listens_on_loopback_alone():
    process = start(command=REPORT)
    _, sessions = facts(process)
    listening = {pid: addresses(pid) for pid in processes_of(sessions)}
    process.terminate()
    process.wait(10)
    process.stdout.close()
    assert wait_gone(sessions) == []
    found = [address for each in listening.values() for address in each]
    assert found
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}
    assert {address.split(":")[0] for address in found} <= loopback, found


def addresses(pid):
    """Return the addresses (as /proc/net has them) that a process listens on."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        target = str(link.readlink()) if link.is_symlink() else ""
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.append(fields[1])
    return found


def test_the_status_is_the_commands():
    done = subprocess.run(
        [SCRIPT, "run", "--dynamodb", "ministack", "--", "sh", "-c", "exit 3"], capture_output=True, check=False
    )
    assert done.returncode == 3


def test_without_java_it_says_so_and_goes_on(tmp_path):
    for tool in ("sh", "env", "dirname"):
        (tmp_path / tool).symlink_to(Path("/bin") / tool if Path("/bin", tool).exists() else Path("/usr/bin") / tool)
    env = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(
        [SCRIPT, "run", "--", "sh", "-c", "echo here"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "here\n"
    assert "no DynamoDB Local (java is not installed)" in done.stderr


def test_in_the_background():
    command = [SCRIPT, "start", "--port", "0", "--dynamodb", "ministack"]
    if subprocess.run([SCRIPT, "status"], capture_output=True, check=False).returncode == 0:
        pytest.skip("one is running already")
    try:
        subprocess.run(command, capture_output=True, check=True)
        running = subprocess.run([SCRIPT, "status"], capture_output=True, check=True)
        assert json.loads(running.stdout)["dynamodb"] == "ministack"
    finally:
        subprocess.run([SCRIPT, "stop"], capture_output=True, check=True)
    assert subprocess.run([SCRIPT, "status"], capture_output=True, check=False).returncode == 1
