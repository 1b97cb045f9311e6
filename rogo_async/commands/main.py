"""The command line: ``python -m rogo_async [COMMAND]``; the default command is ``run``.

Source: specification §5.
"""

from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from rogo_async import __version__
from rogo_async.commands.check.command import check
from rogo_async.commands.collect.command import collect
from rogo_async.commands.demo import demo
from rogo_async.commands.plan import plan
from rogo_async.commands.report import report
from rogo_async.commands.rollback.command import rollback
from rogo_async.commands.run import run
from rogo_async.commands.runner import env_file_option, log_level_options
from rogo_async.commands.status import status
from rogo_async.commands.sweep import sweep
from rogo_async.commands.verify.command import verify

_OWN_OPTIONS: Final = frozenset({"--help", "-h", "--version"})


_HINTS: Final = {
    "--dry-run": "The command plan shows what a run would do",
    "--concurrency": "Set ROGO_CONCURRENCY, in the environment or in .env",
}
"""Options of other tools that an operator may look for."""


class _RunByDefault(click.Group):
    """A group whose default command is ``run``: options without a command belong to ``run``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        begins_with_option = bool(args) and args[0].startswith("-")
        # When a shell completes an empty first word, all commands are possible.
        is_bare = not args and not ctx.resilient_parsing
        if is_bare or (begins_with_option and args[0] not in _OWN_OPTIONS):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; give a hint for an option that exists under another name."""
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            if error.option_name not in _HINTS:
                raise
            text = f"no such option: {error.option_name}. {_HINTS[error.option_name]}"
            raise click.UsageError(text, error.ctx) from None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            default = self.commands["run"]
            found += default.shell_complete(click.Context(default, parent=ctx), incomplete)
        return found


@click.group(cls=_RunByDefault, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rogo_async", help="Show the version and exit.")
def main() -> None:
    """Migrate Rogo submissions to the new marking platform.

    Without a command it runs the migration. Settings come from the environment and from .env.
    """


for _command in (run, collect, plan, check, verify, sweep, rollback, status, report, demo):
    _per_row = _command in {run, plan}
    _command.params += log_level_options(
        "Log more, with a line for each submission." if _per_row else "Log more."
    )
    if _command is not demo:
        _command.params.append(env_file_option())
    main.add_command(_command)
