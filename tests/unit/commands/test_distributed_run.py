"""``run --workers`` and ``--scheduler``: what is refused, and what the shards get (§7)."""

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rogo_async.commands.distributed_run import flow
from rogo_async.commands.distributed_run.flow import DistributedRun
from rogo_async.commands.distributed_run.options import Workers, options_of, shards_for
from rogo_async.commands.distributed_run.shards import Shards
from rogo_async.commands.main import main
from rogo_async.commands.runner import selection_options
from rogo_async.common.command import CommandResult
from rogo_async.common.errors import SetupError
from rogo_async.common.settings import load_settings
from rogo_async.common.shard import Shard
from rogo_async.common.shutdown import ExitCode, StopReason, StopSignal
from rogo_async.distributed.facts import Place
from rogo_async.distributed.results import packed, unpack
from rogo_async.distributed.worker import ShardEnd, ShardPlan
from rogo_async.pipeline.selection import Selection, open_selection
from rogo_async.pipeline.unreached_shards import record_unreached
from rogo_async.reporting.progress import Stages
from rogo_async.reporting.summary import read_summary
from rogo_async.reporting.summary_parts import ShardFacts
from tests.unit.common.test_settings import SOUND
from tests.unit.reporting.test_merged_summary import shard

RUN = "20260301T010000Z-0000000a"
LOCAL = Workers(2, None, None)


@pytest.fixture(autouse=True)
def sound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in SOUND.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountName=a;AccountKey=c2VjcmV0")
    monkeypatch.setenv("ROGO_DATA_DIR", str(tmp_path))


def refused(workers: Workers = LOCAL, **settings: Any) -> str:
    with pytest.raises(SetupError) as caught:
        DistributedRun(load_settings(**settings), Selection(), None, workers)
    return str(caught.value)


def test_the_extra_is_named_when_dask_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    DistributedRun(load_settings(), Selection(), None, LOCAL)
    monkeypatch.setattr(flow, "find_spec", lambda _: None)
    assert "Dask is not installed: pip install '.[distributed]'" in refused()


def test_settings_of_one_process_are_refused() -> None:
    assert "ROGO_RUN_ID: a worker sets them" in refused(rogo_shard=Shard(0, 2), rogo_run_id=RUN)
    assert "the processes of --workers would share them" in refused(rogo_metrics_port=9100)
    DistributedRun(
        load_settings(rogo_metrics_port=9100), Selection(), None, Workers(None, "tls://h:1", None)
    )


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--workers", "2", "--scheduler", "tls://h:8786"), "exclude each other"),
        (("--shards", "4"), "--shards needs --workers or --scheduler"),
        (("--workers", "0"), "0 is not in the range"),
        (("--workers", "2", "--shards", "10001"), "10001 is not in the range"),
    ],
)
def test_wrong_options_are_refused(options: tuple[str, ...], problem: str) -> None:
    result = CliRunner().invoke(main, ["run", *options])
    assert result.exit_code == 2
    assert problem in result.output


def test_shards_get_the_options_that_select_rows(tmp_path: Path) -> None:
    import click

    given = Selection(7, (3, 1), tmp_path / "a b.csv", ("-u",), ("a,1",), ("email_missing",))
    received: list[Selection] = []

    @click.command()
    @selection_options
    def command(selection: Selection) -> None:
        received.append(selection)

    command.main(options_of(given), standalone_mode=False)
    assert received == [given]
    assert options_of(Selection()) == []


def test_there_are_four_shards_for_each_worker_and_none_without() -> None:
    assert shards_for(Workers(2, None, None), 2) == 8
    assert shards_for(Workers(2, None, 3), 2) == 3
    for shards in (None, 3):
        with pytest.raises(SetupError, match=r"--scheduler tls://h:1: its last worker has just"):
            shards_for(Workers(None, "tls://h:1", shards), 0)


