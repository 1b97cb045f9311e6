"""One submission: files before rows, and blobs are deleted only if no row can refer to them.

Rules 14 and 15, invariants 3 and 7. The file copier and the writer record their calls.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import pytest

from rogo_async.common.errors import (
    AmbiguousError,
    Dependency,
    FailureCode,
    RefusalStreak,
    RowError,
    RunStopped,
    SourceForbidden,
    TransientError,
)
from rogo_async.common.settings import AmbiguousReports
from rogo_async.destination.postgres.writer import StoredFiles, Writer, WriteResult
from rogo_async.pipeline.file_copier import FileCopier
from rogo_async.pipeline.forbidden_rows import ForbiddenRow
from rogo_async.pipeline.migrate import Migrator
from rogo_async.rules.identity import identify
from rogo_async.rules.records import (
    FileRef,
    Identity,
    Outcome,
    PreparedSubmission,
    Status,
    StoredFile,
    Submission,
    WarehouseRows,
)
from tests.unit.rules.builders import ALLOW, LMS, a_reference, a_report, a_row, a_score

RUN = "20260131T011500Z-0123abcd"
WHO = identify(7, RUN, LMS.instance_id)
COPIED = ["ready", "copy 1", "write in hold 1"]


class Servers:
    """File copier and writer. An exception among ``results`` is raised; the lock gets lost."""

    def __init__(self, *results: WriteResult | Exception, copied: Exception | None = None) -> None:
        self.calls: list[str] = []
        self._results = list(results)
        self._copied = copied
        self._hold = 0
        self.lock_is_lost = False
        self.has_row = False

    async def ready(self) -> int:
        """Each call is of a new hold."""
        self.calls.append("ready")
        self._hold += 1
        return self._hold

    async def copy(self, refs: Sequence[FileRef], identity: Identity) -> list[StoredFile]:
        assert identity == WHO
        self.calls.append(f"copy {self._hold}")
        if self._copied is not None:
            raise self._copied
        return [StoredFile(ref, f"name {ref.order}", "url", 10, b"") for ref in refs]

    async def write(
        self, prepared: PreparedSubmission, stored: StoredFiles, identity: Identity
    ) -> WriteResult:
        assert identity == WHO
        assert [each.ref for each in stored.files] == list(prepared.files)
        self.calls.append(f"write in hold {stored.hold}")
        result = self._results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    async def may_delete_blobs(self) -> bool:
        return not self.lock_is_lost

    async def is_written(self, identity: Identity) -> bool:
        assert identity == WHO
        return self.has_row

    async def delete(
        self,
        refs: Sequence[FileRef],
        identity: Identity,
        may_delete: Callable[[], Awaitable[bool]],
    ) -> None:
        assert identity == WHO
        if await may_delete():
            self.calls.append(f"delete {len(refs)}")

    async def renew(self, refs: Sequence[FileRef], identity: Identity) -> bool:
        raise AssertionError


def submission(grade: str = "Pass") -> Submission:
    rows = WarehouseRows((a_report(grade=grade),), (a_score(),))
    return Submission(a_row(), 7, 1, "24_01", rows)


async def migrated(servers: Servers, each: Submission | None = None) -> Outcome | ForbiddenRow:
    migrator = Migrator(
        RUN,
        LMS,
        ALLOW,
        AmbiguousReports.FAIL,
        a_reference(),
        cast("FileCopier", servers),
        cast("Writer", servers),
    )
    return await migrator.migrate(each or submission())


async def outcome_of(servers: Servers, each: Submission | None = None) -> Outcome:
    outcome = await migrated(servers, each)
    assert isinstance(outcome, Outcome)
    assert outcome.attempt == 7
    return outcome


async def test_the_files_are_stored_before_the_rows_and_in_a_known_hold_of_the_lock() -> None:
    """A hold that is read later would hide that the lock was lost while the files were stored."""
    servers = Servers(WriteResult.INSERTED)
    outcome = await outcome_of(servers)
    assert servers.calls == COPIED
    assert outcome.status is Status.MIGRATED
    assert [size_bytes for _, size_bytes in outcome.stored] == [10, 10]
    line = outcome.migrated_line
    assert line is not None
    assert (line.attempt, line.launch_id, line.submission_id) == (
        7,
        WHO.launch_id,
        WHO.submission_id,
    )
    assert (line.user_id, line.context_id) == ("inst::501", "inst::601")


async def test_a_row_that_fails_a_rule_touches_no_server() -> None:
    servers = Servers()
    outcome = await outcome_of(servers, submission(grade="Grade Missed"))
    assert outcome.code is FailureCode.GRADE_MISSED
    assert servers.calls == []


@pytest.mark.parametrize(
    "code", [FailureCode.SOURCE_FILE_MISSING, FailureCode.SOURCE_REFUSED, FailureCode.FILE_CORRUPT]
)
async def test_the_other_files_of_a_row_whose_file_failed_are_deleted(code: FailureCode) -> None:
    servers = Servers(copied=RowError(code, "why"))
    outcome = await outcome_of(servers)
    assert (outcome.status, outcome.code, outcome.message) == (Status.FAILED, code, "why")
    assert servers.calls == ["ready", "copy 1", "delete 2"]


async def test_after_the_lock_was_lost_the_files_of_a_failed_row_are_kept() -> None:
    """Another process may have run the same shard meanwhile, with the same ids."""
    servers = Servers(copied=RowError(FailureCode.FILE_CORRUPT, "why"))
    servers.lock_is_lost = True
    assert (await outcome_of(servers)).status is Status.FAILED
    assert servers.calls == ["ready", "copy 1"]


async def test_the_files_of_a_failed_row_that_another_try_wrote_are_kept() -> None:
    """A killed try of the same shard may have been committed after this one read the attempts."""
    servers = Servers(copied=RowError(FailureCode.FILE_CORRUPT, "why"))
    servers.has_row = True
    assert (await outcome_of(servers)).status is Status.FAILED
    assert servers.calls == ["ready", "copy 1"]


async def test_the_files_of_rows_that_the_target_refused_are_deleted() -> None:
    servers = Servers(RowError(FailureCode.TARGET_REFUSED, "why"))
    assert (await outcome_of(servers)).code is FailureCode.TARGET_REFUSED
    assert servers.calls == [*COPIED, "delete 2"]


async def test_after_a_conflict_the_files_are_kept() -> None:
    """Rows of the same keys may refer to them."""
    servers = Servers(RowError(FailureCode.TARGET_CONFLICT, "why"))
    assert (await outcome_of(servers)).code is FailureCode.TARGET_CONFLICT
    assert servers.calls == COPIED


@pytest.mark.parametrize(
    "error",
    [
        AmbiguousError(Dependency.TARGET, "insert", "the reply was lost"),
        TransientError(Dependency.TARGET, "insert", "no answer in time"),
        RunStopped(),
    ],
)
async def test_while_the_outcome_is_unknown_the_files_are_kept(error: Exception) -> None:
    servers = Servers(error)
    with pytest.raises(type(error)):
        await migrated(servers)
    assert servers.calls == COPIED


@pytest.mark.parametrize(
    ("result", "status", "code"),
    [
        (WriteResult.ALREADY_EXISTS, Status.SKIPPED, "already_migrated"),
        (WriteResult.INCOMPLETE, Status.FAILED, FailureCode.TARGET_INCOMPLETE),
    ],
)
async def test_the_files_of_an_attempt_that_another_wrote_are_kept(
    result: WriteResult, status: Status, code: str
) -> None:
    servers = Servers(result)
    outcome = await outcome_of(servers)
    assert (outcome.status, outcome.code) == (status, code)
    assert outcome.migrated_line is None
    assert servers.calls == COPIED


async def test_files_that_were_swept_are_stored_again_in_the_new_hold() -> None:
    servers = Servers(WriteResult.FILES_GONE, WriteResult.INSERTED)
    assert (await outcome_of(servers)).status is Status.MIGRATED
    assert servers.calls == [*COPIED, "ready", "copy 2", "write in hold 2"]


async def test_the_files_of_a_refused_row_are_deleted_only_when_it_fails() -> None:
    """It may be tried again, when its host has refused every file."""
    refused = SourceForbidden("https://files.example:443", "403", RefusalStreak(1))
    servers = Servers(copied=refused)
    row = await migrated(servers)
    assert isinstance(row, ForbiddenRow)
    assert servers.calls == ["ready", "copy 1"]
    assert row.outcome.code is FailureCode.SOURCE_FORBIDDEN
    await row.delete_files()
    assert servers.calls == ["ready", "copy 1", "delete 2"]
