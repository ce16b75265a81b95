"""Templates: what they write, what they refuse, and that no value of a receipt becomes structure."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from receiptd.documents.errors import RenderingError
from receiptd.documents.templates import RENDERED_MAX_BYTES, Template, facts_of
from receiptd.domain.errors import ConfigurationError
from receiptd.domain.receipt import Submission

LINES = [
    {"description": "Tea", "category": "", "sku": "", "quantity": "0.400", "unit": "kg", "amount": 1230},
    {"description": 'A "cup" <&>', "category": "", "sku": "7", "quantity": "007", "unit": "", "amount": -5},
]
RECEIPT = {
    "currency": "EUR",
    "number": "N-1",
    "issued_at": "2026-01-02T03:04:05+02:00",
    "seller": "Corner & Sons",
    "buyer": "",
    "total": 1225,
    "taxes": [{"code": "A", "rate": "20.0", "base": None, "amount": 205}, {"code": "B", "rate": "", "amount": 0}],
    "lines": LINES,
}


def facts(**fields):
    submission = Submission(
        receipt_id="20260101-" + "0" * 24,
        client_id="shop",
        type_id="slip",
        type_version=3,
        accepted_at=1_767_225_600.5,
        content_type="application/xml",
        digest="",
        document=b"<a/>",
        canonical=orjson.dumps({**RECEIPT, **fields}),
    )
    return facts_of(submission)


@pytest.fixture
def template(tmp_path):
    def make(text, name="t.json.j2", **others):
        for stem, content in others.items():
            (tmp_path / f"{stem}.j2").write_text(content)
        (tmp_path / name).write_text(text)
        return Template(tmp_path / name)

    return make


def test_json_is_written_with_its_quotes_and_money_in_major_units(template):
    made = template("""\
{# for the warehouse #}
{
  "number": {{ receipt.number }}, "at": {{ accepted_at }}, "id": {{ id }}, "by": {{ client }}, "type": {{ type }},
  "total": {{ receipt.total | money }}, "bare": {{ receipt.total | money | number }}, "minor": {{ receipt.total }},
  "tax": {{ receipt.taxes[0].base | money }}, "rates": [{{ receipt.taxes[0].rate | number }}, {{ receipt.taxes[1].rate | number }}],
  "items": [
  {% for line in receipt.lines %}
    {"text": {{ line.description }}, "n": {{ line.quantity | number }}, "no": {{ loop.index }}}{% if not loop.last %},{% endif %}

  {% endfor %}
  ],
  "all": {{ receipt.lines | map(attribute="amount") }}, "object": {{ {"a": 1, "n": "1.50" | number} }},
  "constant": {{ "<b>" }}, "habit": {{ receipt.seller | tojson }}, "joined": {{ receipt.seller ~ "!" | upper }}
}
""")  # noqa: E501 - as a template is written
    assert made.media_type == "application/json"
    rendered = made.render(facts())
    assert orjson.loads(rendered) == {
        "number": "N-1",
        "at": "2026-01-01T00:00:00.500Z",
        "id": "20260101-" + "0" * 24,
        "by": "shop",
        "type": "slip@3",
        "total": "12.25",
        "bare": 12.25,
        "minor": 1225,
        "tax": None,
        "rates": [20.0, None],
        "items": [{"text": "Tea", "n": 0.4, "no": 1}, {"text": 'A "cup" <&>', "n": 7, "no": 2}],
        "all": [1230, -5],
        "object": {"a": 1, "n": 1.5},
        "constant": "<b>",
        "habit": "Corner & Sons",
        "joined": "Corner & Sons!",
    }
    assert b'"bare": 12.25,' in rendered
    assert b'"n": 0.400,' in rendered, "digits stay as they were written"


@pytest.mark.parametrize(("currency", "total"), [("JPY", "1225"), ("KWD", "1.225"), ("EUR", "12.25")])
def test_money_follows_the_currency(template, currency, total):
    assert template("{{ receipt.total | money }}").render(facts(currency=currency)) == f'"{total}"'.encode()


def test_xml_is_escaped(template):
    made = template(
        '{% set root = "r" %}\n<?xml version="1.0"?>\n'
        '<r n="{{ receipt.seller }}">{% for line in receipt.lines %}'
        "<l>{{ line.description }} {{ line.amount | money }}</l>{% endfor %}"
        "<t>{{ receipt.taxes[0].base }}{{ receipt.number == 'N-1' }}</t></r>\n",
        "t.xml.j2",
    )
    assert made.media_type == "application/xml"
    root = etree.fromstring(made.render(facts()))
    assert root.get("n") == "Corner & Sons"
    assert [line.text for line in root.iter("l")] == ["Tea 12.30", 'A "cup" <&> -0.05']
    assert root.findtext("t") == "true"


def test_text_is_text(template):
    made = template("{{ receipt.seller }}|{{ receipt.total | money }}{{ ' EUR' if receipt.total }}\n", "t.txt.j2")
    assert made.media_type == "text/plain; charset=utf-8"
    assert made.render(facts()) == b"Corner & Sons|12.25 EUR\n"


# -- no value becomes structure, and the same receipt gives the same bytes -----------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ['","x":"', "</a><b>", "]]>", "{{ id }}", "1", "null", "\x00", '"', "\\", "&lt;", "{% raw %}", "-->", "\x85\u2028"]
)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_no_text_of_a_receipt_becomes_structure(text, tmp_path_factory):
    seen = facts(number=text, lines=[{**LINES[0], "description": text}])
    folder = tmp_path_factory.getbasetemp()
    for name, content in _WRITERS.items():
        if not (folder / name).exists():
            (folder / name).write_text(content)
    rendered = Template(folder / "w.json.j2").render(seen)
    assert orjson.loads(rendered) == {"a": text, "m": {"k": text}, "l": [text], "i": text}
    root = etree.fromstring(Template(folder / "w.xml.j2").render(seen))
    assert [element.tag for element in root.iter()] == ["a", "b"]
    assert etree.fromstring(Template(folder / "w.xml.j2").render(seen)).get("n") == root.get("n")


_WRITERS = {
    "w.json.j2": """{% macro m(x) %}{"k": {{ x }}}{% endmacro %}
{"a": {{ receipt.number }}, "m": {{ m(receipt.number) }}, "l": {{ receipt.lines | map(attribute="description") }},
 "i": {% include "i.json.j2" %}}""",
    "i.json.j2": "{{ receipt.number }}",
    "w.xml.j2": '<a n="{{ receipt.number }}"><b>{{ receipt.number }}</b></a>',
}


def test_a_character_that_xml_cannot_hold_is_replaced(template):
    rendered = template("<a>{{ receipt.number }}</a>", "t.xml.j2").render(facts(number="a\x00b\tc\uffff"))
    assert etree.fromstring(rendered).text == "a\ufffdb\tc\ufffd"


@pytest.mark.parametrize("chance", ["{{ lipsum() }}", "{{ [1, 2] | random }}", "{{ now() }}", "{{ accepted_at.now }}"])
def test_there_is_no_clock_and_no_chance_invariant_5(template, chance):
    with pytest.raises((ConfigurationError, RenderingError)):
        template(chance).render(facts())


def test_what_changes_on_disk_does_not_reach_a_template_in_force_invariant_5(template, tmp_path):
    made = template('{% include "part.j2" %}', part="1")
    (tmp_path / "t.json.j2").write_text("3")
    (tmp_path / "part.j2").write_text("2")
    assert made.render(facts()) == b"1"
    assert Template(tmp_path / "t.json.j2").render(facts()) == b"3"


# -- what is refused when it is loaded -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\n{% if %}", ":2: Expected an expression"),
        ("\n{{ recipt.number }}", ":2: there is no recipt; there are accepted_at, client, id, receipt, type"),
        ("\n\n{{ receipt.nummer }}", ":3: the receipt has no nummer; it has buyer, currency"),
        ("\n{{ receipt.number | safe }}", ":2: No filter named 'safe'"),
        ("\n{{ receipt.number | monny }}", ":2: No filter named 'monny'"),
        ('\n{% include "gone.j2" %}', ":2: there is no file gone.j2"),
        ('\n{% include "../outside.j2" %}', ":2: there is no file ../outside.j2"),
        ('{% import "/etc/hostname" as x %}', ":1: there is no file /etc/hostname"),
        ('{% include "link.j2" %}', ":1: there is no file link.j2"),
        ("{% include receipt.number %}", ":1: includes by an expression"),
    ],
)
def test_a_template_that_cannot_work_is_refused_with_file_and_line(template, tmp_path, text, says):
    (tmp_path.parent / "outside.j2").write_text("x")
    (tmp_path / "link.j2").symlink_to(tmp_path.parent / "outside.j2")
    with pytest.raises(ConfigurationError) as refused:
        template(text)
    assert str(refused.value).startswith(f"{tmp_path / 't.json.j2'}{says}")


def test_a_fault_in_an_included_file_names_that_file(template, tmp_path):
    with pytest.raises(ConfigurationError, match=f"{tmp_path}/part.j2:2: "):
        template('{% include "part.j2" %}', part="\n{{ }}")


def test_a_file_of_another_kind_or_none_is_refused(tmp_path):
    (tmp_path / "t.html.j2").write_text("")
    (tmp_path / "latin.txt.j2").write_bytes(b"\xe9")
    for name, says in {"t.html.j2": "ends in", "gone.txt.j2": "no such file", "latin.txt.j2": "UTF-8"}.items():
        with pytest.raises(ConfigurationError, match=says):
            Template(tmp_path / name)


# -- what goes wrong at work ---------------------------------------------------------------------------------------

SECRET = "4711-personal"  # a value that no reason may hold


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("t.json.j2", "\n{{ receipt.lines[0].weight }}", "t.json.j2, line 2: it uses a name or a field"),
        ("t.json.j2", "\n{{ receipt[receipt.number] }}", "t.json.j2, line 2: it uses a name or a field"),
        ("t.json.j2", "\n{{ receipt.number.foo }}", "t.json.j2, line 2: it uses a name or a field"),
        ("t.json.j2", "{{ 1 // 0 }}", "t.json.j2, line 1: it failed (ZeroDivisionError)"),
        ("t.json.j2", "{{ {receipt.number: 1}[receipt] }}", "t.json.j2, line 1: it"),
        ("t.json.j2", "\n\n{{ receipt.number | number }}", "t.json.j2, line 3: number takes"),
        ("t.json.j2", "{{ receipt.number | money }}", "t.json.j2, line 1: money takes"),
        ("t.json.j2", '{"a": "{{ receipt.number }}"}', "t.json.j2: what it makes is no JSON (line 1, column 9"),
        ("t.json.j2", "{% macro m() %}a {{ id }}{% endmacro %}\n{{ m() }}", "t.json.j2, line 2: what a macro"),
        ("t.json.j2", "{{ receipt.lines.append(1) }}", "t.json.j2, line 1: it failed (SecurityError)"),
        ("t.json.j2", "{{ id.__class__.__mro__ }}", "t.json.j2, line 1: it failed (SecurityError)"),
        ("t.json.j2", "{% include 't.json.j2' %}", "t.json.j2, line 1: it failed (RecursionError)"),
        ("t.xml.j2", "<a>{{ receipt.lines }}</a>", "t.xml.j2, line 1: a list or an object"),
        ("t.xml.j2", "<a>\n<b></a>", "t.xml.j2: what it makes is no XML (ERR_TAG_NAME_MISMATCH, line 2"),
        ("t.xml.j2", "<{{ receipt.number }}></a>", "t.xml.j2: what it makes is no XML (ERR_"),
        ("t.xml.j2", "<?xml version='1.0' encoding='windows-1251'?><a/>", "t.xml.j2: what it makes is UTF-8 and"),
        ("t.txt.j2", "{% for a in range(99999) %}{{ receipt.seller }}{% endfor %}", "t.txt.j2: it makes more than"),
        ("t.txt.j2", "{% for a in range(10**6) %}x{% endfor %}", "t.txt.j2, line 1: it failed (OverflowError)"),
    ],
)
def test_a_failure_names_template_and_line_and_no_value_invariant_14(template, name, text, says):
    made = template(text, name)
    with pytest.raises(RenderingError) as failed:
        made.render(facts(number=SECRET))
    assert str(failed.value).startswith(f"template {says}")
    assert SECRET not in str(failed.value)
    assert failed.value.__suppress_context__


def test_a_failure_in_an_included_file_names_that_file(template):
    made = template('\n{% include "part.j2" %}', part="\n\n{{ receipt.lines[9].sku }}")
    with pytest.raises(RenderingError, match=r"^template part\.j2, line 3: "):
        made.render(facts())


def test_the_largest_result_is_taken(template):
    made = template("{% for line in receipt.lines %}{{ line.sku }}{% endfor %}", "t.txt.j2")
    half = {**LINES[0], "sku": "é" * (RENDERED_MAX_BYTES // 4)}
    assert len(made.render(facts(lines=[half, half]))) == RENDERED_MAX_BYTES
    with pytest.raises(RenderingError, match="more than"):
        made.render(facts(lines=[half, half, LINES[1]]))
