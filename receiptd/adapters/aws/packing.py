"""The progress of a receipt, packed: some 210 bytes of JSON become 95, which keeps an item under one write unit.

One zstd frame without its magic number, compressed with a dictionary that is the text below, behind a byte that names
the dictionary. A dictionary that was used is never changed: add another one. What begins with ``[`` is plain JSON.
"""

from __future__ import annotations

from typing import Final

import zstandard

from receiptd.domain.errors import StorageError

_DICTIONARIES: Final = {
    1: (
        b'[["","PARKED",1,0.0,0.0,"","HTTP 503"],["","SUBMITTED",0,0.0,0.0,"",""],["","PENDING",0,0.0,0.0,"",""],'
        b'["REJECTED"]],[["schema","","/","error"],["rule:","","","warning"]],["EXHAUSTED",1,0.0,0.0,500,""],'
        b'["DISABLED",1,0.0,0.0,410,""],["OWED",0,0.0,0.0,0,""],[["warehouse","REGISTERED",0,17,0.0,"warehouse-",""],'
        b'["tax","REGISTERED",0,17,0.0,"tax-",""],["warehouse","REGISTERED",0,17,0.0,"warehouse-",""]],[],'
        b'["DELIVERED",1,17,0.0,200,""],17'
    ),
}
_NEWEST: Final = max(_DICTIONARIES)
_NAME: Final = bytes([_NEWEST])
_LEVEL: Final = 3
_PROGRESS_MAX_BYTES: Final = 16 * 1024 * 1024


def _dictionary(text: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(text, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


class Packer:
    """Packs and unpacks. Not thread-safe."""

    def __init__(self) -> None:
        newest = _dictionary(_DICTIONARIES[_NEWEST])
        parameters = zstandard.ZstdCompressionParameters.from_level(
            _LEVEL, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=1, write_dict_id=0
        )
        newest.precompute_compress(compression_params=parameters)
        self._compressor = zstandard.ZstdCompressor(compression_params=parameters, dict_data=newest)
        self._decompressors = {
            name: zstandard.ZstdDecompressor(dict_data=_dictionary(text), format=zstandard.FORMAT_ZSTD1_MAGICLESS)
            for name, text in _DICTIONARIES.items()
        }

    def pack(self, progress: bytes) -> bytes:
        """Return the packed form of a progress."""
        return _NAME + self._compressor.compress(progress)

    def unpack(self, packed: bytes) -> bytes:
        """Return the progress that ``packed`` holds. Raises StorageError when it cannot be read (damaged, too new)."""
        if packed[:1] == b"[":
            return packed
        try:
            frame = packed[1:]
            header = zstandard.get_frame_parameters(frame, format=zstandard.FORMAT_ZSTD1_MAGICLESS)
            if header.content_size > _PROGRESS_MAX_BYTES:
                raise StorageError("a stored progress claims to be too large")
            return self._decompressors[packed[0]].decompress(frame)
        except (zstandard.ZstdError, LookupError) as error:
            raise StorageError(f"a stored progress cannot be read: {error}") from error
