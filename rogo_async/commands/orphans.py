"""Orphans: blobs that this tool stored for this target and that no row refers to.

Name and metadata identify them; blobs of other tools and other targets are never touched.
``sweep`` searches the whole container, ``rollback`` only the prefixes of what it deleted.

Source: invariants 4 and 7.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

import structlog

from rogo_async.common.errors import (
    Dependency,
    DependencyError,
    LockHeld,
    RunStopped,
    TransientError,
)
from rogo_async.common.shutdown import StopSignal
from rogo_async.common.text import size_shown
from rogo_async.destination.blobs.inventory import MOST_IN_BATCH, Inventory, ListedBlob
from rogo_async.destination.blobs.store import MIGRATED_FROM, target_digest
from rogo_async.destination.postgres.blob_references import BlobReferences
from rogo_async.destination.postgres.connections import Connections
from rogo_async.destination.postgres.run_lock import RunLock
from rogo_async.pipeline.services import ServiceFactory
from rogo_async.rules.files import FOLDERS, BlobOwner, owner_of_blob

SESSIONS_S: Final = 45.0
"""How long to wait for the sessions of a run to end: longer than a run needs to stop."""

ALL_PREFIXES: Final = tuple(f"{folder}/rogo_" for folder in FOLDERS.values())
"""The prefixes of all blobs that migrations store."""

_POLL_S: Final = 1.0
_PARALLEL_DELETES: Final = 16
_BATCH_TRIES: Final = 3
"""Batch requests that may fail before the command does without them."""
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Orphan:
    """A blob that no row refers to."""

    blob: ListedBlob
    owner: BlobOwner

    @property
    def run_id(self) -> str:
        """The run that stored it, by its metadata."""
        return self.blob.metadata.get("runid", "")

    def text(self) -> str:
        """A line for the terminal, without the file's name, which may be personal data."""
        return (
            f"attempt {self.owner.attempt}  submission {self.owner.submission_id}  "
            f"file {self.owner.order}  {size_shown(self.blob.size_bytes)}  "
            f"{self.blob.modified:%Y-%m-%d %H:%M}  run {self.run_id or 'unknown'}"
        )


@dataclass(frozen=True, slots=True)
class OrphanPage:
    """The orphans in a part of a listing. ``others`` counts blobs of other tools or targets."""

    blobs: int
    others: int
    orphans: list[Orphan]


