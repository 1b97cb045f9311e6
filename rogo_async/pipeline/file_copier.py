"""Copies a submission's files from the sources to the destination (rule 14, invariant 3)."""

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog

from rogo_async.common.errors import (
    BlocksDiscarded,
    Dependency,
    DependencyError,
    FailureCode,
    RowError,
    RunStopped,
    TransientError,
)
from rogo_async.destination.blobs.service_copy import CopyDeclined
from rogo_async.destination.blobs.store import Blob, Store
from rogo_async.pipeline.server_side_copy import ServerSideCopier
from rogo_async.rules.files import blob_name
from rogo_async.rules.records import FileKind, FileRef, Identity, Route, StoredFile
from rogo_async.sources.http_files import Restart, SourceFile, Sources

IN_FLIGHT_BYTES: Final = 64 * 1024 * 1024


class ByteBudget:
    """Weighted FIFO semaphore over the bytes in memory. Not re-entrant."""

    def __init__(self, limit_bytes: int = IN_FLIGHT_BYTES) -> None:
        self._free = limit_bytes
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def reserve(self, size_bytes: int) -> "Reservation":
        """An async context manager that holds ``size_bytes``, at most BLOCK_BYTES."""
        return Reservation(self, size_bytes)

    async def take(self, size_bytes: int) -> None:
        """Wait until ``size_bytes`` are free, and take them."""
        if not self._waiting and self._free >= size_bytes:
            self._free -= size_bytes
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (size_bytes, turn)
        self._waiting.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._free += size_bytes
            elif entry in self._waiting:  # _hand_out skips a cancelled one
                self._waiting.remove(entry)
            self._hand_out()
            raise

    def give_back(self, size_bytes: int) -> None:
        """Give back bytes that were taken."""
        self._free += size_bytes
        self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting and self._free >= self._waiting[0][0]:
            size_bytes, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= size_bytes
                turn.set_result(None)


class Reservation:
    """Holds bytes during an async with block.

    Not an ``asynccontextmanager``: that would create a generator for each file.
    """

    __slots__ = ("_budget", "_size_bytes")

    def __init__(self, budget: ByteBudget, size_bytes: int) -> None:
        self._budget = budget
        self._size_bytes = size_bytes

    async def __aenter__(self) -> None:
        await self._budget.take(self._size_bytes)

    async def __aexit__(self, *_: object) -> None:
        self._budget.give_back(self._size_bytes)


_READS: Final = 3
"""A file with a wrong MD5 is read again: the network may have damaged it. So is one whose blocks
the store has discarded, as it does when a late copy by the service creates the blob."""

_HASH_IN_THREAD_BYTES: Final = 1024 * 1024
log = structlog.get_logger()


