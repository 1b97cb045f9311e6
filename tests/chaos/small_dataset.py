"""A few submissions that cause every kind of request to a server."""

from collections import Counter
from typing import Final

from rogo_async.demo.dataset.dataset import DEMO_LMS
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.chaos.invariants import ExpectedState, Key, md5_of
from tests.chaos.rounds import RoundFactory
from tests.support.builders import Scenario, SourceSubmission

LARGE_BYTES: Final = 9 * 1024 * 1024
"""Too much for one request: it is staged in blocks."""
LEARNERS: Final = "Learner Azure Blob URLs"
MARKERS: Final = "Marker Azure Blob URLs"


class SmallDataset:
    """Submissions and their expected result."""

    def __init__(self, scenario: Scenario, *, in_azure: bool = False) -> None:
        self.scenario = scenario
        self._in_azure = in_azure
        """Whether the files are blobs, which the service can copy."""
        self._blobs: dict[str, bytes] = {}
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
        """A submission with malpractice, a learner's file and a marker's."""
        made = self.submission(attempt, size_bytes, Grade="Malpractice Severe")
        made.cells[MARKERS] = self.file(attempt, f"{attempt}-marked.docx")
        instance_id = DEMO_LMS.instance_id
        key = (f"{instance_id}::{500_000 + attempt}", "5AB01", f"{instance_id}::81")
        self._enforced[key] = Counter([attempt])
        return made

    def refused(self, attempt: int) -> SourceSubmission:
        """A submission whose content the target refuses, after its file is stored."""
        made = self.submission(attempt)
        made.cells["Course Title"] = "A\0B"
        return self._fails(made, "target_refused")

    def missing(self, attempt: int) -> SourceSubmission:
        """A submission whose file does not exist."""
        made = self.submission(attempt)
        made.cells[LEARNERS] = self.scenario.source.url(f"/nowhere/{attempt}.txt")
        return self._fails(made, "source_file_missing")

    def file(self, attempt: int, name: str, size_bytes: int = 64) -> str:
        """The URL of a file of the submission, the next in order."""
        text = b"file %s of attempt %d. " % (name.encode(), attempt)
        body = (text * (size_bytes // len(text) + 1))[:size_bytes]
        self._bodies.setdefault(attempt, []).append(body)
        if not self._in_azure:
            return self.scenario.serve_file(name, body)
        self._blobs[name] = body
        return f"{self.scenario.stack.source_url(self.scenario.workspace)}/{name}"

    async def load(self) -> RoundFactory:
        """Load everything into the workspace."""
        await self.scenario.load(self._submissions)
        await self.scenario.upload(self._blobs)
        expected = ExpectedState(
            rows=len(self._submissions),
            files={attempt: list(map(md5_of, each)) for attempt, each in self._bodies.items()},
            failed=self._failed,
            enforcements=self._enforced,
        )
        return RoundFactory(self.scenario.stack, self.scenario.workspace, expected)

    def _put(self, attempt: int, **report: object) -> SourceSubmission:
        made = self.scenario.submission(attempt, **report)
        self._submissions.append(made)
        return made

    def _fails(self, made: SourceSubmission, code: str) -> SourceSubmission:
        del self._bodies[made.attempt]
        self._failed[str(made.attempt), code] += 1
        return made


async def small_dataset(
    stack: Stack, workspace: Workspace, plain: int = 5, *, in_azure: bool = False
) -> RoundFactory:
    """Rounds with one submission of each kind and some plain ones, in an empty workspace."""
    made = SmallDataset(Scenario(stack, workspace), in_azure=in_azure)
    made.malpractice(1)
    made.submission(2, LARGE_BYTES)
    made.refused(3)
    made.missing(4)
    for attempt in range(5, 5 + plain):
        made.submission(attempt)
    return await made.load()
