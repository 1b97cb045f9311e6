"""What a verification covers, and its counts."""

from collections import Counter
from dataclasses import dataclass, field

from rogo_async.common.text import plural, size_shown


@dataclass(frozen=True, slots=True)
class VerificationScope:
    """What is verified: all submissions, ``sample`` random ones, or those of ``attempts``.

    With ``whole`` the blobs are read; otherwise only the length and MD5 that the store states are
    compared. With ``source`` every column is compared with the source.
    """

    sample: int | None = None
    attempts: tuple[int, ...] = ()
    whole: bool = True
    source: bool = False


@dataclass(slots=True)
class VerificationCounts:
    """The counts of a verification so far. A submission is ok, wrong or unverifiable."""

    total: int = 0
    ok: int = 0
    wrong: int = 0
    unverifiable: int = 0
    others: int = 0
    """Submissions that another tool migrated."""
    files: int = 0
    bytes_read: int = 0
    by_verdict: Counter[str] = field(default_factory=Counter)

    @property
    def done(self) -> int:
        """Submissions that have been processed."""
        return self.ok + self.wrong + self.unverifiable + self.others

    def text(self, kind: str) -> str:
        """The counts, for the summary line. ``kind`` stands before ``submissions``."""
        return (
            f"{plural(self.ok, f'{kind}submission')} ok, "
            f"{self.wrong:,} wrong, {self.unverifiable:,} unverifiable, "
            f"{self.others:,} written by another tool, {plural(self.files, 'file')} "
            f"({size_shown(self.bytes_read)} read)"
        )

    def verdicts(self) -> list[str]:
        """The verdicts with their counts, for the summary line."""
        return [f"{verdict}: {count:,}" for verdict, count in sorted(self.by_verdict.items())]

    def facts(self) -> dict[str, object]:
        """The counts, for ``--json``."""
        return {
            "submissions": self.total,
            "ok": self.ok,
            "wrong": self.wrong,
            "unverifiable": self.unverifiable,
            "of_another_tool": self.others,
            "by_verdict": dict(sorted(self.by_verdict.items())),
            "files": self.files,
            "bytes_read": self.bytes_read,
        }
