"""The ``verify`` command: verifies every submission that this tool migrated (specification §5)."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import structlog
from pyroaring import BitMap
from rich.console import Console

from rogo_async.commands.json_output import FactsCommand, json_option, run_command_and_exit
from rogo_async.commands.runner import attempt_option, data_dir_option
from rogo_async.commands.verify.comparison import (
    Problem,
    Verdict,
    compare_blob,
    compare_rows,
    compare_times,
)
from rogo_async.commands.verify.counts import VerificationCounts, VerificationScope
from rogo_async.commands.verify.source import SourceVerification, difference_lines
from rogo_async.common.call_stats import CallStats
from rogo_async.common.command import CommandResult
from rogo_async.common.errors import Dependency, DependencyError, RunStopped
from rogo_async.common.files import AppendFile
from rogo_async.common.logging import error_facts
from rogo_async.common.settings import Settings
from rogo_async.destination.blobs.inventory import Inventory
from rogo_async.destination.postgres.existing_rows import ExistingSubmission
from rogo_async.destination.postgres.reconciliation import Difference
from rogo_async.destination.postgres.verification import SubmissionRow, VerificationReader
from rogo_async.pipeline.services import ServiceFactory
from rogo_async.reporting.progress import Stages
from rogo_async.reporting.verification import (
    VERIFICATION,
    VerificationRecord,
    write_verification,
)
from rogo_async.rules.files import size_text
from rogo_async.rules.identity import attempt_of_launch_id, launch_id

FAILURES: Final = "verification_failures.csv"
log = structlog.get_logger()
_COLUMNS: Final = (
    "Attempt ID",
    "Launch ID",
    "Submission ID",
    "Verdict",
    "Problem",
    "Table",
    "Column",
    "In Target",
    "Expected",
)


@click.command()
@click.option(
    "--sample", metavar="N", type=click.IntRange(min=1), help="Only N random submissions."
)
@attempt_option("Only this attempt; repeatable.")
@click.option("--source", is_flag=True, help="Also compare all columns with the source.")
@click.option("--quick", is_flag=True, help="Compare only length and MD5; do not read blobs.")
@json_option
@data_dir_option
def verify(
    sample: int | None,
    attempts: tuple[int, ...],
    data_dir: Path | None,
    *,
    source: bool,
    quick: bool,
    as_json: bool,
) -> None:
    """Compare every migrated submission with its rows and blobs.

    Changes nothing. Problems are listed in verification_failures.csv. Exit code 1: a submission
    is wrong.
    """
    scope = VerificationScope(sample, attempts, whole=not quick, source=source)
    run_command_and_exit(
        lambda settings, terminal: Verification(settings, scope, terminal),
        data_dir,
        as_json=as_json,
    )


class Verification(FactsCommand):
    """One verification."""

    def __init__(
        self, settings: Settings, scope: VerificationScope, terminal: Console | None
    ) -> None:
        super().__init__(settings)
        self._stages = Stages(terminal, settings.rogo_progress_interval)
        self._scope = scope
        self._whole = scope.whole
        self._ours = BitMap()
        """The attempts of this tool that were verified."""
        self._source: SourceVerification | None = None
        self._counts = VerificationCounts()
        self._lines: list[tuple[object, ...]] = []

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
        ids = await self._selected(reader)
        self._counts.total = await reader.total() if ids is None else len(ids)
        async with self._stages.stage(
            "verifying",
            "submissions",
            self._counts.total,
            count=lambda: self._counts.done,
            facts=self._facts,
        ):
            async for page in reader.pages(ids):
                self.stop_signal.raise_if_stopping()
                await self._verify_page(page, inventory)
                await self._write_lines(report)
            if ids is None:
                await self._verify_attempts(reader)
                await self._write_lines(report)
        if self._scope.source:
            self._source = SourceVerification(
                self.settings,
                self.data.path,
                inventory,
                self._stages,
                self.stop_signal,
                self._add_differences,
            )
            await self._source.run(
                factory,
                connections,
                account,
                stack,
                self._ours,
                lambda: self._write_lines(report),
            )

    async def _selected(self, reader: VerificationReader) -> list[str] | None:
        """The ids of the selected submissions; None for all."""
        scope = self._scope
        if scope.attempts:
            instance_id = self.settings.rogo_instance_id
            return await reader.of_launches([launch_id(a, instance_id) for a in scope.attempts])
        return None if scope.sample is None else await reader.sample(scope.sample)

    def _add_differences(
        self,
        attempt: int,
        existing: ExistingSubmission | None,
        differences: Sequence[Difference],
    ) -> None:
        launch = launch_id(attempt, self.settings.rogo_instance_id)
        self._lines += difference_lines(attempt, launch, existing, differences)

    def result(self) -> CommandResult:
        """Report the counts; wrong submissions count as failures."""
        counts = self._counts
        kind = "sampled " if self._scope.sample is not None else ""
        text, notes = counts.text(kind), counts.verdicts()
        if counts.wrong or counts.unverifiable:
            notes.append(f"see {self.data.path / FAILURES}")
        wrong = counts.wrong
        if self._source is not None:
            found = self._source.counts
            wrong += found.wrong
            if found.differing and not (counts.wrong or counts.unverifiable):
                notes.append(f"see {self.data.path / FAILURES}")
            notes.append(found.text())
        result = self.result_of(wrong, text, *notes)
        record = VerificationRecord(
            finished_at=datetime.now(UTC),
            exit_code=int(result.exit_code),
            result="; ".join([text, *notes]),
            source=None if self._source is None else self._source.counts.record(),
        )
        try:
            write_verification(self.data.path, record)
        except OSError as error:
            log.warning("a file cannot be written", file=VERIFICATION, **error_facts(error))
        return result

    def facts(self) -> dict[str, object]:
        """The counts, for ``--json``."""
        return {
            "sample": self._scope.sample,
            "quick": not self._whole,
            **self._counts.facts(),
            "file": str(self.data.path / FAILURES),
            "source": None if self._source is None else self._source.counts.record().model_dump(),
        }

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
            self._ours.add(attempt)
            try:
                problems = [
                    *compare_rows(row),
                    *compare_times(row),
                    *await self._blob_problems(attempt, row, inventory),
                ]
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
        """Find attempts with several submissions, by any tool, and launches without one."""
        for attempt, launch_ids, ids in await reader.duplicate_attempts():
            text = f"{len(ids)} submissions of this attempt: {', '.join(ids)}"
            problem = Problem(Verdict.SUBMISSION_DOUBLED, text)
            self._count(attempt, launch_ids[0], ids[0], [problem])
        for each in await reader.launches_without_submission():
            found = attempt_of_launch_id(each)
            if found is not None and self._is_ours(found, each):
                self._ours.add(found)
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
            (str(attempt), launch, submission, problem.verdict.value, problem.text, *[""] * 4)
            for problem in problems
        ]

    async def _write_lines(self, report: AppendFile) -> None:
        lines, self._lines = self._lines, []
        if lines:
            await report.append(lines)

    def _facts(self) -> dict[str, object]:
        counts = self._counts
        return {
            "wrong": counts.wrong,
            "unverifiable": counts.unverifiable,
            "files": counts.files,
            "mb_read": round(counts.bytes_read / 1_048_576),
        }
