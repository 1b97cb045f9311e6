"""A blob is listed and read as it was written (specification §2)."""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from rogo_async.destination.blobs import inventory as inventory_module
from rogo_async.destination.blobs.inventory import BlobContent
from rogo_async.destination.blobs.store import Blob, Store
from tests.integration.azure.conftest import Destination

NAME = "Marker_files/rogo_7/0f0f/2_3ENG02_Ada-Example_feedback.pdf"
METADATA = {
    "attemptId": "7",
    "migratedFrom": "rogo_warehouse",
    "runId": "20260131T011500Z-0123abcd",
    "target": "1f0f",
    "fileType": "marker_feedback",
}
BLOB = Blob(NAME, "application/pdf", METADATA, "zstd", "de")
BODY = b"a marked essay"
MD5 = hashlib.md5(BODY).digest()


async def in_one_request(store: Store) -> None:
    await store.put(BLOB, BODY, MD5)


async def in_blocks(store: Store) -> None:
    blocks = [await store.stage(BLOB, 0, BODY[:5]), await store.stage(BLOB, 1, BODY[5:])]
    await store.commit(BLOB, blocks, len(BODY), MD5)


@pytest.mark.parametrize("write", [in_one_request, in_blocks])
async def test_a_blob_has_its_properties_in_the_store_and_in_a_listing(
    destination: Destination, write: Callable[[Store], Awaitable[None]]
) -> None:
    await write(destination.store)
    stored = await destination.container.get_blob_client(NAME).get_blob_properties()
    settings = stored.content_settings
    assert settings.content_type == "application/pdf"
    assert (settings.content_encoding, settings.content_language) == ("zstd", "de")
    assert bytes(settings.content_md5 or b"") == MD5
    assert stored.metadata == METADATA

    ((listed,),) = [page async for page in destination.inventory.pages("Marker_files/rogo_")]
    assert (listed.name, listed.size_bytes) == (NAME, len(BODY))
    assert f'"{listed.etag}"' == stored.etag  # a listing has it without quotes
    assert listed.modified == stored.last_modified
    lower = {name.lower(): text for name, text in METADATA.items()}
    assert listed.metadata == lower
    found = await destination.inventory.read(NAME, whole=True)
    assert found == BlobContent(len(BODY), MD5, len(BODY), MD5, lower)
    assert await destination.store.delete(NAME)
    assert await destination.inventory.read(NAME, whole=True) is None


async def test_a_container_of_several_pages_is_listed_as_a_whole(
    destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory_module, "_PAGE", 2)
    names = [f"LTI_Uploads/rogo_{number}/a" for number in range(5)]
    for name in [*names, "LTI_Uploads/other"]:
        await destination.container.upload_blob(name, b"an essay")
    pages = [page async for page in destination.inventory.pages("LTI_Uploads/rogo_")]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert sorted(blob.name for page in pages for blob in page) == names
    assert abs(await destination.inventory.now() - datetime.now(UTC)) < timedelta(minutes=1)
