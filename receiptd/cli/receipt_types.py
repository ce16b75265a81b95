"""``receiptd types``: the receipt types that the settings name, and the kit of who adds one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from receiptd.cli import support
from receiptd.domain.errors import ConfigurationError, ReceiptdError

if TYPE_CHECKING:
    from receiptd.documents import ReceiptType
    from receiptd.documents.kit.check import Report
    from receiptd.documents.kit.samples import Sample

_QUIET_S = 2.0
_ROOT = Path("receipt_types")

types = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


def register(root: typer.Typer) -> None:
    """Add the commands."""
    root.add_typer(types, name="types", help="Receipt types: list, show; check and draft their folders.")


@types.command(name="list", epilog=support.example("receiptd types list", "receiptd types list --json"))
def list_all(config: support.ConfigOption = None, as_json: support.JsonOption = False) -> None:
    """List the receipt types that the settings name."""
    found = sorted(support.receipt_types(config), key=lambda one: (one.id, one.version))
    if as_json:
        support.print_json([_as_json(one) for one in found])
        return
    rows = [
        (
            one.id,
            str(one.version),
            one.format.value,
            _recognised(one),
            ", ".join(one.registrars),
            one.retention,
            str(one.folder),
            one.title,
        )
        for one in found
    ]
    support.print_table(
        ("type", "version", "format", "recognised by", "registrars", "retention", "folder", "title"), rows
    )


@types.command(
    epilog=support.example("receiptd types show retail-receipt", "receiptd types show retail-receipt@1 --json")
)
def show(
    name: Annotated[
        str, typer.Argument(metavar="TYPE[@VERSION]", help="The receipt type; by default its newest version.")
    ],
    config: support.ConfigOption = None,
    as_json: support.JsonOption = False,
) -> None:
    """Show all that is known of one receipt type, its mapping and rules too."""
    one = support.receipt_types(config).named(name)
    if one is None:
        raise ReceiptdError(f"there is no receipt type {name}; see: receiptd types list")
    facts = _as_json(one)
    spec = one.file.spec
    parts = {part: spec[part] for part in ("namespaces", "mapping", "rules") if part in spec}
    if as_json:
        support.print_json(facts | parts)
        return
    import yaml

    support.print_fields(
        [(key, support.plain(_sends(value) if key == "sends" else value)) for key, value in facts.items()]
    )
    for part, value in parts.items():
        text = yaml.safe_dump({part: value}, sort_keys=False, allow_unicode=True, width=100)
        print(f"\n{text.rstrip()}")


@types.command(
    epilog=support.example(
        "receiptd types check",
        "receiptd types check receipt_types/corner-shop",
        "receiptd types check receipt_types --json",
        "receiptd types check receipt_types/corner-shop --accept",
    )
)
def check(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FOLDER]...", help="Folders of receipt types, or of many. Default: all of the settings."
        ),
    ] = None,
    *,
    accept: Annotated[
        bool, typer.Option("--accept", help="Write down what the samples show now as what they must show.")
    ] = False,
    config: support.ConfigOption = None,
    as_json: support.JsonOption = False,
) -> None:
    """Check folders of receipt types: their files and their samples. Status 1: a fault, or a sample that differs."""
    from receiptd.documents.kit.check import type_folders

    roots = folders or [root for root in support.receipt_type_roots(config) if not root.is_dir() or any(root.iterdir())]
    chosen = list(dict.fromkeys(folder for root in roots for folder in type_folders(root)))
    reports = _check(chosen, config, accept=accept)
    if as_json:
        support.print_json([_report_as_json(report) for report in reports])
    else:
        for report in reports:
            _print_report(report)
        _print_summary(reports)
    if not all(report.ok for report in reports):
        raise typer.Exit(1)


@types.command(
    epilog=support.example(
        "receiptd types new corner-shop --from monday.json --from tuesday.json",
        "receiptd types new corner-shop --from samples/ --schema receipt.schema.json --to receipt_types",
        "receiptd types new peppol-invoice --from invoice.xml --schema xsd/maindoc/UBL-Invoice-2.1.xsd",
    )
)
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The id of the new type: a-z, 0-9 and -.")],
    samples: Annotated[
        list[Path],
        typer.Option(
            "--from", metavar="SAMPLE", help="A valid document, or a folder of them; repeat it. More are better."
        ),
    ],
    more: Annotated[list[Path] | None, typer.Argument(metavar="[SAMPLE]...", help="Further samples.")] = None,
    *,
    schema: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Its JSON Schema or XSD; what it refers to is taken along.", show_default=False
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help=f"Where the type's folder goes. Default: the first root of the settings, or else {_ROOT}.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the type.yaml of a folder that is there.")] = False,
    config: support.ConfigOption = None,
) -> None:
    """Draft the folder of a new receipt type from samples, and check it. What it cannot guess is yours to fill in."""
    from receiptd.documents.kit.draft import draft_type

    configuration = support.configuration(config, needs_registrars=False)
    roots = configuration.settings.receipt_types.roots
    root = to or (roots[0] if roots else _ROOT)
    registrars = [registrar.id for registrar in configuration.registrars]
    _refuse_taken(name, root / name, config)
    with _told("be written", "; name another folder by --to"):
        folder = draft_type(name, [*samples, *(more or [])], root, registrars, schema, force=force)
    print(f"drafted {folder}")
    (report,) = _check([folder], config)
    _print_report(report)
    _print_next(report, is_root=root.resolve() in {known.resolve() for known in roots})


@types.command(name="schema", epilog=support.example("receiptd types schema > type.schema.json"))
def print_schema() -> None:
    """Print the JSON Schema of type.yaml, for editors."""
    from receiptd.documents.type_file import SCHEMA

    print(SCHEMA.read_text(encoding="utf-8").rstrip())


# -- checking ----------------------------------------------------------------------------------------------------------


def _check(folders: Sequence[Path], config: Path | None, *, accept: bool = False) -> list[Report]:
    from receiptd.documents.kit.check import check_folder

    others = _others(folders, config)
    begun = told = time.monotonic()
    done = 0

    def tell(path: Path) -> None:
        nonlocal told, done
        now = time.monotonic()
        if now - told > _QUIET_S:
            support.note(f"{done} samples in {now - begun:.0f} s; now {path}")
            told = now
        done += 1

    with _told("be read or written"):
        return [check_folder(folder, others, tell, accept=accept) for folder in folders]


@contextmanager
def _told(what: str, advice: str = "") -> Iterator[None]:
    """Tell what a disk refuses in plain words."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"{error.filename}: cannot {what}: {error.strerror}{advice}") from error


