"""``run --workers`` and ``run --scheduler``: one run in many processes (specification §7).

It looks like a run in one process: one progress display, one lock, the same files at the end.
"""

import asyncio
from dataclasses import replace
from importlib.util import find_spec

import structlog
from rich.console import Console

from rogo_async.commands.collect.flow import Collect
from rogo_async.commands.distributed_run.options import Workers
from rogo_async.common.command import CommandResult
from rogo_async.common.data_dir import DataDir, new_run_id
from rogo_async.common.errors import SetupError
from rogo_async.common.settings import Settings
from rogo_async.pipeline.selection import Selection
from rogo_async.reporting.starts import Starts


class DistributedRun:
    """A run whose shards are processed by workers; ``execute`` is called once."""

    def __init__(
        self, settings: Settings, selection: Selection, terminal: Console | None, workers: Workers
    ) -> None:
        _require_dask()
        _refuse(settings, workers)
        self._settings = settings
        if selection.input is not None:  # the same for all processes
            selection = replace(selection, input=selection.input.absolute())
        self._selection = selection
        self._terminal = terminal
        self._workers = workers

    async def execute(self) -> CommandResult:
        """Run once and return the summary. Raises SetupError and LockHeld, without a summary."""
        data, run_id = DataDir(self._settings.rogo_data_dir), new_run_id()
        structlog.contextvars.bind_contextvars(run_id=run_id)
        starts = Starts(data.runs)
        if not data.is_used:
            return await self._execute(data, run_id, starts)
        try:
            await asyncio.to_thread(starts.began, run_id)
            result = await self._execute(data, run_id, starts)
        except Exception as error:
            await asyncio.to_thread(starts.failed, run_id, error)
            raise
        await asyncio.to_thread(starts.ended, run_id, result.exit_code, [result.summary_line])
        return result

    async def _execute(self, data: DataDir, run_id: str, starts: Starts) -> CommandResult:
        from rogo_async.commands.distributed_run.shards import Shards  # noqa: PLC0415 - Dask is an extra

        data.lock(f"run {run_id}")
        try:
            shards = Shards(self._settings, self._selection, self._terminal, self._workers, run_id)
            shards.stop_signal.on_abort = lambda code, text: starts.ended(run_id, code, [text])
            result = await shards.execute()
            if not shards.can_be_collected:
                return result
            return await Collect(self._settings, run_id, (), self._terminal, None).execute()
        finally:
            data.unlock()


def _require_dask() -> None:
    if find_spec("distributed") is None:
        raise SetupError(
            "--workers, --scheduler: Dask is not installed: pip install '.[distributed]' in the "
            "source directory, or run without these options"
        )


def _refuse(settings: Settings, workers: Workers) -> None:
    """Raises SetupError for settings that do not go with a distributed run."""
    if settings.rogo_shard is not None or settings.rogo_run_id is not None:
        raise SetupError(
            "ROGO_SHARD, ROGO_RUN_ID: a worker sets them. Unset them, or run without --workers "
            "and --scheduler"
        )
    if workers.local and (settings.rogo_metrics_file or settings.rogo_metrics_port):
        raise SetupError(
            "ROGO_METRICS_FILE, ROGO_METRICS_PORT: the processes of --workers would share them. "
            "Unset them: run_summary.json has the figures of the whole run"
        )
