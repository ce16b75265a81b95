"""Schematron: what rules may read, which is files of the type's folder and nothing else."""

from __future__ import annotations

import os
import signal

import pytest

pytest.importorskip("saxonche")

from schematron_kit import RECEIPT, SVRL, XSL, codes, found, rule, sch

from receiptd.documents.schematron import Schematron
from receiptd.domain.errors import ConfigurationError

NAMED = "document('codes.xml')"
CODES = '<codes><code value="EUR"/></codes>'
LISTED = f"{NAMED}/codes/code/@value = r:total/@currency"


def by_stylesheet(expression: str) -> str:
    return SVRL.replace("BODY", expression).replace("MORE", "")


@pytest.mark.parametrize(
    "call", ["document('codes.xml')", "doc('lists/../codes.xml')", "document($list)", "doc($list)"]
)
def test_rules_read_documents_beside_them(rules, call):
    check = f'<assert id="code" test="{LISTED.replace(NAMED, call)}">code</assert>'
    let = '<let name="list" value="\'codes.xml\'"/>'
    schematron = rules(sch(let + rule(check)), **{"codes.xml": CODES, "lists/other.xml": CODES})
    assert found(schematron) == []
    assert codes(schematron, RECEIPT.replace("EUR", "XXX")) == ["schematron:code"]


@pytest.mark.parametrize("folder", ["rules", "Prüfung der Belege", "it's 100% (a+b) & [c] #1"])
def test_stylesheets_and_their_modules_read_documents_beside_them(tmp_path, folder):
    (tmp_path / folder / "sub").mkdir(parents=True)
    module = (
        f'<xsl:stylesheet version="2.0" {XSL} xmlns:f="urn:f"><xsl:function name="f:list">'
        "<xsl:sequence select=\"document('codes.xml')//@value, document('../codes.xml')//@value\"/>"
        "</xsl:function></xsl:stylesheet>"
    )
    include = '<xsl:include href="sub/functions.xsl"/>'
    text = SVRL.replace("BODY", "f:list(), document('')/*/@version").replace("MORE", include)
    for name, content in {
        "rules.xslt": text.replace("xmlns:r", 'xmlns:f="urn:f" xmlns:r'),
        "codes.xml": CODES,
        "sub/codes.xml": CODES.replace("EUR", "UAH"),
        "sub/functions.xsl": module,
    }.items():
        (tmp_path / folder / name).write_text(content)
    schematron = Schematron([tmp_path / folder / "rules.xslt"])
    assert [finding.message for finding in found(schematron)] == ["one", "UAH EUR 2.0", "two"]
    schematron._saxon.stop()
    check = f'<assert id="code" test="{LISTED}">code</assert>'
    (tmp_path / folder / "rules.sch").write_text(sch(rule(check)))
    schematron = Schematron([tmp_path / folder / "rules.sch"])
    assert found(schematron) == []
    schematron._saxon.stop()


def test_a_process_that_is_replaced_reads_them_too(rules):
    schematron = rules(sch(rule(f'<assert id="code" test="{LISTED}">code</assert>')), **{"codes.xml": CODES})
    os.kill(schematron._saxon._process.pid, signal.SIGKILL)
    assert found(schematron) == []


@pytest.mark.parametrize("scheme", ["", "file://", "jar:file://", "http://127.0.0.1:1", "data:application/xml,<a>"])
def test_rules_that_read_documents_read_no_others(rules, tmp_path, scheme):
    """Invariant 14, and that no place of the server's disk is told."""
    other = tmp_path / "type/samples/other.xml"
    show = '<report id="read" test="1"><value-of select="count(document(\'codes.xml\')), doc(@file)"/></report>'
    for name, content in (
        ("rules.sch", sch(rule(show))),
        ("rules.xsl", by_stylesheet("document('codes.xml'), doc(/*/@file)")),
    ):
        schematron = rules(content, f"type/{name}", **{"type/codes.xml": CODES, "type/samples/other.xml": "<o>42</o>"})
        (finding,) = found(schematron, f'<r:receipt xmlns:r="urn:r" file="{scheme.replace("<", "&lt;")}{other}"/>')
        assert "could not be evaluated" in finding.message
        assert "42" not in finding.message
        assert str(tmp_path) not in finding.message


