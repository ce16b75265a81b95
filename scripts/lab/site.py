"""A site to run at: a temporary directory with its own registrars, free loopback ports, and the daemon's settings."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.children import Child, free_ports
from receiptd.domain.signatures import new_secret

ROOT = Path(__file__).resolve().parents[2]
REGISTRARS = {"tax": "original", "warehouse": "canonical"}
_COMMAND_TIMEOUT_S = 60.0


SAME_ALL_DAY: Final = {"HTTP__KEY_OVERLAP_HOURS": "0"}
"""Settings of a benchmark: without it the first hours of a UTC day cost a read more."""


class SiteError(Exception):
    """A command of the daemon's failed, or it did not come up; the message holds what it said."""


@dataclass(frozen=True, slots=True)
class Client:
    """A client under contract."""

    client_id: str
    client_secret: str
    webhook_secret: str
    has_webhook: bool
    token_url: str = ""
    """Where it gets its tokens; empty: from the daemon."""
    hook: str = ""
    """What the webhook endpoints call it."""


class Site:
    """One site.

    ``settings`` become RECEIPTD_* variables; ``registrar`` is further TOML of every registrar's file. With several
    ``daemons`` somebody must listen at ``daemon_port`` and hand on to ``daemon_ports``.
    """

    chooses_ids = True
    """Whether a client's id can be chosen."""

    def __init__(
        self, *, settings: Mapping[str, str], registrar: str = "", deadline_s: float = 30.0, daemons: int = 1
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="receiptd-lab-"))
        self.daemon_port, self.peers_port, *more = free_ports(2 if daemons == 1 else 2 + daemons)
        self.daemon_ports = tuple(more) or (self.daemon_port,)
        self.secrets = {name: new_secret() for name in REGISTRARS}
        self._settings = {
            "HTTP__PORT": str(self.daemon_port),
            "HTTP__PUBLIC_URL": self.daemon_url,
            "STORAGE__PATH": str(self.folder / "store"),
            "REGISTRARS_DIR": str(self.folder / "registrars"),
            "WEBHOOKS__ALLOW_LOOPBACK": "true",
            "WEBHOOKS__ALLOW_HTTP": "true",
            "LOG__FORMAT": "json",
            **settings,
        }
        (self.folder / "registrars").mkdir()
        for name, sends in REGISTRARS.items():
            (self.folder / "registrars" / f"{name}.toml").write_text(
                self._registrar(name, sends, registrar, deadline_s)
            )

    @property
    def daemon_url(self) -> str:
        """Where the daemon, or all of them, are reached."""
        return f"http://127.0.0.1:{self.daemon_port}"

    @property
    def peers_url(self) -> str:
        """Where registrars and webhook endpoints are."""
        return f"http://127.0.0.1:{self.peers_port}"

    def _registrar(self, name: str, sends: str, more: str, deadline_s: float) -> str:
        url = f"{self.peers_url}/{name}/receipts"
        return (
            f'url = "{url}"\nstatus_url = "{url}/{{receipt_id}}"\nanswers = "callback"\nsends = "{sends}"\n'
            f'{more}\n[callback]\nsecrets = ["{self.secrets[name]}"]\ndeadline_s = {deadline_s}\n'
        )

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of this site's processes."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RECEIPTD_")}
        ours = {f"RECEIPTD_{name}": value for name, value in {**self._settings, **more}.items()}
        return {**inherited, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'scripts'}", **ours}

    def spawn(self, name: str, *arguments: str, cpu: int | None = None, **more: str) -> Child:
        """Start ``python ARGUMENTS`` as a process of this site; ``more`` are further settings."""
        return Child(
            name,
            [sys.executable, *arguments],
            environment=self.environment(**more),
            folder=self.folder,
            cpu=cpu,
        )

    def serve(self, crash_at: str = "", *, number: int = 0, cpu: int | None = None) -> Child:
        """Start the daemon of that number; ``crash_at`` (``point:n``) makes it kill itself there."""
        more = {"CRASH_AT": crash_at} if crash_at else {}
        name = f"daemon-{number}" if number else "daemon"
        return self.spawn(name, "-m", "receiptd", "serve", cpu=cpu, HTTP__PORT=str(self.daemon_ports[number]), **more)

    def url_of(self, number: int) -> str:
        """Return where the daemon of that number listens."""
        return f"http://127.0.0.1:{self.daemon_ports[number]}"

    def command_environment(self) -> dict[str, str]:
        """Return the environment of commands."""
        return self.environment()

    def command(self, *arguments: str) -> str:
        """Run a command of the daemon's; return what it printed. Raises SiteError."""
        done = subprocess.run(
            [sys.executable, "-m", "receiptd", *arguments],
            env=self.command_environment(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=_COMMAND_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise SiteError(f"receiptd {' '.join(arguments)}: exit status {done.returncode}\n{done.stderr}")
        return done.stdout

    def add_client(self, client_id: str, *, webhook: bool, rate_per_s: float = 100_000, burst: int = 100_000) -> Client:
        """Add a contract through the command line. Its client has another id where that cannot be chosen."""
        arguments = ["--rate-per-s", f"{rate_per_s:g}", "--burst", str(burst), "--json"]
        if self.chooses_ids:
            arguments += ["--client-id", client_id]
        if webhook:
            arguments += ["--webhook-url", f"{self.peers_url}/hooks/{client_id}"]
        issued = json.loads(self.command("contracts", "add", client_id, *arguments))
        token_url = issued.get("token_url", "")
        return Client(
            issued["client_id"], issued["client_secret"], issued["webhook_secret"], webhook, token_url, client_id
        )

    def close(self) -> None:
        """End what was started for the site itself."""

    def remove(self) -> None:
        """Close the site and remove its directory."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def basic(client: Client) -> str:
    """Return the Authorization header that gets a token (RFC 6749, section 2.3.1)."""
    return "Basic " + base64.b64encode(f"{client.client_id}:{client.client_secret}".encode()).decode()
