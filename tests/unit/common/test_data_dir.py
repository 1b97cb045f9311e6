"""The data directory: how long files of runs are kept, and its lock."""

import errno
import fcntl
import os
import re
import resource
import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, tzinfo
from pathlib import Path

import pytest

from rogo_async.common import data_dir
from rogo_async.common.data_dir import FAILED, DataDir, new_run_id
from rogo_async.common.errors import DataDirFull, LockHeld, SetupError


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
    data.delete_old_runs(11, name(22), None)
    assert files(data) == set(kept)
    data.delete_old_runs(10, name(22), None)
    assert files(data) == {each for each in kept if not each.startswith((name(1), name(2)))}


@pytest.mark.parametrize(("keep", "left"), [(1, 0), (2, 1), (3, 2), (4, 3), (9, 3)])
def test_the_configured_number_of_runs_is_kept(data: DataDir, keep: int, left: int) -> None:
    for day in (1, 2, 3):
        leave(data, day, "json")
    (data.runs / "latest_full_run").touch()
    data.delete_old_runs(keep, name(4), None)
    newest = {f"{name(day)}.json" for day in (3, 2, 1)[:left]}
    assert files(data) == newest | {"latest_full_run"}


def test_file_in_use_is_not_deleted(data: DataDir) -> None:
    leave(data, 1, "json", "failed.csv")
    leave(data, 2, "json")
    data.delete_old_runs(1, name(3), data.runs / f"{name(1)}.failed.csv")
    assert files(data) == {f"{name(1)}.failed.csv"}
    data.delete_old_runs(1, name(3), data.path / "none.csv")
    assert files(data) == set()


def test_the_current_run_counts_once_and_keeps_its_files(data: DataDir) -> None:
    """As in a collection that is repeated, also of a run that is not the newest."""
    kept = [each for day in (2, 3) for each in leave(data, day, "json", "journal.jsonl")]
    data.delete_old_runs(2, name(3), None)
    assert files(data) == set(kept)
    kept += leave(data, 4, "json")
    data.delete_old_runs(1, name(2), None)
    assert files(data) == {each for each in kept if not each.startswith(name(3))}


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


def test_files_of_another_user_are_named_before_the_run(
    data: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data.path / "submissions_failed_migration.csv").touch()
    data.begin_full_run(name(1))
    data.lock("run x")
    data.unlock()
    user = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with pytest.raises(SetupError) as refused:
        data.lock("run y")
    assert str(refused.value) == (
        "owned by another user: .rogo_async.lock, runs, runs/latest_full_run. "
        f"Run as root: chown -R {user} {data.path}"
    )
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    data.lock("run of root")
    data.unlock()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_lock_names_its_holder(data: DataDir) -> None:
    (data.path / ".rogo_async.lock").write_text("a longer text of an earlier version " * 9)
    data.lock("run x")
    begun = r"run x since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    with pytest.raises(LockHeld) as raised:
        DataDir(data.path).lock("run y")
    message = re.escape(f"another run is active in {data.path}: ") + begun
    assert re.fullmatch(message, str(raised.value))
    assert re.fullmatch(f"{begun}\n", (data.path / ".rogo_async.lock").read_text())
    data.unlock()
    assert (data.path / ".rogo_async.lock").read_bytes() == b""


def test_the_lock_may_be_released_at_any_time(data: DataDir) -> None:
    data.unlock()
    data.lock("run x")
    for _ in range(2):
        data.unlock()
    data.lock("run y")
    data.unlock()


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (b"", "unknown"),
        (b" \n", "unknown"),
        (b"run \xff\n", "run \ufffd"),
        (b"x" * 300, "x" * 200),
    ],
)
def test_a_holder_whose_name_is_missing_or_damaged(
    data: DataDir, content: bytes, shown: str
) -> None:
    data.lock("run x")
    (data.path / ".rogo_async.lock").write_bytes(content)
    before = open_files()
    with pytest.raises(LockHeld) as raised:
        DataDir(data.path).lock("run y")
    assert str(raised.value) == f"another run is active in {data.path}: {shown}"
    assert open_files() == before
    data.unlock()


def test_a_directory_that_cannot_be_written_or_locked_is_a_setup_error(
    data: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SetupError) as raised:
        DataDir(data.path / "missing").lock("run x")
    assert str(raised.value) == (
        f"{data.path}/missing: cannot be written (No such file or directory). Fix its owner and "
        "mode, or use another directory (--data-dir, ROGO_DATA_DIR)"
    )

    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    before = open_files()
    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.raises(SetupError) as raised:
        data.lock("run x")
    assert str(raised.value) == (
        f"{data.path}: cannot be locked (No locks available). Use a local disk, or a file system "
        "that supports locks"
    )
    assert open_files() == before


