"""``status``: figures of the target, the latest migrations and the last runs (SPEC §5)."""

import contextlib
import sys
from pathlib import Path

import click

from rogo_async.commands.frame import data_dir_option, operate
from rogo_async.status import Status


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The same as JSON on the standard output.")
@data_dir_option
def status(data_dir: Path | None, *, as_json: bool) -> None:
    """Say what stands in the target, what was migrated last and how the last runs ended.

    Takes no lock, changes nothing and may run beside a migration.
    """
    output = sys.stdout

    def say(text: str) -> None:
        click.echo(text, file=output)
        output.flush()

    # With --json the closing line goes to the standard error, so that the JSON stands alone.
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        operate(lambda settings, _: Status(settings, say, as_json).execute(), data_dir)
