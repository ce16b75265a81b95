"""Schematron: what schemas and stylesheets find, that they reach nothing, and that no document stops the daemon."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from lxml import etree

pytest.importorskip("saxonche")

from schematron_kit import RECEIPT, SVRL, XSL, codes, found, rule, sch

from receiptd.documents.schematron import Schematron, saxon_process
from receiptd.domain.errors import ConfigurationError, OverloadedError
from receiptd.domain.receipt import Finding, Severity

CORPUS = Path(__file__).parents[4] / "shared/corpora/ubl-invoice/valid"


def test_expressions_of_xpath_2_and_functions_of_xslt_judge(rules):
    schematron = rules(
        sch(
            '<xsl:function name="f:cents" as="xs:integer"><xsl:param name="amount"/>'
            '<xsl:sequence select="xs:integer(xs:decimal($amount) * 100)"/></xsl:function>'
            '<xsl:key name="by-cost" match="i:line" use="@cost"/>'
            + rule(
                '<assert id="sum" test="sum(for $l in i:line return f:cents($l/@cost)) = f:cents(r:total)">sum</assert>'
                '<assert id="some" test="some $l in i:line satisfies xs:decimal($l/@cost) gt 5">some</assert>'
                '<assert id="no" test="matches(@no, \'^[A-Z]-\\d+$\')">number</assert>'
                "<assert id=\"key\" test=\"exists(key('by-cost', '4.90'))\">key</assert>"
            )
        )
    )
    assert found(schematron) == []
    assert codes(schematron, RECEIPT.replace("15.00", "15.01")) == ["schematron:sum"]
    assert codes(schematron, RECEIPT.replace("A-17", "17").replace("10.10", "4").replace("15.00", "8.90")) == [
        "schematron:some",
        "schematron:no",
    ]


def test_a_finding_names_the_place_as_the_document_writes_it_and_the_received_line(rules):
    schematron = rules(
        sch(
            rule('<assert id="cheap" test="@cost &lt; 5">dear</assert>', "i:line")
            + rule('<report id="euro" test=". = \'EUR\'">euro</report>', "@currency")
            + rule('<report id="line" test="true()" subject="i:line[2]/i:name">here</report>')
            + rule('<report id="all" test="true()">whole</report>', "/")
        )
    )
    spread = RECEIPT.replace(' xmlns:i="urn:i"', '\n xmlns:i="urn:i"').replace("<i:name>Brot", "<!-- c --><i:name>Brot")
    assert [(finding.code, finding.where) for finding in found(schematron, spread)] == [
        ("schematron:cheap", "/r:receipt/i:line[1] (line 3)"),
        ("schematron:euro", "/r:receipt/r:total/@currency (line 5)"),
        ("schematron:line", "/r:receipt/i:line[2]/i:name (line 4)"),
        ("schematron:all", ""),
    ]
    assert schematron.findings(RECEIPT.encode())[0].where == "/r:receipt/i:line[1] (line 2)"


def test_a_message_holds_values_and_diagnostics_in_one_bounded_line(rules, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")  # the process must not depend on it
    schematron = rules(
        sch(
            rule(
                '<assert test="false()" diagnostics="d">Сума\n   <emph>нет</emph> in <name/>: '
                '<value-of select="i:line/@cost"/> 🧾 {x}</assert>'
                f'<assert test="false()">{"a" * 400}</assert>'
            )
            + '<diagnostics><diagnostic id="d">Ask <value-of select="i:line[2]/i:name"/>.</diagnostic></diagnostics>'
        )
    )
    first, second = found(schematron)
    assert first.message == "Сума нет in r:receipt: 10.10 4.90 🧾 {x} Ask Käse."
    assert second.message == "a" * 299 + "…"


@pytest.mark.parametrize(
    ("attributes", "severity"),
    [
        ("", Severity.ERROR),
        ('flag="fatal"', Severity.ERROR),
        ('role="error"', Severity.ERROR),
        ('flag="anything"', Severity.ERROR),
        ('flag="warning"', Severity.WARNING),
        ('role="Information"', Severity.WARNING),
        ('flag="fatal" role="warning"', Severity.ERROR),
    ],
)
def test_flag_and_role_say_the_severity(rules, attributes, severity):
    (finding,) = found(rules(sch(rule(f'<assert {attributes} test="false()">no</assert>'))))
    assert finding.severity is severity


def test_a_rule_says_the_severity_and_the_id_of_checks_that_do_not(rules):
    schematron = rules(
        sch(
            '<pattern id="p"><rule context="r:receipt" role="warning"><assert test="0">a</assert>'
            '<assert flag="error" test="0">b</assert></rule>'
            '<rule id="q" context="i:line[1]"><assert test="0">c</assert></rule></pattern>'
            '<pattern><rule context="r:total"><assert test="0">d</assert></rule></pattern>'
        )
    )
    assert [(finding.message, finding.code, finding.severity.value) for finding in found(schematron)] == [
        ("b", "schematron:p", "error"),
        ("c", "schematron:q", "error"),
        ("d", "schematron", "error"),
        ("a", "schematron:p", "warning"),
    ]


def test_findings_are_bounded_and_a_late_error_is_among_them(rules):
    schematron = rules(
        sch(
            rule('<report role="info" id="w" test="1">w</report>', "i:line")
            + rule('<report id="e" test="1">e</report>', "r:total")
        )
    )
    document = RECEIPT.replace("<r:total", '<i:line cost="1"/>' * 500 + "<r:total")
    assert codes(schematron, document) == ["schematron:e", *["schematron:w"] * 49]


def test_of_a_pattern_the_first_rule_that_matches_fires(rules):
    schematron = rules(
        sch(
            '<pattern><rule context="i:line[@cost &gt; 5]"><report id="dear" test="1">d</report></rule>'
            '<rule context="i:line"><report id="any" test="1">a</report></rule></pattern>'
            '<pattern><rule context="i:*"><report id="other" test="1">o</report></rule></pattern>'
        )
    )
    assert codes(schematron) == [f"schematron:{name}" for name in ("dear", "any", "other", "other", "other", "other")]


def test_abstract_patterns_and_rules_are_written_out(rules):
    schematron = rules(
        sch(
            '<pattern abstract="true" id="model"><param name="most" value="100"/>'
            '<rule context="$Line "><extends rule="named"/><assert id="BR-5" test="$BR-5">five</assert>'
            '<assert id="BR-52" test="$BR-52 &lt; $most">fifty-two</assert></rule></pattern>'
            '<pattern is-a="model" id="bound"><param name="Line " value="i:line"/>'
            '<param name="BR-5" value="@cost > 5"/><param name="BR-52" value="@cost"/></pattern>'
            '<pattern is-a="model"><param name="Line" value="r:total"/><param name="BR-5" value="true()"/>'
            '<param name="BR-52" value="."/><param name="most" value="2"/></pattern>'
            '<pattern id="library"><rule abstract="true" id="named"><extends rule="deeper"/></rule>'
            '<rule abstract="true" id="deeper"><assert id="name" test="i:name">name</assert></rule></pattern>'
        )
    )
    assert codes(schematron) == ["schematron:BR-5", "schematron:name", "schematron:BR-52"]


def test_variables_have_the_scope_of_what_they_stand_in(rules):
    pattern = (
        '<pattern><let name="limit" value="{}"/><rule context="i:line[@cost > $limit]"><let name="cost" value="@cost"/>'
        '<report test="$cost > $base"><value-of select="$limit"/></report></rule></pattern>'
    )
    schematron = rules(sch('<let name="base" value="//i:line[1]/@cost - 9"/>' + pattern.format(9) + pattern.format(4)))
    assert [finding.message for finding in found(schematron)] == ["9", "4", "4"]


def test_the_default_phase_chooses_patterns(rules):
    body = (
        '<phase id="light"><active pattern="a"/><let name="v" value="1"/></phase>'
        + rule('<report id="a" test="1">a</report>', pattern='id="a"')
        + rule('<report id="b" test="1">b</report>', pattern='id="b"')
    )
    assert codes(rules(sch(body))) == ["schematron:a", "schematron:b"]
    assert codes(rules(sch(body, 'defaultPhase="light" queryBinding="xslt3"'))) == ["schematron:a"]


def test_includes_are_read_beside_the_file_that_names_them(rules):
    pattern = rule('<report id="c" test="1">c</report>', pattern='id="c"')
    inner = f'<library xmlns="http://purl.oclc.org/dsdl/schematron">{pattern}</library>'
    schematron = rules(
        sch('<include href="abstract/model.sch"/><include href="bound.sch"/>'),
        "ubl/main.sch",
        **{
            "ubl/abstract/model.sch": sch(
                '<include href="../../codes.sch#c"/><pattern abstract="true" id="m">'
                '<rule context="$x"><assert id="m" test="0">m</assert></rule></pattern>'
            ),
            "codes.sch": inner,
            "ubl/bound.sch": '<pattern xmlns="http://purl.oclc.org/dsdl/schematron" is-a="m" id="b">'
            '<param name="x" value="r:total"/></pattern>',
        },
    )
    assert codes(schematron) == ["schematron:c", "schematron:m"]


def test_a_check_that_raises_is_a_finding_and_the_others_go_on(rules):
    schematron = rules(
        sch(
            rule(
                '<assert id="a" test="xs:decimal(@no) gt 1">number: <value-of select="@no"/></assert>'
                '<report id="b" test="1"><value-of select="xs:date(@no)"/></report>'
                '<assert id="c" test="0">c</assert>'
            )
            + '<pattern id="p"><rule context="i:line"><let name="v" value="xs:integer(i:name)"/>'
            '<assert id="d" test="$v = 1">d</assert></rule></pattern>'
            + rule('<assert id="e" test="0">e</assert>', "r:total")
        )
    )
    assert [(finding.code, finding.message) for finding in found(schematron)] == [
        ("schematron:a", "the rule could not be evaluated (FORG0001): number"),
        ("schematron:b", "the rule could not be evaluated (FORG0001)"),
        ("schematron:c", "c"),
        ("schematron:p", "the rule could not be evaluated (FORG0001)"),
        ("schematron:p", "the rule could not be evaluated (FORG0001)"),
        ("schematron:e", "e"),
    ]
    endless = '<xsl:function name="f:f"><xsl:param name="n"/><xsl:sequence select="f:f($n + 1) + 1"/></xsl:function>'
    assert codes(rules(sch(endless + rule('<assert id="deep" test="f:f(1)">x</assert>')))) != []


def test_a_document_past_a_limit_of_saxons_parser_is_a_finding(rules):
    schematron = rules(sch(rule('<assert id="a" test="0">a</assert>')))
    process = schematron._saxon._process
    (finding,) = found(schematron, "<a>" * 250 + "</a>" * 250)
    assert "could not be evaluated" in finding.message
    assert schematron._saxon._process is process


def test_the_query_binding_xslt_computes_as_xpath_1_does(rules):
    check = rule("<assert id=\"sum\" test=\"'5' + 1 = '6'\">x</assert>")
    assert found(rules(sch(check, ""))) == []
    with pytest.raises(ConfigurationError, match="XPTY0004"):
        rules(sch(check))


def test_a_stylesheet_that_was_made_of_a_schema_serves(rules):
    schematron = rules(
        SVRL.replace("BODY", "f:three()")
        .replace("MORE", '<xsl:include href="sub/functions.xsl"/>')
        .replace("xmlns:r", 'xmlns:f="urn:f" xmlns:r'),
        "rules.xslt",
        **{
            "sub/functions.xsl": f'<xsl:stylesheet version="2.0" {XSL} xmlns:f="urn:f"><xsl:function name="f:three">'
            "<xsl:message>noise</xsl:message><xsl:sequence select=\"'three'\"/></xsl:function></xsl:stylesheet>"
        },
    )
    assert found(schematron) == [
        Finding("schematron:q", "one", "/r:receipt/i:line[2] (line 3)"),
        Finding("schematron:three", "three", "/r:receipt/r:total (line 4)"),
        Finding("schematron:two", "two", "/r:receipt/@no (line 1)", Severity.WARNING),
    ]


def test_a_stylesheet_that_raises_is_a_finding_without_the_value(rules):
    schematron = rules(SVRL.replace("BODY", "xs:date(/*/@no)").replace("MORE", ""), "rules.xsl")
    (finding,) = found(schematron)
    assert finding.code == "schematron"
    assert "could not be evaluated" in finding.message
    assert "A-17" not in finding.message


@pytest.mark.parametrize(
    "expression",
    [
        "doc(@file)",
        "document(@file)",
        "unparsed-text(@file)",
        "json-doc(@file)",
        "collection(concat(@file, '/..?select=*'))",
        "parse-xml(concat('&lt;!DOCTYPE a [&lt;!ENTITY e SYSTEM &quot;', @file, '&quot;>]>&lt;a>&amp;e;&lt;/a>'))",
        "transform(map{'stylesheet-location': string(@file)})?output",
    ],
)
def test_rules_read_nothing_but_the_document_whatever_it_names(rules, tmp_path, expression):
    """Invariant 14: no connection but those that an adapter makes."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)

        def log_message(self, *args):
            """Say nothing."""

    (tmp_path / "secret.xml").write_text("<secret>42</secret>")
    schematron = rules(sch(rule(f'<report id="read" test="1"><value-of select="{expression}"/></report>')))
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            for url in (f"file://{tmp_path}/secret.xml", f"http://127.0.0.1:{server.server_port}/secret.xml"):
                (finding,) = found(schematron, f'<r:receipt xmlns:r="urn:r" file="{url}"/>')
                assert "could not be evaluated" in finding.message
                assert "42" not in finding.message
        finally:
            server.shutdown()
            thread.join()
    assert asked == []


