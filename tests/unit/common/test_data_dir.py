"""The data directory: how long files of runs are kept, and its lock."""

import errno
import os
import re
import time
from pathlib import Path

import pytest

from rogo_async.common.data_dir import DataDir, new_run_id
from rogo_async.common.errors import LockHeld


def name(day: int) -> str:
    return f"202601{day:02}T010000Z-0000000{day % 10}"


def files(data: DataDir) -> set[str]:
    return {path.name for path in data.runs.iterdir()}


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    made = DataDir(tmp_path)
    made.make_runs()
    return made


def leave(data: DataDir, day: int, *suffixes: str) -> list[str]:
    names = [f"{name(day)}.{suffix}" for suffix in suffixes]
    for each in names:
        (data.runs / each).touch()
    return names


def test_sweeps_and_rollbacks_do_not_count_as_kept_runs(data: DataDir) -> None:
    kept = []
    for day in range(1, 21, 2):
        kept += leave(data, day, "json", "failed.csv", "journal.jsonl")
        kept += leave(data, day + 1, "orphans.csv")
    kept += leave(data, 21, "rollback.csv", "journal.jsonl")
    data.delete_old_runs(11, None)
    assert files(data) == set(kept)
    data.delete_old_runs(10, None)
    assert files(data) == {each for each in kept if not each.startswith((name(1), name(2)))}


@pytest.mark.parametrize(("keep", "left"), [(1, 0), (2, 1), (3, 2), (4, 3), (9, 3)])
def test_the_configured_number_of_runs_is_kept(data: DataDir, keep: int, left: int) -> None:
    for day in (1, 2, 3):
        leave(data, day, "json")
    (data.runs / "latest_full_run").touch()
    data.delete_old_runs(keep, None)
    newest = {f"{name(day)}.json" for day in (3, 2, 1)[:left]}
    assert files(data) == newest | {"latest_full_run"}


def test_file_in_use_is_not_deleted(data: DataDir) -> None:
    leave(data, 1, "json", "failed.csv")
    leave(data, 2, "json")
    data.delete_old_runs(1, data.runs / f"{name(1)}.failed.csv")
    assert files(data) == {f"{name(1)}.failed.csv"}


def test_the_lock_works_on_a_full_disk(data: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    monkeypatch.setattr(os, "ftruncate", full)
    data.lock("run x")
    with pytest.raises(LockHeld):
        DataDir(data.path).lock("run y")
    data.unlock()
    other = DataDir(data.path)
    other.lock("run y")
    other.unlock()


def test_run_ids_of_the_same_second_sort_by_start_time() -> None:
    made = []
    for _ in range(50):
        made.append(new_run_id())
        time.sleep(0.000_01)  # longer than the 0.95 microseconds that an id can tell apart
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert all(re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", each) for each in made)
