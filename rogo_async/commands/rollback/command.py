"""The ``rollback`` command: options and confirmation."""

import asyncio
import os
import re
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from rogo_async.commands.rollback.flow import Rollback
from rogo_async.commands.rollback.selection import OfAttempts, OfRun, Selection
from rogo_async.commands.runner import attempt_option, data_dir_option, run_and_exit
from rogo_async.common.command import CommandResult
from rogo_async.common.data_dir import RUN_ID
from rogo_async.common.settings import Settings

_ANSWER_S: Final = 600.0
"""How long to wait for an answer. The command holds both locks during this time."""


@click.command()
@click.option("--run", "run_id", metavar="RUN_ID", help="Everything that this run migrated.")
@attempt_option("This attempt, from any run; repeatable.")
@click.option(
    "--instance-id",
    metavar="ID",
    help="What was written with this ROGO_INSTANCE_ID.",
)
@click.option("--yes", is_flag=True, help="Delete without asking.")
@data_dir_option
def rollback(
    run_id: str | None,
    attempts: tuple[int, ...],
    instance_id: str | None,
    data_dir: Path | None,
    *,
    yes: bool,
) -> None:
    """Delete what a run, or given attempts, migrated.

    Deletes rows, blobs and malpractice rules. It keeps a submission, with its files, that the
    platform has changed since; exit code 1: some were kept. A later run migrates these attempts
    again.
    """
    selection = _selection(run_id, attempts)
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("not a terminal: use --yes to delete without asking")
    ask = _agree if yes else _ask

    def work(settings: Settings, terminal: Console | None) -> Coroutine[Any, Any, CommandResult]:
        if instance_id is not None:
            # Not validated: a run may have used the value of docs/example.env.
            settings = settings.model_copy(update={"rogo_instance_id": instance_id})
        return Rollback(settings, selection, terminal, click.echo, ask).execute()

    run_and_exit(work, data_dir)


def _selection(run_id: str | None, attempts: tuple[int, ...]) -> Selection:
    if (run_id is None) == (not attempts):
        raise click.UsageError("give either --run RUN_ID or --attempt ID")
    if run_id is None:
        return OfAttempts(frozenset(attempts))
    if not re.fullmatch(RUN_ID, run_id):
        raise click.UsageError(
            f"--run: {run_id!r} is not a run id (expected 20260131T010000Z-0a1b2c3d)"
        )
    return OfRun(run_id)


async def _agree(question: str) -> bool:  # noqa: ARG001 - takes the place of _ask
    return True


async def _ask(question: str) -> bool:
    """Ask on the terminal. No answer in time means no.

    Waits in the event loop: a thread that reads the terminal would keep the process alive.
    """
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
