"""Builds valid submissions with realistic, random values."""

import math
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from urllib.parse import quote

from rogo_async.common.settings import Lms
from rogo_async.demo.dataset.documents import BlobSpec
from rogo_async.demo.dataset.people import Learner, People
from rogo_async.demo.dataset.reference_data import COURSES, Course, Row, reference_rows
from rogo_async.demo.dataset.submission import MappingLine, SectionScore, SourceFile, SubmissionCase
from rogo_async.rules.records import FileKind

_BIG_FILE_SHARE = 0.005
_EARLIEST = datetime(2023, 9, 4, 7, 30)  # noqa: DTZ001 - the warehouse's dates are naive

GRADES: dict[str, tuple[tuple[str, str], ...]] = {
    "3": (("Pass", "Pass"), ("Refer", "Refer"), ("Refer/Fail", "Refer"), ("Fail", "Refer")),
    "4": (("Pass", "Pass"), ("fail", "Refer"), ("Merit", "Merit"), ("REFER/FAIL", "Refer")),
    "5": (("Pass", "Pass"), ("Refer/Fail", "Refer"), ("Distinction", "Distinction")),
    "7": (
        ("Pass", "Low Pass"),
        ("Merit", "Pass"),
        ("Distinction", "High Pass"),
        ("Refer/Fail", "Refer"),
        ("Fail", "Refer"),
        ("refer", "Refer"),
        (" distinction ", "High Pass"),
        ("High Pass", "High Pass"),
    ),
    "": (
        ("Pass", "Pass"),
        ("Fail", "Fail"),
        ("Refer/Fail", "Refer/Fail"),
        ("Distinction", "Distinction"),
    ),
}
"""Warehouse grades with their final grades, by the first character of the assessment code."""

ATTEMPT_TEXTS = (
    "Attempt {n}",
    "Attempt {n}",
    "Attempt {n}",
    "Retake Attempt {n}",
    "ATTEMPT {n}",
    "attempt  {n}",
    "Attempt 0{n}",
    "Attempt {n} of 3",
)


MARKER_NOTES = (
    "A well structured answer that meets the outcomes of the unit.",
    "Good use of sources.\r\n\r\nPlease number your pages next time.",
    "Sound analysis 👍 but the conclusion is rather short.",
    "See the annotated script.\n- Q1: clear\n- Q2: more depth needed\n- Q3: excellent",
    "Überzeugende Argumentation – très bien présentée. 良い。",
    'The phrase "best practice" needs a reference; 50% of the claims have none.',
    "Resubmission reviewed by the second marker, marks unchanged. ✅",
)

MARKER_COMMENTS = (
    "Clear and to the point.",
    "More examples from your own workplace would help.",
    "References missing for two of the claims.",
    "Excellent 🎉",
    "Answer the question that was asked: compare, do not just describe.",
    "Good link between theory\nand practice.",
    "Within the word count, well presented.",
)

DOCUMENT_TITLES = (
    "Assignment",
    "Assignment final",
    "Case study report",
    "Reflective account",
    "Written answers",
    "Project proposal v2",
    "Draft_3_corrected",
    "Portfolio",
    "Assessment submission",
    "Essay-final-FINAL",
)


@dataclass(frozen=True, slots=True)
class ScriptedRoute:
    """The response of the scripted source at ``path``, with ``blob`` as its body."""

    path: str
    status: int
    blob: BlobSpec | None = None
    headers: dict[str, str] = field(default_factory=dict)
    location: str | None = None


