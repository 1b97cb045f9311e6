"""``verify``: whether what was migrated is all there (specification §5)."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import click

from rogo_async.commands.runner import data_dir_option, operate
from rogo_async.common.call_stats import CallStats
from rogo_async.common.command import Command, CommandResult
from rogo_async.common.errors import Dependency, DependencyError, RunStopped
from rogo_async.common.files import AppendFile
from rogo_async.common.settings import Settings
from rogo_async.destination.blobs.inventory import BlobContent, Inventory
from rogo_async.destination.postgres.verification import FileRow, SubmissionRow, VerificationReader
from rogo_async.pipeline.services import ServiceFactory
from rogo_async.reporting.progress import log_lines, shown
from rogo_async.rules.files import size_text
from rogo_async.rules.identity import attempt_of_launch_id, launch_id, submission_id

FAILURES: Final = "verification_failures.csv"
_COLUMNS: Final = ("Attempt ID", "Launch ID", "Submission ID", "Verdict", "Problem")


class Verdict(StrEnum):
    """What can be wrong with a submission. The values are stable."""

    SUBMISSION_DOUBLED = "submission_doubled"
    SUBMISSION_MISSING = "submission_missing"
    LAUNCH_MISSING = "launch_missing"
    SESSION_MISSING = "session_missing"
    RECORDS_DISAGREE = "records_disagree"
    FILE_ROWS_WRONG = "file_rows_wrong"
    GRADE_MISSING = "grade_missing"
    MARKING_MISSING = "marking_missing"
    MARK_OF_ANOTHER_ASSESSMENT = "mark_of_another_assessment"
    ENFORCEMENT_MISSING = "enforcement_missing"
    BLOB_MISSING = "blob_missing"
    BLOB_LENGTH_WRONG = "blob_length_wrong"
    BLOB_MD5_WRONG = "blob_md5_wrong"
    BLOB_OF_ANOTHER = "blob_of_another"
    UNVERIFIABLE = "unverifiable"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or cannot be told."""

    verdict: Verdict
    problem: str


@dataclass(slots=True)
class Figures:
    """What a verification has counted so far. A submission is sound, wrong or unverifiable."""

    total: int = 0
    verified: int = 0
    wrong: int = 0
    unverifiable: int = 0
    others: int = 0
    """Submissions that another tool has migrated."""
    files: int = 0
    bytes_read: int = 0
    by_verdict: Counter[str] = field(default_factory=Counter)

    @property
    def done(self) -> int:
        """Submissions that have been looked at."""
        return self.verified + self.wrong + self.unverifiable + self.others


class Verification(Command):
    """One verification.

    ``sample`` picks so many submissions at random; without ``whole`` the blobs are not read, only
    asked for their length and the MD5 that they were stored with.
    """

    def __init__(self, settings: Settings, sample: int | None, *, whole: bool) -> None:
        super().__init__(settings)
        self.sample = sample
        self.whole = whole
        self._figures = Figures()
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
        ids = None if self.sample is None else await reader.sample(self.sample)
        self._figures.total = await reader.total() if ids is None else len(ids)
        async with shown(log_lines(self._progress, self.settings.rogo_progress_interval)):
            async for page in reader.pages(ids):
                self.stop_signal.raise_if_stopping()
                await self._verify_page(page, inventory)
                await self._put_down(report)
            if ids is None:
                await self._verify_whole(reader)
                await self._put_down(report)

    async def _put_down(self, report: AppendFile) -> None:
        lines, self._lines = self._lines, []
        if lines:
            await report.append([tuple(map(str, line)) for line in lines])

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
                self._figures.others += 1
                continue
            try:
                findings = [*of_rows(row), *await self._of_blobs(attempt, row, inventory)]
            except RunStopped:
                return
            self._count(attempt, row.launch_id, row.id, findings)

    async def _of_blobs(
        self, attempt: int, row: SubmissionRow, inventory: Inventory
    ) -> list[Finding]:
        findings: list[Finding] = []
        total_bytes = 0
        for file in row.files:
            if file.container != self.settings.rogo_container or file.blob_name is None:
                where = f"file {file.order}: it stands in container {file.container!r}"
                findings.append(Finding(Verdict.UNVERIFIABLE, where))
                continue
            try:
                content = await inventory.read(file.blob_name, whole=self.whole)
            except DependencyError as fault:
                problem = f"file {file.order}: {fault.reason}"
                findings.append(Finding(Verdict.UNVERIFIABLE, problem))
                continue
            self._figures.files += 1
            if content is not None:
                total_bytes += content.stated_bytes or 0
                self._figures.bytes_read += content.size_bytes
            findings += _of_blob(attempt, row, file, content, whole=self.whole)
        if not findings and row.total_size != size_text(total_bytes):
            problem = f"total_file_size {row.total_size} is not that of the blobs"
            findings.append(Finding(Verdict.FILE_ROWS_WRONG, problem))
        return findings

    async def _verify_whole(self, reader: VerificationReader) -> None:
        """What no single submission shows: attempts that stand twice, or without one."""
        for attempt, launch_ids, ids in await reader.duplicate_attempts():
            if any(self._is_ours(attempt, each) for each in launch_ids):
                problem = f"{len(ids)} submissions of this attempt: {', '.join(ids)}"
                finding = Finding(Verdict.SUBMISSION_DOUBLED, problem)
                self._count(attempt, launch_ids[0], ids[0], [finding])
        for each in await reader.launches_without_submission():
            found = attempt_of_launch_id(each)
            if found is not None and self._is_ours(found, each):
                problem = "a launch or session record without its submission"
                self._count(found, each, "", [Finding(Verdict.SUBMISSION_MISSING, problem)])

    def _is_ours(self, attempt: int, launched: str) -> bool:
        return launched == launch_id(attempt, self.settings.rogo_instance_id)

    def _count(
        self, attempt: int, launched: str, submission: str, findings: Sequence[Finding]
    ) -> None:
        figures = self._figures
        verdicts = {finding.verdict for finding in findings}
        figures.by_verdict.update(verdict.value for verdict in verdicts)
        if verdicts - {Verdict.UNVERIFIABLE}:
            figures.wrong += 1
        elif verdicts:
            figures.unverifiable += 1
        else:
            figures.verified += 1
        for finding in findings:
            self._lines.append(
                (attempt, launched, submission, finding.verdict.value, finding.problem)
            )

    def _progress(self) -> dict[str, object]:
        figures = self._figures
        return {
            "done": figures.done,
            "total": figures.total,
            "wrong": figures.wrong,
            "unverifiable": figures.unverifiable,
            "files": figures.files,
            "mb_read": round(figures.bytes_read / 1_048_576),
            "rate_per_s": round(figures.done / max(time.monotonic() - self._started_s, 1e-3), 1),
        }

    def result(self) -> CommandResult:
        """Count what was verified."""
        figures = self._figures
        what = "sampled" if self.sample is not None else "verified"
        counts = (
            f"{figures.verified:,} submissions {what} and right, {figures.wrong:,} wrong, "
            f"{figures.unverifiable:,} unverifiable, {figures.others:,} of another tool, "
            f"{figures.files:,} files ({size_text(figures.bytes_read)} read)"
        )
        notes = [f"{verdict}: {count:,}" for verdict, count in sorted(figures.by_verdict.items())]
        if figures.wrong or figures.unverifiable:
            notes.append(f"see {self.data.path / FAILURES}")
        return self.result_of(figures.wrong, counts, *notes)


