"""The Exports port on an S3 bucket: multipart uploads, and presigned URLs.

A presigned URL ends with the credentials that signed it: those of an instance's role live for some hours, whatever was
asked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from receiptd.adapters.aws.account import NO_CREDENTIALS, UNREACHABLE, ClientError, Clients
from receiptd.domain.errors import StorageError
from receiptd.domain.identifiers import check_export_name

PART_BYTES: Final = 8 * 1024 * 1024
"""More than the least that S3 takes (5 MiB); with 10,000 parts at most, a file has 80 GB at most."""
VALID_MAX_S: Final = 7 * 86_400  # Signature Version 4's limit


class S3Exports:
    """Objects of one bucket, whose lifecycle deletes them after days.

    Args:
        session: gives S3's client.
        bucket: finds out what the bucket is called. Raises StorageError.
    """

    def __init__(self, session: Clients, bucket: Callable[[], Awaitable[str]]) -> None:
        self._session = session
        self._bucket = bucket

    async def put(self, name: str, content_type: str, chunks: AsyncIterable[bytes]) -> None:
        """Store a file. Raises ValueError and StorageError."""
        place = {"Bucket": await self._bucket(), "Key": check_export_name(name)}
        parts = _parts(chunks)
        first = await anext(parts, b"")
        async with self._s3() as s3:
            if len(first) < PART_BYTES:
                await s3.put_object(**place, Body=first, ContentType=content_type)
                return
            upload = await s3.create_multipart_upload(**place, ContentType=content_type)
            place["UploadId"] = upload["UploadId"]
            try:
                done = [await _send(s3, place, 1, first)]
                async for part in parts:
                    done.append(await _send(s3, place, len(done) + 1, part))
                await s3.complete_multipart_upload(**place, MultipartUpload={"Parts": done})
            except BaseException:
                await s3.abort_multipart_upload(**place)  # what this misses, the bucket's lifecycle removes
                raise

    async def url(self, name: str, valid_s: int) -> str:
        """Return a presigned URL, valid for a week at most. Raises ValueError and StorageError."""
        place = {"Bucket": await self._bucket(), "Key": check_export_name(name)}
        async with self._s3() as s3:
            return str(await s3.generate_presigned_url("get_object", place, min(valid_s, VALID_MAX_S)))

    @asynccontextmanager
    async def _s3(self) -> AsyncIterator[Any]:
        """Give S3's client; its errors become ours."""
        try:
            async with self._session.client("s3") as s3:
                yield s3
        except (ClientError, *NO_CREDENTIALS, *UNREACHABLE) as error:
            raise StorageError(f"S3: {error}") from error


async def _send(s3: Any, place: dict[str, str], number: int, part: bytes) -> dict[str, Any]:
    answer = await s3.upload_part(**place, PartNumber=number, Body=part)
    return {"PartNumber": number, "ETag": answer["ETag"]}


async def _parts(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Put chunks together to parts of ``PART_BYTES`` exactly, the last one aside."""
    waiting = bytearray()
    async for chunk in chunks:
        waiting += chunk
        while len(waiting) >= PART_BYTES:
            yield bytes(memoryview(waiting)[:PART_BYTES])
            del waiting[:PART_BYTES]
    if waiting:
        yield bytes(waiting)