def test_rules_see_no_environment_and_write_no_file(rules, tmp_path, monkeypatch):
    monkeypatch.setenv("RECEIPTD_SECRET", "hush")
    see = "string-join((environment-variable('RECEIPTD_SECRET'), available-environment-variables()), '')"
    (finding,) = found(rules(sch(rule(f'<report test="1">-<value-of select="{see}"/>-</report>'))))
    assert finding.message == "--"
    write = f'<xsl:result-document href="file://{tmp_path}/written"><a/></xsl:result-document>'
    with pytest.raises(ConfigurationError, match="result-document is disabled"):
        rules(SVRL.replace("BODY", "1").replace("<svrl:active", f"{write}<svrl:active").replace("MORE", ""), "w.xsl")
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.sch", "<schema", r"a.sch:1: is no XML"),
        ("a.sch", '<schema xmlns="http://www.ascc.net/xml/schematron"/>', "a.sch:1: is no <schema> of ISO Schematron"),
        ("a.sch", '<!DOCTYPE a [<!ENTITY b "c">]><a/>', "a.sch:1: a DOCTYPE is not taken"),
        ("a.sch", sch("", 'queryBinding="stx"'), "a.sch:1: the queryBinding stx is not known"),
        ("a.sch", sch("<patern/>"), "a.sch:4: <patern> has no place in <schema>"),
        ("a.sch", sch(rule("\n<assert>x</assert>")), "a.sch:5: <assert> has no test"),
        ("a.sch", sch(rule('\n\n<assert test="$gone = 1">x</assert>')), "a.sch:6: XPST0008 .*gone"),
        ("a.sch", sch(rule('\n<assert test="1 +">x</assert>')), "a.sch:5: XPST0003"),
        ("a.sch", sch(rule('<assert test="1">x</assert>', "a[")), "a.sch:4: .*; mend the expression"),
        ("a.sch", sch(rule('\n<extends rule="q"/>')), "a.sch:5: there is no abstract rule q"),
        ("a.sch", sch('<pattern is-a="q"/>'), "a.sch:4: there is no abstract pattern q"),
        ("a.sch", sch('<pattern documents="@href"/>'), "nothing but the receipt is read"),
        ("a.sch", sch("", 'defaultPhase="q"'), "there is no phase q"),
        ("a.sch", sch(rule('<assert test="1" diagnostics="q">x</assert>')), "there is no diagnostic q"),
        ("a.sch", sch('<include href="a.sch"/>'), "a.sch:4: a.sch includes itself"),
        ("a.sch", sch('<include href="../outside.sch"/>'), "outside.sch is no file of"),
        ("a.sch", sch('<include href="http://127.0.0.1:1/outside.sch"/>'), "nothing is fetched"),
        ("a.sch", sch('<include href="beside.sch"/>'), r"beside.sch:5: XPST0008"),
        ("a.sch", sch('<xsl:import href="a.xsl"/>'), "a.sch:4: only functions, keys and variables"),
        ("a.xsl", f'<xsl:stylesheet version="2.0" {XSL}/>', "a.xsl: makes no Schematron report"),
        ("a.xsl", SVRL.replace("BODY", "$gone").replace("MORE", ""), "a.xsl:8: XPST0008 .*gone"),
        ("a.xsl", SVRL.replace("MORE", '<xsl:include href="../outside.xsl"/>'), "outside.xsl is no file of"),
    ],
)
def test_what_cannot_be_used_is_told_with_file_and_line(rules, tmp_path, name, text, message):
    for outside in ("outside.sch", "outside.xsl"):
        (tmp_path.parent / outside).write_text(sch(""))
    with pytest.raises(ConfigurationError, match=message):
        rules(text, name, **{"beside.sch": sch(rule('\n<assert test="$gone">x</assert>'))})


