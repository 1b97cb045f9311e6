"""``report``: a run as one HTML page (specification §5)."""

import sys
from pathlib import Path

import click

from rogo_async.commands.runner import data_dir_option
from rogo_async.common.data_dir import DataDir
from rogo_async.common.errors import SetupError
from rogo_async.common.settings import load_local_settings
from rogo_async.common.shutdown import ExitCode


@click.command()
@click.argument("run_id", required=False)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the page is written [default: runs/RUN_ID.html in the data directory].",
)
@data_dir_option
def report(run_id: str | None, output: Path | None, data_dir: Path | None) -> None:
    """Write a run, the latest one if none is named, as one HTML page with charts.

    The page loads nothing and names nobody: it can be mailed. No server is asked.
    """
    from rogo_async.reporting.html.stored import newest_run, write_report  # noqa: PLC0415 - charts take a while to load

    overrides = {} if data_dir is None else {"rogo_data_dir": data_dir}
    try:
        runs = DataDir(load_local_settings(**overrides).rogo_data_dir).runs
        written = write_report(runs, run_id or newest_run(runs), output)
    except SetupError as error:
        for problem in error.problems:
            click.echo(f"rogo_async: {problem}", err=True)
        sys.exit(ExitCode.SETUP)
    except OSError as error:
        click.echo(f"rogo_async: the report cannot be written ({error.strerror})", err=True)
        sys.exit(ExitCode.SETUP)
    click.echo(f"rogo_async: {written}")