class DatasetBuilder:
    """Builds one data set: generates submissions and collects target rows and routes."""

    def __init__(self, seed: int, azure_base: str, scripted_base: str, lms: Lms) -> None:
        self.rng = random.Random(f"world {seed}")
        self.people = People(seed)
        self.azure_base = azure_base.rstrip("/")
        self.scripted_base = scripted_base.rstrip("/")
        self.lms = lms
        self.target: dict[str, list[Row]] = reference_rows()
        self.routes: list[ScriptedRoute] = []

    def valid_submission(
        self, attempt: int, course: Course | None = None, learner: Learner | None = None
    ) -> SubmissionCase:
        """A submission that migrates; course and learner are random unless given."""
        rng = self.rng
        course = course or rng.choice(COURSES)
        learner = learner or self.people.any_learner()
        number = rng.choice((1, 1, 1, 2, 2, 3))
        inserted = _EARLIEST + timedelta(
            minutes=rng.randrange(1_100_000), milliseconds=10 * rng.randrange(6_000)
        )
        approved = inserted + timedelta(minutes=rng.randrange(60, 40_000))
        modified = approved + timedelta(minutes=rng.randrange(5_000))
        grade, final_grade = rng.choice(GRADES.get(course.code[:1], GRADES[""]))
        case = SubmissionCase(
            attempt=attempt,
            learner=learner,
            first_name=learner.first_name,
            surname=learner.surname,
            course=course,
            course_title=" ".join(course.exercise.split()[1:]) or course.exercise,
            assessment_id=f"{course.code.split('_')[0]}-{rng.randrange(100, 999)}",
            unit_code=course.exercise.split()[0],
            ti_section_id=str(7_000 + rng.randrange(400)),
            attempt_number=number,
            grade=grade,
            final_grade=final_grade,
            marks=Decimal(rng.randrange(201)) / 2,
            marks_available=Decimal(100),
            grade_percent=Decimal(rng.randrange(10_001)) / 100,
            notes=rng.choice((None, " \r\n ", *MARKER_NOTES)),
            inserted=inserted,
            approved=approved if rng.random() < 0.88 else None,
            modified=modified if rng.random() < 0.75 else None,
            scores=self.scores(course, rng.randrange(7), inserted),
            files=self.typical_files(attempt, learner.surname),
            mapping=[],
            uploaded_by=learner.rogo_user_id,
        )
        case.mapping = [self.mapping_line(case, rng.choice(ATTEMPT_TEXTS).format(n=number))]
        if rng.random() < 0.12:
            case.report_overrides |= {"MarksAchieved": None, "MarksAwarded": case.marks}
        return case

    def mapping_line(self, case: SubmissionCase, submission: str) -> MappingLine:
        return MappingLine(
            str(case.attempt), case.unit_code, case.course.version, case.assessment_id, submission
        )

    def scores(self, course: Course, count: int, inserted: datetime) -> list[SectionScore]:
        """Up to ``count`` score rows for different sections."""
        labels = self.rng.sample(course.labels, min(count, len(course.labels)))
        return [self._score(label, section, inserted) for label, section in labels]

    def _score(self, label: str, section: str, inserted: datetime) -> SectionScore:
        rng = self.rng
        dated, changed = rng.random() < 0.9, rng.random() < 0.8
        day = rng.randrange(9)
        return SectionScore(
            label=label,
            section_id=section,
            score=Decimal(rng.randrange(51)) / 2,
            comment=rng.choice((None, "  ", *MARKER_COMMENTS)),
            inserted=inserted + timedelta(minutes=rng.randrange(300)) if dated else None,
            modified=inserted + timedelta(days=1 + day) if dated and changed else None,
        )

    def typical_files(self, attempt: int, surname: str) -> list[SourceFile]:
        """One or two learner files, and in 40 % of all cases a feedback file."""
        rng = self.rng
        titles = rng.sample(DOCUMENT_TITLES, 1 if rng.random() < 0.8 else 2)
        names = [
            f"{title}{rng.choice(('', ' ' + surname))}.{rng.choice(('docx', 'docx', 'pdf', 'txt'))}"
            for title in titles
        ]
        files = [self.learner_file(attempt, name) for name in names]
        if rng.random() < 0.4:
            files.append(self.feedback_file(attempt))
        return files

    def learner_file(
        self,
        attempt: int,
        name: str,
        *,
        url_name: str = "",
        safe: str = "",
        size_bytes: int | None = None,
    ) -> SourceFile:
        """A learner's file in the blob store.

        ``url_name`` is the last part of its URL, by default generated from ``name``. Characters
        in ``safe`` are not percent-encoded.
        """
        last = url_name or f"{self.rng.getrandbits(32):08x}_{name}"
        path = f"learner/{attempt}/{quote(last, safe=safe)}"
        return self._file(FileKind.SUBMISSION, name, path, size_bytes)

    def feedback_file(
        self, attempt: int, extension: str = "docx", url_suffix: str | None = None
    ) -> SourceFile:
        """A feedback file in the blob store; its URL ends with ``url_suffix`` or the extension."""
        suffix = f".{extension}" if url_suffix is None else url_suffix
        path = f"marker/{attempt}/{self.rng.getrandbits(32):08x}{suffix}"
        return self._file(FileKind.FEEDBACK, f"x.{extension}", path, None)

    def _file(self, kind: FileKind, name: str, path: str, size_bytes: int | None) -> SourceFile:
        extension = name.rpartition(".")[2].lower()
        blob = BlobSpec(
            path=path,
            extension=extension,
            seed=self.rng.getrandbits(48),
            size_bytes=self._size_bytes() if size_bytes is None else size_bytes,
        )
        return SourceFile(kind, name, extension, f"{self.azure_base}/{path}", blob)

    def _size_bytes(self) -> int:
        if self.rng.random() < _BIG_FILE_SHARE:
            return self.rng.randrange(300_000, 1_500_000)
        return int(math.exp(self.rng.uniform(math.log(2_048), math.log(60_000))))

    def scripted_file(
        self,
        attempt: int,
        status: int,
        *,
        headers: dict[str, str] | None = None,
        location: str | None = None,
    ) -> SourceFile:
        """A learner's file at the scripted source; only a response with status 200 has a body."""
        name = f"Assignment {attempt}.docx"
        path = f"/files/{attempt}/{self.rng.getrandbits(32):08x}.docx"
        blob = BlobSpec(path, "docx", self.rng.getrandbits(48), self._size_bytes())
        served = blob if status == 200 else None
        self.routes.append(ScriptedRoute(path, status, served, headers or {}, location))
        url = self.scripted_base + path
        return SourceFile(FileKind.SUBMISSION, name, "docx", url, served)
