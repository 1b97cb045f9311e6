"""The command line: ``python -m rogo_async [COMMAND]``; no command means ``run``."""

from typing import Final

import click
from click.shell_completion import CompletionItem

from rogo_async import __version__
from rogo_async.commands.check.command import check
from rogo_async.commands.demo import demo
from rogo_async.commands.plan import plan
from rogo_async.commands.report import report
from rogo_async.commands.rollback.command import rollback
from rogo_async.commands.run import run
from rogo_async.commands.runner import common_options
from rogo_async.commands.status import status
from rogo_async.commands.sweep import sweep
from rogo_async.commands.verify import verify

_OWN_OPTIONS: Final = frozenset({"--help", "-h", "--version"})


class _RunByDefault(click.Group):
    """A group that takes what names no command for the arguments of ``run``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        begins_with_option = bool(args) and args[0].startswith("-")
        # A shell that asks what may come next has no first word yet, and may be given any.
        is_bare = not args and not ctx.resilient_parsing
        if is_bare or (begins_with_option and args[0] not in _OWN_OPTIONS):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            default = self.commands["run"]
            found += default.shell_complete(click.Context(default, parent=ctx), incomplete)
        return found

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        cmd.params.extend(common_options())
        super().add_command(cmd, name)


@click.group(cls=_RunByDefault, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rogo_async")
def main() -> None:
    """Move the submissions of Rogo to the new marking platform.

    Without a command the migration runs. Settings come from the environment and from .env.
    """


main.add_command(run)
main.add_command(plan)
main.add_command(check)
main.add_command(verify)
main.add_command(sweep)
main.add_command(rollback)
main.add_command(status)
main.add_command(report)
main.add_command(demo)
