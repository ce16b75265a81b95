"""``receiptd doctor``: whether everything that the daemon needs is there, as it should be, and allowed."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from receiptd.cli import support
from receiptd.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from receiptd.adapters.checkup import Finding
    from receiptd.settings import Configuration

_STATUS = "Exit status: 0 when all is well, 1 when something is wrong, 2 for a wrong setting."


def register(root: typer.Typer) -> None:
    """Add the command."""
    epilog = support.example("receiptd doctor", "receiptd doctor --config config/aws.toml --json")
    root.command(name="doctor", epilog=f"{_STATUS}\n\n{epilog}")(doctor)


def doctor(config: support.ConfigOption = None, as_json: support.JsonOption = False) -> None:
    """Look at everything that the daemon needs, and say what is missing, differs, is forbidden or cannot be reached.

    Nothing is changed. Permissions are tried by calls that do nothing; what is forbidden comes with the policy that
    would allow it. Run it with the credentials that the daemon has.
    """
    from receiptd import accounts

    configuration = support.configuration(config)
    findings = [*_configured(configuration), *support.run(accounts.examine(configuration))]
    grant = accounts.policy(findings)
    well = all(finding.well for finding in findings)
    if as_json:
        rows = [{k: v for k, v in asdict(finding).items() if v} for finding in findings]
        support.print_json({"well": well, "findings": rows, "policy": grant})
    else:
        support.print_table(("kind", "name", "verdict", "what"), [_row(finding) for finding in findings])
        if grant is not None:
            support.note("\nThis policy allows what is forbidden:")
            support.print_json(grant)
    raise typer.Exit(0 if well else 1)


def _configured(configuration: Configuration) -> Iterator[Finding]:
    from receiptd.adapters.checkup import Finding, Verdict
    from receiptd.app import load_types

    for registrar in configuration.registrars:
        yield Finding(kind="registrar", name=registrar.id, verdict=Verdict.OK, detail=registrar.url)
    try:
        types = load_types(configuration.settings, frozenset(each.id for each in configuration.registrars))
    except ConfigurationError as error:
        for line in str(error).splitlines():
            yield Finding(kind="receipt types", name="", verdict=Verdict.DIFFERS, detail=line)
    else:
        for type_ in types:
            yield Finding(kind="receipt type", name=type_.name, verdict=Verdict.OK)


def _row(finding: Finding) -> tuple[str, str, str, str]:
    what = finding.detail
    if finding.attribute:
        what = f"{finding.attribute}: expected {finding.expected}, found {finding.found}"
    elif finding.action:
        what = f"{finding.action} {finding.arn} {finding.detail}".rstrip()
    return finding.kind, finding.name, finding.verdict.value, what
