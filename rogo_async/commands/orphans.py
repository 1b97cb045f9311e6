"""Blobs of this tool and this target that no row refers to, found and deleted (invariant 7).

They are told by name and metadata; what another tool or another target has stored is never
touched. ``sweep`` looks for them everywhere, ``rollback`` for those of what it took out.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from rogo_async.common.errors import DependencyError, LockHeld, RunStopped
from rogo_async.common.settings import Settings
from rogo_async.common.shutdown import StopSignal
from rogo_async.destination.blobs.account import Account
from rogo_async.destination.blobs.inventory import Inventory, ListedBlob
from rogo_async.destination.blobs.store import MIGRATED_FROM, target_digest
from rogo_async.destination.postgres.blob_references import BlobReferences
from rogo_async.rules.files import FOLDERS, BlobOwner, owner_of_blob, size_text

SESSIONS_S: Final = 45.0
"""How long to wait for the sessions of a run to end: longer than a run takes to give up."""

EVERYWHERE: Final = tuple(f"{folder}/rogo_" for folder in FOLDERS.values())
"""What the names of all blobs of migrations begin with."""

_POLL_S: Final = 1.0
_DELETING: Final = 16
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Orphan:
    """A blob that no row refers to."""

    blob: ListedBlob
    owner: BlobOwner

    @property
    def run_id(self) -> str:
        """The run that stored it, as its metadata say."""
        return self.blob.metadata.get("runid", "")

    def text(self) -> str:
        """A line for the terminal, without the file's name: that may be a person's."""
        return (
            f"attempt {self.owner.attempt}  submission {self.owner.submission_id}  "
            f"file {self.owner.order}  {size_text(self.blob.size_bytes)}  "
            f"{self.blob.modified:%Y-%m-%d %H:%M}  run {self.run_id or '?'}"
        )


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing: how many blobs it has, how many of others, and the orphans in it."""

    blobs: int
    others: int
    orphans: list[Orphan]


class Orphans:
    """Looks for orphans and deletes them. Raises RunStopped."""

    def __init__(
        self,
        settings: Settings,
        account: Account,
        inventory: Inventory,
        references: BlobReferences,
        stop_signal: StopSignal,
    ) -> None:
        self._digest = target_digest(settings.target_dsn)
        self._container_url = account.container_url
        self._inventory = inventory
        self._references = references
        self._stop_signal = stop_signal

    async def pages(self, prefixes: Sequence[str] = EVERYWHERE) -> AsyncIterator[Page]:
        """The blobs whose names begin so, page by page."""
        for prefix in prefixes:
            async for page in self._inventory.pages(prefix):
                self._stop_signal.raise_if_stopping()
                ours = [*self._ours(page)]
                kept = await self._references.referenced(
                    [each.blob.name for each in ours],
                    [f"{self._container_url}/{each.blob.name}" for each in ours],
                )
                orphans = [each for each in ours if each.blob.name not in kept]
                yield Page(len(page), len(page) - len(ours), orphans)

    async def delete(self, orphans: Sequence[Orphan]) -> tuple[int, int]:
        """Delete them: how many are gone, and how many were written anew since they were listed
        and left alone. The rest was not come to: the control is stopping.
        """
        counts = [0, 0]
        waiting = iter(orphans)

        async def work() -> None:
            for orphan in waiting:
                if self._stop_signal.stopping:
                    return
                try:
                    gone = await self._delete(orphan.blob)
                except RunStopped:
                    return
                except DependencyError as fault:
                    self._stop_signal.unresolved += 1
                    log.error("a blob was left", attempt=orphan.owner.attempt, reason=str(fault))
                    continue
                counts[not gone] += 1

        async with asyncio.TaskGroup() as group:
            for number in range(_DELETING):
                group.create_task(work(), name=f"deleting-{number}")
        return counts[0], counts[1]

    async def _delete(self, blob: ListedBlob) -> bool:
        """False when it is there still. A repetition, after a reply that was lost, may be told
        that the blob has changed where it is gone.
        """
        gone = await self._inventory.delete(blob)
        return gone or await self._inventory.read(blob.name, whole=False) is None

    def _ours(self, page: Sequence[ListedBlob]) -> Iterator[Orphan]:
        for blob in page:
            owner = owner_of_blob(blob.name)
            if owner is not None and self._is_ours(blob, owner):
                yield Orphan(blob, owner)

    def _is_ours(self, blob: ListedBlob, owner: BlobOwner) -> bool:
        return (
            blob.metadata.get("migratedfrom") == MIGRATED_FROM
            and blob.metadata.get("target") == self._digest
            and blob.metadata.get("attemptid") == str(owner.attempt)
        )


async def wait_for_runs(references: BlobReferences, stop_signal: StopSignal, command: str) -> None:
    """Wait until no session of a run is connected to the target: a run that lost its lock while
    it was stalled may still be about to write. Raises LockHeld and RunStopped.
    """
    until = asyncio.get_running_loop().time() + SESSIONS_S
    while sessions := await references.run_sessions():
        if asyncio.get_running_loop().time() > until:
            raise LockHeld(
                "a run without the lock is still connected to the target (sessions: "
                f"{sessions}) and may be about to write. End it, or its sessions "
                f"(pg_terminate_backend), and {command} again"
            )
        log.info("waiting for the sessions of a run to end")
        await stop_signal.sleep(_POLL_S)
