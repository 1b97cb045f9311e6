"""One malpractice rule per learner, assessment and course, with any races (rule 13)."""

import asyncio
import math
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from rogo_async.common.call_stats import CallStats
from rogo_async.common.errors import Dependency
from rogo_async.common.retry import CircuitBreaker
from rogo_async.common.settings import Lms
from rogo_async.common.shutdown import StopSignal
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.destination.postgres.connections import Connections, ConnectOptions
from rogo_async.destination.postgres.journal import Journal
from rogo_async.destination.postgres.run_lock import RunLock
from rogo_async.destination.postgres.writer import RunConstants, Writer, WriteResult
from rogo_async.rules.identity import identify
from rogo_async.rules.records import (
    Assessment,
    Malpractice,
    MalpracticeLevel,
    PreparedSubmission,
    Report,
    SourceRow,
)
from tests.support.builders import REFERENCE, Scenario
from tests.support.cli import run_cli

ROUNDS = 10
RACERS = 16
LEVELS = ("minor", "moderate", "considerable", "severe")
LMS = Lms("inst", "key", "College", "https://lms.example/")


def limit(level: str, number: int) -> int | None:
    return {"minor": None, "moderate": 3, "considerable": number + 1, "severe": number}[level]


@dataclass(frozen=True, slots=True)
class Finding:
    """A submission with malpractice; learner, assessment and course are the same for all."""

    attempt: int
    number: int
    level: str

    def strength(self) -> tuple[int, float, int]:
        """The highest attempt number, then the lowest limit, then the lowest attempt."""
        found = limit(self.level, self.number)
        return self.number, -(math.inf if found is None else found), -self.attempt


def prepared(finding: Finding, learner: str) -> PreparedSubmission:
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


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    await made.load([], REFERENCE)
    return made


@pytest.fixture
async def writers(stack: Stack, scenario: Scenario, tmp_path: Path) -> AsyncIterator[list[Writer]]:
    """Two writers with their own connections, like two runs."""
    async with AsyncExitStack() as opened:
        made = []
        for name in ("one", "two"):
            connections = await Connections.open(
                ConnectOptions(stack.writer_dsn(scenario.workspace), None), RACERS // 2
            )
            opened.push_async_callback(connections.aclose)
            breaker = CircuitBreaker(
                Dependency.TARGET, connections.probe, StopSignal(), CallStats(), 30.0
            )
            opened.push_async_callback(breaker.aclose)
            constants = RunConstants(LMS, "container", "user-first")
            made.append(
                Writer(connections, breaker, constants, Journal(tmp_path / name), HeldLock())
            )
        yield made


class HeldLock(RunLock):
    """A run lock that is never lost."""

    def __init__(self) -> None:
        """It has no connection."""

    async def verify_held(self) -> None:
        return


def findings(rng: random.Random, first_attempt: int) -> list[Finding]:
    """RACERS findings in random order; many differ in their attempt only."""
    made = [
        Finding(first_attempt + number, rng.randint(1, 3), rng.choice(LEVELS))
        for number in range(RACERS)
    ]
    rng.shuffle(made)
    return made


async def race(writers: list[Writer], racing: list[Finding], learner: str) -> dict[int, str]:
    """Write all of them at once, with alternating writers; return submission ids by attempt."""
    identities = [identify(each.attempt, "run", LMS.instance_id) for each in racing]
    async with asyncio.timeout(30):
        written = await asyncio.gather(
            *(
                writers[number % len(writers)].write(prepared(each, learner), [], identity)
                for number, (each, identity) in enumerate(zip(racing, identities, strict=True))
            )
        )
    assert set(written) == {WriteResult.INSERTED}
    return {identity.attempt: identity.submission_id for identity in identities}


async def existing_rules(scenario: Scenario, learner: str) -> list[dict[str, object]]:
    rows = await scenario.rows("malpractice_enforcements")
    return [row for row in rows if row["lms_user_id"] == f"inst::{learner}"]


def is_of(row: dict[str, object], winner: Finding, submissions: dict[int, str]) -> bool:
    return (
        row["submission_id"] == submissions[winner.attempt]
        and row["attempt_number"] == winner.number
        and row["enforced_max_attempts"] == limit(winner.level, winner.number)
        and row["malpractice_level_id"] == f"level-{winner.level}"
        and row["rule_applied_by"] == "user-first"
        and row["context_id"] == "inst::81"
        and row["custom_assessment_code"] == "5AB01"
    )


@pytest.mark.parametrize("writer_count", [1, 2])
async def test_only_the_rule_of_the_highest_rank_remains(
    scenario: Scenario, writers: list[Writer], writer_count: int
) -> None:
    rng = random.Random(writer_count)
    for turn in range(ROUNDS):
        racing = findings(rng, 1 + turn * RACERS)
        submissions = await race(writers[:writer_count], racing, f"learner{turn}")
        (row,) = await existing_rules(scenario, f"learner{turn}")
        assert is_of(row, max(racing, key=Finding.strength), submissions), (turn, racing)
    assert len(await scenario.rows("malpractice_enforcements")) == ROUNDS


