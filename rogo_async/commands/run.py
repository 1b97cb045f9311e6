"""The ``run`` command: the migration."""

from datetime import UTC, datetime, time
from pathlib import Path

import click
from rich.console import Console

from rogo_async.commands.distributed_run.flow import DistributedRun
from rogo_async.commands.distributed_run.options import Workers
from rogo_async.commands.notified import RunNotifications
from rogo_async.commands.runner import (
    Ending,
    data_dir_option,
    given_env_file,
    run_and_exit,
    selection_options,
)
from rogo_async.common.command import CommandResult
from rogo_async.common.data_dir import DataDir, new_run_id
from rogo_async.common.durations import seconds_until
from rogo_async.common.errors import SetupError
from rogo_async.common.settings import Settings, load_local_settings
from rogo_async.common.shard import MOST_SHARDS
from rogo_async.pipeline.run import Run
from rogo_async.pipeline.selection import Selection
from rogo_async.pipeline.shard_run import ShardRun
from rogo_async.reporting.starts import Starts


class TimeOfDay(click.ParamType):  # type: ignore[type-arg] # not generic in every version of click
    """A time of day such as ``06:00``, in the zone of this machine."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> time:
        """The time; fails with the expected form."""
        try:
            return datetime.strptime(str(value), "%H:%M").time()  # noqa: DTZ007 - a time of day
        except ValueError:
            self.fail(f"{value!r} is not a time of day such as 06:00", param, ctx)


@click.command()
@selection_options
@data_dir_option
@click.option(
    "--refresh",
    is_flag=True,
    help="Also update what changed at the source (ROGO_REFRESH).",
)
@click.option("--report", is_flag=True, help="Also write an HTML report into runs/ (ROGO_REPORT).")
@click.option(
    "--until",
    metavar="HH:MM",
    type=TimeOfDay(),
    help="Take no new work after this local time.",
)
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(min=1),
    help="Run in N processes here (with Dask).",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Run on the workers of this Dask scheduler.",
)
@click.option(
    "--shards",
    metavar="N",
    type=click.IntRange(1, MOST_SHARDS),
    help="Number of shards (4 for a worker).",
)
def run(
    selection: Selection,
    data_dir: Path | None,
    until: time | None,
    workers: int | None,
    scheduler: str | None,
    shards: int | None,
    *,
    refresh: bool,
    report: bool,
) -> None:
    """Migrate the submissions of submission_files.csv, newest first.

    This is the default command. A run with options that select rows does not count as a full run.
    """
    distribution = _distribution(workers, scheduler, shards)
    begun: list[Run | DistributedRun] = []
    notifications = RunNotifications(selection)

    async def work(settings: Settings, terminal: Console | None) -> CommandResult:
        notifications.began(settings)
        settings = ending_at(until, settings)
        if distribution is not None:
            begun.append(DistributedRun(settings, selection, terminal, distribution))
        else:
            begun.append(_run_of(settings, selection, terminal))
        return await begun[0].execute()

    def record(ending: Ending) -> None:
        if not begun:  # otherwise the run itself has recorded it
            _record_refused_start(ending)

    given = {"rogo_refresh": refresh, "rogo_report": report}
    overrides = {name: True for name, is_given in given.items() if is_given}
    run_and_exit(work, data_dir, overrides, record=record, notify=notifications.ended)


def _distribution(workers: int | None, scheduler: str | None, shards: int | None) -> Workers | None:
    """Where the shards run; None for a run in this process."""
    if workers is not None and scheduler is not None:
        raise click.UsageError("--workers and --scheduler exclude each other")
    if workers is None and scheduler is None:
        if shards is not None:
            raise click.UsageError("--shards needs --workers or --scheduler")
        return None
    return Workers(workers, scheduler, shards, given_env_file())


def _run_of(settings: Settings, selection: Selection, terminal: Console | None) -> Run:
    """The run, or one shard of it."""
    shard, run_id = settings.rogo_shard, settings.rogo_run_id
    if shard is not None and run_id is not None:
        return ShardRun(settings, selection, terminal, shard, run_id)
    if run_id is not None:
        raise SetupError(
            "ROGO_RUN_ID: is for the shards of a run. Set ROGO_SHARD, too, or unset it"
        )
    return Run(settings, selection, terminal)


def _record_refused_start(ending: Ending) -> None:
    """Record a start that ended before the settings were complete, if the directory is known."""
    try:
        data = DataDir(load_local_settings(**ending.given).rogo_data_dir)
    except SetupError:
        return
    if data.is_used:
        starts, run_id = Starts(data.runs), new_run_id()
        starts.began(run_id)
        starts.ended(run_id, ending.code, ending.lines)


def ending_at(until: time | None, settings: Settings) -> Settings:
    """The settings with a window that ends at the next ``until``, or earlier if it did before."""
    if until is None:
        return settings
    left_s = seconds_until(until, datetime.now(UTC))
    window_s = min(left_s, settings.rogo_max_duration or left_s)
    return settings.model_copy(update={"rogo_max_duration": window_s})
