"""The ``collect`` command: options."""

from pathlib import Path

import click
from rich.console import Console

from rogo_async.commands.collect.flow import Collect
from rogo_async.commands.notified import RunNotifications
from rogo_async.commands.runner import data_dir_option, run_and_exit
from rogo_async.common.command import CommandResult
from rogo_async.common.data_dir import check_run_id
from rogo_async.common.settings import Settings
from rogo_async.pipeline.selection import Selection


class RunIdParameter(click.ParamType):  # type: ignore[type-arg] # not generic in every version of click
    """A run id."""

    name = "run_id"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """The run id; fails with the expected form."""
        try:
            check_run_id(str(value))
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)
        return str(value)


@click.command()
@click.option(
    "--run",
    "run_id",
    metavar="RUN_ID",
    type=RunIdParameter(),
    required=True,
    help="The run id that the shards had (ROGO_RUN_ID).",
)
@click.argument(
    "directories",
    metavar="[DIR]...",
    nargs=-1,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@data_dir_option
def collect(run_id: str, directories: tuple[Path, ...], data_dir: Path | None) -> None:
    """Put together what the shards of a run left.

    Each DIR is a data directory, or what was copied from its directory shards/RUN_ID on another
    machine. The data directory itself is always searched. Afterwards it has the files that a run in
    one process would have left, and status, report, verify and rollback work as for any other run.
    The exit code is that of the run. The command can be repeated.
    """
    notifications = RunNotifications(Selection())

    async def work(settings: Settings, terminal: Console | None) -> CommandResult:
        lock_name = f"collect of run {run_id}"
        collection = Collect(settings, run_id, directories, terminal, lock_name)
        result = await collection.execute()
        if collection.summary is not None and collection.summary.selection is not None:
            notifications.turn_off()
        return result

    run_and_exit(work, data_dir, notify=notifications.ended)
