"""Selects what a rollback deletes: the submissions of a run, or of some attempts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rogo_async.commands.orphans import ALL_PREFIXES, Orphan
from rogo_async.common.data_dir import DataDir
from rogo_async.destination.postgres.journal import add_lines, journal_path
from rogo_async.destination.postgres.refresh_rollback import Refreshes
from rogo_async.destination.postgres.rollback import MigratedSubmission
from rogo_async.rules.identity import child_id, submission_id


class Selection(Protocol):
    """Selects submissions and blobs for a rollback."""

    def text(self) -> str:
        """The selection as shown to the operator."""

    def includes(self, submission: MigratedSubmission) -> bool:
        """Whether the submission, or a launch or session record without one, is selected."""

    def includes_blob(self, orphan: Orphan) -> bool:
        """Whether a blob that no row refers to is selected."""

    def prefixes(self) -> Sequence[str]:
        """The prefixes of the names of these blobs."""

    def refreshes(self, data: DataDir) -> Refreshes:
        """The refreshes whose former values are put back."""

    def is_known(self, data: DataDir) -> bool:
        """Whether the selection is valid although it is empty. Otherwise it is a typing error."""


@dataclass(frozen=True, slots=True)
class OfRun:
    """Everything that one run migrated."""

    run_id: str

    def text(self) -> str:
        """The selection as shown to the operator."""
        return f"run {self.run_id}"

    def includes(self, submission: MigratedSubmission) -> bool:
        """Whether this run wrote it. The ids of its rows are derived from run and attempt."""
        ours = submission_id(self.run_id, submission.attempt)
        if submission.submission_id is not None:
            return submission.submission_id == ours
        return submission.session_id == child_id(ours, "session")

    def includes_blob(self, orphan: Orphan) -> bool:
        """Whether this run stored the blob."""
        owner = orphan.owner
        return (
            orphan.run_id == self.run_id
            and submission_id(self.run_id, owner.attempt) == owner.submission_id
        )

    def prefixes(self) -> Sequence[str]:
        """All prefixes: a blob's name does not contain the run."""
        return ALL_PREFIXES

    def refreshes(self, data: DataDir) -> Refreshes:
        """Those of this run; also of its shards that were not collected."""
        own = journal_path(data.runs, self.run_id)
        for shard in data.shards(self.run_id):
            journal = journal_path(shard.runs, self.run_id)
            if journal.exists():
                with journal.open("rb") as lines:
                    add_lines(own, lines)
        return Refreshes.read(own)

    def is_known(self, data: DataDir) -> bool:
        """Whether the run has a file in ``runs/``, or a shard in ``shards/``."""
        return any(data.runs.glob(f"{self.run_id}.*")) or bool(data.shards(self.run_id))


@dataclass(frozen=True, slots=True)
class OfAttempts:
    """Some attempts, migrated by any run."""

    attempts: frozenset[int]

    def text(self) -> str:
        """The selection as shown to the operator."""
        first = sorted(self.attempts)[:5]
        more = ", …" if len(self.attempts) > len(first) else ""
        return f"attempt {', '.join(map(str, first))}{more}"

    def includes(self, submission: MigratedSubmission) -> bool:
        """Whether it belongs to one of the attempts."""
        return submission.attempt in self.attempts

    def includes_blob(self, orphan: Orphan) -> bool:
        """Whether it belongs to one of the attempts."""
        return orphan.owner.attempt in self.attempts

    def prefixes(self) -> Sequence[str]:
        """One prefix for each attempt and kind of file."""
        return [
            f"{prefix}{attempt}/" for prefix in ALL_PREFIXES for attempt in sorted(self.attempts)
        ]

    def refreshes(self, data: DataDir) -> Refreshes:
        """None: the whole submission is deleted."""
        return Refreshes(data.runs)

    def is_known(self, data: DataDir) -> bool:  # noqa: ARG002 - any attempt may be given
        """True: every attempt is a valid selection."""
        return True
