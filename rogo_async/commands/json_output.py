"""``--json``: the result of a command as one JSON object on standard output (specification §5)."""

import contextlib
import sys
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

import click
import orjson
from rich.console import Console

from rogo_async.commands.runner import run_and_exit
from rogo_async.common.command import Command, CommandResult
from rogo_async.common.settings import Settings

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object on standard output."
)


class FactsCommand(Command):
    """A command whose result has facts for ``--json``."""

    @abstractmethod
    def facts(self) -> dict[str, object]:
        """The result in values that JSON has. Has no personal data."""


def run_command_and_exit(
    make: Callable[[Settings, Console | None], FactsCommand],
    data_dir: Path | None,
    overrides: Mapping[str, object] | None = None,
    *,
    as_json: bool,
) -> NoReturn:
    """Run a command as ``run_and_exit`` does; with ``as_json`` print its facts.

    The summary line then goes to standard error, so that standard output has JSON only. A command
    that ends with an error of the set-up prints no JSON.
    """
    output = sys.stdout

    async def work(settings: Settings, terminal: Console | None) -> CommandResult:
        command = make(settings, terminal)
        result = await command.execute()
        if as_json:
            reasons = command.stop_signal.reasons
            facts = {
                "exit_code": int(result.exit_code),
                **command.facts(),
                "stopped_by": {reason.value: detail for reason, detail in reasons.items()},
            }
            text = orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode()
            click.echo(text, file=output)
            output.flush()
        return result

    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        run_and_exit(work, data_dir, overrides)
