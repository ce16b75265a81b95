"""Train a zstd dictionary for stored receipts on made-up documents and on the samples of the bundled receipt types.

    python scripts/train_dictionary.py 32769

writes receiptd/adapters/dictionary/32769.zdict and says what it saves. A dictionary that has stored a receipt must
never change: train the next one under a new id, and append that id to ``DICTIONARY_IDS`` of receiptd.adapters.records.
"""

from __future__ import annotations

import hashlib
import random
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import zstandard

from receiptd.documents import BUNDLED_ROOT, ReceiptTypes

ROOT = Path(__file__).resolve().parent.parent
DICTIONARY_BYTES = 16_384
SAMPLES = 6_000
BUNDLED_SHARE = 0.3


def words(text: str) -> tuple[str, ...]:
    """Return the words of ``text``."""
    return tuple(text.split())


GOODS = words(
    "Apple Banana Bread Butter Cheese Chicken Chocolate Coffee Detergent Eggs Fish Flour Grapes Ham Honey Jam Juice "
    "Milk Mushrooms Napkins Oil Onion Orange Pasta Pepper Potato Rice Salt Shampoo Soap Sugar Tea Tomato Water Wine"
)
KINDS = words("organic fresh large small classic 1l 500g 250g 1kg 6-pack light whole ground sliced premium family")
CATEGORIES = words("bakery dairy fruit vegetables meat coffee sweets drinks household books tools clothes")
STREETS = words("Market Station Church Park Mill Bridge Garden Harbour School Victoria")
CITIES = words("Kyiv Lviv Odesa Warsaw Berlin Vienna Paris Madrid Rome London Dublin Stockholm Tallinn Riga Prague")
CURRENCIES = words("UAH EUR EUR PLN USD GBP SEK CZK")
METHODS = ("CARD", "CASH", "card", "cash", "VOUCHER")
RATES = ("20.00", "7.00", "0.00", "19.00", "23.00", "25.00")

pick = random.choice


def receipt() -> dict[str, Any]:
    """Make up what one receipt says, in no particular form."""
    lines: list[dict[str, Any]] = []
    for number in range(1, random.randint(2, 9)):
        quantity, price = random.randint(1, 6), random.randint(49, 19_999)
        lines.append(
            {
                "id": number,
                "sku": f"{random.randint(10**12, 10**13 - 1)}",
                "name": f"{pick(GOODS)} {pick(KINDS)}",
                "category": pick(CATEGORIES),
                "quantity": quantity,
                "price": f"{price / 100:.2f}",
                "amount": f"{price * quantity / 100:.2f}",
                "minor": price * quantity,
                "rate": pick(RATES),
            }
        )
    total = sum(line["minor"] for line in lines)
    day = f"20{random.randint(25, 32)}-{random.randint(1, 12):02d}-{random.randint(1, 28):02d}"
    clock = f"{random.randint(7, 22):02d}:{random.randint(0, 59):02d}:{random.randint(0, 59):02d}"
    return {
        "number": f"{pick(('R', 'INV', 'A', 'POS'))}-{random.randint(1, 999)}-{random.randint(1, 10**7)}",
        "day": day,
        "time": clock,
        "issued": f"{day}T{clock}{pick(('Z', '+00:00', '+02:00', '+03:00'))}",
        "store": f"{pick(CITIES)} {pick(('Market', 'Store', 'Shop', 'Grocery'))} {random.randint(1, 400)}",
        "street": f"{random.randint(1, 200)} {pick(STREETS)} Street",
        "city": pick(CITIES),
        "tax_id": f"{pick(('UA', 'DE', 'PL', ''))}{random.randint(10**8, 10**10)}",
        "till": random.randint(1, 40),
        "cashier": random.randint(1, 500),
        "buyer": f"customer-{random.randint(1, 10**6)}",
        "currency": pick(CURRENCIES),
        "total": f"{total / 100:.2f}",
        "net": f"{total / 120:.2f}",
        "tax": f"{total / 600:.2f}",
        "minor": total,
        "method": pick(METHODS),
        "lines": lines,
    }


def retail_json(r: dict[str, Any]) -> bytes:
    """Write the receipt as the bundled type retail-receipt has it."""
    document = {
        "type": "retail-receipt",
        "number": r["number"],
        "issued_at": r["issued"],
        "seller": {
            "tax_id": r["tax_id"],
            "name": r["store"],
            "store": f"S-{r['till']}",
            "address": f"{r['street']}, {r['city']}",
            "till": str(r["till"]),
            "cashier": str(r["cashier"]),
        },
        "buyer": {"id": r["buyer"]},
        "currency": r["currency"],
        "lines": [
            {
                "sku": line["sku"],
                "description": line["name"],
                "category": line["category"],
                "quantity": line["quantity"],
                "unit": "pcs",
                "price": float(line["price"]),
                "amount": float(line["amount"]),
                "tax": "A",
            }
            for line in r["lines"]
        ],
        "taxes": [{"code": "A", "rate": 20, "base": float(r["net"]), "amount": float(r["tax"])}],
        "payments": [{"method": r["method"], "amount": float(r["total"])}],
        "total": float(r["total"]),
    }
    return orjson.dumps(document, option=pick((0, 0, orjson.OPT_INDENT_2)))


