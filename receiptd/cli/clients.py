"""``receiptd token``: a bearer token, as a client gets it: from the running daemon, or from Cognito."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, urlencode

import typer

from receiptd.cli import support
from receiptd.domain.errors import ConfigurationError, ReceiptdError

if TYPE_CHECKING:
    from receiptd.ports import HttpReply

_SECRET_VARIABLE = "CLIENT_SECRET"  # noqa: S105 - the variable's name
_HTTP_OK = 200


def token(
    client_id: Annotated[str, typer.Argument(metavar="CLIENT_ID", help="The client's id.")],
    *,
    secret_file: Annotated[
        Path | None,
        typer.Option(
            help=f"A file with the client's secret; - is standard input. Default: ${_SECRET_VARIABLE}, else a prompt.",
            metavar="FILE",
        ),
    ] = None,
    url: Annotated[
        str, typer.Option(help="The daemon's URL, where it gives tokens itself. Default: as set.", show_default=False)
    ] = "",
    scope: Annotated[
        str, typer.Option(help="Scopes to ask for, with spaces between. Default: all that the contract grants.")
    ] = "",
    config: support.ConfigOption = None,
    as_json: support.JsonOption = False,
) -> None:
    """Get an access token by the client credentials grant (RFC 6749, section 4.4) and print it."""
    secret = _secret(secret_file)
    reply = support.run(_ask(url, client_id, secret, scope, config))
    answer = _decode(reply)
    if reply.status != _HTTP_OK or "access_token" not in answer:
        reason = answer.get("error_description") or answer.get("detail") or answer.get("error") or "no reason given"
        raise ReceiptdError(f"no token: the answer was {reply.status}: {reason}")
    if as_json:
        support.print_json(answer)
    else:
        print(answer["access_token"])


def register(root: typer.Typer) -> None:
    """Add the command."""
    epilog = support.example(
        "receiptd token corner-shop-4f7k2m9q",
        "TOKEN=$(CLIENT_SECRET=... receiptd token corner-shop-4f7k2m9q --scope receipts/read)",
    )
    root.command(name="token", epilog=epilog)(token)


def _secret(secret_file: Path | None) -> str:
    if secret_file is not None and str(secret_file) != "-":
        try:
            return secret_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigurationError(f"--secret-file: {secret_file} cannot be read: {error.strerror}") from error
    if secret_file is None:
        if secret := os.environ.get(_SECRET_VARIABLE, ""):
            return secret
        if sys.stdin.isatty():
            return str(typer.prompt("Client secret", hide_input=True, err=True))
    return sys.stdin.readline().strip()


def _daemon_url(config: Path | None) -> str:
    http = support.configuration(config).settings.http
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(http.host, http.host)  # noqa: S104 - it is replaced here
    return http.public_url.rstrip("/") or f"http://{f'[{host}]' if ':' in host else host}:{http.port}"


async def _token_url(config: Path | None) -> str:
    """Return where the settings' backend has clients get their tokens."""
    configuration = support.configuration(config)
    if configuration.settings.storage.backend == "embedded":
        return ""
    async with support.open_store(config) as store:
        url = (await store.clients()).token_url
    if not url:
        raise ReceiptdError("the user pool has no domain, and so no token endpoint: receiptd doctor")
    return url


async def _ask(url: str, client_id: str, secret: str, scope: str, config: Path | None) -> HttpReply:
    """Ask for a token. The credentials go by HTTP Basic, form-encoded first (RFC 6749, section 2.3.1)."""
    import base64

    from receiptd.adapters.outbound.client import OutboundClient
    from receiptd.domain.addresses import OPERATOR
    from receiptd.ports import HttpCall

    endpoint = await _token_url(config) or f"{url.rstrip('/') or _daemon_url(config)}/oauth2/token"
    credentials = base64.b64encode(f"{quote(client_id, safe='')}:{quote(secret, safe='')}".encode()).decode()
    form = {"grant_type": "client_credentials", **({"scope": scope} if scope else {})}
    headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/x-www-form-urlencoded"}
    client = OutboundClient(OPERATOR)
    try:
        return await client.send(
            HttpCall(method="POST", url=endpoint, headers=headers, body=urlencode(form).encode(), timeout_s=10)
        )
    except ValueError as error:
        raise ConfigurationError(f"--url: {error}") from error
    finally:
        await client.close()


def _decode(reply: HttpReply) -> dict[str, Any]:
    import orjson

    try:
        answer = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}
