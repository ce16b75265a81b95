"""Patterns written anew for libxml2 accept what the standard library's engine accepts of the original."""

from __future__ import annotations

import itertools
import re
from xml.sax.saxutils import quoteattr

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lxml import etree

from receiptd.documents.schemas.xsd_patterns import harmless

TEXTS = ["".join(characters) for length in range(5) for characters in itertools.product("abc1", repeat=length)]
CLASSES = st.sampled_from(["a", "b", "c", "[ab]", "[^a]", ".", "[a-c]", "[^bc]", "\\d", "[\\da]", "[b-]", "[^-a]"])
QUANTIFIERS = st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{0,2}", "{1,}", "{2,}", "{0}"])
PATTERNS = st.recursive(
    CLASSES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({'|'.join(parts)})"),
        st.tuples(inner, QUANTIFIERS).map(lambda pair: f"({pair[0]}){pair[1]}"),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(PATTERNS)
def test_a_pattern_that_is_written_anew_means_the_same(pattern):
    written = harmless(pattern)
    assume(written != pattern)
    restriction = f'<x:restriction base="x:string"><x:pattern value={quoteattr(written)}/></x:restriction>'
    schema = etree.XMLSchema(
        etree.fromstring(
            '<x:schema xmlns:x="http://www.w3.org/2001/XMLSchema"><x:element name="r"><x:simpleType>'
            f"{restriction}</x:simpleType></x:element></x:schema>"
        )
    )
    meant = re.compile(pattern, re.ASCII)
    root = etree.Element("r")
    for text in TEXTS:
        root.text = text
        assert schema.validate(root) is bool(meant.fullmatch(text)), (written, text)
