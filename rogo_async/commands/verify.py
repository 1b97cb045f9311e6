"""``verify``: whether what was migrated is all there (SPEC §5)."""

from pathlib import Path

import click

from rogo_async.commands.frame import data_dir_option, operate
from rogo_async.verify import Verification


@click.command()
@click.option(
    "--sample", type=click.IntRange(min=1), help="Only so many submissions, picked at random."
)
@click.option(
    "--quick",
    is_flag=True,
    help="Do not read the blobs: ask for their length and the MD5 they were stored with.",
)
@data_dir_option
def verify(sample: int | None, data_dir: Path | None, *, quick: bool) -> None:
    """Hold every submission of this tool against its tables and its blobs.

    Changes nothing. What is wrong or cannot be told is in verification_failures.csv; exit code 1
    says that something is wrong.
    """
    operate(lambda settings, _: Verification(settings, sample, whole=not quick).execute(), data_dir)
