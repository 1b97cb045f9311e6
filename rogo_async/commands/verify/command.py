"""The ``verify`` command: verifies every submission that this tool migrated (specification §5)."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click

from rogo_async.commands.runner import data_dir_option, run_and_exit
from rogo_async.commands.verify.comparison import Problem, Verdict, compare_blob, compare_rows
from rogo_async.common.call_stats import CallStats
from rogo_async.common.command import Command, CommandResult
from rogo_async.common.errors import Dependency, DependencyError, RunStopped
from rogo_async.common.files import AppendFile
from rogo_async.common.settings import Settings
from rogo_async.destination.blobs.inventory import Inventory
from rogo_async.destination.postgres.verification import SubmissionRow, VerificationReader
from rogo_async.pipeline.services import ServiceFactory
from rogo_async.reporting.progress import log_lines, shown
from rogo_async.rules.files import size_text
from rogo_async.rules.identity import attempt_of_launch_id, launch_id

FAILURES: Final = "verification_failures.csv"
_COLUMNS: Final = ("Attempt ID", "Launch ID", "Submission ID", "Verdict", "Problem")


@click.command()
@click.option(
    "--sample", metavar="N", type=click.IntRange(min=1), help="Only N random submissions."
)
@click.option("--quick", is_flag=True, help="Compare only length and MD5; do not read blobs.")
@data_dir_option
def verify(sample: int | None, data_dir: Path | None, *, quick: bool) -> None:
    """Compare every migrated submission with its rows and blobs.

    Changes nothing. Problems are listed in verification_failures.csv. Exit code 1: a submission
    is wrong.
    """
    run_and_exit(
        lambda settings, _: Verification(settings, sample, whole=not quick).execute(), data_dir
    )


@dataclass(slots=True)
class VerificationCounts:
    """The counts of a verification so far. A submission is ok, wrong or unverifiable."""

    total: int = 0
    ok: int = 0
    wrong: int = 0
    unverifiable: int = 0
    others: int = 0
    """Submissions that another tool migrated."""
    files: int = 0
    bytes_read: int = 0
    by_verdict: Counter[str] = field(default_factory=Counter)

    @property
    def done(self) -> int:
        """Submissions that have been processed."""
        return self.ok + self.wrong + self.unverifiable + self.others


class Verification(Command):
    """One verification of all submissions, or of ``sample`` random ones.

    With ``whole`` it reads the blobs; otherwise it compares only the length and MD5 that the
    store states.
    """

    def __init__(self, settings: Settings, sample: int | None, *, whole: bool) -> None:
        super().__init__(settings)
        self._sample = sample
        self._whole = whole
        self._counts = VerificationCounts()
        self._lines: list[tuple[object, ...]] = []
        self._started_s = time.monotonic()

    async def work(self, stack: AsyncExitStack) -> None:
        """Write verification_failures.csv."""
        factory = ServiceFactory(
            self.settings, self.stop_signal, CallStats(), stack, name="rogo_async verify"
        )
        connections = await factory.connections()
        reader = VerificationReader(
            connections, factory.breaker(Dependency.TARGET, connections.probe)
        )
        account = await factory.account()
        inventory = Inventory(
            account, await factory.http(), factory.breaker(Dependency.STORE, account.check)
        )
        report = AppendFile(self.data.path / FAILURES)
        await report.open(_COLUMNS)
        stack.push_async_callback(report.close)
        ids = None if self._sample is None else await reader.sample(self._sample)
        self._counts.total = await reader.total() if ids is None else len(ids)
        async with shown(log_lines(self._progress, self.settings.rogo_progress_interval)):
            async for page in reader.pages(ids):
                self.stop_signal.raise_if_stopping()
                await self._verify_page(page, inventory)
                await self._write_lines(report)
            if ids is None:
                await self._verify_attempts(reader)
                await self._write_lines(report)

    def result(self) -> CommandResult:
        """Report the counts; wrong submissions count as failures."""
        counts = self._counts
        text = (
            f"{counts.ok:,} {'sampled ' if self._sample is not None else ''}submissions ok, "
            f"{counts.wrong:,} wrong, {counts.unverifiable:,} unverifiable, "
            f"{counts.others:,} written by another tool, {counts.files:,} files "
            f"({size_text(counts.bytes_read)} read)"
        )
        notes = [f"{verdict}: {count:,}" for verdict, count in sorted(counts.by_verdict.items())]
        if counts.wrong or counts.unverifiable:
            notes.append(f"see {self.data.path / FAILURES}")
        return self.result_of(counts.wrong, text, *notes)

    async def _verify_page(self, page: Sequence[SubmissionRow], inventory: Inventory) -> None:
        waiting = iter(page)
        async with asyncio.TaskGroup() as group:
            for number in range(1, self.settings.rogo_concurrency + 1):
                group.create_task(self._consume(waiting, inventory), name=f"verifier-{number}")

    async def _consume(self, waiting: Iterator[SubmissionRow], inventory: Inventory) -> None:
        for row in waiting:
            if self.stop_signal.stopping:
                return
            attempt = attempt_of_launch_id(row.launch_id)
            if attempt is None or not self._is_ours(attempt, row.launch_id):
                self._counts.others += 1
                continue
            try:
                problems = [*compare_rows(row), *await self._blob_problems(attempt, row, inventory)]
            except RunStopped:
                return
            self._count(attempt, row.launch_id, row.id, problems)

    async def _blob_problems(
        self, attempt: int, row: SubmissionRow, inventory: Inventory
    ) -> list[Problem]:
        problems: list[Problem] = []
        total_bytes = 0
        for file in row.files:
            if file.container != self.settings.rogo_container or file.blob_name is None:
                text = f"file {file.order}: in container {file.container!r}"
                problems.append(Problem(Verdict.UNVERIFIABLE, text))
                continue
            try:
                content = await inventory.read(file.blob_name, whole=self._whole)
            except DependencyError as error:
                text = f"file {file.order}: {error.reason}"
                problems.append(Problem(Verdict.UNVERIFIABLE, text))
                continue
            self._counts.files += 1
            if content is not None:
                total_bytes += content.stated_bytes or 0
                self._counts.bytes_read += content.size_bytes
            problems += compare_blob(attempt, row, file, content, whole=self._whole)
        if not problems and row.total_size != size_text(total_bytes):
            text = f"total_file_size is {row.total_size}, the blobs have {size_text(total_bytes)}"
            problems.append(Problem(Verdict.FILE_ROWS_WRONG, text))
        return problems

    async def _verify_attempts(self, reader: VerificationReader) -> None:
        """Find attempts with several submissions, and launches without one."""
        for attempt, launch_ids, ids in await reader.duplicate_attempts():
            if any(self._is_ours(attempt, each) for each in launch_ids):
                text = f"{len(ids)} submissions of this attempt: {', '.join(ids)}"
                problem = Problem(Verdict.SUBMISSION_DOUBLED, text)
                self._count(attempt, launch_ids[0], ids[0], [problem])
        for each in await reader.launches_without_submission():
            found = attempt_of_launch_id(each)
            if found is not None and self._is_ours(found, each):
                text = "a launch or session record without a submission"
                self._count(found, each, "", [Problem(Verdict.SUBMISSION_MISSING, text)])

    def _is_ours(self, attempt: int, launch: str) -> bool:
        return launch == launch_id(attempt, self.settings.rogo_instance_id)

    def _count(
        self, attempt: int, launch: str, submission: str, problems: Sequence[Problem]
    ) -> None:
        counts = self._counts
        verdicts = {problem.verdict for problem in problems}
        counts.by_verdict.update(verdict.value for verdict in verdicts)
        if verdicts - {Verdict.UNVERIFIABLE}:
            counts.wrong += 1
        elif verdicts:
            counts.unverifiable += 1
        else:
            counts.ok += 1
        self._lines += [
            (str(attempt), launch, submission, problem.verdict.value, problem.text)
            for problem in problems
        ]

    async def _write_lines(self, report: AppendFile) -> None:
        lines, self._lines = self._lines, []
        if lines:
            await report.append(lines)

    def _progress(self) -> dict[str, object]:
        counts = self._counts
        return {
            "done": counts.done,
            "total": counts.total,
            "wrong": counts.wrong,
            "unverifiable": counts.unverifiable,
            "files": counts.files,
            "mb_read": round(counts.bytes_read / 1_048_576),
            "rate_per_s": round(counts.done / max(time.monotonic() - self._started_s, 1e-3), 1),
        }
