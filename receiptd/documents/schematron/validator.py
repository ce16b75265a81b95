"""Schematron rules of a receipt type: findings for a document, from schemas (.sch) or the stylesheets made of them."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lxml import etree

from receiptd.documents.errors import bounded
from receiptd.documents.findings import FINDINGS_MAX
from receiptd.documents.schematron import compiler
from receiptd.documents.schematron.place import place
from receiptd.documents.schematron.reading import check_static, documents, modules, url
from receiptd.documents.schematron.saxon_process import EVALUATION_MAX_S, SaxonEndedError, SaxonProcess
from receiptd.documents.xml_document import Element
from receiptd.domain.errors import ConfigurationError
from receiptd.domain.receipt import Finding, Severity

CODE = "schematron"

_SVRL = "{http://purl.oclc.org/dsdl/svrl}"
_LINE = re.compile(r"on line (\d+)")
_URL_OF_FILE = re.compile(r"\b(?:jar:)?file:[^\s\"<>]*/")
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")


class Schematron:
    """The compiled rules. They run in a process of their own, which lives as long as this object.

    Both the constructor (a second for EN 16931) and ``findings`` (milliseconds) block the thread that calls them, and
    leave the interpreter to the others meanwhile: call them from a worker thread, any one, never from an event loop's.
    Calls take turns.
    """

    def __init__(self, paths: Sequence[Path], folder: Path | None = None) -> None:
        """Compile the schemas and stylesheets at ``paths``; what they include and read lies in ``folder``.

        Without ``folder`` that is the folder of the first.

        Raises:
            ConfigurationError: a line for each that cannot be used: its file and line, what is wrong, how to mend it;
                or saxonche is not installed.
        """
        if find_spec("saxonche") is None:
            raise ConfigurationError(f"{paths[0]}: Schematron needs an extra: pip install 'receiptd[schematron]'")
        self._paths = tuple(paths)
        read = [_stylesheet(path, folder or paths[0].parent) for path in paths]
        stylesheets = [stylesheet for stylesheet, _ in read]
        self._saxon = SaxonProcess(stylesheets, sorted({url(file) for _, files in read for file in files}))
        weakref.finalize(self, self._saxon.stop)
        try:
            faults = self._saxon.compile()
        except (SaxonEndedError, TimeoutError) as error:
            raise ConfigurationError(f"{paths[0]}: Saxon gave up on the rules ({error}); make them smaller") from error
        if faults:
            self._saxon.stop()
            lines = (_static_fault(paths[index], stylesheets[index], message) for index, message in faults)
            raise ConfigurationError("\n".join(lines))

    def findings(self, document: bytes, root: Element | None = None) -> list[Finding]:
        """Return what the rules say against ``document`` (UTF-8), errors first, 50 at most.

        ``root`` is the tree that ``document`` was serialised from: its lines are those of the received bytes. Without
        it they are those of ``document``. Rules that cannot be evaluated, or not within 10 s, are an error, too.

        Raises:
            OverloadedError: the process had ended, and cannot be started again right now.
        """
        try:
            answers = self._saxon.evaluate(document)
        except TimeoutError:
            return [
                Finding(CODE, f"the rules could not be evaluated within {EVALUATION_MAX_S:.0f} s; split the document")
            ]
        except SaxonEndedError:
            return [Finding(CODE, "the rules could not be evaluated in the memory there is; split the document")]
        found = [
            finding
            for path, answer in zip(self._paths, answers, strict=True)
            for finding in _findings(path, answer, document, root)
        ]
        found.sort(key=lambda finding: finding.severity is not Severity.ERROR)
        return found[:FINDINGS_MAX]


def _stylesheet(path: Path, folder: Path) -> tuple[dict[str, str], set[Path]]:
    """Return what Saxon compiles, and the files that it may read."""
    if path.suffix == ".sch":
        text = compiler.compiled(path, folder)
        root = etree.fromstring(text)
        check_static(root)
        return {"text": text}, documents(root, path, folder)
    parts = list(modules(path, folder))
    if all(next(root.iter(f"{_SVRL}*"), None) is None for _, root in parts):
        raise ConfigurationError(f"{path}: makes no Schematron report (SVRL); take a stylesheet that does, or the .sch")
    return {"file": str(path.resolve())}, {file for part, root in parts for file in documents(root, part, folder)}


def _static_fault(path: Path, stylesheet: dict[str, str], message: str) -> str:
    line = _LINE.search(message)
    place = compiler.source_of(stylesheet["text"], int(line[1])) if line and "text" in stylesheet else ""
    if not place:
        place = f"{path}:{line[1]}" if line else str(path)
    what = " ".join(message.partition("\n")[2].split()) or message.strip()
    return f"{place}: {bounded(what)}; mend the expression"


def _findings(path: Path, answer: Any, document: bytes, root: Element | None) -> Iterator[Finding]:
    """Yield what a stylesheet's answer says; see ``saxon_worker``."""
    if answer is None:
        yield Finding(CODE, f"the rules of {path.name} made no report")
        return
    if isinstance(answer, str):  # it quotes values
        reason = " ".join(_QUOTED.sub("…", _without_paths(answer, path)).split())
        yield Finding(CODE, bounded(f"the rules of {path.name} could not be evaluated: {reason}"))
        return
    if answer and root is None:
        root = etree.fromstring(document, etree.XMLParser(resolve_entities=False, no_network=True))
    for entry in answer:
        name, text = entry["id"], entry["text"] or "a rule does not hold"
        if entry["fault"]:
            text = f"the rule could not be evaluated ({entry['fault']}): {entry['text']}".rstrip(": ")
        assert root is not None
        yield Finding(
            bounded(f"{CODE}:{name}") if name else CODE,
            bounded(_without_paths(text, path)),
            place(root, entry["location"]),
            Severity.WARNING if entry["warning"] else Severity.ERROR,
        )


def _without_paths(text: str, path: Path) -> str:
    """Return ``text`` without where the server keeps its files, for clients read it: only their names stay."""
    return _URL_OF_FILE.sub("", text).replace(f"{path.resolve().parent}/", "")
