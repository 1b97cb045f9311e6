"""One malpractice rule per learner, assessment and course, with any races (rule 13)."""

import asyncio
import itertools
import math
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.destination.postgres.writer import Writer, WriteResult
from rogo_async.rules.identity import identify
from tests.support.builders import REFERENCE, Scenario
from tests.support.cli import run_cli
from tests.support.writing import LMS, NO_FILES, Finding, limit, open_writer, prepared

ROUNDS = 10
RACERS = 16
LEVELS = ("minor", "moderate", "considerable", "severe")


def strength(finding: Finding) -> tuple[int, float, int]:
    """The highest attempt number, then the lowest limit, then the lowest attempt."""
    found = limit(finding.level, finding.number)
    return finding.number, -(math.inf if found is None else found), -finding.attempt


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    await made.load([], REFERENCE)
    return made


@pytest.fixture
async def writers(stack: Stack, scenario: Scenario, tmp_path: Path) -> AsyncIterator[list[Writer]]:
    """Two writers with their own connections, like two runs."""
    dsn = stack.writer_dsn(scenario.workspace)
    async with AsyncExitStack() as opened:
        yield [
            await opened.enter_async_context(open_writer(dsn, tmp_path / name, RACERS // 2))
            for name in ("one", "two")
        ]


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
                writers[number % len(writers)].write(prepared(each, learner), NO_FILES, identity)
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
        assert is_of(row, max(racing, key=strength), submissions), (turn, racing)
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
            writers[0].write(prepared(finding, "one"), NO_FILES, identity), name="writing"
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
    scenario: Scenario,
    name: str,
    attempt_number: int | None,
    max_attempts: int | None,
    learner: str = "one",
) -> None:
    async with scenario.target() as target:
        await target.execute(
            "INSERT INTO malpractice_enforcements (id, lms_user_id, custom_assessment_code, "
            "context_id, malpractice_level_id, attempt_number, enforced_max_attempts, "
            "rule_applied_by, created_at) VALUES ($1, $2, '5AB01', 'inst::81', "
            "'level-minor', $3, $4, 'user-late', '2024-01-01')",
            name,
            f"inst::{learner}",
            attempt_number,
            max_attempts,
        )


async def test_of_several_rows_the_highest_is_compared_and_replaced(
    scenario: Scenario, writers: list[Writer]
) -> None:
    """In whatever order the target returns them; the others stay as they are."""
    ranks = (None, None), (2, 2), (3, 1)
    for turn, order in enumerate(itertools.permutations(ranks)):
        learner = f"learner{turn}"
        for place, rank in enumerate(order):
            await _platform_row(scenario, f"{learner}-{place}", *rank, learner)
        before = sorted(await existing_rules(scenario, learner), key=str)
        lower, higher = Finding(2 * turn + 1, 2, "severe"), Finding(2 * turn + 2, 4, "severe")
        await race(writers, [lower], learner)
        assert sorted(await existing_rules(scenario, learner), key=str) == before, order
        submissions = await race(writers, [higher], learner)
        changed = [row for row in await existing_rules(scenario, learner) if row not in before]
        assert [row["id"] for row in changed] == [f"{learner}-{order.index((3, 1))}"], order
        assert is_of(changed[0], higher, submissions)
        assert len(await existing_rules(scenario, learner)) == len(ranks)


async def test_other_keys_have_separate_rows(scenario: Scenario, writers: list[Writer]) -> None:
    await asyncio.gather(
        *(
            race([writer], [Finding(attempt, 1, "severe")], f"learner{attempt}")
            for attempt in range(1, RACERS + 1)
            for writer in writers[attempt % 2 : attempt % 2 + 1]
        )
    )
    assert len(await scenario.rows("malpractice_enforcements")) == RACERS


@pytest.mark.parametrize("column", ["lms_user_id", "context_id", "custom_assessment_code"])
async def test_a_rule_that_differs_in_one_part_of_its_key_is_not_compared(
    scenario: Scenario, writers: list[Writer], column: str
) -> None:
    for name, rank in (("higher", 9), ("lower", None)):
        await _platform_row(scenario, name, rank, None)
    async with scenario.target() as target:
        await target.execute(f"UPDATE malpractice_enforcements SET {column} = 'another'")
    before = await scenario.rows("malpractice_enforcements")
    finding = Finding(1, 2, "severe")
    submissions = await race(writers, [finding], "one")
    after = await scenario.rows("malpractice_enforcements")
    assert [row for row in after if row in before] == before
    (row,) = [row for row in after if row not in before]
    assert is_of(row, finding, submissions)


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
    winner = max(racing, key=strength)
    ids = {
        int(made["lti_launch_id"].split("_")[1]): made["id"]
        for made in await scenario.rows("assignment_submissions")
    }
    assert row["submission_id"] == ids[winner.attempt]
    assert row["attempt_number"] == winner.number
    assert row["enforced_max_attempts"] == limit(winner.level, winner.number)
