"""The chaos trial's documents: each with the fate that it must meet."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass

from lab.documents import Template, json_templates, xml_templates
from lab.history import Document, Fate
from receiptd.domain.identifiers import digest

_OVERSIZE_BYTES = 300_000


@dataclass(frozen=True, slots=True)
class Order:
    """A document to post."""

    document: Document
    body: bytes


class Printer:
    """Makes documents; each has a number, and so bytes, of its own."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._json = json_templates(rng, 32)
        self._xml = xml_templates(rng, 32)
        self._numbers = itertools.count(1)
        self._run = f"{rng.getrandbits(32):08x}"

    def good(self) -> Order:
        """Return a receipt that every registrar takes."""
        template = self._template()
        return self._order(template.fill, template.content_type, Fate.COMPLETE)

    def rejected(self) -> Order:
        """Return a valid receipt that a registrar, or each of them, rejects."""
        template = self._template()
        mark = self._rng.choice(("-REJECT", "-REJECT-TAX", "-REJECT-WAREHOUSE"))
        return self._order(template.fill, template.content_type, Fate.FAILED, mark=mark)

    def refused(self) -> Order:
        """Return a document that must be answered 4xx."""
        made = self._rng.choice((self._invalid, self._invalid, self._broken, self._unknown, self._doctype, self._huge))
        return made()

    def other(self, why: str) -> Order:
        """Return a good receipt that must be refused because of how it will be posted."""
        template = self._template()
        return self._order(template.fill, template.content_type, Fate.REFUSED, why=why)

    def _template(self) -> Template:
        return self._rng.choice(self._json if self._rng.random() < 0.6 else self._xml)

    def _invalid(self) -> Order:
        template = self._template()

        def fill(number: str) -> bytes:
            body = template.fill(number)
            for tag in ("</Total>", '"total":'):
                mark = tag.encode(template.encoding)
                if mark in body:
                    one = "1".encode(template.encoding)
                    return body.replace(mark, one + mark if tag.startswith("<") else mark + one)
            raise AssertionError("every template has a total")

        return self._order(fill, template.content_type, Fate.REFUSED, why="its total is wrong")

    def _broken(self) -> Order:
        template = self._rng.choice(self._json)
        return self._order(
            lambda number: template.fill(number)[:-20], template.content_type, Fate.REFUSED, why="it is cut short"
        )

    def _unknown(self) -> Order:
        return self._order(
            lambda number: b'{"type":"unheard-of","number":"%b"}' % number.encode(),
            "application/json",
            Fate.REFUSED,
            why="its type is unknown",
        )

    def _doctype(self) -> Order:
        template = self._xml[0]

        def fill(number: str) -> bytes:
            return template.fill(number).replace(b"?>\n", b'?>\n<!DOCTYPE Receipt [<!ENTITY a "b">]>\n', 1)

        return self._order(fill, template.content_type, Fate.REFUSED, why="it has a DOCTYPE")

    def _huge(self) -> Order:
        template = self._rng.choice(self._json)
        return self._order(
            lambda number: template.fill(number) + b" " * _OVERSIZE_BYTES,
            template.content_type,
            Fate.REFUSED,
            why="it is too large",
        )

    def _order(
        self, fill: Callable[[str], bytes], content_type: str, fate: Fate, *, why: str = "", mark: str = ""
    ) -> Order:
        number = f"{self._run}-{next(self._numbers):07d}{mark}"
        body = fill(number)
        return Order(Document(digest(body), number, content_type, fate, why), body)
