"""``rollback``: takes a run, or given attempts, back out (specification §5)."""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Final

import click

from rogo_async.commands.rollback.flow import Rollback
from rogo_async.commands.rollback.selection import OfAttempts, OfRun, Selection
from rogo_async.commands.runner import data_dir_option, operate
from rogo_async.common.data_dir import RUN_ID
from rogo_async.rules.identity import SQL_INT_MAX

_ANSWER_S: Final = 600.0
"""How long an answer may take: the locks are held meanwhile."""


@click.command()
@click.option("--run", "run_id", metavar="RUN_ID", help="Everything that this run has migrated.")
@click.option(
    "--attempt",
    "attempts",
    type=click.IntRange(1, SQL_INT_MAX),
    multiple=True,
    help="This attempt, whichever run has migrated it; may be given several times.",
)
@click.option("--yes", is_flag=True, help="Do not ask before deleting.")
@data_dir_option
def rollback(
    run_id: str | None, attempts: tuple[int, ...], data_dir: Path | None, *, yes: bool
) -> None:
    """Take a run, or given attempts, back out of the target and the container.

    A submission that the platform has changed since, or added to, is left alone with its files;
    exit code 1 says that there are such. Afterwards a run migrates these attempts again.
    """
    selection = _selection(run_id, attempts)
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask on: say --yes to delete without asking")
    ask = _agree if yes else _ask
    operate(lambda settings, _: Rollback(settings, selection, click.echo, ask).execute(), data_dir)


def _selection(run_id: str | None, attempts: tuple[int, ...]) -> Selection:
    if (run_id is None) == (not attempts):
        raise click.UsageError("say either --run RUN_ID or --attempt ID")
    if run_id is None:
        return OfAttempts(frozenset(attempts))
    if not re.fullmatch(RUN_ID, run_id):
        raise click.UsageError(f"--run: {run_id!r} is no run id, such as 20260131T010000Z-0a1b2c3d")
    return OfRun(run_id)


async def _agree(question: str) -> bool:  # noqa: ARG001 - --yes: it stands in for _ask
    return True


async def _ask(question: str) -> bool:
    """Ask on the terminal. No answer in time is a no; a thread would not let the process end."""
    click.echo(f"{question} [y/N] ", nl=False, err=True)
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ready.set)
    try:
        async with asyncio.timeout(_ANSWER_S):
            await ready.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(sys.stdin.fileno())
    answer = os.read(sys.stdin.fileno(), 100)
    return answer.strip().lower() in {b"y", b"yes"}
