"""The rows of a migrated submission, as records, and the statement that reads them."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from rogo_async.destination.postgres.connections import Session

LAUNCHES: Final = "lti_launch_sessions"
SESSIONS: Final = "lti_session_records"
SUBMISSIONS: Final = "assignment_submissions"
FILES: Final = "submission_files"
MARKINGS: Final = "submission_marking_assignments"
MARKS: Final = "submission_section_marks"
GRADES: Final = "submission_grades"
RULES: Final = "malpractice_enforcements"

_SCAN_S: Final = 600.0

Row = Mapping[str, Any]
"""A row as JSON values, by column."""


@dataclass(frozen=True, slots=True)
class ExistingRow:
    """A row of the target with all its columns; ``written_by`` is its xmin.

    ``named`` is the launch id of the submission that a malpractice rule names.
    """

    table: str
    written_by: str
    content: Row
    named: str | None = None

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.content["id"])


@dataclass(frozen=True, slots=True)
class ExistingSubmission:
    """The rows of a launch id. ``rules``: those that name the submission, and all of its key."""

    launch_id: str
    rows: tuple[ExistingRow, ...]
    rules: tuple[ExistingRow, ...]

    def of(self, table: str) -> list[ExistingRow]:
        """The rows of a table."""
        return [row for row in self.rows if row.table == table]

    @property
    def submission(self) -> Row | None:
        """Its row in assignment_submissions."""
        found = self.of(SUBMISSIONS)
        return found[0].content if found else None

    @property
    def submission_id(self) -> str | None:
        """The id of the submission, if its row exists."""
        return None if self.submission is None else str(self.submission["id"])

    @property
    def written_by(self) -> str:
        """The transaction that wrote most of its rows."""
        ((most, _),) = Counter(row.written_by for row in self.rows).most_common(1)
        return most

    def named_rules(self) -> list[ExistingRow]:
        """The malpractice rules that name the submission."""
        return [rule for rule in self.rules if rule.content["submission_id"] == self.submission_id]


async def read_existing(
    session: Session, launch_ids: Sequence[str]
) -> dict[str, ExistingSubmission]:
    """Read all rows of these launch ids, by launch id. One without any row is left out."""
    rows: defaultdict[str, list[ExistingRow]] = defaultdict(list)
    rules: defaultdict[str, list[ExistingRow]] = defaultdict(list)
    found = await session.rows("rows_of_launches", {"launch_ids": list(launch_ids)}, _SCAN_S)
    for launch_id, table, written_by, content, named in found:
        row = ExistingRow(table, written_by, orjson.loads(content), named)
        (rules if table == RULES else rows)[launch_id].append(row)
    return {
        launch_id: ExistingSubmission(launch_id, tuple(own), tuple(rules[launch_id]))
        for launch_id, own in rows.items()
    }
