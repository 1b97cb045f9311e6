"""``scripts/bench NAME [--json]``."""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any

import click

from rogo_async.common.errors import SetupError
from tests.bench import (
    cpu,
    rclone,
    refresh,
    scale,
    scaleout,
    server_copy,
    vs_littles_law,
    vs_old_design,
)
from tests.bench.client import BenchError
from tests.bench.report import Report

BENCHES: dict[str, Any] = {
    "seed": vs_old_design,
    "bound": vs_littles_law,
    "cpu": cpu,
    "scale": scale,
    "rclone": rclone,
    "copy": server_copy,
    "refresh": refresh,
    "scaleout": scaleout,
}


@click.command()
@click.argument("name", type=click.Choice(list(BENCHES)))
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout, table on stderr.")
@click.option("--quick", is_flag=True, help="Fewer rows: a smoke test, not a measurement.")
@click.option(
    "--stretch",
    type=click.FloatRange(min=0.25),
    help="Factor of all latencies [default: so that no server uses half a core].",
)
def main(name: str, *, as_json: bool, quick: bool, stretch: float | None) -> None:
    """Measure one thing on the embedded stack; exit 1 when a target is missed."""
    report = Report(name)
    try:
        asyncio.run(_cancel_on_sigterm(_bench(name, report, quick=quick, stretch=stretch)))
    except (BenchError, SetupError) as error:
        click.echo(f"bench: {error}", err=True)
        sys.exit(2)
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("bench: interrupted", err=True)
        sys.exit(130)
    report.print(sys.stderr if as_json else sys.stdout, sys.stdout if as_json else None)
    sys.exit(not report.held)


def _bench(
    name: str, report: Report, *, quick: bool, stretch: float | None
) -> Coroutine[Any, Any, None]:
    bench: Coroutine[Any, Any, None] = BENCHES[name].measure(report, quick=quick, stretch=stretch)
    return bench


async def _cancel_on_sigterm(bench: Coroutine[Any, Any, None]) -> None:
    """Cancel the bench on SIGTERM, so that its servers stop with it."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await bench


if __name__ == "__main__":
    main()