def test_a_relative_input_is_the_same_file_for_the_command_and_its_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the command records for shards that were not begun is compared with the others."""
    monkeypatch.chdir(tmp_path)
    run = DistributedRun(load_settings(), Selection(input=Path("list.csv")), None, LOCAL)
    path = str(tmp_path / "list.csv")
    assert options_of(run._selection) == [f"--input={path}"]
    assert run._selection.facts() == {"input": path}


def test_a_run_in_one_process_does_not_import_dask() -> None:
    assert find_spec("distributed") is not None
    code = (
        "import sys, rogo_async.commands.main, rogo_async.pipeline.run as r; "
        "sys.exit(bool({'dask', 'distributed'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def inputs(tmp_path: Path) -> Iterator[Path]:
    """Rows with and without a valid Attempt ID, some malformed, duplicates."""
    from tests.support.builders import COLUMNS, MAPPING_COLUMNS

    column = COLUMNS.index("Attempt ID")
    rows = [
        ["x"] * column + [value] + ["x"] * (len(COLUMNS) - column - 1)
        for value in ("1", "2", "002", "x", "", "3", "4", "5", "6", "7")
    ]
    rows += [["x"] * column + ["8"], [*rows[0], "surplus"]]
    text = "\n".join(",".join(row) for row in [COLUMNS, *rows]) + "\n"
    (tmp_path / "submission_files.csv").write_text(text)
    (tmp_path / "attempt_number_mapping.csv").write_text(",".join(MAPPING_COLUMNS) + "\n")
    return iter([tmp_path])


async def test_rows_of_shards_that_were_not_begun_are_counted(inputs: Iterator[Path]) -> None:
    data_dir, stages = next(inputs), Stages(None, 10.0)
    stop_signal = StopSignal()
    stop_signal.stop(StopReason.SIGTERM, "terminated")
    shards = [Shard(index, 3) for index in range(3)]
    async with AsyncExitStack() as stack:
        file, _ = await open_selection(Selection(), data_dir, stack, stages)
        began_at = datetime.now(UTC)
        await record_unreached(
            load_settings(), Selection(), RUN, began_at, shards, file, {"mapping": "m"}, stop_signal
        )
        owned = [
            len((await open_selection(Selection(), data_dir, stack, stages, shard))[0])
            for shard in shards
        ]
    directories = [data_dir / "shards" / RUN / each.directory for each in shards]
    found = [read_summary(each / "runs" / f"{RUN}.json") for each in directories]
    assert [each.not_reached for each in found] == [each.rows_total for each in found] == owned
    assert sum(owned) == 12
    assert {each.exit_code for each in found} == {143}
    assert found[1].shard is not None
    assert (found[1].shard.shard, found[1].shard.inputs) == ("1/3", {"mapping": "m"})
    assert found[1].shard.is_placeholder

    # A shard that had ended by itself keeps its result.
    own = found[1].shard.model_copy(update={"shard": "2/3", "is_placeholder": False})
    result = found[2].model_copy(update={"shard": own, "not_reached": 0})
    (directories[2] / "runs" / f"{RUN}.json").write_bytes(result.to_json())
    async with AsyncExitStack() as stack:
        file, _ = await open_selection(Selection(), data_dir, stack, stages)
        await record_unreached(
            load_settings(), Selection(), RUN, began_at, shards, file, {"mapping": "m"}, stop_signal
        )
    assert read_summary(directories[2] / "runs" / f"{RUN}.json") == result

    # One that had ended before it had read its inputs left none, and one that is damaged neither.
    at_once = own.model_copy(update={"inputs": {}, "shard": "1/3"})
    ended_at_once = found[1].model_copy(update={"shard": at_once}).to_json()
    summaries = [each / "runs" / f"{RUN}.json" for each in directories]
    for path, content in zip(summaries[:2], (b"{", ended_at_once), strict=True):
        path.write_bytes(content)
    async with AsyncExitStack() as stack:
        file, _ = await open_selection(Selection(), data_dir, stack, stages)
        await record_unreached(
            load_settings(), Selection(), RUN, began_at, shards, file, {"mapping": "m"}, stop_signal
        )
    written = [read_summary(each) for each in summaries[:2]]
    assert [each.shard for each in written] == [each.shard for each in found[:2]]

    (directories[0] / "log.jsonl").touch()
    copy = data_dir / "copy" / RUN / "0-of-3"
    unpack(packed(directories[0], RUN), copy)
    files = sorted(p.relative_to(copy) for p in copy.rglob("*") if p.is_file())
    assert list(map(str, files)) == [f"runs/{RUN}.json"]
    assert (copy / "runs" / f"{RUN}.json").read_bytes() == written[0].to_json()


def left_by_shard(data_dir: Path, number: int, *, has_begun: bool) -> None:
    """The summary of a shard that the target has stopped."""
    path = data_dir / "shards" / RUN / f"{number}-of-2"
    (path / "runs").mkdir(parents=True)
    inputs = {"submission_files.csv": "a"}
    summary = shard(
        number,
        failed=0,
        exit_code=3,
        stopped_by={"outage": "target unreachable for 900 s"},
        shard=ShardFacts(shard=f"{number}/2", settings="s", inputs=inputs),
    )
    (path / "runs" / f"{RUN}.json").write_bytes(summary.to_json())
    if has_begun:
        (path / "submissions_failed_migration.csv").write_text("Line,Attempt ID,Error\n")


async def finished(
    data_dir: Path, *ends: ShardEnd, during: Callable[[], object] = lambda: None
) -> Shards:
    """The command when its shards have ended so, and something has happened in the meantime."""
    shards = Shards(load_settings(), Selection(), None, LOCAL, RUN)
    shards._ends = {Shard(number, len(ends)): end for number, end in enumerate(ends)}
    async with AsyncExitStack() as stack:
        file, _ = await open_selection(Selection(), data_dir, stack, Stages(None, 10.0))
        plan = shards._plan(shards._place(), len(ends))
        during()
        await shards._finish(plan, file)
    return shards


def test_the_file_of_a_command_that_was_killed_does_not_stay(tmp_path: Path) -> None:
    (tmp_path / ".rogo_async.lock").touch()
    shards = Shards(load_settings(), Selection(), None, LOCAL, RUN)
    shards._place()
    token = shards._place().token
    assert {path.name for path in tmp_path.iterdir()} == {".rogo_async.lock", token}


async def test_a_file_that_was_replaced_during_the_run_is_recorded_as_it_was(
    inputs: Iterator[Path],
) -> None:
    """Otherwise collect would refuse the shards that have ended."""
    data_dir = next(inputs)
    path, new = data_dir / "submission_files.csv", data_dir / "new.csv"
    old = hashlib.sha256(path.read_bytes()).hexdigest()
    new.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[-1])
    left_by_shard(data_dir, 0, has_begun=True)
    refused = ShardEnd(2, ["worker w: submission_files.csv: other"])
    stopped = ShardEnd(3, counts={"total": 6})
    shards = await finished(data_dir, stopped, refused, during=lambda: new.rename(path))
    found = read_summary(data_dir / "shards" / RUN / "1-of-2" / "runs" / f"{RUN}.json").shard
    assert found is not None
    assert found.inputs["submission_files.csv"] == old
    assert set(found.inputs) == {"submission_files.csv", "attempt_number_mapping.csv"}
    assert shards.can_be_collected


async def test_a_file_that_changed_during_the_run_is_named_with_the_remedy(
    inputs: Iterator[Path],
) -> None:
    data_dir = next(inputs)
    path = data_dir / "submission_files.csv"
    left_by_shard(data_dir, 0, has_begun=True)

    def change() -> None:
        with path.open("a") as file:
            file.write("more\n")

    shards = await finished(
        data_dir, ShardEnd(3, counts={"total": 6}), ShardEnd(None), during=change
    )
    assert not shards.can_be_collected
    assert shards.result().summary_line == (
        f"run {RUN}: 1 shard ended; exit 3; stopped: not begun, since another shard had ended "
        f"early. Run again to continue; stopped: {path} changed during the run, so the rows of "
        "shard 1/2, without a result, cannot be counted, and nothing was collected. Wait until its "
        "export has finished, then run again: what was migrated is skipped"
    )


async def test_nothing_is_collected_if_no_shard_has_begun_its_migration(
    inputs: Iterator[Path],
) -> None:
    """The failed rows of the run before stay. A file that a killed try left does not count."""
    data_dir = next(inputs)
    left_by_shard(data_dir, 0, has_begun=False)
    killed = data_dir / "shards" / RUN / "1-of-2"
    killed.mkdir()
    (killed / "submissions_failed_migration.csv").write_text("Line,Attempt ID,Error\n3,3,x: y\n")
    shards = await finished(data_dir, ShardEnd(3, counts={"total": 6}), ShardEnd(None))
    assert not shards.can_be_collected
    assert shards.result() == CommandResult(
        ExitCode.STOPPED_EARLY,
        f"run {RUN}: no shard has begun its migration; exit 3; "
        "stopped: target unreachable for 900 s (shard 0/2)",
    )


@pytest.mark.parametrize(
    ("ends", "code", "text"),
    [
        ((ShardEnd(3, ["a"]), ShardEnd(70, ["b"])), 70, "shard 1/2 left no result: b. Run again"),
        ((ShardEnd(None), ShardEnd(None)), 3, "see the logs of the workers, and run again"),
    ],
)
async def test_without_a_result_the_exit_code_is_that_of_the_shards(
    inputs: Iterator[Path], ends: tuple[ShardEnd, ...], code: int, text: str
) -> None:
    data_dir = next(inputs)
    shards = await finished(data_dir, *ends)
    assert not shards.can_be_collected
    assert not (data_dir / "shards").exists()
    result = shards.result()
    assert result.exit_code == code
    assert result.summary_line.count(f"exit {code};") == 1
    assert text in result.summary_line


async def test_a_shard_that_was_not_begun_after_another_one_stopped_has_a_reason(
    inputs: Iterator[Path],
) -> None:
    """Its summary is still there when the other one was repeated and has ended well."""
    data_dir = next(inputs)
    left_by_shard(data_dir, 0, has_begun=True)
    stopped = ShardEnd(3, counts={"total": 6})
    shards = await finished(data_dir, stopped, ShardEnd(None))
    found = read_summary(data_dir / "shards" / RUN / "1-of-2" / "runs" / f"{RUN}.json")
    assert (found.exit_code, found.is_night) == (3, False)
    assert found.stopped_by == {
        "outage": "not begun, since another shard had ended early. Run again to continue"
    }
    assert shards.can_be_collected


async def test_shards_that_were_not_begun_in_the_time_window_have_that_reason(
    inputs: Iterator[Path],
) -> None:
    next(inputs)
    shards = Shards(load_settings(), Selection(), None, LOCAL, RUN)
    shards._ends = {Shard(index, 2): ShardEnd(None) for index in range(2)}
    async with AsyncExitStack() as stack:
        file, _ = await open_selection(Selection(), shards.data.path, stack, Stages(None, 10.0))
        plan = ShardPlan(RUN, 2, Place(""), {}, (), {}, datetime.now(UTC))
        await shards._finish(plan, file)
    assert shards.stop_signal.reasons == {
        StopReason.WINDOW: (
            "the time window ended before all shards had begun (ROGO_MAX_DURATION, --until)"
        )
    }
    assert shards.result().exit_code == 5
