"""The documents that runs post: retail receipts of about 2 kB, each with a number of its own.

A few dozen templates are made once, from a seed; a document is a template with its number filled in, so that making one
costs next to nothing.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

import orjson

_TEMPLATES = 64
_HOLE = "#number#"
_GOODS = (
    *("Rye bread, 500 g", "Milk 2.5 %, 900 ml", "Яблука «Голден», вагові", "Ground coffee, 225 g", "Сир твердий 45 %"),
    *("Mineral water, 1.5 l", "Dark chocolate 72 %, 90 g", "Книга «Тіні над містом»", "Tomato soup", "Оливкова олія"),
    *("Notebook A5, squared", "Basil, in a pot", "Крем для рук, 75 мл", "Batteries AA, 4 pcs", "Чай чорний, 25 шт"),
)
_CATEGORIES = ("bakery", "dairy", "fruit", "coffee", "drinks", "sweets", "books", "household")

_XML_ENCODINGS = (*["utf-8"] * 6, "windows-1251", "utf-8", *["utf-8"] * 6, "windows-1251", "utf-16")
_JSON_LINES = (8, 11)
_XML_LINES = (5, 8)
"""At least and at most: either makes documents of about 2,000 bytes."""


@dataclass(frozen=True, slots=True)
class Template:
    """A document with a hole where its number goes."""

    before: bytes
    after: bytes
    content_type: str
    encoding: str = "utf-8"

    def fill(self, number: str) -> bytes:
        """Return the document with this number (ASCII)."""
        return self.before + number.encode(self.encoding) + self.after


def json_templates(rng: random.Random, count: int = _TEMPLATES) -> list[Template]:
    """Make JSON retail receipts."""
    return [_template(orjson.dumps(_receipt(rng, _JSON_LINES)).decode(), "application/json") for _ in range(count)]


def xml_templates(rng: random.Random, count: int = _TEMPLATES) -> list[Template]:
    """Make XML retail receipts: of 16, 13 in UTF-8, two in windows-1251, one in UTF-16."""
    made = []
    for number in range(count):
        encoding = _XML_ENCODINGS[number % len(_XML_ENCODINGS)]
        made.append(_template(_as_xml(_receipt(rng, _XML_LINES), encoding), "application/xml", encoding))
    return made


def maker(rng: random.Random, xml_share: float = 0.0) -> Callable[[], tuple[str, bytes, str]]:
    """Return what makes the next document: its idempotency key, its bytes, its content type."""
    templates = json_templates(rng)
    if xml_share:
        xml = xml_templates(rng)
        templates = [rng.choice(xml) if rng.random() < xml_share else one for one in templates]
    run = f"{rng.getrandbits(48):012x}"
    numbers = itertools.count(1)

    def make() -> tuple[str, bytes, str]:
        number = next(numbers)
        name = f"{run}-{number:08d}"
        template = templates[number % len(templates)]
        return name, template.fill(name), template.content_type

    return make


def _template(document: str, content_type: str, encoding: str = "utf-8") -> Template:
    before, after = document.split(_HOLE)
    if encoding == "utf-16":  # one mark at the start of the document, none in its parts
        return Template(("\ufeff" + before).encode("utf-16-le"), after.encode("utf-16-le"), content_type, "utf-16-le")
    return Template(before.encode(encoding), after.encode(encoding), content_type, encoding)


def _receipt(rng: random.Random, lines_range: tuple[int, int]) -> dict[str, Any]:
    """Make up a receipt whose sums are right: lines add up to the total, tax base and tax as well."""
    lines, total = [], 0
    for _ in range(rng.randint(*lines_range)):
        quantity, price = rng.randint(1, 6), rng.randint(95, 24_990)
        amount = quantity * price
        total += amount
        lines.append(
            {
                "sku": f"{rng.randint(10**12, 10**13 - 1)}",
                "description": rng.choice(_GOODS),
                "category": rng.choice(_CATEGORIES),
                "quantity": quantity,
                "unit": "pcs",
                "price": price / 100,
                "amount": amount / 100,
                "tax": "A",
            }
        )
    tax = round(total / 6)
    return {
        "type": "retail-receipt",
        "number": _HOLE,
        "issued_at": f"2026-05-{rng.randint(1, 28):02d}T{rng.randint(7, 21):02d}:{rng.randint(0, 59):02d}:07+03:00",
        "seller": {
            "tax_id": f"{rng.randint(10**7, 10**8 - 1)}",
            "name": "Крамниця «Садова»",
            "store": f"KYV-{rng.randint(1, 99):03d}",
            "address": "м. Київ, вул. Садова, 7",
            "till": str(rng.randint(1, 9)),
        },
        "buyer": {"id": f"loyalty:{rng.randint(10**6, 10**7)}"},
        "currency": "UAH",
        "lines": lines,
        "taxes": [{"code": "A", "rate": 20, "base": (total - tax) / 100, "amount": tax / 100}],
        "payments": [{"method": rng.choice(("cash", "card")), "amount": total / 100}],
        "total": total / 100,
    }


def _as_xml(receipt: dict[str, Any], encoding: str) -> str:
    """Write a receipt as the XML type has it."""
    seller, tax, payment = receipt["seller"], receipt["taxes"][0], receipt["payments"][0]
    lines = "".join(
        f'<Line sku="{line["sku"]}" tax="A"><Description>{escape(line["description"])}</Description>'
        f'<Category>{line["category"]}</Category><Quantity unit="pcs">{line["quantity"]}</Quantity>'
        f"<Price>{line['price']:.2f}</Price><Amount>{line['amount']:.2f}</Amount></Line>"
        for line in receipt["lines"]
    )
    return (
        f'<?xml version="1.0" encoding="{encoding}"?>\n<Receipt xmlns="urn:receiptd:retail-receipt:1" currency="UAH">'
        f"<Number>{receipt['number']}</Number><IssuedAt>{receipt['issued_at']}</IssuedAt>"
        f'<Seller taxId="{seller["tax_id"]}"><Name>{seller["name"]}</Name><Store>{seller["store"]}</Store></Seller>'
        f'<Buyer id="{receipt["buyer"]["id"]}"/><Lines>{lines}</Lines><Taxes><Tax code="A" rate="20">'
        f"<Base>{tax['base']:.2f}</Base><Amount>{tax['amount']:.2f}</Amount></Tax></Taxes>"
        f'<Payment method="{payment["method"]}">{payment["amount"]:.2f}</Payment><Total>{receipt["total"]:.2f}</Total>'
        f"</Receipt>"
    )
