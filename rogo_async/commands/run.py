"""``run``: the migration."""

from pathlib import Path

import click

from rogo_async.commands.runner import data_dir_option, operate, selection_options
from rogo_async.pipeline.run import Run
from rogo_async.pipeline.selection import Selection


@click.command()
@selection_options
@data_dir_option
@click.option(
    "--report",
    is_flag=True,
    help="Write the run as an HTML page, too, beside its summary in runs/ [also: ROGO_REPORT].",
)
def run(
    limit: int | None,
    attempts: tuple[int, ...],
    input_file: Path | None,
    data_dir: Path | None,
    *,
    report: bool,
) -> None:
    """Migrate the submissions of submission_files.csv, the newest first."""
    selection = Selection(limit, attempts, input_file)
    overrides = {"rogo_report": True} if report else {}
    operate(
        lambda settings, terminal: Run(settings, selection, terminal).execute(),
        data_dir,
        overrides,
    )
