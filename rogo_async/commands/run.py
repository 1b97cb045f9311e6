"""The ``run`` command: the migration."""

from pathlib import Path

import click

from rogo_async.commands.runner import data_dir_option, run_and_exit, selection_options
from rogo_async.pipeline.run import Run
from rogo_async.pipeline.selection import Selection


@click.command()
@selection_options
@data_dir_option
@click.option("--report", is_flag=True, help="Also write an HTML report into runs/ (ROGO_REPORT).")
def run(
    limit: int | None,
    attempts: tuple[int, ...],
    input_file: Path | None,
    data_dir: Path | None,
    *,
    report: bool,
) -> None:
    """Migrate the submissions of submission_files.csv, newest first.

    This is the default command. --attempt and --limit select rows; --input reads another file.
    """
    selection = Selection(limit, attempts, input_file)
    run_and_exit(
        lambda settings, terminal: Run(settings, selection, terminal).execute(),
        data_dir,
        {"rogo_report": True} if report else {},
    )
