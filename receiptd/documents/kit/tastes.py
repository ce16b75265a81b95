"""Tastes: which words of a place's name speak for a canonical field, and which against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from receiptd.documents.kit.outline import Place, Steps
from receiptd.documents.kit.words import concepts

_UNKNOWN = -0.5
_DEPTH = -0.3
_THROUGH_LIST = -2.0
_NOT_EVERYWHERE = -4.0
_FURTHER_WORD = 0.35
_VAGUE = frozenset({"generic", "value"})


@dataclass(frozen=True, slots=True)
class Taste:
    """Weights of concepts: in the last step of a place, and in those above it."""

    leaf: Mapping[str, float]
    above: Mapping[str, float] = field(default_factory=dict)
    needs: frozenset[str] = frozenset()
    """Concepts of which one must be somewhere in the place; empty: none is needed."""

    def score(self, place: Place) -> float:
        """Return how much a place speaks for the field; 0 and less when its name does not."""
        name = self.name(place.steps)
        if name <= 0:
            return name
        return name + _NOT_EVERYWHERE * (1 - place.coverage) + (_THROUGH_LIST if any(place.entries) else 0.0)

    def name(self, steps: Steps) -> float:
        """Return how much the names that lead to a place speak for the field."""
        names = [concepts(step) for step in steps]
        leaf, above = names[-1], names[:-1]
        if above and set(leaf) <= _VAGUE:  # quantity/value is the quantity
            leaf, above = (*above[-1], *leaf), above[:-1]
        weights = [self.leaf.get(word, _UNKNOWN if word.startswith("?") else 0.0) for word in dict.fromkeys(leaf)]
        around = {word for words in above for word in words}
        best = max(weights, default=0.0)
        if best <= 0 or (self.needs and self.needs.isdisjoint(around.union(leaf))):
            return min(0.0, sum(weights))
        # Further good words say the same again: total amount, document number.
        score = (
            best + sum(weight if weight < 0 else _FURTHER_WORD * weight for weight in weights) - _FURTHER_WORD * best
        )
        return score + sum(self.above.get(word, 0.0) for word in around) + _DEPTH * (len(steps) - 1)


def _taste(leaf: str, above: str = "", needs: str = "") -> Taste:
    """Return the taste of two tables: on each line a weight, and the concepts that have it."""
    return Taste(_weights(leaf), _weights(above), frozenset(needs.split()))


def _weights(table: str) -> dict[str, float]:
    rows = [line.split() for line in table.strip().splitlines()]
    return {concept: float(weight) for weight, *names in rows for concept in names}


NUMBER = _taste(
    """
    5 number
    4 id
    3 document
    2.5 sequence
    2 code
    1.5 deal
    1 uuid
    -5 taxid tax contact bank payment line item third type address seller buyer delivery digest currency
    -5 reference organization party period rate category note
    """,
    """
    1 document header
    0.5 deal
    -2 summary
    -5 discount line item payment address contact bank tax delivery reference third digest seller buyer
    -5 organization party
    """,
)
TIME = _taste(
    """
    4 issue
    3 date time stamp
    2 document deal
    -2 third
    -3 id payment paid tax number
    -4 update digest
    -5 delivery period reference amount total sum
    -6 tariff
    -7 due
    """,
    """
    1 document header issue
    -1 summary
    -4 due
    -5 period line item payment address contact bank tax delivery reference third digest discount seller
    -5 buyer organization party
    """,
)
SELLER_ID = _taste(
    """
    6 taxid
    5 seller
    4 organization
    3 id
    2.5 name
    2 registration number
    1 code
    -4 document address contact bank payment type currency third digest note line item tax delivery
    -4 country date time category reference deal
    -9 buyer
    """,
    """
    6 seller
    2 organization
    0.5 header tax
    -4 summary
    -5 line item payment address contact bank delivery reference third digest discount
    -9 buyer
    """,
    needs="seller organization taxid party",
)
BUYER_ID = _taste(
    """
    5 taxid buyer
    3 id
    2.5 name
    2 registration number
    1 code
    -4 document address contact bank payment type currency third digest note line item tax delivery
    -4 country date time category reference deal
    -9 seller
    """,
    """
    6 buyer
    0.5 header tax
    -4 summary
    -5 line item payment address contact bank delivery reference third digest discount
    -9 seller
    """,
    needs="buyer",
)
CURRENCY = _taste(
    """
    6 currency
    1 price document
    0.5 code
    -1 base
    -3 tax
    -4 country
    -5 exponent
    """,
    """
    0.5 document header
    -1 payment
    -2 line item
    """,
)
TOTAL = _taste(
    """
    5.5 payable
    4 total
    3 grand
    2.5 sum gross
    2 amount inclusive
    1 paid price document
    0.5 due value cost deal payment
    -1 currency
    -2 net extension third
    -2.5 tax line item
    -3 exclusive number code
    -4 subtotal base delivery id
    -5 taxid charge unitary quantity rate adjust reference
    -6 discount prepaid rounding change balance
    """,
    """
    2.5 gross
    2 total summary payable grand
    1 inclusive
    0.5 header document
    -1 third
    -2 net payment
    -4 subtotal charge change rounding delivery unitary
    -5 tax discount line item prepaid balance
    """,
)
LINES = _taste(
    """
    4 line item
    2 detail
    -1 total type
    -2 summary
    -4 reference party rate currency
    -5 charge
    -6 adjust tax payment discount address note contact bank
    """,
    """
    0.5 item
    -0.5 line
    -3 reference
    -4 charge
    -5 discount seller buyer
    -6 adjust tax payment
    """,
)
LINE_AMOUNT = _taste(
    """
    4 total amount sum
    3 extension
    2 cost value price
    1.5 line
    1 gross net inclusive
    -1 exclusive currency uom
    -4 tax base
    -5 unitary charge rounding id code prepaid balance
    -6 discount quantity rate number adjust
    """,
    """
    1 total summary
    0.5 line
    -1 price item
    -4 tax charge unitary
    -6 discount adjust
    """,
)
LESS = _taste(
    """
    5 discount
    1 amount sum
    0.5 total
    -5 rate base type code id
    """,
)
DESCRIPTION = _taste(
    """
    5 description
    4.5 name
    3 item
    0.5 note
    -3 type code id seller category number
    -4 tax unitary price sku discount quantity country
    -5 contact
    -6 uom
    """,
    """
    1.5 item
    -2 price
    -3 category seller
    -4 tax
    -5 discount charge adjust
    """,
)
QUANTITY = _taste(
    """
    6 quantity
    0.5 amount uom
    -3 unitary country total
    -4 base type code tax
    -5 price
    """,
    """
    2 quantity
    -4 tax
    -5 price discount
    """,
)
UNIT = _taste(
    """
    6 uom
    0.5 code name quantity
    -3 value
    -4 number
    -5 tax
    -6 price amount cost net unitary total discount
    """,
    """
    1 quantity
    -4 base
    -5 price tax
    """,
)
SKU = _taste(
    """
    6 sku
    2.5 id code
    2 item
    1.5 number
    1 seller
    0.5 uuid
    -2 buyer
    -3 reference
    -4 line name description
    -5 type category country sequence
    -6 tax uom price currency amount total unitary quantity rate discount
    """,
    """
    3 sku
    1 item
    0.5 seller
    -3 category reference
    -4 price
    -5 discount country charge
    -6 tax
    """,
)
CATEGORY = _taste(
    """
    6 category
    0.5 name code
    -5 discount rate
    -8 tax
    """,
    """
    2 category
    -5 discount charge
    -8 tax
    """,
)
TAXES = _taste(
    """
    5 tax
    2 rate
    1.5 subtotal
    1 summary category
    0.5 line total
    -4 id
    -5 discount payment third
    -6 taxid
    """,
    """
    3 tax
    1 summary
    0.5 total
    -5 payment
    -6 line item seller buyer discount charge
    """,
)
TAX_AMOUNT = _taste(
    """
    3 amount sum
    2 tax value
    1 total
    -1 subtotal
    -4 gross exclusive inclusive unitary rounding
    -5 net discount code id
    -6 base rate
    """,
)
TAX_BASE = _taste(
    """
    5 base
    4 net
    3 exclusive
    0.5 amount sum
    -3 discount
    -5 code
    -6 rate unitary
    """,
)
TAX_RATE = _taste(
    """
    5 rate
    0.5 tax value
    -2 type
    -3 code base
    -4 amount id
    """,
)
TAX_CODE = _taste(
    """
    4 code
    3 type category
    2.5 id name
    1 tax
    0.2 rate
    -3 number country
    -5 note
    -6 amount sum base currency
    """,
    """
    1 category
    -3 country
    """,
)
