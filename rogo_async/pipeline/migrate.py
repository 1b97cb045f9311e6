"""The migration of one submission, from top to bottom. Read this module first.

The producer has applied rules 0 to 7 and has read the warehouse rows. This module applies rules
8 to 15, in order.
"""

from collections.abc import Sequence
from functools import partial

import structlog

from rogo_async.common.errors import (
    DependencyError,
    FailureCode,
    RowError,
    RowSkip,
    RunStopped,
    SkipCode,
    SourceForbidden,
)
from rogo_async.common.settings import AmbiguousReports, Lms
from rogo_async.common.urls import AllowList
from rogo_async.destination.postgres.parameters import session_record_id
from rogo_async.destination.postgres.writer import StoredFiles, Writer, WriteResult
from rogo_async.pipeline.file_copier import FileCopier
from rogo_async.pipeline.forbidden_rows import ForbiddenRow
from rogo_async.rules import derived_values
from rogo_async.rules.identity import identify
from rogo_async.rules.matching import Reference
from rogo_async.rules.prepare import prepare
from rogo_async.rules.records import (
    Identity,
    MigratedLine,
    Outcome,
    PreparedSubmission,
    Status,
    StoredFile,
    Submission,
)
from rogo_async.rules.row_filter import incomplete_in_target

log = structlog.get_logger()


class Migrator:
    """Applies the rules to a submission, copies its files and writes its rows.

    The files come first, so that no row refers to a blob that does not exist (invariant 3).
    """

    def __init__(
        self,
        run_id: str,
        lms: Lms,
        allow_list: AllowList,
        ambiguous_reports: AmbiguousReports,
        reference: Reference,
        file_copier: FileCopier,
        writer: Writer,
    ) -> None:
        self._run_id = run_id
        self._lms = lms
        self._allow_list = allow_list
        self._ambiguous_reports = ambiguous_reports
        self._reference = reference
        self._file_copier = file_copier
        self._writer = writer

    async def migrate(self, submission: Submission) -> Outcome | ForbiddenRow:
        """Migrate one submission and return its outcome.

        Raises RunStopped when the run ends first, and a DependencyError when the outcome is
        unknown. In that case the blobs are kept, because rows may refer to them (invariant 7).
        """
        row, attempt = submission.row, submission.attempt
        identity = identify(attempt, self._run_id, self._lms.instance_id)
        try:
            prepared = prepare(  # rules 8 to 14
                submission, self._reference, self._allow_list, self._ambiguous_reports
            )
        except RowError as error:
            return Outcome.failed(row, attempt, error)
        hold = await self._writer.ready()
        delete_files = partial(self._delete_files, prepared, identity)
        try:
            files = await self._file_copier.copy(prepared.files, identity)  # rule 14
            renew = partial(self._file_copier.renew, prepared.files, identity)
            stored = StoredFiles(files, hold, renew)
            result = await self._writer.write(prepared, stored, identity)  # rule 15
        except SourceForbidden as error:
            return ForbiddenRow(submission, error, delete_files)
        except RowError as error:
            # After a conflict it is not certain that no row refers to the blobs.
            if error.code is not FailureCode.TARGET_CONFLICT:
                await delete_files()
            return Outcome.failed(row, attempt, error)
        if result is WriteResult.FILES_GONE:
            return await self.migrate(submission)
        return self._outcome(result, submission, prepared, identity, files)

    async def _delete_files(self, prepared: PreparedSubmission, identity: Identity) -> None:
        """Delete the blobs of a submission that has no row, if certainly nobody else wrote one."""
        try:
            is_written = await self._writer.is_written(identity)
        except (DependencyError, RunStopped):
            is_written = True
        if is_written:
            log.warning("blobs were left for sweep", attempt=identity.attempt)
            return
        await self._file_copier.delete(prepared.files, identity, self._writer.may_delete_blobs)

    def _outcome(
        self,
        result: WriteResult,
        submission: Submission,
        prepared: PreparedSubmission,
        identity: Identity,
        files: Sequence[StoredFile],
    ) -> Outcome:
        row, attempt = submission.row, submission.attempt
        match result:
            case WriteResult.INSERTED:
                line = self._migrated_line(prepared, identity)
                return Outcome(
                    row,
                    Status.MIGRATED,
                    attempt,
                    migrated_line=line,
                    stored=tuple((file.route, file.size_bytes) for file in files),
                )
            case WriteResult.ALREADY_EXISTS:
                skip = RowSkip(SkipCode.ALREADY_MIGRATED, "another run wrote this attempt first")
                return Outcome.skipped(row, attempt, skip)
            case _:
                return Outcome.failed(row, attempt, incomplete_in_target())

    def _migrated_line(self, prepared: PreparedSubmission, identity: Identity) -> MigratedLine:
        return MigratedLine(
            attempt=identity.attempt,
            launch_id=identity.launch_id,
            submission_id=identity.submission_id,
            session_record_id=session_record_id(identity),
            user_id=derived_values.lms_user_id(self._lms, prepared.report),
            context_id=derived_values.context_id(self._lms, prepared.report),
        )
