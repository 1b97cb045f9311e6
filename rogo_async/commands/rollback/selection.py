"""What a rollback is about: a run, or attempts (specification §5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rogo_async.commands.orphans import EVERYWHERE, Orphan
from rogo_async.common.data_dir import DataDir
from rogo_async.destination.postgres.rollback import MigratedSubmission
from rogo_async.rules.identity import child_id, submission_id


class Selection(Protocol):
    """Which submissions are to be taken out, and which blobs are theirs."""

    def text(self) -> str:
        """The selection in the words of the command line."""

    def wants(self, trace: MigratedSubmission) -> bool:
        """Whether what stands under a launch id is meant."""

    def wants_blob(self, orphan: Orphan) -> bool:
        """Whether a blob that no row refers to is meant."""

    def prefixes(self) -> Sequence[str]:
        """What the names of these blobs begin with."""

    def is_known(self, data: DataDir) -> bool:
        """Whether there is a reason to think that it ever meant something."""


@dataclass(frozen=True, slots=True)
class OfRun:
    """Everything that one run has migrated."""

    run_id: str

    def text(self) -> str:
        """The selection in the words of the command line."""
        return f"run {self.run_id}"

    def wants(self, trace: MigratedSubmission) -> bool:
        """Whether this run wrote it: the ids of its rows follow from run and attempt."""
        ours = submission_id(self.run_id, trace.attempt)
        if trace.submission_id is not None:
            return trace.submission_id == ours
        return trace.session_id == child_id(ours, "session")

    def wants_blob(self, orphan: Orphan) -> bool:
        """Whether this run stored it."""
        owner = orphan.owner
        return (
            orphan.run_id == self.run_id
            and submission_id(self.run_id, owner.attempt) == owner.submission_id
        )

    def prefixes(self) -> Sequence[str]:
        """Those of all blobs: their names do not tell the run."""
        return EVERYWHERE

    def is_known(self, data: DataDir) -> bool:
        """Whether the run has left a file in ``runs/``."""
        return any(data.runs.glob(f"{self.run_id}.*"))


@dataclass(frozen=True, slots=True)
class OfAttempts:
    """Some attempts, whichever run has migrated them."""

    attempts: frozenset[int]

    def text(self) -> str:
        """The selection in the words of the command line."""
        few = sorted(self.attempts)[:5]
        more = ", …" if len(self.attempts) > len(few) else ""
        return f"attempt {', '.join(map(str, few))}{more}"

    def wants(self, trace: MigratedSubmission) -> bool:
        """Whether it is of one of the attempts, whoever wrote it."""
        return trace.attempt in self.attempts

    def wants_blob(self, orphan: Orphan) -> bool:
        """Whether it is of one of the attempts."""
        return orphan.owner.attempt in self.attempts

    def prefixes(self) -> Sequence[str]:
        """A folder for each attempt and kind of file."""
        return [f"{each}{attempt}/" for each in EVERYWHERE for attempt in sorted(self.attempts)]

    def is_known(self, data: DataDir) -> bool:  # noqa: ARG002 - an attempt needs no run
        """An attempt may always be asked for."""
        return True