def camel_json(r: dict[str, Any]) -> bytes:
    """Write the receipt as JSON with camelCase names and numbers for amounts."""
    document = {
        "receiptNumber": r["number"],
        "receiptType": "SALE",
        "dateTime": r["issued"],
        "currencyCode": r["currency"],
        "merchant": {"merchantName": r["store"], "vatNumber": r["tax_id"], "storeId": str(r["till"])},
        "customer": {"customerId": r["buyer"]},
        "items": [
            {
                "itemId": line["sku"],
                "itemName": line["name"],
                "quantity": line["quantity"],
                "unitPrice": float(line["price"]),
                "taxRate": float(line["rate"]),
                "totalAmount": float(line["amount"]),
            }
            for line in r["lines"]
        ],
        "taxes": [{"taxType": "VAT", "taxRate": 20, "taxableAmount": float(r["net"]), "taxAmount": float(r["tax"])}],
        "payments": [{"paymentType": r["method"], "paidAmount": float(r["total"])}],
        "totalAmount": float(r["total"]),
    }
    return orjson.dumps(document, option=pick((0, 0, orjson.OPT_INDENT_2)))


def retail_xml(r: dict[str, Any]) -> bytes:
    """Write the receipt as the bundled type retail-receipt-xml has it."""
    lines = "".join(
        f'<Line sku="{x["sku"]}" tax="S"><Description>{x["name"]}</Description><Category>{x["category"]}</Category>'
        f'<Quantity unit="pcs">{x["quantity"]}</Quantity><Price>{x["price"]}</Price>'
        f"<Amount>{x['amount']}</Amount></Line>"
        for x in r["lines"]
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Receipt xmlns="urn:receiptd:retail-receipt:1" '
        f'currency="{r["currency"]}"><Number>{r["number"]}</Number><IssuedAt>{r["issued"]}</IssuedAt>'
        f'<Seller taxId="{r["tax_id"]}"><Name>{r["store"]}</Name><Store>S-{r["till"]}</Store><Address>{r["street"]}, '
        f'{r["city"]}</Address><Till>{r["till"]}</Till></Seller><Buyer id="{r["buyer"]}"/><Lines>{lines}</Lines>'
        f'<Taxes><Tax code="S" rate="20"><Base>{r["net"]}</Base><Amount>{r["tax"]}</Amount></Tax></Taxes>'
        f'<Payment method="{r["method"]}">{r["total"]}</Payment><Total>{r["total"]}</Total></Receipt>'
    ).encode()


def ubl_xml(r: dict[str, Any]) -> bytes:
    """Write the receipt as an invoice in the vocabulary of OASIS UBL 2.1."""
    c = r["currency"]
    names = "urn:oasis:names:specification:ubl:schema:xsd:"
    lines = "".join(
        f'<cac:InvoiceLine><cbc:ID>{x["id"]}</cbc:ID><cbc:InvoicedQuantity unitCode="C62">{x["quantity"]}'
        f'</cbc:InvoicedQuantity><cbc:LineExtensionAmount currencyID="{c}">{x["amount"]}</cbc:LineExtensionAmount>'
        f"<cac:Item><cbc:Name>{x['name']}</cbc:Name><cac:ClassifiedTaxCategory><cbc:ID>S</cbc:ID><cbc:Percent>"
        f"{x['rate']}</cbc:Percent><cac:TaxScheme><cbc:ID>VAT</cbc:ID></cac:TaxScheme></cac:ClassifiedTaxCategory>"
        f'</cac:Item><cac:Price><cbc:PriceAmount currencyID="{c}">{x["price"]}</cbc:PriceAmount></cac:Price>'
        f"</cac:InvoiceLine>"
        for x in r["lines"]
    )
    party = (
        "<cac:Party><cac:PartyName><cbc:Name>{}</cbc:Name></cac:PartyName><cac:PostalAddress><cbc:StreetName>{}"
        "</cbc:StreetName><cbc:CityName>{}</cbc:CityName></cac:PostalAddress><cac:PartyTaxScheme><cbc:CompanyID>{}"
        "</cbc:CompanyID><cac:TaxScheme><cbc:ID>VAT</cbc:ID></cac:TaxScheme></cac:PartyTaxScheme></cac:Party>"
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Invoice xmlns="{names}Invoice-2" xmlns:cac="{names}'
        f'CommonAggregateComponents-2" xmlns:cbc="{names}CommonBasicComponents-2"><cbc:ID>{r["number"]}</cbc:ID>'
        f"<cbc:IssueDate>{r['day']}</cbc:IssueDate><cbc:IssueTime>{r['time']}</cbc:IssueTime><cbc:InvoiceTypeCode>380"
        f"</cbc:InvoiceTypeCode><cbc:DocumentCurrencyCode>{c}</cbc:DocumentCurrencyCode><cac:AccountingSupplierParty>"
        f"{party.format(r['store'], r['street'], r['city'], r['tax_id'])}</cac:AccountingSupplierParty>"
        f"<cac:AccountingCustomerParty>{party.format(r['buyer'], r['street'], r['city'], r['tax_id'])}"
        f'</cac:AccountingCustomerParty><cac:TaxTotal><cbc:TaxAmount currencyID="{c}">{r["tax"]}</cbc:TaxAmount>'
        f'</cac:TaxTotal><cac:LegalMonetaryTotal><cbc:TaxExclusiveAmount currencyID="{c}">{r["net"]}'
        f'</cbc:TaxExclusiveAmount><cbc:PayableAmount currencyID="{c}">{r["total"]}</cbc:PayableAmount>'
        f"</cac:LegalMonetaryTotal>{lines}</Invoice>"
    ).encode()


