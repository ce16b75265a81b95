"""From an expanded Schematron schema to an XSLT 3.0 stylesheet that reports in SVRL what does not hold, and only that.

A pattern becomes a mode, a rule a template of that mode, the first rule with the highest priority: so the first that
matches a node is the one that fires (ISO/IEC 19757-3, 6.5). An expression that raises is reported (``svrl:error``)
with the id of what it belongs to, and the others go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from pathlib import Path

from lxml import etree

from receiptd.documents.schematron.expansion import AT, SCH, expanded, fault, need, substitute
from receiptd.documents.schematron.reading import url
from receiptd.documents.xml_document import Element

_XSL_URI = "http://www.w3.org/1999/XSL/Transform"
_SVRL_URI = "http://purl.oclc.org/dsdl/svrl"
_XSL = f"{{{_XSL_URI}}}"
_SVRL = f"{{{_SVRL_URI}}}"
_ERROR_CODE = "local-name-from-QName($Q{http://www.w3.org/2005/xqt-errors}code)"

_XSLT_VERSIONS = {"xslt": "1.0", "xslt1": "1.0", "xpath": "1.0"} | dict.fromkeys(
    ("xslt2", "xslt3", "xpath2", "xpath3", "xpath31"), "3.0"
)
"""By query binding, in lower case. Version 1.0 makes Saxon compute as XPath 1.0 does."""
_PASSED = {f"{_XSL}{name}" for name in ("function", "key", "variable", "param", "decimal-format", "accumulator")}
_CHILDREN = {
    "schema": {"title", "p", "ns", "let", "phase", "pattern", "diagnostics", "properties", "rules"},
    "phase": {"p", "let", "active"},
    "pattern": {"title", "p", "let", "rule", "param"},
    "rule": {"title", "p", "let", "assert", "report"},
}


def compiled(path: Path, folder: Path) -> str:
    """Return the stylesheet for the schema at ``path``: each tag in a line of its own, see ``source_of``.

    Raises:
        ConfigurationError: the schema cannot be used: file, line, what is wrong, how to mend it.
    """
    compilation = _Compilation(expanded(path, folder))
    compilation.root.base = url(path.resolve())  # what doc() names is beside the schema
    return compilation.stylesheet()


def source_of(stylesheet: str, line: int) -> str:
    """Return the schema's ``file:line`` that a line of the stylesheet was made of, or an empty text."""
    for candidate in reversed(stylesheet.split("\n")[:line]):
        if ":at=" in candidate:
            return candidate.partition(':at="')[2].partition('"')[0]
    return ""


