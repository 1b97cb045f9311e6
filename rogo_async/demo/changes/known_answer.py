"""What a run with refresh does with a changed submission, and what ``verify --source`` says of it.

Computed from the expected rows of both versions of the source. To keep the answer independent, this
module shares no logic with the migration, and the names of outcomes are a list of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from rogo_async.demo.changes.platform_changes import PlatformChange, Touched
from rogo_async.demo.checks.expected import ExpectedSubmission
from rogo_async.demo.dataset.reference_data import Row
from rogo_async.rules.records import FileKind


class Outcome(StrEnum):
    """What a run with refresh does with a submission that an earlier run migrated."""

    REFRESHED = "refreshed"
    ALREADY_MIGRATED = "already_migrated"
    CHANGED_ON_PLATFORM = "changed_on_platform"
    FILES_CHANGED = "files_changed"


class Verdict(StrEnum):
    """What ``verify --source`` says of the differences between a submission and its source."""

    SOURCE_CHANGED = "source_changed"
    CHANGED_ON_PLATFORM = "changed_on_platform"
    BOTH_CHANGED = "both_changed"
    SOURCE_GONE = "source_gone"


class SourceEffect(Enum):
    """How the source differs from the one that was migrated."""

    NONE = auto()
    """No value of the target depends on what has changed, if anything has."""
    VALUES = auto()
    FILES = auto()
    """Other files; other values may differ too."""
    FEWER_FILES = auto()
    FAILS = auto()
    """The row would fail a rule now."""
    GONE = auto()
    """The row or its report is gone."""


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """The known answer for one attempt: its outcome and the verdicts on its differences."""

    outcome: Outcome
    verdicts: frozenset[Verdict] = frozenset()


def effect_of(before: ExpectedSubmission, after: ExpectedSubmission) -> SourceEffect:
    """Compare both versions of a source that migrates."""
    old, new = _files(before), _files(after)
    if old != new:
        return SourceEffect.FEWER_FILES if len(new) < len(old) else SourceEffect.FILES
    return SourceEffect.NONE if [*_rows(before)] == [*_rows(after)] else SourceEffect.VALUES


def known_answer(effect: SourceEffect, change: PlatformChange | None) -> KnownAnswer:
    """The answer for a submission whose source and platform rows have changed like this."""
    touched = change is not None and change.touched is not Touched.OTHER_RULE
    differs = change is not None and change.touched in {Touched.VALUES, Touched.ITS_RULE}
    if effect is SourceEffect.GONE:
        return _answer(Outcome.ALREADY_MIGRATED, Verdict.SOURCE_GONE)
    if effect is SourceEffect.NONE:
        on_platform = _answer(Outcome.CHANGED_ON_PLATFORM, Verdict.CHANGED_ON_PLATFORM)
        return on_platform if differs else _answer(Outcome.ALREADY_MIGRATED)
    verdict = Verdict.BOTH_CHANGED if touched else Verdict.SOURCE_CHANGED
    if effect is SourceEffect.FAILS:
        return _answer(Outcome.ALREADY_MIGRATED, verdict)
    if touched:
        return _answer(Outcome.CHANGED_ON_PLATFORM, verdict)
    if effect is SourceEffect.VALUES:
        return _answer(Outcome.REFRESHED, verdict)
    gone = {Verdict.SOURCE_GONE} if effect is SourceEffect.FEWER_FILES else set[Verdict]()
    return _answer(Outcome.FILES_CHANGED, verdict, *gone)


def _answer(outcome: Outcome, *verdicts: Verdict) -> KnownAnswer:
    return KnownAnswer(outcome, frozenset(verdicts))


def _files(submission: ExpectedSubmission) -> list[tuple[object, ...]]:
    """What a refresh requires to be the same: number, order, kind, extension, learner's names."""
    return [
        (
            file.kind,
            file.row["file_type"],
            file.row["file_name"] if file.kind is FileKind.SUBMISSION else None,
        )
        for file in submission.files()
    ]


def _rows(submission: ExpectedSubmission) -> Iterator[Row | None]:
    yield submission.launch_session()
    yield submission.session_record()
    yield submission.assignment_submission()
    yield submission.marking_assignment()
    yield submission.grade()
    yield submission.malpractice_rule()
    yield from sorted(submission.section_marks(), key=lambda mark: str(mark["section_id"]))
    for file in submission.files():
        yield file.row
