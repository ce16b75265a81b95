"""What the daemons of the acceptance tests keep their data in: a directory each, or the resources of a prefix each."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from unittest.mock import patch

from botocore.session import get_session

from lab.emulator import ENDPOINT, shared_endpoint
from lab.emulator import environment as emulator_environment
from receiptd.cli.demo.processes import environment

_VISIBILITY_S = 3


class Backend(Protocol):
    """One kind of store. A directory names a store."""

    own_issuer: bool
    """Whether tokens come from the daemon: ids can be chosen, and who has no contract gets none."""

    def variables(self, directory: Path) -> dict[str, str]:
        """Return the settings that open the store of ``directory``."""
        ...

    def prepare(self, settings: Path, variables: Mapping[str, str]) -> None:
        """Make what a daemon with these settings does not make itself."""
        ...


class Embedded:
    """SQLite in the directory."""

    own_issuer = True

    def variables(self, directory: Path) -> dict[str, str]:
        return {"RECEIPTD_STORAGE__PATH": str(directory / "data")}

    def prepare(self, settings: Path, variables: Mapping[str, str]) -> None:
        pass


class Aws:
    """Tables, queues and a user pool of the directory's own on an emulator."""

    own_issuer = False

    def __init__(self) -> None:
        wanted = emulator_environment(shared_endpoint())
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
        self._hasten(variables)

    def _hasten(self, variables: Mapping[str, str]) -> None:
        """Let what a killed daemon had received come back after seconds, not after a minute."""
        with patch.dict(os.environ, variables):
            sqs = get_session().create_client(
                "sqs", region_name=variables["AWS_REGION"], endpoint_url=variables[ENDPOINT]
            )
            for url in sqs.list_queues(QueueNamePrefix=f"{variables['RECEIPTD_AWS__PREFIX']}-")["QueueUrls"]:
                sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": str(_VISIBILITY_S)})
            sqs.close()


BACKENDS = {"embedded": Embedded, "aws": Aws}
