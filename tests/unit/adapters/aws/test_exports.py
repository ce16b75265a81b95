"""Exports on S3: how they are uploaded, and what their URLs say (the contract suite reads them)."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest

from lab.emulator import environment
from receiptd.adapters.aws.exports import PART_BYTES, VALID_MAX_S, S3Exports
from receiptd.adapters.aws.session import AwsSession
from receiptd.domain.errors import StorageError


@pytest.fixture
async def session(emulator, http, usage, monkeypatch):
    for name, value in environment(emulator.endpoint).items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    return AwsSession(http, usage, region="us-east-1", endpoint_url=emulator.endpoint)


@pytest.fixture
async def bucket(session):
    name = f"test-{uuid4().hex}"
    async with session.client("s3") as s3:
        await s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def exports(session, bucket):
    async def find():
        return bucket

    return S3Exports(session, find)


async def chunks(count, size):
    for _ in range(count):
        yield bytes(size)


async def test_large_files_go_in_parts_and_leave_no_upload_open(exports, session, bucket):
    await exports.put("large", "application/x-ndjson", chunks(5, PART_BYTES // 2))
    async with session.client("s3") as s3:
        head = await s3.head_object(Bucket=bucket, Key="large")
        assert (head["ContentLength"], head["ContentType"]) == (5 * (PART_BYTES // 2), "application/x-ndjson")
        assert head["ETag"].endswith('-3"'), "three parts"
        assert not (await s3.list_multipart_uploads(Bucket=bucket)).get("Uploads")


async def test_an_upload_that_fails_is_aborted(exports, session, bucket):
    async def failing():
        yield bytes(PART_BYTES + 1)
        raise StorageError("the source is gone")

    with pytest.raises(StorageError, match="the source is gone"):
        await exports.put("broken", "text/plain", failing())
    async with session.client("s3") as s3:
        assert not (await s3.list_multipart_uploads(Bucket=bucket)).get("Uploads")
        assert not (await s3.list_objects_v2(Bucket=bucket)).get("Contents")


@pytest.mark.parametrize(("asked_s", "said_s"), [(60, 60), (10**7, VALID_MAX_S)])
async def test_a_url_is_signed_and_ends(exports, asked_s, said_s):
    query = parse_qs(urlsplit(await exports.url("some/name", asked_s)).query)
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == [str(said_s)]
    assert query["X-Amz-Signature"]


async def test_a_bucket_that_is_not_there_is_told(session):
    async def find():
        return "there-is-none"

    with pytest.raises(StorageError, match="NoSuchBucket"):
        await S3Exports(session, find).put("x", "text/plain", chunks(1, 1))
