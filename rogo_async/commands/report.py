"""The ``report`` command: a run as one HTML page."""

from pathlib import Path

import click

from rogo_async.commands.runner import data_dir_option, exit_with, settings_of_options
from rogo_async.common.data_dir import DataDir
from rogo_async.common.errors import SetupError
from rogo_async.common.settings import load_local_settings
from rogo_async.common.shutdown import ExitCode


@click.command()
@click.argument("run_id", required=False)
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Output file  [default: runs/RUN_ID.html].",
)
@data_dir_option
def report(run_id: str | None, output: Path | None, data_dir: Path | None) -> None:
    """Write the report of a run as one HTML page with charts.

    Without RUN_ID it reports the latest run. The page loads nothing from the network and contains
    no personal data, so it can be mailed. The command uses no server.
    """
    from rogo_async.reporting.html.stored import newest_run, write_report  # noqa: PLC0415 - charts load slowly

    try:
        runs = DataDir(load_local_settings(**settings_of_options(data_dir)).rogo_data_dir).runs
        written = write_report(runs, run_id or newest_run(runs), output)
    except SetupError as error:
        exit_with(ExitCode.SETUP, *error.problems, is_error=True)
    except OSError as error:
        text = f"the report cannot be written ({error.strerror})"
        exit_with(ExitCode.SETUP, text, is_error=True)
    click.echo(f"rogo_async: {written}")
