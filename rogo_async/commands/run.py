"""``run``: the migration."""

from pathlib import Path

import click

from rogo_async.commands.frame import data_dir_option, operate
from rogo_async.engine import Run, Selection
from rogo_async.rules.identity import SQL_INT_MAX


@click.command()
@click.option("--limit", type=click.IntRange(min=1), help="Only the newest N rows of the file.")
@click.option(
    "--attempt",
    "attempts",
    type=click.IntRange(1, SQL_INT_MAX),
    multiple=True,
    help="Only the rows of this attempt; may be given several times.",
)
@click.option(
    "--input",
    "input_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Read this file instead of submission_files.csv; a failed-rows file works as it is.",
)
@data_dir_option
def run(
    limit: int | None,
    attempts: tuple[int, ...],
    input_file: Path | None,
    data_dir: Path | None,
) -> None:
    """Migrate the submissions of submission_files.csv, the newest first."""
    selection = Selection(limit, attempts, input_file)
    operate(lambda settings, terminal: Run(settings, selection, terminal).execute(), data_dir)
