"""The catalogue of receipt types: finds the type of a document and has it checked.

Several versions of a type may stand side by side. A document that fits several of them is of the newest; a client that
wants another names it. A document that fits several *types* is ambiguous, which is refused when the types are loaded
if it can be known then, and otherwise when such a document comes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from receiptd.documents.errors import DocumentError
from receiptd.documents.json_document import decode_json
from receiptd.documents.media import Format, Media, media_of
from receiptd.documents.places import Getter, compile_pointer
from receiptd.documents.receipt_type import BODY_MAX_BYTES, Checked, ReceiptType
from receiptd.documents.recogniser import ambiguities
from receiptd.documents.type_file import TypeFile
from receiptd.documents.xml_document import decode_xml
from receiptd.domain.errors import ConfigurationError

BUNDLED_ROOT = Path(__file__).parent.parent / "receipt_types"
"""The folder of the receipt types that come with the package."""

_HINT_MAX_CHARS = 80
_VERSION_MAX_DIGITS = 7
_KNOWN_MAX = 20
_SCALARS = frozenset({str, int, bool})


class ReceiptTypes:
    """The receipt types in force. Immutable: a reload makes another catalogue."""

    def __init__(self, types: Iterable[ReceiptType]) -> None:
        """Index ``types``.

        Raises:
            ConfigurationError: two have the same id and version, or a document could always be of either of two.
        """
        self._types: dict[tuple[str, int], ReceiptType] = {}
        self._newest: dict[str, ReceiptType] = {}
        self._several: set[str] = set()
        for type_ in types:
            if (other := self._types.setdefault((type_.id, type_.version), type_)) is not type_:
                raise ConfigurationError(
                    f"{type_.folder} and {other.folder} are both {type_.name}; rename one, or give it another version"
                )
            newest = self._newest.setdefault(type_.id, type_)
            if newest is not type_:
                self._several.add(type_.id)
            if type_.version > newest.version:
                self._newest[type_.id] = type_
        if faults := list(ambiguities(self)):
            raise ConfigurationError("\n".join(faults))
        self._by_root: defaultdict[str, list[ReceiptType]] = defaultdict(list)
        self._by_media: defaultdict[tuple[Format, str], list[ReceiptType]] = defaultdict(list)
        members: defaultdict[str, defaultdict[Any, list[ReceiptType]]] = defaultdict(lambda: defaultdict(list))
        for type_ in self:
            for recogniser in type_.recognisers:
                if recogniser.place:
                    members[recogniser.place][_member(recogniser.value)].append(type_)
                else:
                    self._by_root[str(recogniser.value)].append(type_)
            for essence in type_.media_types:
                self._by_media[type_.format, essence].append(type_)
        self._by_member: list[tuple[Getter, dict[Any, list[ReceiptType]], list[ReceiptType]]] = [
            (compile_pointer(place), dict(values), values.get(_member(None), [])) for place, values in members.items()
        ]
        self._body_max_bytes = max((type_.body_max_bytes for type_ in self), default=BODY_MAX_BYTES)

    @classmethod
    def read(cls, roots: Sequence[Path]) -> ReceiptTypes:
        """Read every folder of every root, and compile nothing; names that begin with ``.`` or ``_`` are passed over.

        Raises:
            ConfigurationError: a root is no folder, or a ``type.yaml`` is wrong; a line for each fault names the file,
                the line, and how to mend it.
        """
        return cls._take(roots, lambda _: None)

    @classmethod
    def load(cls, roots: Sequence[Path]) -> ReceiptTypes:
        """Read every folder of every root and compile it all. Raises ConfigurationError, with the faults of all."""
        return cls._take(roots, ReceiptType.compile)

    @classmethod
    def _take(cls, roots: Sequence[Path], prepare: Callable[[ReceiptType], None]) -> ReceiptTypes:
        types: list[ReceiptType] = []
        faults: list[str] = []
        for root in roots:
            if not root.is_dir():
                faults.append(f"{root}: no folder of receipt types; make it, or take it off receipt_types.roots")
                continue
            for folder in sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] not in "._"):
                try:
                    type_ = ReceiptType(TypeFile.read(folder))
                    prepare(type_)
                    types.append(type_)
                except ConfigurationError as error:
                    faults.append(str(error))
        if faults:
            raise ConfigurationError("\n".join(faults))
        return cls(types)

    def compile(self) -> None:
        """Compile what is not compiled yet. Raises ConfigurationError, with the faults of all types."""
        faults = []
        for type_ in self:
            try:
                type_.compile()
            except ConfigurationError as error:
                faults.append(str(error))
        if faults:
            raise ConfigurationError("\n".join(faults))

    def __iter__(self) -> Iterator[ReceiptType]:
        return iter(self._types.values())

    def get(self, type_id: str, version: int | None = None) -> ReceiptType | None:
        """Return the type, its newest version when none is given; None when there is none such."""
        return self._newest.get(type_id) if version is None else self._types.get((type_id, version))

    def named(self, name: str) -> ReceiptType | None:
        """Return the type of the name ``ID`` or ``ID@VERSION``, or None."""
        type_id, _, version = name.partition("@")
        if not version:
            return self.get(type_id)
        possible = version.isdecimal() and version.isascii() and len(version) <= _VERSION_MAX_DIGITS
        return self.get(type_id, int(version)) if possible else None

    def recognise(self, body: bytes, content_type: str, type_hint: str = "") -> tuple[ReceiptType, Any]:
        """Decode ``body`` and return its type and the decoded document. Quick, bounded, for the event loop's thread.

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
        type_ = self._hinted(type_hint.strip(), document, media) if type_hint else self._recognised(document, media)
        if len(body) > type_.body_max_bytes:
            raise _too_large(type_.body_max_bytes)
        return type_, document

    def check(self, body: bytes, content_type: str, type_hint: str = "") -> Checked:
        """Recognise ``body`` and judge it by all that its type has, here and now.

        Raises:
            DocumentError: as ``recognise`` does.
            ConfigurationError: the type does not compile.
        """
        type_, document = self.recognise(body, content_type, type_hint)
        checked = type_.check(document)
        return type_.schematron(document, checked) if type_.has_schematron else checked

    def _hinted(self, hint: str, document: Any, media: Media) -> ReceiptType:
        type_ = self.named(hint)
        if type_ is None:
            raise self._unknown(f"there is no receipt type {hint[:_HINT_MAX_CHARS]!r}")
        if type_.id in self._several and "@" not in hint:  # the document may show which version it is of
            type_ = max((one for one in self._fits(document, media) if one.id == hint), key=_version, default=type_)
        if type_.format is not media.format:
            raise DocumentError(422, "receipt-type-mismatch", f"{type_.id} is a type of {type_.format} documents")
        return type_

    def _recognised(self, document: Any, media: Media) -> ReceiptType:
        found = self._fits(document, media)
        if len(found) == 1:
            return found[0]
        names = sorted({type_.id for type_ in found})
        if not names:
            raise self._unknown("the document is of no known receipt type")
        if len(names) == 1:
            return max(found, key=_version)
        raise DocumentError(
            422,
            "ambiguous-receipt-type",
            f"the document may be {' or '.join(names)}; name one in the header Receipt-Type",
        )

    def _fits(self, document: Any, media: Media) -> Sequence[ReceiptType]:
        """Return the types that recognise the document; if none does, those of its media type."""
        found: Sequence[ReceiptType] = ()
        if media.format is Format.XML:
            found = self._by_root.get(document.tag, ())
        else:
            for get, values, present in self._by_member:
                value = get(document)
                if value is None:
                    continue
                if type(value) in _SCALARS and (fits := values.get((type(value), value))):
                    found = [*found, *fits] if found else fits
                if present:
                    found = [*found, *present]
        return found or self._by_media.get((media.format, media.essence), ())

    def _unknown(self, what: str) -> DocumentError:
        names = [type_.name for type_ in self]
        more = f" and {len(names) - _KNOWN_MAX} more" if len(names) > _KNOWN_MAX else ""
        return DocumentError(
            422,
            "unknown-receipt-type",
            f"{what}; known are: {', '.join(names[:_KNOWN_MAX]) or 'none'}{more}; a client may name one in the header "
            "Receipt-Type",
        )


def _version(type_: ReceiptType) -> int:
    return type_.version


def _member(value: object) -> tuple[type, object]:
    return type(value), value  # True is no 1 in JSON


def _too_large(limit: int) -> DocumentError:
    return DocumentError(413, "document-too-large", f"the document is larger than {limit} bytes")
