"""A blob is deleted only if it is unchanged since it was listed (invariant 7)."""

from collections.abc import Awaitable, Callable

import pytest

from rogo_async.common.errors import TransientError
from rogo_async.destination.blobs.inventory import Inventory, ListedBlob
from rogo_async.destination.blobs.store import Blob
from tests.integration.azure.conftest import Destination

NAME = "LTI_Uploads/rogo_7/1_essay.docx"
Delete = Callable[[Inventory, ListedBlob], Awaitable[bool]]
Change = Callable[[Destination], Awaitable[object]]


async def alone(inventory: Inventory, blob: ListedBlob) -> bool:
    return await inventory.delete(blob)


async def in_a_batch(inventory: Inventory, blob: ListedBlob) -> bool:
    return await inventory.delete_batch([blob])


in_both_ways = pytest.mark.parametrize("delete", [alone, in_a_batch])


async def listed(destination: Destination) -> ListedBlob:
    """Store a blob, and list it."""
    await destination.container.upload_blob(NAME, b"an essay")
    ((blob,),) = [page async for page in destination.inventory.pages("LTI_Uploads/")]
    return blob


async def names(destination: Destination) -> list[str]:
    return [name async for name in destination.container.list_blob_names()]


async def write_other_bytes(destination: Destination) -> None:
    await destination.container.upload_blob(NAME, b"a better essay", overwrite=True)


async def write_the_same_bytes(destination: Destination) -> None:
    """As a run does that repeats an upload."""
    await destination.container.upload_blob(NAME, b"an essay", overwrite=True)


async def renew(destination: Destination) -> None:
    """As a run does that has taken its lost lock again, before it inserts the rows."""
    assert await destination.store.renew(Blob(NAME, "text/plain", {"attemptId": "7"}))


@in_both_ways
@pytest.mark.parametrize("change", [write_other_bytes, write_the_same_bytes, renew])
async def test_a_blob_that_was_written_since_it_was_listed_is_kept(
    destination: Destination, delete: Delete, change: Change
) -> None:
    blob = await listed(destination)
    await change(destination)
    assert not await delete(destination.inventory, blob)
    assert await names(destination) == [NAME]


@in_both_ways
async def test_an_unchanged_blob_is_deleted(destination: Destination, delete: Delete) -> None:
    blob = await listed(destination)
    assert await delete(destination.inventory, blob)
    assert await names(destination) == []


async def test_a_missing_blob_counts_as_deleted(destination: Destination) -> None:
    assert await destination.store.delete(NAME)
    assert not await destination.store.renew(Blob(NAME, "text/plain", {}))
    assert await names(destination) == []


@pytest.mark.parametrize("is_allowed", [True, False])
async def test_a_blob_is_deleted_only_while_that_is_allowed(
    destination: Destination, *, is_allowed: bool
) -> None:
    await listed(destination)

    async def may_delete() -> bool:
        return is_allowed

    assert await destination.store.delete(NAME, may_delete) is is_allowed
    assert await names(destination) == ([] if is_allowed else [NAME])


async def test_a_batch_with_one_changed_blob_is_not_all_gone(destination: Destination) -> None:
    blob = await listed(destination)
    await destination.container.upload_blob("LTI_Uploads/other", b"unchanged")
    ((other, _),) = [
        sorted(page, key=lambda each: each.name == NAME)
        async for page in destination.inventory.pages("LTI_Uploads/")
    ]
    await write_other_bytes(destination)
    assert not await destination.inventory.delete_batch([other, blob])
    assert await names(destination) == [NAME]


async def test_a_batch_whose_answer_is_lost_is_not_known_to_be_gone(
    destination: Destination,
) -> None:
    blob = await listed(destination)
    destination.proxy.change = lambda _statuses: None
    with pytest.raises(TransientError):
        await destination.inventory.delete_batch([blob])


@pytest.mark.parametrize("answered", [[], [202, 202], [404], [412], [200]])
async def test_a_batch_with_any_other_answer_is_not_known_to_be_gone(
    destination: Destination, answered: list[int]
) -> None:
    blob = await listed(destination)
    destination.proxy.change = lambda _statuses: answered
    assert not await destination.inventory.delete_batch([blob])
