"""What the daemons of the acceptance tests keep their data in: a directory each, or the resources of a prefix each."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from lab.emulator import Emulator
from lab.emulator import environment as emulator_environment
from receiptd.cli.demo.processes import environment

_ENDPOINT = "RECEIPTD_AWS__ENDPOINT_URL"


class Backend(Protocol):
    """One kind of store. A directory names a store."""

    chooses_ids: bool
    """Whether a client's id can be chosen."""

    def variables(self, directory: Path) -> dict[str, str]:
        """Return the settings that open the store of ``directory``."""
        ...

    def prepare(self, settings: Path, variables: Mapping[str, str]) -> None:
        """Make what a daemon with these settings does not make itself."""
        ...

    def close(self) -> None:
        """End what was started for it."""
        ...


class Embedded:
    """SQLite in the directory."""

    chooses_ids = True

    def variables(self, directory: Path) -> dict[str, str]:
        return {"RECEIPTD_STORAGE__PATH": str(directory / "data")}

    def prepare(self, settings: Path, variables: Mapping[str, str]) -> None:
        pass

    def close(self) -> None:
        pass


class Aws:
    """Tables, queues and a user pool of the directory's own on an emulator."""

    chooses_ids = False

    def __init__(self) -> None:
        self._emulator = None if _ENDPOINT in os.environ else Emulator()
        endpoint = os.environ[_ENDPOINT] if self._emulator is None else self._emulator.endpoint
        wanted = emulator_environment(endpoint)
        self._variables = {name: value for name, value in wanted.items() if name.startswith(("AWS_", "RECEIPTD_AWS__"))}
        self._prepared: set[tuple[Path, str]] = set()

    def variables(self, directory: Path) -> dict[str, str]:
        prefix = f"t{hashlib.sha256(str(directory).encode()).hexdigest()[:12]}"
        return {**self._variables, "RECEIPTD_STORAGE__BACKEND": "aws", "RECEIPTD_AWS__PREFIX": prefix}

    def prepare(self, settings: Path, variables: Mapping[str, str]) -> None:
        key = settings, variables["RECEIPTD_AWS__PREFIX"]
        if key in self._prepared:
            return
        self._prepared.add(key)
        done = subprocess.run(
            [sys.executable, "-m", "receiptd", "aws", "provision", "--config", str(settings)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=environment(variables),
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def close(self) -> None:
        if self._emulator is not None:
            self._emulator.close()


BACKENDS = {"embedded": Embedded, "aws": Aws}