def test_findings_do_not_tell_where_the_server_keeps_its_files(rules, tmp_path):
    told = "base-uri(doc('codes.xml')), substring-after(string(static-base-uri()), 'file:')"
    schematron = rules(sch(rule(f'<report test="1">in <value-of select="{told}"/></report>')), **{"codes.xml": CODES})
    (finding,) = found(schematron)
    assert str(tmp_path) not in finding.message
    assert "in codes.xml" in finding.message


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("doc('gone.xml')", r"a\.[a-z]+:\d+: doc\('gone.xml'\) is no file of .*; put it there, nothing is fetched"),
        ("document('../outside.xml')", r"document\('../outside.xml'\) is no file of"),
        ("document('sub/link.xml')", r"document\('sub/link.xml'\) is no file of"),
        ("document('folder/outside.xml')", "is no file of"),
        ("doc('/etc/hostname')", "is no file of"),
        ("doc('file:///etc/hostname')", "is no file of"),
        ("document('http://127.0.0.1:1/codes.xml')", "is no file of"),
        ("document('data:application/xml,a')", "is no file of"),
        (f"doc('{'x' * 300}')", r"a\.[a-z]+:\d+: doc\('xxx"),
        ("doc('bad.xml')", r"bad\.xml:1: is no XML"),
        ("doc('entity.xml')", r"entity\.xml:1: a DOCTYPE is not taken"),
    ],
)
@pytest.mark.parametrize("kind", ["sch", "xsl"])
def test_a_document_that_may_not_be_read_is_told_with_file_and_line(rules, tmp_path, kind, expression, message):
    (tmp_path / "outside.xml").write_text("<secret>42</secret>")
    (tmp_path / "type" / "sub").mkdir(parents=True)
    (tmp_path / "type" / "sub" / "link.xml").symlink_to(tmp_path / "outside.xml")
    (tmp_path / "type" / "folder").symlink_to(tmp_path)
    (tmp_path / "type" / "bad.xml").write_text("<a")
    entity = f'<!DOCTYPE a [<!ENTITY e SYSTEM "{tmp_path}/outside.xml">]><a>&e;</a>'
    (tmp_path / "type" / "entity.xml").write_text(entity)
    text = sch(rule(f'<report test="{expression}">x</report>')) if kind == "sch" else by_stylesheet(expression)
    (tmp_path / "type" / f"a.{kind}").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        Schematron([tmp_path / "type" / f"a.{kind}"])


@pytest.mark.parametrize(
    "more",
    [
        '<xsl:variable name="s" static="yes" select="unparsed-text(\'SECRET\')"/>',
        '<xsl:variable name="s" static="yes" select="function-lookup(xs:QName(\'xs:a\'), 1)(\'SECRET\')"/>',
        '<xsl:variable name="s" _static="{\'yes\'}" select="json-doc(\'SECRET\')"/>',
        '<xsl:variable name="s" use-when="doc-available(\'SECRET\')" select="1"/>',
        '<xsl:function name="f:s"><a xmlns="" xsl:use-when="unparsed-text-available(\'SECRET\')"/></xsl:function>',
    ],
)
def test_rules_read_nothing_while_they_are_compiled(rules, tmp_path, more):
    (tmp_path / "secret").write_text("42")
    more = more.replace("SECRET", str(tmp_path / "secret"))
    stylesheet = SVRL.replace("BODY", "1").replace("MORE", more).replace("xmlns:r", 'xmlns:f="urn:f" xmlns:r')
    for name, text in (("a.sch", sch(more)), ("a.xsl", stylesheet)):
        with pytest.raises(ConfigurationError, match=rf"{name}:\d+: .* is not taken"):
            rules(text, name)
