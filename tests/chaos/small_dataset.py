"""A handful of submissions by hand in which every request to a server occurs."""

from collections import Counter
from typing import Final

from rogo_async.demo.dataset.dataset import DEMO_LMS
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.chaos.invariants import Answer, Key, md5_of
from tests.chaos.rounds import Ground
from tests.support.builders import Scenario, SourceSubmission

LARGE_BYTES: Final = 9 * 1024 * 1024
"""Too much for one request: it is staged in blocks."""
LEARNERS: Final = "Learner Azure Blob URLs"
MARKERS: Final = "Marker Azure Blob URLs"


class Handful:
    """Submissions and what is known of them."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self._submissions: list[SourceSubmission] = []
        self._bodies: dict[int, list[bytes]] = {}
        self._failed: Counter[tuple[str, str]] = Counter()
        self._enforced: dict[Key, Counter[int | None]] = {}

    def submission(self, attempt: int, size_bytes: int = 64, **report: object) -> SourceSubmission:
        """A submission of one file that migrates."""
        made = self._put(attempt, **report)
        made.cells[LEARNERS] = self.file(attempt, f"{attempt}.txt", size_bytes)
        return made

    def malpractice(self, attempt: int, size_bytes: int = 64) -> SourceSubmission:
        """A submission with a finding, a learner's file and a marker's."""
        made = self.submission(attempt, size_bytes, Grade="Malpractice Severe")
        made.cells[MARKERS] = self.file(attempt, f"{attempt}-marked.docx")
        instance_id = DEMO_LMS.instance_id
        key = (f"{instance_id}::{500_000 + attempt}", "5AB01", f"{instance_id}::81")
        self._enforced[key] = Counter([attempt])
        return made

    def refused(self, attempt: int) -> SourceSubmission:
        """A submission whose content the target refuses, after its file has been stored."""
        made = self.submission(attempt)
        made.cells["Course Title"] = "A\0B"
        return self._fails(made, "target_refused")

    def missing(self, attempt: int) -> SourceSubmission:
        """A submission whose file is not there."""
        made = self.submission(attempt)
        made.cells[LEARNERS] = self.scenario.source.url(f"/nowhere/{attempt}.txt")
        return self._fails(made, "source_file_missing")

    def file(self, attempt: int, name: str, size_bytes: int = 64) -> str:
        """The URL of a file of the submission, the next in order."""
        text = b"file %s of attempt %d. " % (name.encode(), attempt)
        body = (text * (size_bytes // len(text) + 1))[:size_bytes]
        self._bodies.setdefault(attempt, []).append(body)
        return self.scenario.serve_file(name, body)

    async def load(self) -> Ground:
        """Put it all where a run finds it."""
        await self.scenario.load(self._submissions)
        answer = Answer(
            rows=len(self._submissions),
            files={attempt: list(map(md5_of, each)) for attempt, each in self._bodies.items()},
            failed=self._failed,
            enforcements=self._enforced,
        )
        return Ground(self.scenario.stack, self.scenario.workspace, answer)

    def _put(self, attempt: int, **report: object) -> SourceSubmission:
        made = self.scenario.submission(attempt, **report)
        self._submissions.append(made)
        return made

    def _fails(self, made: SourceSubmission, code: str) -> SourceSubmission:
        del self._bodies[made.attempt]
        self._failed[str(made.attempt), code] += 1
        return made


async def handful(stack: Stack, workspace: Workspace, plain: int = 5) -> Ground:
    """Ground with one submission of each kind and some plain ones, in an empty place."""
    made = Handful(Scenario(stack, workspace))
    made.malpractice(1)
    made.submission(2, LARGE_BYTES)
    made.refused(3)
    made.missing(4)
    for attempt in range(5, 5 + plain):
        made.submission(attempt)
    return await made.load()