def _refuse_taken(name: str, folder: Path, config: Path | None) -> None:
    """Raise ConfigurationError when a type of the settings, in another folder than ``folder``, has the name."""
    for type_ in _others([], config):
        if type_.id == name and type_.folder.resolve() != folder.resolve():
            raise ConfigurationError(f"there is a receipt type {name} already, in {type_.folder}; take another name")


def _others(folders: Sequence[Path], config: Path | None) -> list[ReceiptType]:
    """Return the types of the settings and of ``folders``, as far as they can be read: each is checked beside them."""
    from receiptd.documents.kit.check import type_folders
    from receiptd.documents.receipt_type import ReceiptType
    from receiptd.documents.type_file import TypeFile

    everywhere = [*folders]
    for root in support.receipt_type_roots(config):
        try:
            everywhere += type_folders(root)
        except ConfigurationError as error:
            support.note(f"not checked beside the types of the settings: {error}")
    found: dict[str, ReceiptType] = {}
    for folder in everywhere:
        try:
            type_ = ReceiptType(TypeFile.read(folder))
        except ConfigurationError:
            continue  # it is reported where it is checked, and by the daemon
        found.setdefault(type_.name, type_)
    return list(found.values())


def _print_report(report: Report) -> None:
    print(f"{report.name}  {report.folder}")
    if report.samples:
        rows = [(one.name, one.expected, one.found, "DIFFERS" if one.differences else "ok") for one in report.samples]
        for line in support.table(("sample", "expected", "found", "verdict"), rows):
            print(f"  {line}")
    for sample in report.samples:
        for difference in sample.differences:
            print(f"  {sample.name}: {support.one_line(difference)}")
    for fault in report.faults:
        print(f"  fault: {support.one_line(fault)}")
    for warning in report.warnings:
        print(f"  warning: {support.one_line(warning)}")
    for path in report.accepted:
        print(f"  wrote {path}")
    print()