@pytest.mark.parametrize("deletes", [False, True])
async def test_the_platform_changes_its_row_at_the_same_time(
    scenario: Scenario, writers: list[Writer], tmp_path: Path, *, deletes: bool
) -> None:
    """The run compares, records and overwrites the current version of the row."""
    await _platform_row(scenario, "theirs", 1, None)
    finding = Finding(1, 2, "severe")
    identity = identify(1, "run", LMS.instance_id)
    async with scenario.target() as platform:
        transaction = platform.transaction()
        await transaction.start()
        change = "DELETE FROM" if deletes else "UPDATE"
        to = "" if deletes else "SET attempt_number = 5"
        await platform.execute(f"{change} malpractice_enforcements {to} WHERE id = 'theirs'")
        writing = asyncio.create_task(
            writers[0].write(prepared(finding, "one"), [], identity), name="writing"
        )
        await asyncio.sleep(0.5)
        assert not writing.done()
        await transaction.commit()
        assert await writing is WriteResult.INSERTED
    (row,) = await existing_rules(scenario, "one")
    assert row["attempt_number"] == (2 if deletes else 5)
    assert (row["id"] == "theirs") is not deletes
    assert not (tmp_path / "one").exists()


async def test_the_lowest_attempt_wins_between_equals(
    scenario: Scenario, writers: list[Writer]
) -> None:
    racing = [Finding(attempt, 2, "severe") for attempt in range(RACERS, 0, -1)]
    submissions = await race(writers, racing, "one")
    (row,) = await existing_rules(scenario, "one")
    assert is_of(row, Finding(1, 2, "severe"), submissions)


@pytest.mark.parametrize(
    ("number", "enforced", "ours_wins"),
    [
        (None, None, True),
        (1, 1, True),
        (2, None, True),
        (2, 3, True),
        (2, 2, False),
        (2, 1, False),
        (3, None, False),
    ],
)
async def test_a_row_of_the_platform_counts_like_any_other(
    scenario: Scenario,
    writers: list[Writer],
    number: int | None,
    enforced: int | None,
    ours_wins: bool,
) -> None:
    await _platform_row(scenario, "highest", number, enforced)
    await _platform_row(scenario, "lower", None, None)
    before = {row["id"]: row for row in await existing_rules(scenario, "one")}
    racing = [Finding(attempt, 2, "severe") for attempt in range(1, RACERS + 1)]
    submissions = await race(writers, racing, "one")
    after = {row["id"]: row for row in await existing_rules(scenario, "one")}
    assert set(after) == set(before), "a row beside the platform's own"
    changed = [name for name in after if after[name] != before[name]]
    if ours_wins:
        (name,) = changed
        assert name == "highest" or number is None
        assert is_of(after[name], Finding(1, 2, "severe"), submissions)
        assert after[name]["created_at"] == before[name]["created_at"]
    else:
        assert changed == []


async def _platform_row(
    scenario: Scenario, name: str, attempt_number: int | None, max_attempts: int | None
) -> None:
    async with scenario.target() as target:
        await target.execute(
            "INSERT INTO malpractice_enforcements (id, lms_user_id, custom_assessment_code, "
            "context_id, malpractice_level_id, attempt_number, enforced_max_attempts, "
            "rule_applied_by, created_at) VALUES ($1, 'inst::one', '5AB01', 'inst::81', "
            "'level-minor', $2, $3, 'user-late', '2024-01-01')",
            name,
            attempt_number,
            max_attempts,
        )


async def test_other_keys_have_separate_rows(scenario: Scenario, writers: list[Writer]) -> None:
    await asyncio.gather(
        *(
            race([writer], [Finding(attempt, 1, "severe")], f"learner{attempt}")
            for attempt in range(1, RACERS + 1)
            for writer in writers[attempt % 2 : attempt % 2 + 1]
        )
    )
    assert len(await scenario.rows("malpractice_enforcements")) == RACERS


async def test_whole_runs_agree(stack: Stack, workspace: Workspace, env: dict[str, str]) -> None:
    scenario = Scenario(stack, workspace)
    rng = random.Random(5)
    racing = findings(rng, 1)
    submissions = []
    for each in racing:
        made = scenario.submission(each.attempt, TIUserId="one", Grade=f"Malpractice: {each.level}")
        made.submission = f"Attempt {each.number}"
        submissions.append(made)
    await scenario.load(submissions)
    assert (await run_cli(env, ROGO_CONCURRENCY=str(RACERS))).code == 0
    (row,) = await scenario.rows("malpractice_enforcements")
    winner = max(racing, key=Finding.strength)
    ids = {
        int(made["lti_launch_id"].split("_")[1]): made["id"]
        for made in await scenario.rows("assignment_submissions")
    }
    assert row["submission_id"] == ids[winner.attempt]
    assert row["attempt_number"] == winner.number
    assert row["enforced_max_attempts"] == limit(winner.level, winner.number)
