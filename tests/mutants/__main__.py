"""``scripts/mutants``: mutation testing of a package."""

import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from tests.mutants.packages import Package, load_equivalents, load_packages
from tests.mutants.results import Result, survivors, table
from tests.mutants.stages import Run
from tests.mutants.workspace import Workspace

ROOT = Path(__file__).parents[2]


@click.command()
@click.option("--package", "name", metavar="NAME", help="Test the mutants of this package.")
@click.option("--minutes", default=60.0, show_default=True, help="Stop after this time.")
@click.option("--processes", default=os.cpu_count() or 1, show_default=True, help="In parallel.")
@click.option("--list", "list_packages", is_flag=True, help="List the packages and their tests.")
@click.option("--results", is_flag=True, help="Print the results by package.")
@click.option("--survivors", "show", metavar="NAME", help="Print the survivors of a package.")
def main(
    *,
    name: str | None,
    minutes: float,
    processes: int,
    list_packages: bool,
    results: bool,
    show: str | None,
) -> None:
    """Change the code in small ways and see whether the tests fail. Continues an earlier run."""
    packages, equivalents = load_packages(ROOT), load_equivalents(ROOT)
    for wanted in (name, show):
        if wanted is not None and wanted not in packages:
            raise click.BadParameter(f"no package {wanted}; there are {', '.join(packages)}")
    if list_packages:
        _list(packages.values())
    if name is not None:
        workspace = Workspace(ROOT, packages[name])
        _test(Run(workspace, equivalents, minutes, processes, report=click.echo))
    if show is not None:
        for survivor in survivors(Workspace(ROOT, packages[show]), equivalents):
            if survivor.result is Result.SURVIVED:
                click.echo(survivor.mutant)
    if results:
        click.echo(table(packages.values(), ROOT, equivalents))


def _list(packages: Iterable[Package]) -> None:
    for package in packages:
        click.echo(f"{package.name}: {' '.join(package.modules)}")
        click.echo(f"  first: {' '.join(package.first)}")
        click.echo(f"  then: {' '.join(package.then)}")


def _test(run: Run) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        run.work()
    except KeyboardInterrupt:
        click.echo("mutants: interrupted; the next run continues", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