def _print_summary(reports: Sequence[Report]) -> None:
    samples = [sample for report in reports for sample in report.samples]
    different = sum(bool(sample.differences) for sample in samples)
    faults = sum(len(report.faults) for report in reports)
    checked = f"{_count(len(reports), 'receipt type')}, {_count(len(samples), 'sample')}"
    print(f"{checked}: {len(samples) - different} as expected, {different} different; {_count(faults, 'fault')}")


def _print_next(report: Report, *, is_root: bool) -> None:
    from receiptd.documents.kit import FILL_IN

    print("What to do next:")
    steps = []
    if any(FILL_IN in fault for fault in report.faults):
        steps.append(f"say in {report.folder / 'type.yaml'} what is marked {FILL_IN}")
    steps += [
        f"look at each GUESS in {report.folder / 'type.yaml'}",
        f"put documents that must be refused into {report.folder / 'samples' / 'invalid'}",
        f"run: receiptd types check {report.folder}",
    ]
    if is_root:
        steps.append("send the daemon SIGHUP: it takes the receipt types anew")
    else:
        root = report.folder.parent.resolve()
        steps.append(
            f'name the root in the settings (receipt_types.roots = ["{root}"]), and start the daemon or send it SIGHUP'
        )
    for number, step in enumerate(steps, 1):
        print(f"  {number}. {step}")


# -- values ------------------------------------------------------------------------------------------------------------


def _as_json(one: ReceiptType) -> dict[str, Any]:
    spec = one.file.spec
    return {
        "id": one.id,
        "version": one.version,
        "title": one.title,
        "format": one.format.value,
        "recognise": [str(recogniser) for recogniser in one.recognisers],
        "media_types": list(one.media_types),
        "schema": spec.get("schema", ""),
        "schematron": list(spec.get("schematron", ())),
        "registrars": list(one.registrars),
        "sends": dict(one.sends),
        "retention": one.retention,
        "personal": list(one.personal),
        "body_max_bytes": one.body_max_bytes,
        "root": str(one.folder.parent),
        "folder": str(one.folder),
    }


def _recognised(one: ReceiptType) -> str:
    ways = [*map(str, one.recognisers), *one.media_types]
    return (ways[0] if len(ways) == 1 else f"{ways[0]}, and {len(ways) - 1} more") if ways else "-"


def _sends(sends: dict[str, str]) -> list[str]:
    return [f"{registrar}: {what}" for registrar, what in sends.items()]


def _report_as_json(report: Report) -> dict[str, Any]:
    return {
        "type": report.name,
        "folder": str(report.folder),
        "ok": report.ok,
        "faults": report.faults,
        "warnings": report.warnings,
        "samples": [_sample_as_json(sample) for sample in report.samples],
    }


def _sample_as_json(sample: Sample) -> dict[str, Any]:
    return {
        "sample": sample.name,
        "expected": sample.expected,
        "found": sample.found,
        "ok": not sample.differences,
        "differences": list(sample.differences),
        "findings": [
            {"code": f.code, "where": f.where, "message": f.message, "severity": f.severity.value}
            for f in sample.findings
        ],
        "receipt": sample.canonical,
    }


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
