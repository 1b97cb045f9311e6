"""What workers must have in common, and how a difference is shown (specification §7)."""

from pathlib import Path
from typing import Any

import pytest

from rogo_async import __version__
from rogo_async.common.errors import SetupError
from rogo_async.common.settings import load_settings
from rogo_async.distributed.facts import Place, WorkerReport, differences, facts_of, report_of
from tests.unit.common.test_settings import SECRET, SOUND

TOKEN = ".rogo_async.token"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    for name, value in SOUND.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountName=a;AccountKey=c2VjcmV0")
    (tmp_path / "submission_files.csv").write_bytes(b"rows\n")
    (tmp_path / "attempt_number_mapping.csv").write_bytes(b"attempts\n")
    (tmp_path / "list.csv").write_bytes(b"some\n")
    return Place(TOKEN, {"rogo_data_dir": str(tmp_path)})


def lines(expected: dict[str, str], found: WorkerReport | BaseException) -> list[str]:
    return list(differences(expected, "w1", found))


def test_equal_workers_have_no_line_and_facts_have_no_secret(place: Place, tmp_path: Path) -> None:
    expected = facts_of(load_settings(**place.settings), place)
    found = report_of(place)
    assert lines(expected, found) == []
    assert found.facts["target"] == "db.example:5432/marking"
    assert found.facts["container"] == "https://a.blob.core.windows.net/submissions"
    assert found.facts["submission_files.csv"].startswith("5 bytes, SHA-256 ")
    assert SECRET not in repr(found)
    assert "c2VjcmV0" not in repr(found)
    assert not found.shares_directory
    (tmp_path / TOKEN).touch()
    assert report_of(place).shares_directory


@pytest.mark.parametrize(
    ("variable", "value", "shown"),
    [
        (
            "DATABASE_URL",
            "postgresql://w:x@db2.example/marking",
            (
                "target: db2.example:5432/marking instead of db.example:5432/marking. Set the same "
                "DATABASE_URL"
            ),
        ),
        (
            "ROGO_CONTAINER",
            "others",
            (
                "container: https://a.blob.core.windows.net/others instead of "
                "https://a.blob.core.windows.net/submissions. Set the same AZURE_STORAGE_… and "
                "ROGO_CONTAINER"
            ),
        ),
        (
            "ROGO_VERSION_PREFIXES",
            "23",
            "settings of the rules: differ. Set the same ROGO_… of the rules, LMS and source hosts",
        ),
        ("ROGO_CONTAINER", "X", "ROGO_CONTAINER: is not a valid name: use lower-case letters"),
    ],
)
def test_each_difference_is_a_line(
    place: Place, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, shown: str
) -> None:
    expected = facts_of(load_settings(**place.settings), place)
    monkeypatch.setenv(variable, value)
    found = report_of(place)
    (line,) = lines(expected, found)
    assert line.startswith(f"worker w1 on {found.host}: {shown[:60]}")
    if "instead of" in shown or "differ" in shown:
        assert line == f"worker w1 on {found.host}: {shown}"


def test_files_are_compared_by_content(place: Place, tmp_path: Path) -> None:
    other: dict[str, Any] = {"settings": place.settings, "input": str(tmp_path / "list.csv")}
    listed = Place(TOKEN, **other, with_failed_rows=True)
    with pytest.raises(SetupError, match=r"submissions_failed_migration.csv: cannot be read \(No"):
        facts_of(load_settings(**place.settings), listed)
    (tmp_path / "submissions_failed_migration.csv").write_bytes(b"failed\n")
    expected = facts_of(load_settings(**place.settings), listed)
    assert "submission_files.csv" not in expected
    (tmp_path / "list.csv").write_bytes(b"same\n")
    (tmp_path / "submissions_failed_migration.csv").write_bytes(b"failed, too\n")
    found = lines(expected, report_of(listed))
    assert [each.split(": ")[1] for each in found] == [
        "list.csv",
        "submissions_failed_migration.csv",
    ]
    assert found[1].endswith(
        f"instead of {expected['submissions_failed_migration.csv']}. Copy the same file there"
    )
    (tmp_path / "list.csv").unlink()
    (line,) = lines(expected, report_of(listed))
    assert f"{tmp_path / 'list.csv'}: cannot be read (No such file or directory)" in line


def test_a_worker_that_cannot_be_checked_is_named() -> None:
    (line,) = lines({}, ModuleNotFoundError("rogo_async"))
    assert line.startswith("worker w1: rogo_async cannot be imported there. Install the same")
    (line,) = lines({}, OSError("x"))
    assert line == "worker w1: cannot be checked (OSError). Start it again"
    old = WorkerReport("h", {"version": "0.1"}, ("DATABASE_URL: is missing",))
    assert lines({"version": __version__, "target": "t"}, old) == [
        "worker w1 on h: DATABASE_URL: is missing",
        (
            f"worker w1 on h: version: 0.1 instead of {__version__}. Install the same version of "
            "rogo_async"
        ),
    ]
