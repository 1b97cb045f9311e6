"""Parts for tests that write with the ``Writer`` of a run, without a run around it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from rogo_async.common.call_stats import CallStats
from rogo_async.common.database_url import DatabaseUrl
from rogo_async.common.errors import Dependency
from rogo_async.common.retry import DEFAULT_POLICY, CircuitBreaker, RetryPolicy
from rogo_async.common.settings import Lms
from rogo_async.common.shutdown import StopSignal
from rogo_async.destination.postgres.connections import Connections
from rogo_async.destination.postgres.connector import ConnectOptions
from rogo_async.destination.postgres.journal import Journal
from rogo_async.destination.postgres.run_lock import RunLock
from rogo_async.destination.postgres.writer import RunConstants, StoredFiles, Writer
from rogo_async.rules.records import (
    Assessment,
    Malpractice,
    MalpracticeLevel,
    PreparedSubmission,
    Report,
    SourceRow,
)

LMS = Lms("inst", "key", "College", "https://lms.example/")
CONSTANTS = RunConstants(LMS, "container", "user-first")


def limit(level: str, number: int) -> int | None:
    return {"minor": None, "moderate": 3, "considerable": number + 1, "severe": number}[level]


@dataclass(frozen=True, slots=True)
class Finding:
    """A submission with malpractice; assessment and course are the same for all."""

    attempt: int
    number: int
    level: str


def prepared(finding: Finding, learner: str) -> PreparedSubmission:
    """A submission without files and marks, with malpractice."""
    moment = datetime(2025, 3, 1, tzinfo=UTC)
    number, attempt = Decimal(1), finding.attempt
    row = SourceRow(2, (), None, str(attempt), "A", "B", "a@b.example", "", "", "", "", "", "", "")
    return PreparedSubmission(
        attempt,
        finding.number,
        row,
        Report(attempt, learner, "81", "5AB01 Working", number, number, number, "Malpractice",
               None, None, moment, None),
        Assessment("assessment-5", "5AB01 Working 24_01", "5AB01", is_active=True),
        "Refer",
        Malpractice(
            MalpracticeLevel(f"level-{finding.level}", finding.level.title()),
            limit(finding.level, finding.number),
            "Malpractice",
        ),
        (),
        (),
    )  # fmt: skip


async def _renew() -> bool:
    return True


NO_FILES = StoredFiles([], 1, _renew)


class HeldLock(RunLock):
    """A run lock without a server. A test may give it another hold, or an error.

    ``asked`` has the ``since_s`` of each verification.
    """

    def __init__(self) -> None:
        """It has no connection."""
        self.hold = 1
        self.error: Exception | None = None
        self.asked: list[float] = []

    async def verify_held(self, since_s: float = 0.0) -> int:
        self.asked.append(since_s)
        if self.error is not None:
            raise self.error
        return self.hold


@dataclass(frozen=True, slots=True)
class WriterParts:
    """A writer, and the parts of its run."""

    writer: Writer
    connections: Connections
    breaker: CircuitBreaker
    lock: HeldLock
    stop_signal: StopSignal
    call_stats: CallStats


@asynccontextmanager
async def open_parts(
    dsn: str, journal: Path, connections: int = 2, policy: RetryPolicy = DEFAULT_POLICY
) -> AsyncIterator[WriterParts]:
    """A writer with its own connections, like that of a run."""
    pool = await Connections.open(ConnectOptions.of(DatabaseUrl.parse(dsn)), connections)
    stop_signal, call_stats, lock = StopSignal(), CallStats(), HeldLock()
    breaker = CircuitBreaker(Dependency.TARGET, pool.probe, stop_signal, call_stats, 30.0, policy)
    writer = Writer(pool, breaker, CONSTANTS, Journal(journal), lock)
    try:
        yield WriterParts(writer, pool, breaker, lock, stop_signal, call_stats)
    finally:
        await breaker.aclose()
        await pool.aclose()


@asynccontextmanager
async def open_writer(dsn: str, journal: Path, connections: int = 2) -> AsyncIterator[Writer]:
    """The writer of ``open_parts``."""
    async with open_parts(dsn, journal, connections) as parts:
        yield parts.writer
