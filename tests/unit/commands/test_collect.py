"""What collect refuses, and that it may be killed and repeated (specification §7)."""

import csv
import fcntl
import re
import resource
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rogo_async.commands.collect.files import failed_rows_in_order, merge_journals
from rogo_async.commands.collect.flow import Collect
from rogo_async.commands.collect.shards import RunParts, find_parts
from rogo_async.common import files as files_module
from rogo_async.common.data_dir import DataDir
from rogo_async.common.errors import LockHeld, SetupError
from rogo_async.common.files import csv_of
from rogo_async.common.settings import load_settings
from rogo_async.common.shutdown import StopReason
from rogo_async.reporting.summary import RunSummary
from rogo_async.reporting.summary_parts import ShardFacts
from rogo_async.sources.accepted_failures import AcceptedFailures
from tests.unit.reporting.test_merged_summary import BEGIN, RUN, shard

FIRST_RUN = "20260227T010000Z-0000000a"
EARLIER_RUN = "20260228T010000Z-0000000a"
NEXT_RUN = "20260302T010000Z-0000000a"
COLUMNS = ("Line", "Attempt ID", "Unit Code", "Assessment ID", "Error")


def facts(number: int, count: int = 3, **changes: Any) -> ShardFacts:
    values = {"settings": "s", "inputs": {"submissions": "a", "mapping": "m"}} | changes
    return ShardFacts(shard=f"{number}/{count}", **values)


def write_shard(data_dir: Path, number: int, *lines: int, count: int = 3, **changes: Any) -> Path:
    """A shard that has ended, with a failed row for each line."""
    path = data_dir / "shards" / RUN / f"{number}-of-{count}"
    (path / "runs").mkdir(parents=True)
    rows = [[line, line, "U\r1", f"a,{line}", "email_missing: empty"] for line in lines]
    content = csv_of([COLUMNS, *rows])
    (path / "submissions_failed_migration.csv").write_bytes(content.encode())
    (path / "runs" / f"{RUN}.journal.jsonl").write_bytes(b'{"n":%d}\n{"torn' % number)
    changes = {"failed": len(lines), "shard": facts(number, count)} | changes
    (path / "runs" / f"{RUN}.json").write_bytes(shard(number, **changes).to_json())
    return path


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """The data directory with three shards."""
    for number, lines in enumerate(((9, 30), (), (12, 100, 2))):
        write_shard(tmp_path, number, *lines)
    return tmp_path


def refused(data_dir: Path, *directories: Path) -> str:
    with ExitStack() as stack, pytest.raises(SetupError) as caught:
        find_parts(RUN, data_dir, directories, stack)
    return "\n".join(caught.value.problems)