def of_rows(row: SubmissionRow) -> Iterator[Finding]:
    """What the tables alone show to be wrong."""
    if not row.has_launch:
        yield Finding(Verdict.LAUNCH_MISSING, "there is no row of lti_launch_sessions")
    elif not row.launch_agrees:
        problem = "the launch session has another user, context or assessment"
        yield Finding(Verdict.RECORDS_DISAGREE, problem)
    if row.session_id is None or row.session_id != row.session_record_id:
        yield Finding(Verdict.SESSION_MISSING, "there is no row of lti_session_records")
    elif not row.session_agrees:
        problem = "the session record has another user, context or assessment"
        yield Finding(Verdict.RECORDS_DISAGREE, problem)
    orders = [file.order for file in row.files]
    if len(orders) != row.file_count or orders != list(range(1, len(orders) + 1)) or not orders:
        problem = f"file_count is {row.file_count}, the files are numbered {orders}"
        yield Finding(Verdict.FILE_ROWS_WRONG, problem)
    if row.grades != 1:
        yield Finding(Verdict.GRADE_MISSING, f"{row.grades} rows of submission_grades")
    if not row.markings:
        yield Finding(Verdict.MARKING_MISSING, "no row of submission_marking_assignments")
    if row.mismatched_marks:
        problem = f"{row.mismatched_marks} section marks are of another assessment's sections"
        yield Finding(Verdict.MARK_OF_ANOTHER_ASSESSMENT, problem)
    if row.rule_missing:
        problem = "a malpractice grade without a row of malpractice_enforcements"
        yield Finding(Verdict.ENFORCEMENT_MISSING, problem)


def _of_blob(
    attempt: int, row: SubmissionRow, file: FileRow, content: BlobContent | None, *, whole: bool
) -> Iterator[Finding]:
    what = f"file {file.order}"
    if content is None:
        yield Finding(Verdict.BLOB_MISSING, f"{what}: there is no such blob")
        return
    size_bytes = content.size_bytes if whole else content.stated_bytes or 0
    if content.stated_bytes != size_bytes or file.size != size_text(size_bytes):
        problem = f"{what}: {size_bytes} bytes, its row says {file.size}"
        yield Finding(Verdict.BLOB_LENGTH_WRONG, problem)
    if content.stated_md5 is None:
        yield Finding(Verdict.UNVERIFIABLE, f"{what}: the store states no MD5")
    elif whole and content.md5 != content.stated_md5:
        problem = f"{what}: its bytes are not those of the MD5 it was stored with"
        yield Finding(Verdict.BLOB_MD5_WRONG, problem)
    run_id = content.metadata.get("runid", "")
    belongs = content.metadata.get("attemptid") == str(attempt)
    if not belongs or submission_id(run_id, attempt) != row.id:
        problem = f"{what}: its metadata name another attempt or run"
        yield Finding(Verdict.BLOB_OF_ANOTHER, problem)


@click.command()
@click.option(
    "--sample", type=click.IntRange(min=1), help="Only so many submissions, picked at random."
)
@click.option(
    "--quick",
    is_flag=True,
    help="Do not read the blobs: ask for their length and the MD5 they were stored with.",
)
@data_dir_option
def verify(sample: int | None, data_dir: Path | None, *, quick: bool) -> None:
    """Hold every submission of this tool against its tables and its blobs.

    Changes nothing. What is wrong or cannot be told is in verification_failures.csv; exit code 1
    says that something is wrong.
    """
    operate(lambda settings, _: Verification(settings, sample, whole=not quick).execute(), data_dir)
