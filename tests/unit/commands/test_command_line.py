"""Command line: help texts, log level options, shell completion, imports (specification §5)."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from rogo_async.commands.main import main

COMMANDS = sorted(main.commands)


def options(name: str) -> list[click.Option]:
    return [each for each in main.commands[name].params if isinstance(each, click.Option)]


def test_no_command_is_missing() -> None:
    assert {"run", "plan", "verify", "sweep", "report", "demo"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_every_option_has_help(name: str) -> None:
    command = main.commands[name]
    assert command.help
    assert len(command.help) > 20
    for option in options(name):
        assert option.help, f"{name} {option.opts}"
        assert option.help.rstrip(".") not in {"", option.name}
    shown = CliRunner().invoke(main, [name, "--help"])
    assert shown.exit_code == 0
    for option in options(name):
        assert option.opts[-1] in shown.output


def test_every_summary_fits_in_its_line() -> None:
    shown = CliRunner().invoke(main, ["--help"], env={"COLUMNS": "80"}).output
    assert "..." not in shown.partition("Commands:")[2]
    assert shown.partition("Commands:")[2].strip().count("\n") == len(COMMANDS) - 1


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_fits_in_its_line(name: str) -> None:
    shown = CliRunner().invoke(main, [name, "--help"], env={"COLUMNS": "80"}).output
    for line in shown.partition("Options:\n")[2].splitlines():
        assert line.startswith("  -"), line
        assert len(line) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_log_level_options(name: str) -> None:
    spelled = [spelling for option in options(name) for spelling in option.opts]
    assert {"-v", "--verbose", "-q", "--quiet"} <= set(spelled)
    assert len(spelled) == len(set(spelled))


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"demo"}))
def test_every_command_with_settings_takes_another_file_of_them(name: str) -> None:
    assert "--env-file" in [spelling for option in options(name) for spelling in option.opts]


def test_report_reads_the_file_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "site.env").write_text(f"ROGO_DATA_DIR={tmp_path / 'elsewhere'}\n")
    said = subprocess.run(
        [sys.executable, "-m", "rogo_async", "report", "--env-file", tmp_path / "site.env"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert said.returncode == 2
    assert "elsewhere" in said.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("run", "--dry-run"), "no such option: --dry-run. The command plan shows what a run"),
        (("--dry-run",), "The command plan shows what a run would do"),
        (("run", "--concurrency", "3"), "no such option: --concurrency. Set ROGO_CONCURRENCY"),
        (("run", "--limt", "3"), "--limit"),
        (("run", "--attempt", "abc"), "'abc' is not a whole number from 1 to 2147483647"),
        (("rollback", "--attempt", "0"), "'0' is not a whole number from 1 to 2147483647"),
    ],
)
def test_a_wrong_option_is_answered_with_a_hint(args: tuple[str, ...], said: str) -> None:
    shown = CliRunner().invoke(main, args)
    assert shown.exit_code == 2
    assert said in shown.output


def test_shell_completion_is_printed() -> None:
    said = subprocess.run(
        [Path(sys.executable).with_name("rogo-async")],
        env={**os.environ, "_ROGO_ASYNC_COMPLETE": "bash_source"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    checked = subprocess.run(["bash", "-n"], input=said.stdout, text=True, check=False, timeout=60)
    assert checked.returncode == 0
    assert "complete -o nosort -F" in said.stdout
    assert "rogo-async" in said.stdout


@pytest.mark.parametrize(
    ("before", "begun", "offered"),
    [
        ([], "rep", "report"),
        ([], "--lim", "--limit"),
        (["--limit", "3"], "--rep", "--report"),
        (["run"], "--rep", "--report"),
        (["verify"], "--sam", "--sample"),
    ],
)
def test_completion_offers_commands_and_options(
    before: list[str], begun: str, offered: str
) -> None:
    completion = ShellComplete(main, {}, "rogo-async", "_ROGO_ASYNC_COMPLETE")
    assert offered in [item.value for item in completion.get_completions(before, begun)]


def test_optional_libraries_are_not_loaded() -> None:
    """A run without charts, metrics and spans does not import their libraries."""
    code = (
        "import sys, rogo_async.commands.main, rogo_async.pipeline.run\n"
        "from rogo_async.pipeline.tracing import open_tracer\n"
        "assert open_tracer({}) is None\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(said.stdout.split())
    assert "asyncpg" in loaded
    assert not loaded & {"pygal", "jinja2", "prometheus_client", "opentelemetry"}