def test_the_failed_rows_files_are_listed_from_the_newest_run(data: DataDir) -> None:
    assert DataDir(data.path / "none").failed_rows_files() == []
    current = data.path / FAILED
    kept = [
        f"{name(3)}.failed.csv",
        f"{name(2)}.failed.csv",
        f"{name(2)}.failed.{name(3)}.csv",
        f"{name(1)}.before.failed.csv",
    ]
    for each in (*kept, f"{name(9)}.json", f"{name(9)}.failed.txt", "x.failed.csv", "other"):
        (data.runs / each).touch()
    older = [data.runs / each for each in kept]
    assert data.failed_rows_files() == older
    current.touch()
    assert data.failed_rows_files() == [current, *older]
    (data.runs / "latest_full_run").write_text(f"{name(2)}\n")
    assert data.failed_rows_files() == [older[0], current, *older[1:]]


def test_no_failed_rows_file_of_an_earlier_run_is_written_over(data: DataDir) -> None:
    for content, run in ((b"1", name(2)), (b"2", name(2)), (b"3", name(3))):
        (data.path / FAILED).write_bytes(content)
        data.begin_full_run(run)
    assert {path.name: path.read_bytes() for path in data.runs.glob("*.csv")} == {
        f"{name(2)}.before.failed.csv": b"1",
        f"{name(2)}.failed.csv": b"2",
        f"{name(2)}.failed.{name(3)}.csv": b"3",
    }
    assert (data.runs / "latest_full_run").read_text() == name(3)


async def test_a_full_disk_is_not_taken_for_an_error_of_the_target(
    data: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def export(sink: Callable[[bytes], Awaitable[None]]) -> None:
        await sink(b"x" * 100_000)

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(DataDirFull) as raised:
            await data.rebuild_migrated(export)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(raised.value) == f"{data.path / 'migrated.csv.new'}: File too large"
    assert not (data.path / "migrated.csv.new").exists()


def test_a_run_id_begins_with_its_time_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Clock":
            assert tz is UTC
            return cls(2025, 3, 10, 1, 2, 3, 999_999, tzinfo=UTC)

    monkeypatch.setattr(data_dir, "datetime", Clock)
    monkeypatch.setattr(secrets, "randbits", lambda bits: 2**bits - 1)
    assert new_run_id() == "20250310T010203Z-ffffefff"


def test_the_shards_of_old_runs_are_deleted(data: DataDir) -> None:
    for day in (1, 2, 3, 4):
        leave(data, day, "json")
        (data.path / "shards" / name(day) / "0-of-2" / "runs").mkdir(parents=True)
    (data.path / "shards" / "other").mkdir()
    data.delete_old_runs(1, name(5), None)
    assert _runs_with_shards(data) == {*map(name, (1, 2, 3, 4)), "other"}
    data.delete_old_shards(2, name(4), None)
    assert _runs_with_shards(data) == {name(3), name(4), "other"}
    data.delete_old_shards(1, name(4), None)
    assert _runs_with_shards(data) == {name(4), "other"}
    DataDir(data.path / "none").delete_old_shards(1, name(4), None)


def test_shards_that_are_in_use_are_not_deleted(data: DataDir) -> None:
    """Those of the current run, of one whose shard is running, and of one with the input."""
    for day in range(1, 7):
        for shard in ("0-of-2", "1-of-2"):
            (data.path / "shards" / name(day) / shard).mkdir(parents=True)
    running = DataDir(data.path / "shards" / name(2) / "1-of-2")
    running.lock("run x")
    in_use = data.path / "shards" / name(3) / "0-of-2" / FAILED
    data.delete_old_shards(2, name(1), in_use)
    assert _runs_with_shards(data) == set(map(name, (1, 2, 3, 5, 6)))
    assert running.path.is_dir()
    running.unlock()
    data.delete_old_shards(2, name(6), None)
    assert _runs_with_shards(data) == {name(5), name(6)}


def _runs_with_shards(data: DataDir) -> set[str]:
    return {each.name for each in (data.path / "shards").iterdir()}


def test_the_summary_of_an_earlier_try_is_forgotten(data: DataDir) -> None:
    data.write_summary(name(1), b"{}", is_full=True)
    data.write_summary(name(2), b"{}", is_full=False)
    data.forget_summary(name(1))
    assert files(data) == {f"{name(2)}.json"}
    assert not (data.path / "run_summary.json").exists()
    data.forget_summary(name(3))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "must be a run id such as 2025"),
        ("20260101T010000Z-0000000A", "must be a run id such as 2025"),
        ("20260101T010000Z-00000001\n", "must be a run id such as 2025"),
        ("20261301T010000Z-00000001", "does not begin with a valid time"),
    ],
)
def test_a_text_that_is_no_run_id_is_refused(text: str, problem: str) -> None:
    data_dir.check_run_id(new_run_id())
    with pytest.raises(ValueError, match=problem):
        data_dir.check_run_id(text)


def test_the_failed_rows_of_earlier_runs_only(data: DataDir) -> None:
    for day in (1, 2, 3):
        leave(data, day, "failed.csv")
    (data.path / FAILED).touch()
    (data.runs / "latest_full_run").write_text(name(4))
    assert data.failed_rows_files(before=name(3)) == [
        data.runs / f"{name(day)}.failed.csv" for day in (2, 1)
    ]