class FileCopier:
    """Copies the files of one submission in parallel, and checks length and MD5."""

    def __init__(
        self,
        sources: Sources,
        store: Store,
        server_side: ServerSideCopier,
        budget: ByteBudget,
        metadata: Mapping[str, str],
    ) -> None:
        self._sources = sources
        self._store = store
        self._server_side = server_side
        self._budget = budget
        self._metadata = metadata

    async def copy(self, refs: Sequence[FileRef], identity: Identity) -> list[StoredFile]:
        """Copy all files of a submission (at least one) and return them in the order of ``refs``.

        If several fail, raises the error of the first one in that order. Raises
        RowError (source_…, file_corrupt), RunStopped or a DependencyError.
        """
        first, *others = refs
        tasks = [
            asyncio.create_task(
                self._copy_file(ref, identity), name=f"file-{identity.attempt}-{ref.order}"
            )
            for ref in others
        ]
        try:
            stored = [await self._copy_file(first, identity)]
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise
        finally:
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
            stored.append(result)
        return stored

    async def renew(self, refs: Sequence[FileRef], identity: Identity) -> bool:
        """Renew the blobs of a submission. Returns whether all of them exist.

        A sweep or a rollback that listed them before keeps them from then on. Raises RunStopped or
        a DependencyError.
        """
        blobs = [self._blob_of(ref, identity) for ref in refs]
        return all([await self._store.renew(blob) for blob in blobs])

    async def delete(
        self,
        refs: Sequence[FileRef],
        identity: Identity,
        may_delete: Callable[[], Awaitable[bool]],
    ) -> None:
        """Delete the blobs of a submission, as long as ``may_delete`` says so before each try.

        Only for a submission that certainly has no row in the target and is not retried in this
        run.

        A blob that cannot be deleted stays as an orphan for sweep.
        """
        for ref in refs:
            try:
                name = blob_name(identity.attempt, identity.submission_id, ref)
                if not await self._store.delete(name, may_delete):
                    log.warning(
                        "blob not deleted: the store protects it, or the run lock was lost",
                        attempt=identity.attempt,
                    )
            except (DependencyError, RunStopped) as reason:
                log.warning(
                    "blobs were left as orphans for sweep",
                    attempt=identity.attempt,
                    reason=str(reason),
                )
                return

    async def _copy_file(self, ref: FileRef, identity: Identity) -> StoredFile:
        blob = self._blob_of(ref, identity)
        try:
            source = await self._server_side.copy(ref.url, blob)
        except CopyDeclined as declined:
            route = declined.route
            size_bytes, md5 = await self._stream_file(ref, blob)
        else:
            route, size_bytes, md5 = Route.COPIED, source.size_bytes, source.md5
        url = self._store.url_of(blob.name)
        return StoredFile(ref, blob.name, url, size_bytes, md5, route)

    async def _stream_file(self, ref: FileRef, blob: Blob) -> tuple[int, bytes]:
        """Size in bytes and MD5 of a file that passed through this machine."""
        tries = 1
        while True:
            file = self._sources.file(ref.url)
            try:
                await file.begin()
                return await self._copy_bytes(file, blob)
            except (_Corrupt, Restart, BlocksDiscarded) as reason:
                if tries == _READS:
                    raise _given_up(ref, reason) from None
                tries += 1
            finally:
                file.close()

    async def _copy_bytes(self, file: SourceFile, blob: Blob) -> tuple[int, bytes]:
        """Size in bytes and MD5 of the copied file. Raises _Corrupt before the blob is created."""
        async with self._budget.reserve(file.expected_bytes()):
            block = await file.block()
            # Only now: the first block may have been read again, with other headers.
            blob = blob.described(file.info.content_encoding, file.info.content_language)
            digest = await _hashed(hashlib.md5(usedforsecurity=False), block)
            if file.at_end():
                _check(file, len(block), digest.digest())
                await self._store.put(blob, block, digest.digest())
                return len(block), digest.digest()
            block_ids = [await self._store.stage(blob, 0, block)]
        size_bytes = len(block)
        while not file.at_end():
            async with self._budget.reserve(file.expected_bytes()):
                block = await file.block()
                digest = await _hashed(digest, block)
                size_bytes += len(block)
                if block:
                    block_ids.append(await self._store.stage(blob, len(block_ids), block))
        _check(file, size_bytes, digest.digest())
        await self._store.commit(blob, block_ids, size_bytes, digest.digest())
        return size_bytes, digest.digest()

    def _blob_of(self, ref: FileRef, identity: Identity) -> Blob:
        name = blob_name(identity.attempt, identity.submission_id, ref)
        return Blob(name, ref.content_type, self._metadata_of(ref, identity))

    def _metadata_of(self, ref: FileRef, identity: Identity) -> dict[str, str]:
        metadata = {"attemptId": str(identity.attempt), **self._metadata}
        if ref.kind is FileKind.FEEDBACK:
            metadata["fileType"] = "marker_feedback"
        return metadata


class _Corrupt(Exception):
    """The bytes differ from the length or MD5 that the source states."""


def _check(file: SourceFile, size_bytes: int, md5: bytes) -> None:
    info = file.info
    if info.size_bytes is not None and info.size_bytes != size_bytes:
        raise _Corrupt
    if info.md5 is not None and info.md5 != md5:
        raise _Corrupt


async def _hashed(digest: "hashlib._Hash", block: bytes) -> "hashlib._Hash":
    if len(block) > _HASH_IN_THREAD_BYTES:
        await asyncio.to_thread(digest.update, block)
    else:
        digest.update(block)
    return digest


def _given_up(ref: FileRef, reason: Exception) -> Exception:
    if isinstance(reason, Restart):
        return TransientError(Dependency.SOURCE, "read", "the transfer broke several times")
    if isinstance(reason, BlocksDiscarded):
        return TransientError(Dependency.STORE, "commit", "blocks were discarded several times")
    return RowError(
        FailureCode.FILE_CORRUPT,
        f"file {ref.order}: length or MD5 differs from what the source states",
    )