class _Compilation:
    def __init__(self, schema: Element) -> None:
        self._schema = schema
        self._active = self._active_patterns()
        self._global: set[str] = set()
        self._diagnostics = {entry.get("id"): entry for entry in schema.iterfind(f"{SCH}diagnostics/{SCH}diagnostic")}
        binding = schema.get("queryBinding", "xslt").strip().lower()
        if binding not in _XSLT_VERSIONS:
            raise fault(schema, f"the queryBinding {binding} is not known; use xslt, xslt2 or xslt3")
        try:
            self.root = etree.Element(f"{_XSL}stylesheet", {"version": _XSLT_VERSIONS[binding]}, self._namespaces())
        except ValueError as error:
            raise fault(schema, f"its <ns> cannot be used: {error}; mend prefix and uri") from error

    def stylesheet(self) -> str:
        _check_children(self._schema)
        for element in self._schema:
            if element.tag in _PASSED:
                self.root.append(deepcopy(element))
            elif str(element.tag).startswith(_XSL):
                raise fault(element, "only functions, keys and variables of XSLT are taken; leave the rest out")
            elif element.tag == f"{SCH}let":
                self._let(self.root, element)
                self._global.add(need(element, "name"))
        entry = _add(self.root, "template", match="/")
        report = etree.SubElement(entry, f"{_SVRL}schematron-output")
        for number, pattern in enumerate(self._active, 1):
            self._pattern(pattern, f"pattern-{number}", report)
        return etree.tostring(self.root, encoding="unicode").replace("><", ">\n<")

    def _namespaces(self) -> dict[str, str]:
        """The prefixes that ``ns`` declares; the schema's own declarations serve where it does not."""
        prefixes = {prefix: uri for prefix, uri in self._schema.nsmap.items() if prefix}
        for element in self._schema.iterchildren(f"{SCH}ns"):
            prefixes[need(element, "prefix")] = need(element, "uri")
        return {"xsl": _XSL_URI, "svrl": _SVRL_URI, "receiptd": AT[1:].partition("}")[0], **prefixes}

    def _active_patterns(self) -> list[Element]:
        """The patterns of the default phase, or all."""
        schema = self._schema
        patterns = list(schema.iterchildren(f"{SCH}pattern"))
        name = schema.get("defaultPhase", "#ALL")
        if name in ("#ALL", "#DEFAULT"):
            return patterns
        phase = next((phase for phase in schema.iterchildren(f"{SCH}phase") if phase.get("id") == name), None)
        if phase is None:
            raise fault(schema, f"there is no phase {name}; write it, or take defaultPhase off")
        _check_children(phase)
        active = {need(element, "pattern") for element in phase.iterchildren(f"{SCH}active")}
        if missing := active - {pattern.get("id") for pattern in patterns}:
            raise fault(phase, f"there is no pattern {min(missing)}; mend the name")
        schema.extend(phase.findall(f"{SCH}let"))
        return [pattern for pattern in patterns if pattern.get("id") in active]

    def _pattern(self, pattern: Element, mode: str, report: Element) -> None:
        _check_children(pattern)
        if "documents" in pattern.attrib:
            raise fault(pattern, "patterns over other documents are not taken: nothing but the receipt is read")
        self._pattern_lets(pattern, mode)
        _add(self.root, "mode", name=mode).set("on-no-match", "shallow-skip")
        with _guarded(report, pattern.get("id", "")) as block:
            _add(block, "apply-templates", select=".", mode=mode)
        rules = pattern.findall(f"{SCH}rule")
        for index, rule in enumerate(rules):
            _check_children(rule)
            template = _add(
                self.root, "template", rule, match=need(rule, "context"), mode=mode, priority=str(len(rules) - index)
            )
            self._rule(rule, template, rule.get("id") or pattern.get("id") or "")
            _add(template, "apply-templates", select="@*, node()", mode="#current")

    def _pattern_lets(self, pattern: Element, suffix: str) -> None:
        """Make the variables of a pattern global, for its contexts may use them; a name that is taken gets a suffix."""
        lets = pattern.findall(f"{SCH}let")
        names = {need(let, "name") for let in lets}
        renamed = {name: f"{name}-{suffix}" for name in names & self._global}
        substitute(pattern, {name: f"${other}" for name, other in renamed.items()})
        self._global |= names
        for let in lets:
            let.set("name", renamed.get(need(let, "name"), need(let, "name")))
            self._let(self.root, let)

    def _rule(self, rule: Element, template: Element, default_id: str) -> None:
        lets = rule.findall(f"{SCH}let")
        with _guarded(template, default_id) if lets else nullcontext(template) as block:
            for let in lets:
                self._let(block, let)
            for check in rule.iterchildren(f"{SCH}assert", f"{SCH}report"):
                with _guarded(block, check.get("id") or default_id, _plain(check)) as guarded:
                    self._check(check, rule, guarded, check.get("id") or default_id)

    def _check(self, check: Element, rule: Element, block: Element, id_: str) -> None:
        graded = check if {"flag", "role", "severity"} & {*check.attrib} else rule
        role = graded.get("role") or graded.get("severity") or ""
        subject = check.get("subject") or rule.get("subject") or "."
        choose = _add(block, "choose")
        when = _add(choose, "when", check, test=need(check, "test"))
        if check.tag == f"{SCH}assert":
            found = etree.SubElement(_add(choose, "otherwise"), f"{_SVRL}failed-assert")
        else:
            found = etree.SubElement(when, f"{_SVRL}successful-report")
        _describe(found, f"({subject}, .)[1]", id=id_, flag=graded.get("flag", ""), role=role)
        self._message(check, etree.SubElement(found, f"{_SVRL}text"))
        for name in check.get("diagnostics", "").split():
            if name not in self._diagnostics:
                raise fault(check, f"there is no diagnostic {name}; write it, or mend the name")
            self._message(self._diagnostics[name], etree.SubElement(found, f"{_SVRL}diagnostic-reference"))

    def _let(self, parent: Element, let: Element) -> None:
        variable = _add(parent, "variable", let, name=need(let, "name"), select=need(let, "value"))
        if "as" in let.attrib:
            variable.set("as", need(let, "as"))

    def _message(self, source: Element, target: Element) -> None:
        """Copy a message's mixed content: its expressions become instructions, its marks plain text."""
        _text(target, source.text)
        for child in source.iterchildren(etree.Element):
            if child.tag == f"{SCH}value-of":
                _add(target, "value-of", child, select=need(child, "select"), separator=" ")
            elif child.tag == f"{SCH}name":
                _add(target, "value-of", child, select=f"name({child.get('path', '.')})")
            elif str(child.tag).startswith(_XSL):
                target.append(deepcopy(child))
                target[-1].tail = None
            else:  # emph, dir, span, and whatever others have
                self._message(child, target)
            _text(target, child.tail)


def _check_children(element: Element) -> None:
    name = etree.QName(element).localname
    for child in element.iterchildren(f"{SCH}*"):
        if etree.QName(child).localname not in _CHILDREN[name]:
            raise fault(child, f"<{etree.QName(child).localname}> has no place in <{name}>; mend its name, or move it")


def _add(parent: Element, instruction: str, source: Element | None = None, **attributes: str) -> Element:
    element = etree.SubElement(parent, f"{_XSL}{instruction}", attributes)
    if source is not None:
        element.set(AT, source.get(AT, ""))
    return element


def _text(target: Element, text: str | None) -> None:
    if text:
        _add(target, "text").text = " ".join(f"[{text}]".split())[1:-1]


def _plain(check: Element) -> str:
    return " ".join("".join(map(str, check.itertext())).split())


@contextmanager
def _guarded(parent: Element, id_: str, text: str = "") -> Iterator[Element]:
    """Give an element for instructions: when one of them raises, that is reported, and stops nothing else."""
    attempt = _add(parent, "try")
    yield attempt
    error = etree.SubElement(_add(attempt, "catch"), f"{_SVRL}error")
    _describe(error, ".", id=id_)
    error.set("code", f"{{{_ERROR_CODE}}}")
    _text(etree.SubElement(error, f"{_SVRL}text"), text)


def _describe(element: Element, place: str, **attributes: str) -> None:
    for name, value in attributes.items():
        if value:
            element.set(name, value.replace("{", "{{").replace("}", "}}"))
    element.set("location", f"{{path({place})}}")