class OrphanFinder:
    """Finds and deletes orphans. Its methods raise RunStopped."""

    def __init__(
        self,
        inventory: Inventory,
        references: BlobReferences,
        stop_signal: StopSignal,
        lock: RunLock,
        *,
        container_url: str,
        target: str,
    ) -> None:
        self.inventory = inventory
        self._references = references
        self._stop_signal = stop_signal
        self._lock = lock
        self._container_url = container_url
        self._target = target
        self._batch_tries = _BATCH_TRIES

    @classmethod
    async def open(
        cls,
        factory: ServiceFactory,
        lock: RunLock,
        connections: Connections,
        stop_signal: StopSignal,
    ) -> Self:
        """Connect to the container. Raises SetupError and what the factory raises."""
        breaker = factory.breaker(Dependency.TARGET, connections.probe)
        account = await factory.account()
        return cls(
            Inventory(
                account, await factory.http(), factory.breaker(Dependency.STORE, account.check)
            ),
            BlobReferences(connections, breaker),
            stop_signal,
            lock,
            container_url=account.container_url,
            target=target_digest(factory.settings.target_url),
        )

    async def pages(self, prefixes: Sequence[str] = ALL_PREFIXES) -> AsyncIterator[OrphanPage]:
        """List the blobs with these prefixes, page by page."""
        for prefix in prefixes:
            async for page in self.inventory.pages(prefix):
                self._stop_signal.raise_if_stopping()
                ours = list(self._ours(page))
                referenced = await self._references.referenced(
                    [each.blob.name for each in ours],
                    [f"{self._container_url}/{each.blob.name}" for each in ours],
                )
                orphans = [each for each in ours if each.blob.name not in referenced]
                yield OrphanPage(len(page), len(page) - len(ours), orphans)

    async def delete(
        self, orphans: Sequence[Orphan], on_blobs: Callable[[int], object]
    ) -> tuple[int, int]:
        """Delete orphans. Returns how many were deleted and how many were kept.

        ``on_blobs`` receives the number of further blobs that were deleted or kept.

        A blob is kept if it was written again since it was listed, or if the store protects it.
        When the command stops early, the remaining blobs are in neither number. Without the run
        lock nothing is deleted: after a standstill of this machine the server is asked first.
        """
        counts = [0, 0]
        left = await self._delete_in_batches(orphans, on_blobs)
        counts[0] = len(orphans) - len(left)
        waiting = iter(left)

        async def work() -> None:
            for orphan in waiting:
                if self._stop_signal.stopping:
                    return
                try:
                    deleted = await self._delete(orphan.blob)
                except RunStopped:
                    return
                except DependencyError as error:
                    self._stop_signal.unresolved += 1
                    log.error("blob not deleted", attempt=orphan.owner.attempt, reason=str(error))
                    continue
                counts[not deleted] += 1
                on_blobs(1)

        async with asyncio.TaskGroup() as group:
            for number in range(_PARALLEL_DELETES):
                group.create_task(work(), name=f"delete-{number}")
        return counts[0], counts[1]

    async def _delete_in_batches(
        self, orphans: Sequence[Orphan], on_blobs: Callable[[int], object]
    ) -> list[Orphan]:
        """Delete with batch requests while the store accepts them. Returns the remaining orphans.

        Each remaining one is deleted by itself, which tells a refusal from a lost reply.
        """
        left: list[Orphan] = []
        for start in range(0, len(orphans), MOST_IN_BATCH):
            batch = orphans[start : start + MOST_IN_BATCH]
            are_gone = False
            if self._batch_tries and not self._stop_signal.stopping:
                try:
                    await self._lock.verify_held()
                    are_gone = await self.inventory.delete_batch([each.blob for each in batch])
                    self._batch_tries -= not are_gone
                except RunStopped:  # the lock is lost
                    pass
                except TransientError:
                    self._batch_tries -= 1
                except DependencyError as error:
                    self._batch_tries = 0
                    log.debug("no batch requests: blobs are deleted one by one", reason=str(error))
            if are_gone:
                on_blobs(len(batch))
            else:
                left += batch
        return left

    async def wait_for_runs(self, command: str) -> None:
        """Wait until no session of a run is connected to the target.

        A run that lost its lock while it was suspended may still write. Raises LockHeld.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + SESSIONS_S
        while sessions := await self._references.run_sessions():
            if loop.time() > deadline_s:
                raise LockHeld(
                    "a run that lost the lock is still connected to the target (sessions: "
                    f"{sessions}) and may still write. Stop it, or end its sessions "
                    f"(pg_terminate_backend), then {command} again"
                )
            log.info("waiting for the sessions of a run to end")
            await self._stop_signal.sleep(_POLL_S)

    async def _delete(self, blob: ListedBlob) -> bool:
        """Whether the blob is gone.

        When the reply to a delete was lost, the repeated call reports a changed blob although the
        blob is gone.
        """
        await self._lock.verify_held()
        deleted = await self.inventory.delete(blob)
        return deleted or await self.inventory.read(blob.name, whole=False) is None

    def _ours(self, page: Sequence[ListedBlob]) -> Iterator[Orphan]:
        for blob in page:
            owner = owner_of_blob(blob.name)
            if (
                owner is not None
                and blob.metadata.get("migratedfrom") == MIGRATED_FROM
                and blob.metadata.get("target") == self._target
                and blob.metadata.get("attemptid") == str(owner.attempt)
            ):
                yield Orphan(blob, owner)
