"""What README.md and the pages for operators tell a reader to type exists."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest

import rogo_async
from rogo_async.commands.main import main
from rogo_async.common.settings import Settings
from rogo_async.sources.mapping_csv import MAPPING_COLUMNS
from rogo_async.sources.submissions_csv import USED_COLUMNS

ROOT: Final = Path(__file__).parents[2]
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES: Final = ("README.md", "docs/operations.md", "docs/scale-out.md", "docs/monitoring.md")
EXTRAS: Final = frozenset(
    tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
)


def section(heading: str) -> str:
    """The text of README.md under a heading, without its subsections."""
    return re.split(r"\n#+ ", README.partition(f"# {heading}\n")[2])[0]


def typed_commands() -> Iterator[tuple[str, str]]:
    """Each indented line of the pages that calls the tool."""
    for page in PAGES:
        for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
            match = re.match(r" {4,}(?:\S*/)?rogo-async +([a-z].*)", line)
            if match:
                yield page, match[1]


def test_the_columns_of_the_input_files_are_those_that_the_code_requires() -> None:
    (columns,) = re.findall(r"`submission_files.csv` needs (.*?)\. `attempt", README)
    assert set(columns.split(", ")) == set(USED_COLUMNS)
    (mapping,) = re.findall(r"`attempt_number_mapping.csv` needs (.*?)\. Both", README)
    assert set(mapping.split(", ")) == set(MAPPING_COLUMNS)


def test_every_setting_is_in_the_table() -> None:
    listed = set(re.findall(r"`([A-Z][A-Z_]+)`", section("Settings")))
    assert {name.upper() for name in Settings.model_fields} <= listed


def test_every_command_is_in_the_table_and_no_other() -> None:
    listed = re.findall(r"^\| `(\w+)`", section("Commands"), re.MULTILINE)
    shown = {name for name, command in main.commands.items() if not command.hidden}
    assert set(listed) == shown - {"completion"}


@pytest.mark.parametrize(("page", "line"), list(typed_commands()))
def test_a_command_line_of_the_pages_has_only_options_that_exist(page: str, line: str) -> None:
    name, *arguments = shlex.split(line, comments=True)
    command = main.commands[name]
    # Values are placeholders such as N; what is checked are names, and that each has its value.
    command.make_parser(click.Context(command)).parse_args(arguments)


def test_every_remedy_of_pip_names_the_source_directory_and_an_extra_that_exists() -> None:
    """The package is on no index: ``pip install rogo-async`` would get another one."""
    found = []
    for path in Path(rogo_async.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for remedy in re.findall(r"pip install (\S+)", text):
            extra = re.match(r"'\.\[(\w+)\]'", remedy)
            assert remedy == "." or (extra and extra[1] in EXTRAS), f"{path.name}: {remedy}"
            found.append(remedy)
    assert len(found) > 5


def test_the_demo_takes_as_much_space_as_its_setup_announces() -> None:
    setup = (ROOT / "scripts" / "setup").read_text(encoding="utf-8")
    sizes = re.findall(r'extras=(\S+) size="(.*?)"', setup)
    assert re.search(r'say "creating \.venv \(\$size\)', setup)
    (announced,) = [size for extras, size in sizes if extras == "demo"]
    assert f"{announced} in `.venv`" in section("Try it")
