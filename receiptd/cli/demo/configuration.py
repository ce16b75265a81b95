"""The demo's own settings: written to a directory of its own, so that it meets nobody else's data or ports."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

from receiptd.domain.signatures import new_secret
from receiptd.settings import Settings

_SETTINGS: Final = """\
# Written by the demo; every command takes it: receiptd receipts list --config {file}
[http]
port = {port}

{storage}

[recovery]
delay_s = 2

[webhooks]
# Loopback and plain http are closed to webhooks unless a setting opens them; the demo's endpoint is on this machine.
allow_loopback = true
allow_http = true
schedule_s = [1, 5, 30]

[log]
format = "json"
"""

_REGISTRAR: Final = """\
url = "{simulator_url}/{name}/receipts"
status_url = "{simulator_url}/{name}/receipts/{{receipt_id}}"
answers = "callback"
sends = "{sends}"
timeout_s = 2

[retry]
base_s = 0.1

[callback]
secrets = ["whsec_{secret}"]
deadline_s = 2
"""

_EMBEDDED: Final = """\
[storage]
path = "{directory}/data"
"""

_AWS: Final = """\
[storage]
backend = "aws"

[aws]
region = "{region}"
endpoint_url = "{endpoint_url}"
prefix = "{prefix}"
"""
_PREFIX_MAX_CHARS: Final = 24

REGISTRARS: Final = {"tax": "original", "warehouse": "canonical"}
"""What each of the demo's registrars is sent."""


def write(directory: Path, *, port: int, simulator_url: str, like: Settings | None = None) -> Path:
    """Write the settings and the registrars' files below ``directory``; return the settings file.

    What ``like`` says of the backend is kept; on AWS the demo's resources have a prefix of their own.

    Callback secrets are made anew, but for registrars that have a file there already.
    """
    file = directory / "settings.toml"
    storage = _EMBEDDED.format(directory=directory)
    if like is not None and like.storage.backend == "aws":
        prefix = f"{like.aws.prefix[: _PREFIX_MAX_CHARS - len('-demo')]}-demo"
        storage = _AWS.format(region=like.aws.region, endpoint_url=like.aws.endpoint_url, prefix=prefix)
    text = _SETTINGS.format(file=file, port=port, storage=storage.rstrip())
    file.write_text(text, encoding="utf-8")
    registrars = directory / "registrars"
    registrars.mkdir(exist_ok=True)
    for name, sends in REGISTRARS.items():
        content = _REGISTRAR.format(simulator_url=simulator_url, name=name, sends=sends, secret=new_secret())
        (registrars / f"{name}.toml").write_text(content, encoding="utf-8")
    return file


def free_port(wanted: int) -> int:
    """Return ``wanted`` when it can be listened on, else a port that can. Another process may still be quicker."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("this machine has no free port")
