"""One shard of a distributed run: a run of the rows that belong to it (specification §7).

It reads the inputs of the data directory and writes into a directory of its own. ``collect`` puts
what the shards left together.
"""

import asyncio
import hashlib
from contextlib import AsyncExitStack
from pathlib import Path

import structlog
from pyroaring import BitMap
from rich.console import Console

from rogo_async.common.command import CommandResult
from rogo_async.common.data_dir import FAILED, MAPPING, MIGRATED, DataDir, shards_of
from rogo_async.common.errors import SetupError
from rogo_async.common.files import csv_of, make_private_directory, write_private
from rogo_async.common.settings import Settings
from rogo_async.common.shard import Shard
from rogo_async.destination.postgres.connector import OF_SHARD
from rogo_async.destination.postgres.journal import Journal, Journals, end_last_line, journal_path
from rogo_async.destination.postgres.lock_claims import ShardLock
from rogo_async.destination.postgres.refresh_rollback import Refreshes
from rogo_async.pipeline.consumers import Handler
from rogo_async.pipeline.failed_rows_file import NUMBERED
from rogo_async.pipeline.known_failures import KnownFailures
from rogo_async.pipeline.own_submissions import OwnSubmissions
from rogo_async.pipeline.refresh import ExistingRows, Migrate
from rogo_async.pipeline.run import Run, read_accepted
from rogo_async.pipeline.selection import Selection, open_selection
from rogo_async.pipeline.services import ServiceFactory, Services
from rogo_async.pipeline.writer import MIGRATED_COLUMNS
from rogo_async.reporting.progress import Stages
from rogo_async.reporting.summary import RunSummary
from rogo_async.reporting.summary_parts import ShardFacts
from rogo_async.sources.mapping_csv import Mapping
from rogo_async.sources.submissions_csv import SubmissionsFile


class ShardRun(Run):
    """A run of one shard; ``execute`` is called once.

    A repeated one, also on another machine, counts what an earlier try migrated as migrated.
    """

    def __init__(
        self,
        settings: Settings,
        selection: Selection,
        terminal: Console | None,
        shard: Shard,
        run_id: str,
    ) -> None:
        self._inputs = DataDir(settings.rogo_data_dir)
        self._shard = shard
        directory = shards_of(settings.rogo_data_dir, run_id) / shard.directory
        own = settings.model_copy(update={"rogo_data_dir": directory})
        super().__init__(own, selection, terminal, run_id, NUMBERED)
        self._facts = ShardFacts(shard=str(shard), settings=settings.rules_digest)

    async def execute(self) -> CommandResult:
        """Run once and return the summary. Raises SetupError and LockHeld, without a summary."""
        await asyncio.to_thread(self._make_directory)
        structlog.contextvars.bind_contextvars(shard=str(self._shard))
        return await super().execute()

    def _make_directory(self) -> None:
        directory = self.data.path
        try:
            for each in (directory.parents[1], directory.parent, directory, self.data.runs):
                make_private_directory(each)
        except OSError as error:
            raise SetupError(
                f"{directory}: cannot be created ({error.strerror}). Check ROGO_DATA_DIR"
            ) from None

    async def _open_inputs(
        self, stack: AsyncExitStack, stages: Stages
    ) -> tuple[SubmissionsFile, Mapping]:
        directory = self._inputs.path
        file, mapping = await open_selection(self._selection, directory, stack, stages, self._shard)
        inputs = {
            file.path.name: await asyncio.to_thread(file.digest),
            MAPPING: await asyncio.to_thread(_digest, directory / MAPPING),
        }
        if self._selection.codes:  # it has selected the rows
            inputs[FAILED] = await asyncio.to_thread(_digest, directory / FAILED)
        self._facts = self._facts.model_copy(update={"inputs": inputs})
        return file, mapping

    def _factory(self, stack: AsyncExitStack) -> ServiceFactory:
        run_id = self._record.run_id
        return ServiceFactory(
            self.settings,
            self.stop_signal,
            self._record.call_stats,
            stack,
            f"{OF_SHARD}{self._shard} of {run_id}",
            ShardLock(run_id, self._shard),
        )

    async def _begin_migrated(self, _factory: object, _services: object, _stages: object) -> None:
        """Begin with no rows: those of an earlier try are found in the target."""
        header = csv_of([MIGRATED_COLUMNS]).encode()
        await asyncio.to_thread(write_private, self.data.path / MIGRATED, header)

    def _read_journals(self, own: Journal) -> Journals:
        return Journals.read(self._inputs.runs, own, self.data.runs)

    async def _existing(
        self,
        factory: ServiceFactory,
        services: Services,
        mapping: Mapping,
        journal: Journal,
        migrate: Migrate,
    ) -> tuple[ExistingRows, Handler]:
        others, handler = await super()._existing(factory, services, mapping, journal, migrate)
        run_id, target = self._record.run_id, services.target
        earlier = await asyncio.to_thread(Refreshes.read, journal_path(self.data.runs, run_id))
        refreshed = BitMap(earlier.attempts)
        own = OwnSubmissions(run_id, target.connections, target.breaker, refreshed, others)
        return own, handler

    async def _begin_files(self, _stack: AsyncExitStack) -> KnownFailures:
        """Read what earlier runs left in the data directory, and forget an earlier try."""
        run_id = self._record.run_id
        self._accepted = await read_accepted(self._inputs.path)
        known = await asyncio.to_thread(KnownFailures.read, self._inputs.failed_rows_files())
        await asyncio.to_thread(self.data.forget_summary, run_id)
        await asyncio.to_thread(end_last_line, journal_path(self.data.runs, run_id))
        keep, in_use = self.settings.rogo_keep_runs, self._selection.input
        await asyncio.to_thread(self._inputs.delete_old_shards, keep, run_id, in_use)
        return known

    def _failed_path(self) -> Path:
        return self.data.failed_rows

    def _summary(self) -> RunSummary:
        return super()._summary().model_copy(update={"shard": self._facts})


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
