"""The catalogue of receipt types: finds the type of a document and has it checked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from receiptd.documents.errors import DocumentError
from receiptd.documents.json_document import decode_json
from receiptd.documents.media import Format, Media, media_of
from receiptd.documents.places import Getter, compile_pointer
from receiptd.documents.receipt_type import BODY_MAX_BYTES, Checked, ReceiptType, load_type
from receiptd.documents.xml_document import decode_xml
from receiptd.domain.errors import ConfigurationError

BUNDLED_ROOT = Path(__file__).parent.parent / "receipt_types"
"""The folder of the receipt types that come with the package."""

_HINT_MAX_CHARS = 80


class ReceiptTypes:
    """The receipt types in force. Immutable: a reload makes another catalogue."""

    def __init__(self, types: Iterable[ReceiptType]) -> None:
        """Index ``types``. Raises ConfigurationError when two have the same id."""
        self._types: dict[str, ReceiptType] = {}
        self._by_root: defaultdict[str, list[ReceiptType]] = defaultdict(list)
        self._by_media: defaultdict[tuple[Format, str], list[ReceiptType]] = defaultdict(list)
        members: defaultdict[str, defaultdict[Any, list[ReceiptType]]] = defaultdict(lambda: defaultdict(list))
        for type_ in types:
            if (other := self._types.setdefault(type_.id, type_)) is not type_:
                raise ConfigurationError(f"{type_.folder}: the id {type_.id} is taken by {other.folder}; rename one")
            for recogniser in type_.recognisers:
                if recogniser.place:
                    members[recogniser.place][_member(recogniser.value)].append(type_)
                else:
                    self._by_root[str(recogniser.value)].append(type_)
            for essence in type_.media_types:
                self._by_media[type_.format, essence].append(type_)
        self._by_member: list[tuple[Getter, dict[Any, list[ReceiptType]]]] = [
            (compile_pointer(place), dict(values)) for place, values in members.items()
        ]
        self._body_max_bytes = max((type_.body_max_bytes for type_ in self), default=BODY_MAX_BYTES)

    @classmethod
    def load(cls, roots: Sequence[Path]) -> ReceiptTypes:
        """Load every folder of every root; names that begin with ``.`` or ``_`` are passed over.

        Raises:
            ConfigurationError: a root is no folder, or folders in it are broken; a line for each fault names the
                file, the place, and what is wrong there.
        """
        types: list[ReceiptType] = []
        faults: list[str] = []
        for root in roots:
            if not root.is_dir():
                faults.append(f"{root}: no folder of receipt types; make it, or take it off the list")
                continue
            for folder in sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] not in "._"):
                try:
                    types.append(load_type(folder))
                except ConfigurationError as error:
                    faults.append(str(error))
        if faults:
            raise ConfigurationError("\n".join(faults))
        return cls(types)

    def __iter__(self) -> Iterator[ReceiptType]:
        return iter(self._types.values())

    def get(self, type_id: str) -> ReceiptType | None:
        """Return the type, or None when there is none of that id."""
        return self._types.get(type_id)

    def check(self, body: bytes, content_type: str, type_hint: str = "") -> Checked:
        """Decode ``body``, find its type and judge it. Meant for the event loop's thread: quick, and bounded.

        ``content_type`` is the header's value, or empty to go by the first bytes. ``type_hint`` is ``ID`` or
        ``ID@VERSION``, or empty to recognise the type.

        Raises:
            DocumentError: 400, not well-formed or forbidden; 413, larger than its type allows; 415, no format that
                is taken; 422, of no known type, or of several.
        """
        if len(body) > self._body_max_bytes:
            raise _too_large(self._body_max_bytes)
        media = media_of(content_type, body)
        decode: Callable[[bytes, str], Any] = decode_json if media.format is Format.JSON else decode_xml
        document = decode(body, media.charset)
        type_ = self._hinted(type_hint, media.format) if type_hint else self._recognised(document, media)
        if len(body) > type_.body_max_bytes:
            raise _too_large(type_.body_max_bytes)
        return type_.check(document)

    def _hinted(self, hint: str, format_: Format) -> ReceiptType:
        type_id, _, version = hint.strip().partition("@")
        type_ = self._types.get(type_id)
        if type_ is None or (version and version != str(type_.version)):
            raise self._unknown(f"there is no receipt type {hint[:_HINT_MAX_CHARS]!r}")
        if type_.format is not format_:
            raise DocumentError(422, "receipt-type-mismatch", f"{type_.id} is a type of {type_.format} documents")
        return type_

    def _recognised(self, document: Any, media: Media) -> ReceiptType:
        found: Sequence[ReceiptType] = ()
        if media.format is Format.XML:
            found = self._by_root.get(document.tag, ())
        else:
            for get, values in self._by_member:
                value = get(document)
                if type(value) in (str, int, bool):
                    found = (*found, *values.get(_member(value), ()))
        found = found or self._by_media.get((media.format, media.essence), ())
        if len(found) == 1:
            return found[0]
        names = sorted({type_.id for type_ in found})
        if not names:
            raise self._unknown("the document is of no known receipt type")
        if len(names) == 1:
            return found[0]
        raise DocumentError(
            422,
            "ambiguous-receipt-type",
            f"the document may be {' or '.join(names)}; name one in the header Receipt-Type",
        )

    def _unknown(self, what: str) -> DocumentError:
        known = ", ".join(f"{type_.id}@{type_.version}" for type_ in self) or "none"
        return DocumentError(422, "unknown-receipt-type", f"{what}; known are: {known}")


def _member(value: object) -> tuple[type, object]:
    return type(value), value  # True is no 1 in JSON


def _too_large(limit: int) -> DocumentError:
    return DocumentError(413, "document-too-large", f"the document is larger than {limit} bytes")
