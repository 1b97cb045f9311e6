"""Finds what the shards of a run left, and checks that it is complete (specification §7)."""

import fcntl
import os
import resource
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rogo_async.common.data_dir import LOCK_FILE, SHARDS, DataDir
from rogo_async.common.errors import LockHeld, SetupError
from rogo_async.common.shard import Shard
from rogo_async.destination.postgres.journal import journal_path
from rogo_async.reporting.merged_summary import differences, name_of
from rogo_async.reporting.summary import RunSummary, read_summary


@dataclass(frozen=True, slots=True)
class ShardResult:
    """The files and the summary of a shard that has ended."""

    data: DataDir
    summary: RunSummary

    @property
    def shard(self) -> Shard:
        """Which one it is."""
        return Shard.parse(name_of(self.summary))

    @property
    def is_placeholder(self) -> bool:
        """Whether the shard itself wrote no summary, as far as the operator's command knew."""
        return self.summary.shard is not None and self.summary.shard.is_placeholder

    @property
    def has_begun(self) -> bool:
        """Whether its migration began. Otherwise it has no failed-rows file that counts.

        That of a placeholder was left by a try that was killed.
        """
        is_there = self.summary.failed > 0 or self.data.failed_rows.exists()
        return is_there and not self.is_placeholder


@dataclass(frozen=True, slots=True)
class RunParts:
    """The shards of a run, all of them and in order, and the journals of all their tries.

    The journals are in the order in which the tries ended: a later line counts more.
    """

    results: Sequence[ShardResult]
    journals: Sequence[Path]


def find_parts(run_id: str, own: Path, directories: Sequence[Path], stack: ExitStack) -> RunParts:
    """Find and lock the shards of a run in these directories and in the ``own`` data directory.

    Of several results of one shard the latest counts, a placeholder less than any other. The
    stack releases the locks. Raises SetupError with every problem, LockHeld if a shard is still
    running, and OSError.
    """
    _allow_open_files()
    found: list[ShardResult] = []
    journals: list[tuple[datetime, Path]] = []
    for data in _directories(run_id, own, directories):
        if not data.path.samefile(own):  # this command holds its lock
            _lock(data, stack)
        result = result_in(data, run_id)
        if result is not None:
            found.append(result)
        if (journal := journal_path(data.runs, run_id)).exists():
            journals.append((_ended_at(result), journal))
    found.sort(key=lambda each: (not each.is_placeholder, each.summary.finished_at))
    latest = {each.shard: each for each in found}
    results = [latest[shard] for shard in sorted(latest)]
    _check(run_id, [own, *directories], results)
    journals.sort(key=lambda each: each[0])
    return RunParts(results, [path for _, path in journals])


def _allow_open_files() -> None:
    """Open as many files as the system permits: each shard needs two, its lock and its rows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _ended_at(result: ShardResult | None) -> datetime:
    """The order of journals. Those of killed tries and of an earlier collection come first."""
    if result is None or result.is_placeholder:
        return datetime.min.replace(tzinfo=UTC)
    return result.summary.finished_at


def _directories(run_id: str, own: Path, directories: Sequence[Path]) -> Iterator[DataDir]:
    """Every directory of a shard of this run. Raises SetupError for a named one without any."""
    seen: set[Path] = set()
    for directory in (own, *directories):
        candidates = [
            directory,
            *directory.glob("*-of-*"),
            *directory.glob(f"{run_id}/*-of-*"),
            *directory.glob(f"{SHARDS}/{run_id}/*-of-*"),
        ]
        of_run = [
            each
            for each in candidates
            if each.parent.name == run_id or any((each / "runs").glob(f"{run_id}.*"))
        ]
        if not of_run and (directory is not own or not directories):
            raise SetupError(
                f"{directory}: has no shard of run {run_id}. Name a data directory, or a "
                f"directory that was copied from {SHARDS}/{run_id}/"
            )
        for each in sorted(of_run):
            if (resolved := each.resolve()) not in seen:
                seen.add(resolved)
                yield DataDir(each)


def _lock(data: DataDir, stack: ExitStack) -> None:
    """Keep a shard from beginning again. A copy of its directory has no lock that matters."""
    path = data.path / LOCK_FILE
    if not path.exists():
        return
    descriptor = os.open(path, os.O_RDONLY)
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LockHeld(
            f"a shard is still running in {data.path}. Collect when it has ended"
        ) from None


def result_in(data: DataDir, run_id: str) -> ShardResult | None:
    """What a shard left; None without a summary, or in a directory of the whole run.

    A shard that ended before it had read its inputs left nothing. Raises SetupError for a file that
    is not a summary, and OSError.
    """
    path = data.summary_of(run_id)
    if not path.exists():
        return None
    try:
        summary = read_summary(path)
    except ValueError:
        raise SetupError(f"{path}: not a valid run summary. Run this shard again") from None
    return ShardResult(data, summary) if summary.is_result_of_shard else None


def _check(run_id: str, directories: Sequence[Path], results: Sequence[ShardResult]) -> None:
    """Raises SetupError with one line for each problem."""
    places = ", ".join(map(str, directories))
    if not results:
        raise SetupError(f"run {run_id}: no result of any shard in {places}. Run the shards first")
    summaries = [each.summary for each in results]
    counts = {each.shard.count for each in results}
    if len(counts) > 1:
        raise SetupError(
            f"run {run_id}: shards of {' and '.join(map(str, sorted(counts)))}. They divide the "
            "rows differently. Move the directories of one number away"
        )
    (count,) = counts
    problems = [
        f"run {run_id}: {text}. {remedy}"
        for text, remedy in (
            *((t, _SAME_INPUT) for t in _input_differences(summaries)),
            *((t, _SAME_TOOL) for t in differences(summaries, "versions", lambda s: s.version)),
            *((t, _SAME_SETTINGS) for t in _setting_differences(summaries)),
        )
    ]
    if missing := sorted(set(range(count)) - {each.shard.index for each in results}):
        names = ", ".join(f"{index}/{count}" for index in missing)
        problems.append(
            f"run {run_id}: no result of shard {names} in {places}. Run it to its end "
            f"(ROGO_SHARD={missing[0]}/{count} ROGO_RUN_ID={run_id}), or name its directory"
        )
    if problems:
        raise SetupError(*problems)


_SAME_INPUT = "Copy the same files to all machines and run the other shards again"
_SAME_TOOL = "Install the same version on all machines and run the other shards again"
_SAME_SETTINGS = "Use the same settings and options everywhere and run the other shards again"


def _input_differences(summaries: Sequence[RunSummary]) -> Iterator[str]:
    inputs = [{} if each.shard is None else each.shard.inputs for each in summaries]
    for name in sorted({name for each in inputs for name in each}):
        yield from differences(summaries, f"the files {name}", partial(_digest_of, name))


def _digest_of(name: str, summary: RunSummary) -> str | None:
    return None if summary.shard is None else summary.shard.inputs.get(name)


def _setting_differences(summaries: Sequence[RunSummary]) -> Iterator[str]:
    yield from differences(summaries, "targets", lambda s: s.target)
    yield from differences(summaries, "options that select rows", lambda s: s.selection)
    yield from differences(summaries, "settings", lambda s: s.shard and s.shard.settings)
