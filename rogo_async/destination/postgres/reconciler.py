"""Compares migrated submissions with their source, some hundred at a time (specification §5).

Two statements for each chunk: one reads all rows of the submissions, one computes the rows that a
migration would write now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from rogo_async.common.errors import RowError
from rogo_async.common.retry import CircuitBreaker
from rogo_async.destination.postgres.connections import Connections
from rogo_async.destination.postgres.existing_rows import (
    FILES,
    RULES,
    ExistingSubmission,
    Row,
    read_existing,
)
from rogo_async.destination.postgres.expected_rows import ExpectedQuery
from rogo_async.destination.postgres.parameters import (
    TargetConstants,
    malpractice_rule_values,
    predict_rejection,
    submission_values,
)
from rogo_async.destination.postgres.reconciliation import (
    IsRestored,
    Reconciled,
    reconcile,
    without_submission,
)
from rogo_async.destination.postgres.row_comparison import RULE, SUBMISSION, Expected
from rogo_async.destination.postgres.unchanged_rows import UnchangedRows
from rogo_async.rules.files import blob_name, owner_of_blob, size_text
from rogo_async.rules.identity import launch_id
from rogo_async.rules.records import FileRef, Identity, PreparedSubmission, StoredFile

_SCAN_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Compared:
    """A submission in the target beside its source.

    ``expected`` is None if the source breaks a rule or the target would refuse its values; then
    there are no differences, and ``refused`` says why.
    """

    attempt: int
    existing: ExistingSubmission
    expected: Expected | None = None
    rule_values: Mapping[str, object] | None = None
    reconciled: Reconciled = field(default_factory=Reconciled)
    refused: str = ""


class Reconciler:
    """Compares chunks of submissions. Raises RunStopped and DependencyErrors."""

    def __init__(
        self,
        connections: Connections,
        breaker: CircuitBreaker,
        constants: TargetConstants,
        is_restored: IsRestored,
    ) -> None:
        self._connections = connections
        self._breaker = breaker
        self._constants = constants
        self._is_restored = is_restored
        self.unchanged = UnchangedRows(connections, breaker, constants)

    async def existing(self, attempts: Sequence[int]) -> dict[int, ExistingSubmission]:
        """The rows of these attempts that this tool wrote. Others are left out."""
        ids = {launch_id(each, self._constants.lms.instance_id): each for each in attempts}

        async def read() -> dict[str, ExistingSubmission]:
            async with self._connections.session("existing_rows") as session:
                return await read_existing(session, list(ids))

        found = await self._breaker.call("existing_rows", read)
        return {ids[launched]: rows for launched, rows in found.items()}

    async def compare(
        self,
        existing: Mapping[int, ExistingSubmission],
        prepared: Mapping[int, PreparedSubmission],
        sizes: Mapping[int, Mapping[str, int]],
    ) -> dict[int, Compared]:
        """Compare each attempt of ``prepared`` that exists.

        ``sizes``: bytes of blobs by attempt and name, where the columns with sizes are to be
        compared, too. Otherwise they count as right.
        """
        found = {
            attempt: self._without_rows(each, existing[attempt], sizes.get(attempt))
            for attempt, each in prepared.items()
            if attempt in existing
        }
        chunk = [each for each in found.values() if not isinstance(each, Compared)]
        compared = await self._with_rows(chunk)
        found.update({each.attempt: each for each in compared})
        return {attempt: each for attempt, each in found.items() if isinstance(each, Compared)}

    def _without_rows(
        self,
        prepared: PreparedSubmission,
        existing: ExistingSubmission,
        sizes: Mapping[str, int] | None,
    ) -> "Compared | _Submission":
        constants = self._constants
        attempt = prepared.attempt
        if existing.submission is None:
            return Compared(attempt, existing, reconciled=without_submission(existing))
        identity = Identity(attempt, existing.launch_id, existing.submission_id or "")
        try:
            values = stored_values(prepared, existing, identity, constants, sizes)
        except RowError as error:
            return Compared(attempt, existing, refused=error.message)
        rule = None
        if prepared.malpractice is not None:
            rule = malpractice_rule_values(prepared, identity, constants.lms, constants.applied_by)
        if reason := predict_rejection({**values, **(rule or {})}):
            return Compared(attempt, existing, refused=reason)
        return _Submission(attempt, existing, values, rule)

    async def _with_rows(self, chunk: "Sequence[_Submission]") -> list[Compared]:
        if not chunk:
            return []
        try:
            rows = await self._rows(SUBMISSION, [each.values for each in chunk])
            rules = await self._rows(RULE, [e.rule for e in chunk if e.rule is not None])
        except RowError as error:
            # The target would refuse a value of one of them.
            if len(chunk) == 1:
                return [Compared(chunk[0].attempt, chunk[0].existing, refused=error.message)]
            half = len(chunk) // 2
            return [
                *await self._with_rows(chunk[:half]),
                *await self._with_rows(chunk[half:]),
            ]
        found = []
        left = iter(rules)
        for each, tables in zip(chunk, rows, strict=True):
            rule = next(left)[RULES][0] if each.rule is not None else None
            expected = Expected(each.attempt, tables, rule)
            found.append(
                Compared(
                    each.attempt,
                    each.existing,
                    expected,
                    each.rule,
                    reconcile(each.existing, expected, self._is_restored),
                )
            )
        return await self._without_shared(found)

    async def _without_shared(self, found: Sequence[Compared]) -> list[Compared]:
        """Judge those again whose rows were written together with those of another submission."""
        transactions = {each.existing.written_by for each in found if each.reconciled.differences}
        if not transactions:
            return list(found)

        async def read() -> set[str]:
            async with self._connections.session("shared_transactions") as session:
                values = {"transactions": sorted(transactions)}
                rows = await session.rows("shared_transactions", values, _SCAN_S)
                return {row["written_by"] for row in rows}

        shared = await self._breaker.call("shared_transactions", read)
        return [
            replace(
                each,
                reconciled=reconcile(
                    each.existing, each.expected, self._is_restored, shares_transaction=True
                ),
            )
            if each.expected is not None and each.existing.written_by in shared
            else each
            for each in found
        ]

    async def _rows(
        self, query: ExpectedQuery, submissions: Sequence[Mapping[str, object]]
    ) -> list[dict[str, list[Row]]]:
        """The rows by table that an insert would write, for each of ``submissions``."""
        if not submissions:
            return []

        async def compute() -> list[Any]:
            async with self._connections.session("expected_rows", writing=True) as session:
                argument = query.argument(submissions)
                found: list[Any] = await session.raw.fetch(query.sql, argument, timeout=_SCAN_S)
                return found

        rows: list[dict[str, list[Row]]] = [
            {table: [] for table in query.tables} for _ in submissions
        ]
        for number, table, content in await self._breaker.call("expected_rows", compute):
            rows[number][table].append(orjson.loads(content))
        return rows


@dataclass(frozen=True, slots=True)
class _Submission:
    """The parameters of the inserts, under the ids of the existing submission."""

    attempt: int
    existing: ExistingSubmission
    values: Mapping[str, object]
    rule: Mapping[str, object] | None


def stored_values(
    prepared: PreparedSubmission,
    existing: ExistingSubmission,
    identity: Identity,
    constants: TargetConstants,
    sizes: Mapping[str, int] | None,
) -> Mapping[str, object]:
    """The parameters of the insert of a submission whose files are stored already.

    Raises RowError target_refused for a number that is out of range.
    """
    rows = {row.content["upload_order"]: row.content for row in existing.of(FILES)}

    def stored(ref: FileRef) -> StoredFile:
        row = rows.get(ref.order, {})
        name = str(row.get("azure_blob_name"))
        # A name that only one column has was changed on the platform.
        urls = row.get("azure_blob_url"), row.get("file_url")
        if constants.url_of(name) not in urls or not _is_blob_of(name, identity, ref):
            name = blob_name(prepared.attempt, identity.submission_id, ref)
        return StoredFile(ref, name, constants.url_of(name), (sizes or {}).get(name, 0), b"")

    files = [stored(ref) for ref in prepared.files]
    values = submission_values(prepared, files, identity, constants.lms, constants.container)
    if sizes is not None and all(each.blob_name in sizes for each in files):
        return values
    submission: Row = existing.submission or {}
    return {
        **values,
        "file_sizes": [
            rows.get(each.ref.order, {}).get("file_size", size_text(0)) for each in files
        ],
        "total_file_size": submission.get("total_file_size"),
    }


def _is_blob_of(name: str, identity: Identity, ref: FileRef) -> bool:
    """Whether a blob's name belongs to this file; its last part follows a name at that time."""
    owner = owner_of_blob(name)
    return (
        owner is not None
        and (owner.attempt, owner.submission_id) == (identity.attempt, identity.submission_id)
        and (owner.kind, owner.order) == (ref.kind, ref.order)
    )
