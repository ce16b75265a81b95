"""How a template writes what stands in ``{{ … }}``, its filters, and whether the whole became what its name promises.

Errors that are raised here hold our own words alone, nothing of a receipt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import orjson
from jinja2 import Undefined, pass_context, pass_eval_context
from jinja2.runtime import Context
from lxml import etree
from markupsafe import Markup

from receiptd.domain.money import to_major

_DECIMAL: Final = re.compile(r"[+-]?[0-9]{1,40}(?:\.[0-9]{1,40})?")
_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML 1.0 document may hold, however it is written (section 2.2)."""


class UnfitError(Exception):
    """A template made what it must not."""


# -- writing values ------------------------------------------------------------------------------------------------

# Each takes the evaluation's context, which it does not need, because Jinja would otherwise write constants before it
# is asked, and escape them first.


@pass_eval_context
def _as_json(_: Any, value: Any) -> Markup:
    """Write any value as JSON; what a macro or a block has made stands as it is, when it is JSON."""
    if isinstance(value, Markup):
        try:
            orjson.loads(value.encode())
        except orjson.JSONDecodeError:
            raise UnfitError("what a macro or block gives here is not one JSON value") from None
        return value
    if isinstance(value, Undefined):  # nothing, for an "if" without "else"; of anything else this raises
        return Markup(str(value))  # noqa: S704 - it is empty
    return Markup(orjson.dumps(value, default=_listed).decode())  # noqa: S704 - JSON is the markup here


@pass_eval_context
def _as_xml(_: Any, value: Any) -> str:
    """Write text, for Jinja to escape; a character that XML cannot hold becomes U+FFFD."""
    return value if isinstance(value, Markup) else _NO_XML.sub("\ufffd", _text(value))


@pass_eval_context
def _as_text(_: Any, value: Any) -> str:
    return _text(value)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float, Decimal, Undefined)):
        return str(value)
    raise UnfitError("a list or an object cannot be written as text; write its parts")


def _listed(value: Any) -> list[Any]:
    if isinstance(value, Iterator):  # of the filters map, select, …
        return list(value)
    raise TypeError


# -- filters -------------------------------------------------------------------------------------------------------


@pass_context
def _money(context: Context, amount: int | None, currency: str = "") -> str | None:
    """Write an amount in minor units as a decimal in major units of the receipt's currency; nothing stays nothing."""
    if amount is None:
        return None
    if type(amount) is not int:
        raise UnfitError("money takes an amount in minor units, such as receipt.total")
    if not currency and "receipt" not in context:
        raise UnfitError("money does not see the receipt here; write money(receipt.currency), or import with context")
    return to_major(amount, currency or context["receipt"]["currency"])


def _number(value: str | float | Decimal | None) -> str | None:
    """Write a decimal, or text that is one, in plain digits; nothing, and empty text, is nothing."""
    if value is None or value == "":
        return None
    text = str(value)
    if isinstance(value, bool) or _DECIMAL.fullmatch(text) is None:
        raise UnfitError("number takes a decimal number, or text that is one")
    return f"{Decimal(text):f}"


def _bare_number(value: str | float | Decimal | None) -> orjson.Fragment | None:
    number = _number(value)
    return None if number is None else orjson.Fragment(number)


def _itself(value: Any) -> Any:
    return value


# -- judging the result --------------------------------------------------------------------------------------------


def _judge_json(rendered: bytes) -> None:
    try:
        orjson.loads(rendered)
    except orjson.JSONDecodeError as error:
        raise UnfitError(
            f"what it makes is no JSON (line {error.lineno}, column {error.colno} of the result); {{{{ … }}}} writes "
            "the quotes of a string itself"
        ) from None


def _judge_xml(rendered: bytes) -> None:
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    try:
        root = etree.fromstring(rendered, parser)
    except etree.XMLSyntaxError as error:  # its text may quote names that came from the receipt, its kind does not
        kinds = [entry.type_name for entry in parser.error_log] or ["not well-formed"]
        raise UnfitError(f"what it makes is no XML ({kinds[0]}, line {error.lineno} of the result)") from None
    if (root.getroottree().docinfo.encoding or "UTF-8").upper() != "UTF-8":
        raise UnfitError("what it makes is UTF-8 and declares another encoding; take that off")


def _judge_text(rendered: bytes) -> None:
    """Text is text."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What the end of a template's name promises."""

    media_type: str
    finalize: Callable[..., str]
    """Writes what stands in ``{{ … }}``."""
    judge: Callable[[bytes], None]
    """Raises UnfitError for a result that is not of the media type."""
    filters: Mapping[str, Callable[..., Any]]
    """Beside those of Jinja. In JSON ``tojson`` does nothing; it is there for who writes it by habit."""
    without: frozenset[str] = frozenset({"random"})
    """Filters that there are not: those of chance, and in JSON those that would let text be structure."""


KINDS: Final = {
    ".json.j2": Kind(
        "application/json",
        _as_json,
        _judge_json,
        {"money": _money, "number": _bare_number, "tojson": _itself},
        frozenset({"random", "e", "escape", "forceescape", "safe", "urlize", "xmlattr"}),
    ),
    ".xml.j2": Kind("application/xml", _as_xml, _judge_xml, {"money": _money, "number": _number}),
    ".txt.j2": Kind("text/plain; charset=utf-8", _as_text, _judge_text, {"money": _money, "number": _number}),
}
