"""``demo``: its options, and its directory, refused before anything is started or written."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from rogo_async.commands.main import main
from rogo_async.common.errors import SetupError
from rogo_async.common.shutdown import ExitCode
from rogo_async.demo.demo import Demo
from rogo_async.demo.servers.stack import LOCK_FILE, Stack


async def refusal(directory: Path) -> str:
    """The text of the SetupError for this directory."""
    with pytest.raises(SetupError) as caught:
        await Demo(1, 1, directory, lambda _: None).execute(serve=False)
    return str(caught.value)


async def test_a_directory_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    message = await refusal(tmp_path)
    assert f"--dir {tmp_path} has files that are not a demo's" in message
    assert "new or empty directory" in message
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


async def test_a_directory_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = await refusal(tmp_path / "file" / "below")
    assert "cannot be used (Not a directory): name another directory" in message


@pytest.mark.parametrize("present", [[], [LOCK_FILE, "stack.json"]])
async def test_an_empty_directory_and_that_of_a_demo_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: list[str]
) -> None:
    async def refuse(_: Stack) -> Stack:
        raise SetupError("reached")

    for name in present:
        (tmp_path / name).touch()
    monkeypatch.setattr(Stack, "__aenter__", refuse)
    with pytest.raises(SetupError, match="reached"):
        await Demo(1, 1, tmp_path, lambda _: None).execute(serve=False)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--rows=9", {"serve": False, "migrate": True, "refresh": False}),
        ("--serve", {"serve": True, "migrate": True, "refresh": False}),
        ("--refresh", {"serve": False, "migrate": True, "refresh": True}),
        ("--no-run", {"serve": False, "migrate": False, "refresh": False}),
    ],
)
def test_no_run_alone_leaves_the_migration_to_the_user(
    monkeypatch: pytest.MonkeyPatch, option: str, expected: dict[str, bool]
) -> None:
    asked: list[dict[str, bool]] = []

    async def execute(_: Demo, **options: bool) -> ExitCode:
        asked.append(options)
        return ExitCode.DONE

    monkeypatch.setattr(Demo, "execute", execute)
    result = CliRunner().invoke(main, ["demo", option])
    assert (result.exit_code, asked) == (0, [expected])