def test_a_missing_file_and_a_missing_extra_are_told(tmp_path, monkeypatch):
    with pytest.raises(ConfigurationError, match=r"none\.sch: cannot be read: No such file"):
        Schematron([tmp_path / "none.sch"])
    monkeypatch.setitem(sys.modules, "saxonche", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'receiptd\[schematron\]'"):
        Schematron([tmp_path / "none.sch"])


SLOW = '<assert id="slow" test="sum(for $i in 1 to xs:integer(@n) return $i mod 7) >= 0">slow</assert>'


def slow(n: int) -> str:
    return f'<r:receipt xmlns:r="urn:r" n="{n}"/>'


def test_the_event_loop_goes_on_while_rules_are_evaluated(rules):
    schematron = rules(sch(rule(SLOW)))

    async def longest_pause() -> tuple[float, float]:
        task = asyncio.create_task(asyncio.to_thread(found, schematron, slow(10_000_000)))
        began = last = time.perf_counter()
        pause = 0.0
        while not task.done():
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            pause, last = max(pause, now - last), now
        assert task.result() == []
        return pause, last - began

    pause, whole = asyncio.run(longest_pause())
    assert pause < whole / 4


def test_an_evaluation_without_end_is_ended_and_the_next_document_is_judged(rules, monkeypatch):
    """Invariant 12: a document harms only itself."""
    schematron = rules(sch(rule(SLOW)))
    monkeypatch.setattr(saxon_process, "EVALUATION_MAX_S", 0.5)
    (finding,) = found(schematron, slow(10**9))
    assert finding.code == "schematron"
    assert "could not be evaluated within" in finding.message
    assert found(schematron, slow(10)) == []


def test_an_evaluation_that_fills_the_memory_is_ended_and_the_next_document_is_judged(rules, monkeypatch):
    """Invariant 13: memory is bounded, and running out of it ends a process that is not the daemon's."""
    monkeypatch.setattr(saxon_process, "DATA_MAX_BYTES", 160 * 1024 * 1024)
    fill = "count(distinct-values(for $i in 1 to xs:integer(@n) return concat('x', $i)))"
    schematron = rules(sch(rule(f'<report test="{fill} = 1">x</report>')))
    (finding,) = found(schematron, slow(50_000_000))
    assert "in the memory there is" in finding.message
    assert found(schematron, slow(10)) == []


def test_a_process_that_was_killed_is_replaced_and_one_that_does_not_start_is_no_verdict(rules, monkeypatch):
    schematron = rules(sch(rule('<assert id="a" test="0">a</assert>')))
    for _ in range(2):
        os.kill(schematron._saxon._process.pid, signal.SIGKILL)
        assert codes(schematron) == ["schematron:a"]
    os.kill(schematron._saxon._process.pid, signal.SIGKILL)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(OverloadedError, match="cannot be started"):
        found(schematron)
    monkeypatch.undo()
    assert codes(schematron) == ["schematron:a"]


def test_the_process_ends_with_its_rules_and_not_by_the_signals_of_the_daemon(tmp_path):
    (tmp_path / "rules.sch").write_text(sch(rule('<assert id="a" test="0">a</assert>')))
    schematron = Schematron([tmp_path / "rules.sch"])
    process = schematron._saxon._process
    for sent in (signal.SIGINT, signal.SIGTERM):
        process.send_signal(sent)
    assert codes(schematron) == ["schematron:a"]
    assert schematron._saxon._process is process
    del schematron
    gc.collect()
    assert process.poll() == -signal.SIGKILL


def test_several_files_judge_together_and_threads_take_turns(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.sch").write_text(sch(rule(f'<assert id="{name}" test="0">x</assert>')))
    schematron = Schematron([tmp_path / "a.sch", tmp_path / "b.sch"])
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(codes(schematron))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [["schematron:a", "schematron:b"]] * 8
    schematron._saxon.stop()


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of UBL invoices is not beside the repository")
def test_real_invoices_keep_the_rules_of_their_totals(rules):
    schematron = rules(
        '<schema xmlns="http://purl.oclc.org/dsdl/schematron" queryBinding="xslt2">'
        '<ns prefix="cac" uri="urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2"/>'
        '<ns prefix="cbc" uri="urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2"/>'
        '<ns prefix="xs" uri="http://www.w3.org/2001/XMLSchema"/>'
        '<pattern><rule context="/*"><let name="totals" value="cac:LegalMonetaryTotal"/>'
        '<assert id="CO-10" test="xs:decimal($totals/cbc:LineExtensionAmount) = '
        'round(sum(cac:InvoiceLine/cbc:LineExtensionAmount/xs:decimal(.)) * 100) div 100">lines</assert>'
        '<assert id="code" test="matches(cbc:DocumentCurrencyCode, \'^[A-Z]{3}$\')">currency</assert>'
        "</rule></pattern></schema>"
    )
    documents = sorted(CORPUS.glob("*.xml"))
    assert documents
    for path in documents:
        root = etree.parse(path).getroot()
        assert schematron.findings(etree.tostring(root, encoding="UTF-8"), root) == [], path.name
