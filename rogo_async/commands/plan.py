"""``plan``: what a run would do, and why (SPEC §5)."""

from pathlib import Path

import click

from rogo_async.commands.frame import data_dir_option, operate, selection_options
from rogo_async.plan import Plan
from rogo_async.selection import Selection


@click.command()
@selection_options
@data_dir_option
def plan(
    limit: int | None,
    attempts: tuple[int, ...],
    input_file: Path | None,
    data_dir: Path | None,
) -> None:
    """Say what a run would do to each row, without writing anything but plan.csv.

    Files are asked for, not read. Exit code 1 says that some rows would fail.
    """
    selection = Selection(limit, attempts, input_file)
    operate(lambda settings, terminal: Plan(settings, selection, terminal).execute(), data_dir)
