"""One submission, from top to bottom. Read this page first.

A row comes here when the feeder has found it new (SPEC §3 rules 0 to 7) and has looked up its
report and scores. What is left are rules 8 to 15, in their order.
"""

from dataclasses import dataclass

from rogo_async.common.errors import FailureCode, RowError, RowSkip, SkipCode, SourceForbidden
from rogo_async.common.settings import Lms
from rogo_async.common.urls import AllowList
from rogo_async.destination.postgres.parameters import session_record_id
from rogo_async.destination.postgres.writer import Writer, WriteResult
from rogo_async.pipeline.file_copier import FileCopier
from rogo_async.rules import derived_values
from rogo_async.rules.identity import identify
from rogo_async.rules.matching import Reference
from rogo_async.rules.prepare import prepare
from rogo_async.rules.records import Identity, Outcome, Prepared, Receipt, SourceRow, Status
from rogo_async.sources.warehouse.reader import LookUp


@dataclass(frozen=True, slots=True)
class Work:
    """A row that is to be migrated, with all that was looked up for it."""

    row: SourceRow
    attempt: int
    attempt_number: int
    version: str
    found: LookUp

    def prepare(self, reference: Reference, allow: AllowList) -> Prepared:
        """All that the target needs but the files' bytes. Raises RowError (rules 8 to 14)."""
        return prepare(
            self.row,
            self.attempt,
            self.attempt_number,
            self.version,
            self.found.reports,
            self.found.scores,
            reference,
            allow,
        )


@dataclass(frozen=True, slots=True)
class ForbiddenRow:
    """A row whose source refused it; the row's outcome if the refusal is the row's own fault."""

    work: Work
    prepared: Prepared
    fault: SourceForbidden
    outcome: Outcome


class Migrator:
    """Takes a row through the rules, its files into the container and its rows into the target."""

    def __init__(
        self,
        run_id: str,
        lms: Lms,
        allow: AllowList,
        reference: Reference,
        file_copier: FileCopier,
        writer: Writer,
    ) -> None:
        self._run_id = run_id
        self._lms = lms
        self._allow = allow
        self._reference = reference
        self._file_copier = file_copier
        self._writer = writer

    async def migrate(self, work: Work) -> Outcome | ForbiddenRow:
        """Migrate one submission and tell what became of it.

        Raises RunStopped when the run ends first, and a DependencyError when the outcome stays
        unknown; what was stored is kept then, for a row may refer to it.
        """
        identity = identify(work.attempt, self._run_id, self._lms.instance_id)
        try:
            prepared = work.prepare(self._reference, self._allow)
        except RowError as fault:
            return failed(work.row, work.attempt, fault)
        try:
            return await self._move_and_write(work, prepared, identity)
        except SourceForbidden as fault:
            outcome = failed(work.row, work.attempt, fault)
            return ForbiddenRow(work, prepared, fault, outcome)
        except RowSkip as skip:
            return skipped(work.row, work.attempt, skip)
        except RowError as fault:
            if fault.code not in {FailureCode.TARGET_CONFLICT, FailureCode.TARGET_INCOMPLETE}:
                await self._file_copier.discard(prepared.files, identity)
            return failed(work.row, work.attempt, fault)

    async def discard(self, forbidden: ForbiddenRow) -> None:
        """Delete what a forbidden row may have stored, once its failure is final."""
        identity = identify(forbidden.work.attempt, self._run_id, self._lms.instance_id)
        await self._file_copier.discard(forbidden.prepared.files, identity)

    async def _move_and_write(self, work: Work, prepared: Prepared, identity: Identity) -> Outcome:
        files = await self._file_copier.move(prepared.files, identity)
        match await self._writer.write(prepared, files, identity):
            case WriteResult.INSERTED:
                return Outcome(
                    work.row,
                    Status.MIGRATED,
                    work.attempt,
                    receipt=self._receipt(prepared, identity),
                )
            case WriteResult.ALREADY_EXISTS:
                raise RowSkip(SkipCode.ALREADY_MIGRATED, "another run wrote it meanwhile")
            case WriteResult.INCOMPLETE:
                raise RowError(
                    FailureCode.TARGET_INCOMPLETE,
                    "the target has a launch or session record of this attempt and no submission",
                )

    def _receipt(self, prepared: Prepared, identity: Identity) -> Receipt:
        return Receipt(
            attempt=identity.attempt,
            launch_id=identity.launch_id,
            submission_id=identity.submission_id,
            session_record_id=session_record_id(identity),
            user_id=derived_values.lms_user_id(self._lms, prepared.report),
            context_id=derived_values.context_id(self._lms, prepared.report),
        )


def failed(row: SourceRow, attempt: int | None, fault: RowError) -> Outcome:
    """The outcome of a row that a rule failed."""
    return Outcome(row, Status.FAILED, attempt, fault.code, fault.message)


def skipped(row: SourceRow, attempt: int | None, skip: RowSkip) -> Outcome:
    """The outcome of a row that needs no migration."""
    return Outcome(row, Status.SKIPPED, attempt, skip.code, skip.message)