def test_missing_shards_are_named_with_the_way_to_run_them(data_dir: Path) -> None:
    summary = data_dir / "shards" / RUN / "1-of-3" / "runs" / f"{RUN}.json"
    summary.unlink()
    assert refused(data_dir) == (
        f"run {RUN}: no result of shard 1/3 in {data_dir}. Run it to its end "
        f"(ROGO_SHARD=1/3 ROGO_RUN_ID={RUN}), or name its directory"
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"version": "0.7.0"}, "versions differ: shard 0/3, 2/3 and shard 1/3. Install the same"),
        ({"target": {"host": "other"}}, "targets differ"),
        ({"selection": {"limit": 3}}, "options that select rows differ"),
        ({"shard": facts(1, settings="t")}, "settings differ"),
        (
            {"shard": facts(1, inputs={"submissions": "b", "mapping": "m"})},
            "the files submissions differ",
        ),
        (
            {"shard": facts(1, inputs={"submissions": "a", "mapping": "n"})},
            "the files mapping differ",
        ),
    ],
)
def test_shards_that_do_not_fit_together_are_refused(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    for number in range(3):
        write_shard(tmp_path, number, **(changes if number == 1 else {}))
    (line,) = refused(tmp_path).splitlines()
    assert line.startswith(f"run {RUN}: {problem}")


def test_different_numbers_of_shards_are_refused(data_dir: Path) -> None:
    write_shard(data_dir, 0, count=4)
    assert f"run {RUN}: shards of 3 and 4. They divide the rows differently" in refused(data_dir)


def test_directories_without_shards_of_the_run_are_refused(data_dir: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert f"{empty}: has no shard of run {RUN}" in refused(data_dir, empty)
    assert f"{empty}: has no shard of run {RUN}" in refused(empty)
    (data_dir / "shards" / RUN / "1-of-3" / "runs" / f"{RUN}.json").write_text("{")
    assert "not a valid run summary. Run this shard again" in refused(data_dir)


def test_a_failed_rows_file_that_does_not_fit_its_summary_is_refused(
    data_dir: Path, collect: Collect, stack: ExitStack
) -> None:
    path = data_dir / "shards" / RUN / "0-of-3" / "submissions_failed_migration.csv"
    path.write_bytes(path.read_bytes().replace(b'"9"', b'"9'))
    with pytest.raises(SetupError, match="rows, but the summary of shard 0/3 has 2 failed rows"):
        merge(collect, stack)
    assert not (data_dir / "run_summary.json").exists()


def test_a_shard_that_ended_before_its_migration_has_no_failed_rows(
    data_dir: Path, collect: Collect, stack: ExitStack
) -> None:
    path = data_dir / "shards" / RUN / "1-of-3"
    (path / "submissions_failed_migration.csv").unlink()
    merge(collect, stack)
    assert (data_dir / "submissions_failed_migration.csv").read_bytes().count(b"empty") == 5
    ended_at_once = shard(1, failed=0, not_reached=1, shard=facts(1, inputs={}))
    (path / "runs" / f"{RUN}.json").write_bytes(ended_at_once.to_json())
    assert f"run {RUN}: no result of shard 1/3 in" in refused(data_dir)


def test_a_placeholder_is_no_shard_that_has_begun(data_dir: Path, stack: ExitStack) -> None:
    """Its failed-rows file is that of a try that was killed."""
    shutil.rmtree(data_dir / "shards" / RUN)
    for number in range(3):
        lost = facts(number, is_placeholder=True)
        write_shard(data_dir, number, 9, shard=lost, failed=0, not_reached=10)
    results = find_parts(RUN, data_dir, (), stack).results
    with pytest.raises(SetupError, match="no shard has begun its migration"):
        failed_rows_in_order(results, stack)


def test_the_exit_code_is_named_once_if_the_target_is_down(collect: Collect) -> None:
    collect.summary = shard(0, exit_code=1)
    collect.stop_signal.stop(StopReason.OUTAGE, "migrated.csv could not be rebuilt")
    result = collect.result()
    assert result.exit_code == 3
    assert re.findall(r"exit \d+", result.summary_line) == ["exit 3"]
    assert result.summary_line.endswith("collect again; stopped: migrated.csv could not be rebuilt")


def test_a_shard_that_still_runs_is_not_collected(data_dir: Path, stack: ExitStack) -> None:
    lock = data_dir / "shards" / RUN / "2-of-3" / ".rogo_async.lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(LockHeld, match=r"still running in .*2-of-3"):
            find_parts(RUN, data_dir, (), stack)
    assert len(find_parts(RUN, data_dir, (), stack).results) == 3


def test_of_several_results_of_a_shard_the_latest_counts(data_dir: Path, stack: ExitStack) -> None:
    """In any form of a directory that was copied from another machine."""
    later = BEGIN + timedelta(hours=1)
    copies = [data_dir / "x", data_dir / "y" / RUN, data_dir / "z" / "1-of-3"]
    for number, copy in enumerate(copies):
        path = write_shard(copy, 1, migrated=number, finished_at=later + timedelta(hours=number))
        if number:
            copy.parent.mkdir(exist_ok=True)
            path.rename(copy / "moved") if number == 1 else None
    (copies[1] / "moved").rename(copies[1] / "1-of-3")
    last = copies[2] / "shards" / RUN / "1-of-3"
    found = find_parts(RUN, data_dir, (copies[0], copies[1], last), stack)
    assert [each.summary.migrated for each in found.results] == [7, 2, 7]
    assert len(found.journals) == 6


def test_more_shards_are_collected_than_a_shell_lets_a_process_open(
    tmp_path: Path, stack: ExitStack
) -> None:
    for number in range(40):
        write_shard(tmp_path, number, number + 2, count=40)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
    in_use = {int(each.name) for each in Path("/proc/self/fd").iterdir()}
    twenty_more = [number for number in range(1_024) if number not in in_use][20]
    resource.setrlimit(resource.RLIMIT_NOFILE, (twenty_more, limits[1]))
    parts = find_parts(RUN, tmp_path, (), stack)
    assert len(list(failed_rows_in_order(parts.results, stack))) > 40


def test_a_placeholder_counts_less_than_a_result(data_dir: Path, stack: ExitStack) -> None:
    """The command wrote it after the shard had ended on a worker that was lost then."""
    end = BEGIN + timedelta(hours=1)
    placeholder: dict[str, Any] = {
        "migrated": 0,
        "failed": 0,
        "not_reached": 10,
        "finished_at": end,
    }
    lost = facts(2, is_placeholder=True)
    (data_dir / "shards" / RUN / "2-of-3").rename(data_dir / "copy")
    write_shard(data_dir, 2, shard=lost, **placeholder)
    assert [each.not_reached for each in summaries(data_dir, stack)] == [0, 0, 10]
    copy = data_dir / "copy"
    assert [each.not_reached for each in summaries(data_dir, stack, copy)] == [0, 0, 0]


def summaries(data_dir: Path, stack: ExitStack, *directories: Path) -> list[RunSummary]:
    return [each.summary for each in find_parts(RUN, data_dir, directories, stack).results]


def test_journals_are_joined_in_the_order_in_which_the_tries_ended(
    tmp_path: Path, stack: ExitStack
) -> None:
    """A rollback reads the last line of a submission: it must be that of the last try."""
    hours = {"collected": None, "a": 3, "killed": None, "b": 1, "lost": 4, "c": 2}
    expected = ["collected", "killed", "lost", "b", "c", "a"]
    for name, hour in hours.items():
        changes: dict[str, Any] = {"finished_at": BEGIN + timedelta(hours=hour or 0)}
        if name == "lost":
            changes["shard"] = facts(0, 1, is_placeholder=True)
        path = write_shard(tmp_path / name, 0, count=1, **changes)
        journal = b'{"try":"%s"}\n' % name.encode()
        (path / "runs" / f"{RUN}.journal.jsonl").write_bytes(journal + b'{"of":"all"}\n')
        if hour is None:
            (path / "runs" / f"{RUN}.json").unlink()
    others = [tmp_path / name for name in hours if name != "collected"]
    found = find_parts(RUN, tmp_path / "collected", others, stack)
    merge_journals(tmp_path, RUN, found.journals)
    lines = (tmp_path / f"{RUN}.journal.jsonl").read_text().splitlines()
    assert lines == [*(f'{{"try":"{name}"}}' for name in expected), '{"of":"all"}']


@pytest.fixture
def collect(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Collect:
    from tests.unit.common.test_settings import SOUND

    for name, value in SOUND.items():
        monkeypatch.setenv(name, value)
    return Collect(load_settings(rogo_data_dir=data_dir), RUN, (), None, lock_name=None)


def merge(collect: Collect, stack: ExitStack) -> None:
    """All files but migrated.csv."""
    parts: RunParts = find_parts(RUN, collect.data.path, (), stack)
    rows = failed_rows_in_order(parts.results, stack)
    accepted = AcceptedFailures(frozenset({(12, "email_missing")}))
    collect._delete_old_runs(collect._merge(parts, rows, accepted))
    stack.close()


def contents(data_dir: Path) -> dict[str, bytes]:
    """The files of the whole run."""
    paths = [*data_dir.glob("*.*"), *(data_dir / "runs").glob("*"), data_dir / "runs"]
    return {str(each.relative_to(data_dir)): each.read_bytes() for each in paths if each.is_file()}


def test_failed_rows_are_in_the_order_of_the_input_without_the_line(
    data_dir: Path, collect: Collect, stack: ExitStack
) -> None:
    (data_dir / "submissions_failed_migration.csv").write_text(
        "Attempt ID,Error\n30,email_missing: x\n"
    )
    merge(collect, stack)
    with (data_dir / "submissions_failed_migration.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == list(COLUMNS[1:])
    assert [row[0] for row in rows[1:]] == ["100", "30", "12", "9", "2"]
    assert rows[1] == ["100", "U\r1", "a,100", "email_missing: empty"]
    text = csv_of(rows).encode()
    assert (data_dir / "submissions_failed_migration.csv").read_bytes() == text
    found = contents(data_dir)
    assert f"runs/{RUN}.before.failed.csv" in found
    assert found["runs/latest_full_run"] == RUN.encode()
    assert found["run_summary.json"] == found[f"runs/{RUN}.json"]
    assert b'"failed_new":4,"failed_accepted":1' in found["run_summary.json"].replace(
        b" ", b""
    ).replace(b"\n", b"")
    assert found[f"runs/{RUN}.journal.jsonl"] == b'{"n":0}\n{"n":1}\n{"n":2}\n'
    assert found["failures_by_assessment.csv"].count(b"\r\n") == 6


@pytest.mark.parametrize(
    ("keep", "kept"), [(1, set()), (2, {EARLIER_RUN}), (30, {FIRST_RUN, EARLIER_RUN})]
)
def test_a_collection_that_was_killed_at_any_moment_is_simply_repeated(
    data_dir: Path, collect: Collect, monkeypatch: pytest.MonkeyPatch, keep: int, kept: set[str]
) -> None:
    """Between any two files that are replaced or moved; old runs are deleted."""
    collect.settings = collect.settings.model_copy(update={"rogo_keep_runs": keep})
    (data_dir / "shards" / NEXT_RUN / "0-of-1").mkdir(parents=True)
    data = DataDir(data_dir)
    for run in (FIRST_RUN, EARLIER_RUN):
        data.write_summary(run, b"{}", is_full=False)
        data.begin_full_run(run)
        data.failed_rows.write_text("Attempt ID,Error\n30,email_missing: x\n")
    before = contents(data_dir)
    with ExitStack() as stack:
        merge(collect, stack)
    whole = contents(data_dir)
    assert {each.stem for each in data.runs.glob("*.json")} == {RUN, *kept}
    for step in range(1, 20):
        _restore(data_dir, before)
        with monkeypatch.context() as killed, ExitStack() as stack:
            _kill_at(killed, step)
            try:
                merge(collect, stack)
            except KeyboardInterrupt:
                pass
            else:
                break
        with ExitStack() as stack:
            merge(collect, stack)
        assert contents(data_dir) == whole, step
    assert step > 5
    with ExitStack() as stack:
        merge(collect, stack)
    assert contents(data_dir) == whole


@pytest.mark.parametrize("directory", ["runs", "shards"])
def test_the_rows_that_a_run_selected_are_not_deleted(
    tmp_path: Path, collect: Collect, stack: ExitStack, directory: str
) -> None:
    collect.settings = collect.settings.model_copy(update={"rogo_keep_runs": 1})
    selected = {
        "runs": tmp_path / "runs" / f"{FIRST_RUN}.failed.csv",
        "shards": tmp_path / "shards" / FIRST_RUN / "0-of-1" / "x.csv",
    }
    for run in (FIRST_RUN, EARLIER_RUN):
        for each in selected.values():
            path = Path(str(each).replace(FIRST_RUN, run))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("Attempt ID,Error\n")
    shutil.rmtree(tmp_path / "shards" / RUN)
    for number in range(3):
        write_shard(tmp_path, number, selection={"input": str(selected[directory])})
    merge(collect, stack)
    assert [name for name, path in selected.items() if path.exists()] == [directory]


def _restore(data_dir: Path, files: dict[str, bytes]) -> None:
    for path in contents(data_dir):
        (data_dir / path).unlink()
    for name, content in files.items():
        (data_dir / name).write_bytes(content)


def _kill_at(patched: pytest.MonkeyPatch, step: int) -> None:
    """The process ends before the file with this number is replaced."""
    count = 0

    def replace(draft: Path, path: Path) -> None:
        nonlocal count
        count += 1
        if count == step:
            draft.unlink()
            raise KeyboardInterrupt
        draft.replace(path)

    patched.setattr(files_module, "replace_durably", replace)


def test_an_older_run_does_not_replace_the_files_of_the_latest(
    data_dir: Path, collect: Collect, stack: ExitStack
) -> None:
    data = DataDir(data_dir)
    data.make_runs()
    data.begin_full_run(NEXT_RUN)
    (data_dir / "submissions_failed_migration.csv").write_bytes(b"of the next run")
    merge(collect, stack)
    found = contents(data_dir)
    assert found["submissions_failed_migration.csv"] == b"of the next run"
    assert "run_summary.json" not in found
    assert found[f"runs/{RUN}.failed.csv"].count(b"email_missing") == 5
    assert found[f"runs/{RUN}.json"]
