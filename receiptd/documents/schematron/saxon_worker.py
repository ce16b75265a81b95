"""The process that runs Saxon: stylesheets first, then documents in and what they break out, until its input ends.

A program of its own that imports nothing of receiptd. Each message, either way, is JSON behind four bytes of length,
save a document, which is its UTF-8 behind them. The first message is ``{"stylesheets": [{"text"} or {"file"}, ...],
"documents": [URL, ...], "summary": text, "findings_max": n, "data_max_bytes": n}``; the answer is a list of
``[index, message]`` for those that do not compile. To a document the answer is a list with one entry a stylesheet: what
``svrl.xsl`` makes of its report (null when that is no SVRL), or the message of the error that ended it.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO
from xml.sax.saxutils import escape

import saxonche  # type: ignore[import-not-found]  # an extra, without types

_FEATURE = "http://saxon.sf.net/feature/"
_READ = """<xsl:stylesheet version="3.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
<xsl:variable name="read" select="{}"/>
<xsl:template match="/"><xsl:sequence select="$read"/></xsl:template>
</xsl:stylesheet>"""


def main() -> None:
    """Serve standard input."""
    for ignored in (signal.SIGINT, signal.SIGTERM):  # they are for the daemon, which needs answers while it drains
        signal.signal(ignored, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whatever a library prints is no answer
    messages = _messages(sys.stdin.buffer)
    task = json.loads(next(messages))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (task["data_max_bytes"],) * 2)
    saxon = _Saxon()
    _send(answers, saxon.compile(task))
    for message in messages:
        _send(answers, saxon.evaluate(message.decode()))


class _Saxon:
    def __init__(self) -> None:
        self._processor = saxonche.PySaxonProcessor(license=False)
        # No Java functions, no system properties or environment, no xsl:result-document.
        self._set("allow-external-functions", "off")
        self._allow("file")  # for the modules of stylesheets: the parent has seen that they are of the type's folder
        self._sheets: list[Any] = []

    def compile(self, task: dict[str, Any]) -> list[tuple[int, str]]:
        self._summary = self._compile({"text": task["summary"]})
        self._summary.set_parameter("findings-max", self._processor.make_integer_value(task["findings_max"]))
        faults = self._read(task["documents"])
        for index, stylesheet in enumerate(task["stylesheets"]):
            try:
                sheet = self._compile(stylesheet)
            except saxonche.PySaxonApiError as error:
                faults.append((index, str(error)))
            else:
                sheet.set_save_xsl_message(False)
                self._sheets.append(sheet)
        self._allow("")  # for good: from here on there are documents to read, and nothing else
        return faults

    def _read(self, documents: list[str]) -> list[tuple[int, str]]:
        """Put ``documents`` where doc() and document() look before they open anything: into the configuration's pool.

        That is where Saxon keeps what it reads when it evaluates a call while it compiles.
        """
        if not documents:
            return []
        self._set("preEvaluateDocFunction", "true")
        calls = ", ".join(f'doc("{url}")' for url in documents)
        try:
            self._compile({"text": _READ.format(escape(calls, {'"': "&quot;"}))})
        except saxonche.PySaxonApiError as error:
            return [(0, str(error))]
        finally:
            self._set("preEvaluateDocFunction", "false")
        return []

    def _compile(self, stylesheet: dict[str, str]) -> Any:
        compiler = self._processor.new_xslt30_processor()  # one that has compiled a text does not take a file any more
        if "text" in stylesheet:
            return compiler.compile_stylesheet(stylesheet_text=stylesheet["text"], encoding="UTF-8")
        return compiler.compile_stylesheet(stylesheet_file=stylesheet["file"])

    def evaluate(self, document: str) -> list[Any]:
        try:
            tree = self._processor.parse_xml(xml_text=document, encoding="UTF-8")
        except saxonche.PySaxonApiError as error:  # its parser has limits of its own
            return [str(error)] * len(self._sheets)
        return [self._run(sheet, tree) for sheet in self._sheets]

    def _run(self, sheet: Any, tree: Any) -> Any:
        try:
            report = sheet.transform_to_value(xdm_node=tree)
            return json.loads(self._summary.transform_to_string(xdm_node=report.head)) if report.size else None
        except saxonche.PySaxonApiError as error:
            return str(error)

    def _allow(self, protocols: str) -> None:
        """Say which URLs Saxon may open: for stylesheets' modules, doc(), unparsed-text() and the like."""
        self._set("allowedProtocols", protocols)

    def _set(self, feature: str, value: str) -> None:
        self._processor.set_configuration_property(f"{_FEATURE}{feature}", value)


def _messages(stream: BinaryIO) -> Iterator[bytes]:
    while head := stream.read(4):
        yield stream.read(int.from_bytes(head, "big"))


def _send(stream: BinaryIO, answer: Any) -> None:
    body = json.dumps(answer).encode()
    stream.write(len(body).to_bytes(4, "big") + body)
    stream.flush()


if __name__ == "__main__":
    main()
