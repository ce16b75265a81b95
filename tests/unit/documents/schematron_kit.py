"""Schemas, stylesheets and a receipt for the tests of Schematron."""

from __future__ import annotations

from lxml import etree

from receiptd.documents.schematron import Schematron
from receiptd.domain.receipt import Finding

XSL = 'xmlns:xsl="http://www.w3.org/1999/XSL/Transform" xmlns:xs="http://www.w3.org/2001/XMLSchema"'
RECEIPT = """<r:receipt xmlns:r="urn:r" xmlns:i="urn:i" no="A-17">
  <i:line cost="10.10"><i:name>Brot</i:name></i:line>
  <i:line cost="4.90"><i:name>Käse</i:name></i:line>
  <r:total currency="EUR">15.00</r:total>
</r:receipt>"""
SVRL = f"""<xsl:stylesheet version="2.0" {XSL} xmlns:svrl="http://purl.oclc.org/dsdl/svrl" xmlns:r="urn:r">
<xsl:template match="/"><svrl:schematron-output><svrl:active-pattern id="p"/><svrl:fired-rule id="q" context="x"/>
<svrl:failed-assert location="/*:receipt[namespace-uri()='urn:r'][1]/*:line[namespace-uri()='urn:i'][2]">
<svrl:text>one</svrl:text></svrl:failed-assert>
<svrl:failed-assert id="two" flag="warning" location="/*[local-name()='receipt' and namespace-uri()='urn:r']/@no">
<svrl:text>two</svrl:text></svrl:failed-assert>
<svrl:successful-report id="three" location="/Q{{{{urn:r}}}}receipt[1]/Q{{{{urn:r}}}}total[1]/text()[1]">
<svrl:text><xsl:value-of select="BODY"/></svrl:text></svrl:successful-report>
</svrl:schematron-output></xsl:template>MORE</xsl:stylesheet>"""


def sch(body: str, attributes: str = 'queryBinding="xslt2"') -> str:
    return (
        f'<schema xmlns="http://purl.oclc.org/dsdl/schematron" {XSL} {attributes}>\n'
        '<ns prefix="r" uri="urn:r"/><ns prefix="i" uri="urn:i"/><ns prefix="f" uri="urn:f"/>\n'
        '<ns prefix="xs" uri="http://www.w3.org/2001/XMLSchema"/>\n'
        f"{body}\n</schema>"
    )


def rule(checks: str, context: str = "r:receipt", pattern: str = "") -> str:
    return f'<pattern {pattern}><rule context="{context}">{checks}</rule></pattern>'


def found(schematron: Schematron, document: str = RECEIPT) -> list[Finding]:
    root = etree.fromstring(document.encode())
    return schematron.findings(etree.tostring(root, encoding="UTF-8"), root)


def codes(schematron: Schematron, document: str = RECEIPT) -> list[str]:
    return [finding.code for finding in found(schematron, document)]
