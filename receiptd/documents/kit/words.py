"""Words: what the names of members and elements say, in the spellings and languages that documents come in.

``concepts("ORDERDATE")``, ``concepts("cbc:IssueDate")`` and ``concepts("data_documento")`` all hold ``date``. Accents
do not count; a word that is not known stands for itself, in front of it a ``?``.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

_VOCABULARY = {
    "number": "number numbers num no nr nro numero numer nummer nomer cislo nombre nmr",
    "id": "id ident identifier identification key",
    "code": "code kod codice codigo kode",
    "uuid": "uuid guid uid",
    "sequence": "sequence seq serial counter",
    "reference": "reference ref referenz related confirmation original previous prev preceding parent",
    "document": "document doc docs dokument documento belegs invoice invoices inv receipt receipts rcpt bill bills "
    "rechnung beleg quittung bon kassenbon fattura scontrino ricevuta faktura faktury fa check cheque chek "
    "kvytantsiya kvytantsiia rachunek paragon ticket factura facture recu kvitto uctenka doklad dokladu nota slip",
    "deal": "order orders purchase sale sales transaction transactions trans txn tx trx payment_intent zakaz "
    "bestellung",
    "issue": "issue issued issuing issuance emission emitted created creation create placed printed invoiced ordered "
    "purchased ausstellung ausstellungs erstellt emissione wystawienia wystawil vystaveni emision closed completed",
    "date": "date dates datum data dat dt day fecha dato",
    "time": "time times zeit hora ora chas cas godz godzina heure uhrzeit tm clock",
    "stamp": "timestamp datetime moment ts at on when zeitpunkt",
    "due": "due expiry expires expiration expiring valid scadenza fallig faelligkeit falligkeit splatnosti deadline "
    "until plazo zahlungsziel",
    "delivery": "delivery deliver delivered shipping shipment shipped ship shipments lieferung liefer consegna "
    "dostavka dodani despatch dispatch fulfillment fulfilment arrival departure pickup",
    "period": "period periods start end begin begins finish from to interval since range",
    "update": "update updated modified modification changed revised",
    "tariff": "zone offset tz",
    "seller": "seller sellers supplier suppliers vendor merchant shop store stores issuer provider business retailer "
    "creditor cedente prestatore verkaufer verkaeufer lieferant handler haendler prodavets prodavec sprzedawca "
    "sprzedawcy dodavatel emisor emetteur vendedor fournisseur vendeur location outlet branch podmiot1 leverantor",
    "organization": "org organization organisation company companies firm firma enterprise corporate corporation "
    "legal impresa podatnik",
    "buyer": "buyer buyers customer customers client clients recipient consumer consumers purchaser payer debtor "
    "cessionario committente kunde kunden kaufer kaeufer pokupets nabywca nabywcy odberatel receptor acheteur "
    "comprador cliente receiver podmiot2 shopper guest member loyalty",
    "third": "payee agent delegate tax_representative representative carrier cashier kasir operator till terminal "
    "device register cashregister cashdesk desk pos user third courier kassa",
    "party": "party parties person persona anagrafici anagrafica subject entity podmiot account",
    "taxid": "tin vatid vatin vatnumber nip edrpou ipn ico dic siret siren ustid ustidnr piva partitaiva abn ein cif "
    "nif rfc orgnr orgno gstin ruc cnpj kvk fiscale fiscal",
    "registration": "registration registered regon krs hrb rea registrering civic",
    "name": "name names nm nazwa nazev denominazione denomination label nazov nimi naam nom full denumire",
    "address": "address addresses street city town postal postcode zip country region state county province indirizzo "
    "adresse adres strasse ort plz ulice locality place lon latitude longitude addr pointaddr sede comune",
    "contact": "contact contacts phone telephone tel mobile email mail mails fax url uri website web link links "
    "telefono image",
    "bank": "bank iban bic konto swift routing",
    "payment": "payment payments tender tenders zahlung zahlungen pagamento pagamenti platnosc platnosci platba "
    "platby card cards cash method instrument means terms refund refunds payform checkpay",
    "paid": "paid bezahlt pagato zaplacono splacheno",
    "payable": "payable topay zahlbetrag dovuto doplaty uhrade doplate",
    "currency": "currency currencies curr ccy waehrung wahrung divisa valuta valyuta waluta waluty mena meny devise "
    "moneda vsymbol",
    "total": "total totals totale totales totaal gesamt razem celkem celkova endsumme endbetrag insgesamt lacznie "
    "itog ogolem grandtotal vsogo",
    "sum": "sum summe suma summa sumy somme",
    "amount": "amount amounts amt betrag importo kwota castka montant monto iznos sume belop bedrag",
    "gross": "gross brutto bruttobetrag lordo",
    "net": "net netto netti neto nettobetrag",
    "subtotal": "subtotal subtotals zwischensumme sub",
    "grand": "grand final overall",
    "inclusive": "inclusive incl including with mit inkl after",
    "exclusive": "exclusive excl excluding without ohne before exempt",
    "prepaid": "prepaid advance deposit anzahlung acconto zaliczka advances down",
    "rounding": "rounding round rounded rnd rundung nornd arrotondamento zaokrouhleni",
    "discount": "discount discounts rabat rabatt sconto discounted reduction nachlass skonto remise sleva allowance "
    "allowances opust znyzhka zl markdown promotion promotions coupon disc less",
    "charge": "charge charges surcharge fee fees tip tips gratuity maggiorazione zuschlag freight",
    "change": "change rest wechselgeld resto provided given tendered received refunded captured outstanding remaining",
    "balance": "balance points saldo",
    "price": "price prices preis prezzo cena ceny cenajednostkowa prix precio tsina pris",
    "unitary": "unitary each single unitario einzel einzelpreis jednostkowa jednotkova unitprice per regular list",
    "cost": "cost costs vartist kosten costo koszt wartosc hodnota",
    "value": "value values val wert valore worth valor",
    "extension": "extension lineal extended",
    "line": "line lines linee linea zeile zeilen row rows radek radky wiersz wiersze fawiersz ligne lignes lineas "
    "position positions positionen pozycja pozycje pozytsii pozytsiyi polozka "
    "polozky entry entries itemization specification regel regels checkbody invoiceline rad wiersza",
    "detail": "detail details dettaglio dettagli",
    "item": "item items artikel article articles articolo product products produkt produkte prodotto produkty tovar "
    "tovary goods good towar towary zbozi merchandise producto productos produit produits usluga services service "
    "sold",
    "description": "description desc descr beschreibung bezeichnung descrizione opis popis nazva naim naymenuvannya "
    "naymenuvannia title descripcion concepto designation dsc text",
    "quantity": "quantity quantities qty quant count menge anzahl quantita kilkist ilosc mnozstvi cantidad quantite "
    "pcs pieces q antal amountof",
    "uom": "unit units uom einheit unita misura measure odynytsya odynytsia jm jednotka jednostka unitcode unitnm "
    "unitcd unidad unite ed measurement",
    "sku": "sku gtin ean upc barcode barcodes plu isbn mpn productid articleid itemid asin vendorcode stockcode",
    "category": "category categories group department dept kategorie kategoria categoria classification family uktzed "
    "hsn unspsc section cpv commodity",
    "tax": "tax taxes vat mwst ust umsatzsteuer steuer steuern iva imposta imposte pdv dph tva gst moms levy btw "
    "podatek podatku pst hst podatok podatky mva riepilogo kdv ptu dan excise aktsyz checktax alv afa",
    "rate": "rate rates percent percentage satz steuersatz aliquota prc stavka sazba stawka tasa taux prozent pct",
    "base": "base basis taxable imponibile bemessungsgrundlage source grundlage zaklad podstawa turnover",
    "country": "language lang locale nation nazione paese zemi kraj",
    "note": "note notes comment comments remark remarks causale memo message",
    "header": "header head generali general checkhead envelope meta overview settlement",
    "summary": "summary summaries monetary totalling checktotal zusammenfassung recap podsumowanie",
    "type": "type kind typ tipo art status subtype doctype docsubtype version ver variant purpose profile "
    "customization scheme schema format formato regime mode",
    "minor": "cents cent minor pennies pence kopecks kopiykas grosze subunits",
    "digest": "hash digest signature sign checksum qr token secret prevdochash",
    "adjust": "adjustment adjustments modifier modifiers correction",
    "generic": "content string money",
    "stop": "of the a an by de di del della la le der die das den for and und et e y",
}
"""What words stand for: each word once. ``stop`` words say nothing."""

_WORDS = {word: concept for concept, words in _VOCABULARY.items() for word in words.split()}
_SPLIT = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SEGMENT_MIN_CHARS = 5
_COMPOUNDS = {
    ("organization", "number"): "taxid",
    ("organization", "id"): "taxid",
    ("organization", "registration", "number"): "taxid",
    ("registration", "number"): "taxid",
    ("registration", "id"): "taxid",
    ("tax", "id"): "taxid",
    ("tax", "number"): "taxid",
    ("tax", "registration"): "taxid",
    ("tax", "code"): "taxid",
    ("sub", "total"): "subtotal",
    ("subtotal", "total"): "subtotal",
    ("unitary", "uom"): "unitary",
    ("uom", "price"): "unitary",
    ("uom", "cost"): "unitary",
    ("uom", "amount"): "unitary",
    ("uom", "net"): "unitary",
    ("price", "uom"): "unitary",
    ("tax", "inclusive"): "grand",
    ("inclusive", "tax"): "grand",
    ("tax", "exclusive"): "net",
    ("exclusive", "tax"): "net",
}
"""What words say together, in this order."""


@cache
def concepts(name: str) -> tuple[str, ...]:
    """Return the concepts of a name's words, in their order; a prefix and an attribute's ``@`` do not count."""
    local = name.removeprefix("@").rpartition(":")[2]
    plain = unicodedata.normalize("NFKD", local.replace("ß", "ss")).encode("ascii", "ignore").decode()
    found: list[str] = []
    whole = plain.lower()
    if whole in _WORDS:
        return (_WORDS[whole],)
    for token in _SPLIT.findall(plain):
        word = token.lower()
        if word.isdecimal():
            continue
        found += [concept for part in _segments(word) if (concept := _WORDS.get(part, f"?{part}")) != "stop"]
    return tuple(_compounded(found))


def _segments(word: str) -> list[str]:
    """Return the known words that ``word`` is written together from, or itself."""
    if word in _WORDS or len(word) < _SEGMENT_MIN_CHARS:
        return [word]
    best: list[list[str] | None] = [[]] + [None] * len(word)
    for end in range(2, len(word) + 1):
        for start in range(end - 1):
            before = best[start]
            if before is not None and word[start:end] in _WORDS:
                known = best[end]
                if known is None or len(before) + 1 < len(known):
                    best[end] = [*before, word[start:end]]
    return best[-1] or [word]


def _compounded(found: list[str]) -> list[str]:
    for words, together in _COMPOUNDS.items():
        for start in range(len(found) - len(words) + 1):
            if tuple(found[start : start + len(words)]) == words:
                return _compounded([*found[:start], together, *found[start + len(words) :]])
    return found