def canonical(r: dict[str, Any]) -> bytes:
    """Write the receipt in the canonical form that is kept beside every document."""
    return orjson.dumps(
        {
            "currency": r["currency"],
            "number": r["number"],
            "issued_at": r["issued"],
            "seller": r["tax_id"],
            "buyer": r["buyer"],
            "total": r["minor"],
            "taxes": [{"code": "A", "rate": "20", "base": r["minor"] * 5 // 6, "amount": r["minor"] // 6}],
            "lines": [
                {
                    "description": x["name"],
                    "category": x["category"],
                    "sku": x["sku"],
                    "quantity": str(x["quantity"]),
                    "unit": "pcs",
                    "amount": x["minor"],
                }
                for x in r["lines"]
            ],
        }
    )


WRITERS: tuple[tuple[Callable[[dict[str, Any]], bytes], str], ...] = (
    (retail_json, "application/json"),
    (retail_json, "application/json"),
    (retail_xml, "application/xml"),
    (camel_json, "application/json; charset=utf-8"),
    (ubl_xml, "application/xml; charset=utf-8"),
)


def bundled_samples() -> list[tuple[bytes, bytes, str]]:
    """Return the valid samples of the bundled types with their canonical forms and content types."""
    types = ReceiptTypes.load([BUNDLED_ROOT])
    samples: list[tuple[bytes, bytes, str]] = []
    for path in sorted(BUNDLED_ROOT.glob("*/samples/valid/*")):
        document, content_type = path.read_bytes(), "application/json" if path.suffix == ".json" else "application/xml"
        samples.append((document, types.check(document, content_type).canonical, content_type))
    return samples


def contents() -> Iterator[bytes]:
    """Yield made-up content of frames, laid out as receiptd.adapters.records lays it out."""
    bundled = bundled_samples()
    digits = b"0123456789"
    while True:
        facts = receipt()
        write, content_type = pick(WRITERS)
        document, form = write(facts), canonical(facts)
        if random.random() < BUNDLED_SHARE:
            document, form, content_type = pick(bundled)
            other_digits = bytes.maketrans(digits, bytes(random.sample(digits, len(digits))))
            document, form = document.translate(other_digits), form.translate(other_digits)
        head = orjson.dumps(
            (
                1,
                content_type,
                hashlib.sha256(document).hexdigest(),
                pick(("", "https://hooks.example.com/receipts")),
                pick(("", f"{random.getrandbits(128):032x}", facts["number"])),
                f"{random.getrandbits(128):032x}",
            )
        )
        yield struct.pack(">II", len(head), len(document)) + head + document + form


def main() -> None:
    """Train, write, and report the mean size of a frame with and without the dictionary."""
    number = int(sys.argv[1])
    path = ROOT / "receiptd/adapters/dictionary" / f"{number}.zdict"
    if path.exists() and "--replace" not in sys.argv:
        sys.exit(f"{path} exists; receipts may be stored with it, so train one under a new id")
    random.seed(number)
    source = contents()
    samples: list[bytes | bytearray | memoryview[int]] = [next(source) for _ in range(SAMPLES)]
    dictionary = zstandard.train_dictionary(DICTIONARY_BYTES, samples, dict_id=number, level=3)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(dictionary.as_bytes())
    unseen = [next(source) for _ in range(1_000)]
    print(f"content {sum(map(len, unseen)) / len(unseen):.0f} bytes")
    for name, compressor in (
        ("zstd-3", zstandard.ZstdCompressor(level=3)),
        ("zstd-3 with dictionary", zstandard.ZstdCompressor(level=3, dict_data=dictionary)),
    ):
        print(f"{name}: {sum(len(compressor.compress(x)) for x in unseen) / len(unseen):.0f} bytes")


if __name__ == "__main__":
    main()
