"""The counts of a rollback, and their text in the summary line."""

from dataclasses import dataclass, field

from rogo_async.common.text import plural


@dataclass(slots=True)
class RevertCounts:
    """Refreshed submissions whose former values are put back."""

    reverted: int = 0
    unchanged: int = 0
    """Submissions that have the former values, or are no longer in the target."""
    kept: int = 0
    """Submissions that have been changed since."""

    @property
    def done(self) -> int:
        """Submissions that have been processed."""
        return self.reverted + self.unchanged + self.kept


@dataclass(slots=True)
class RollbackCounts:
    """The counts of a rollback so far."""

    total: int = 0
    removed: int = 0
    kept: int = 0
    files: int = 0
    """Files of the selected submissions."""
    blobs_deleted: int = 0
    blobs_kept: int = 0
    """Blobs that were written again during the rollback, or that the store protects."""
    declined: bool = False
    reverts: RevertCounts = field(default_factory=RevertCounts)

    @property
    def failed(self) -> int:
        """What was kept."""
        return self.kept + self.reverts.kept + self.blobs_kept + self.declined

    @property
    def has_lines(self) -> bool:
        """Whether the file with one line for each submission and blob has any."""
        return bool(self.removed or self.kept or self.blobs_deleted or self.reverts.done)

    def text(self, selected: str, *, stopped: bool) -> str:
        """What was done, in one sentence."""
        if self.declined:
            return "cancelled; nothing was deleted"
        changed = self.reverts.reverted or self.reverts.kept
        if not (self.total or self.blobs_deleted or changed or stopped):
            return f"{selected}: nothing to roll back"
        return (
            f"{self.removed:,} of {plural(self.total, 'submission')} rolled back, "
            f"{plural(self.blobs_deleted, 'blob')} deleted, "
            f"{plural(self.kept + self.reverts.kept, 'submission')} kept"
        )

    def notes(self, *, stopped: bool) -> list[str]:
        """What else the operator should know."""
        notes = []
        if self.reverts.reverted:
            back = plural(self.reverts.reverted, "refreshed submission")
            notes.append(f"former values of {back} put back")
        if self.blobs_kept:
            notes.append(
                f"{plural(self.blobs_kept, 'blob')} kept: written again meanwhile, or protected"
            )
        missing = self.files - self.blobs_deleted - self.blobs_kept
        if missing > 0 and self.removed == self.total and not stopped:
            notes.append(f"{plural(missing, 'file')} had no blob in the container")
        return notes
