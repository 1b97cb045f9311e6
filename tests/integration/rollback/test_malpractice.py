"""The malpractice rule of a key after migrations and rollbacks in any order (rule 13)."""

import math
import random
from typing import Any

import pytest

from rogo_async.demo.dataset.dataset import DEMO_LMS
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.rollback_fixtures import malpractice, migrate, picture, roll_back

CLAIMS = {
    1: (1, "Minor"),
    2: (2, "Moderate"),
    3: (2, "Considerable"),
    4: (3, "Severe"),
    5: (3, "Minor"),
    6: (2, "Moderate"),
}
"""Attempt number and level of each submission; learner, assessment and course are the same."""

ENTERED = [None, (None, None), (2, 3), (2, None), (3, 1)]
"""Attempt number and limit of an earlier row entered by staff."""


def limit(number: int, level: str) -> int | None:
    return {"Minor": None, "Moderate": 3, "Considerable": number + 1, "Severe": number}[level]


def strength(number: int | None, most: int | None, attempt: float) -> tuple[float, ...]:
    return (number or -1, -math.inf if most is None else -most, -attempt)


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    await made.load([malpractice(made, n, *claim) for n, claim in CLAIMS.items()])
    return made


async def enter(scenario: Scenario, number: int | None, most: int | None) -> None:
    async with scenario.target() as target:
        await target.execute(
            "INSERT INTO malpractice_enforcements (lms_user_id, custom_assessment_code, context_id,"
            " malpractice_level_id, attempt_number, enforced_max_attempts, rule_applied_by) "
            "VALUES ($1, '5AB01', $2, 'level-severe', $3, $4, 'user-marker')",
            f"{DEMO_LMS.instance_id}::1",
            f"{DEMO_LMS.instance_id}::81",
            number,
            most,
        )


async def existing_rules(scenario: Scenario) -> list[dict[str, Any]]:
    return await scenario.rows("malpractice_enforcements")


def highest(present: set[int], entered: tuple[int | None, int | None] | None) -> int | None:
    """The attempt whose row exists, 0 for the row entered by staff, None for no row."""
    ranks = {n: strength(CLAIMS[n][0], limit(*CLAIMS[n]), n) for n in present}
    if entered is not None:
        ranks[0] = strength(*entered, -math.inf)
    return max(ranks, key=lambda n: ranks[n], default=None)


async def holds(scenario: Scenario, present: set[int], before: list[dict[str, Any]]) -> None:
    entered = (before[0]["attempt_number"], before[0]["enforced_max_attempts"]) if before else None
    found = await existing_rules(scenario)
    winner = highest(present, entered)
    if not winner:
        assert found == before
        return
    (row,) = found
    number, level = CLAIMS[winner]
    ids = {
        int(each["lti_launch_id"].split("_")[1]): each["id"]
        for each in await scenario.rows("assignment_submissions")
    }
    assert set(ids) == present
    assert row["submission_id"] == ids[winner]
    assert row["attempt_number"] == number
    assert row["enforced_max_attempts"] == limit(number, level)
    assert row["malpractice_level_id"] == f"level-{level.lower()}"
    assert row["context_title"] == "5AB01 Working Lives"
    assert row["rule_applied_by"] == "user-first"


@pytest.mark.parametrize("seed", range(3))
async def test_the_highest_remaining_claim_wins(
    scenario: Scenario, env: dict[str, str], seed: int
) -> None:
    rng = random.Random(seed)
    entered = ENTERED[(seed + 1) % len(ENTERED)]
    if entered is not None:
        await enter(scenario, *entered)
    before, empty = await existing_rules(scenario), await picture(scenario)
    present: set[int] = set()
    for _ in range(9):
        absent = CLAIMS.keys() - present
        if absent and (not present or rng.random() < 0.55):
            some = rng.sample(sorted(absent), rng.randint(1, min(3, len(absent))))
            await migrate(env, *some)
            present |= set(some)
        else:
            some = rng.sample(sorted(present), rng.randint(1, min(3, len(present))))
            ended = await roll_back(env, some)
            assert (ended.code, ended.messages) == (0, [])
            present -= set(some)
        await holds(scenario, present, before)
    ended = await roll_back(env, list(CLAIMS))
    assert (ended.code, ended.messages) == (0, [])
    assert await picture(scenario) == empty


async def test_a_lower_claim_is_restored_and_recognized(
    scenario: Scenario, env: dict[str, str]
) -> None:
    """A rollback assigns the row to it; a later change of the row by the platform is detected."""
    await enter(scenario, None, None)
    before, empty = await existing_rules(scenario), await picture(scenario)
    higher = await migrate(env, 4)
    lower = await migrate(env, 1)
    assert (await roll_back(env, higher)).code == 0
    await holds(scenario, {1}, before)
    rebuilt = await picture(scenario)
    async with scenario.target() as target:
        await target.execute("UPDATE malpractice_enforcements SET enforced_max_attempts = 7")
    ended = await roll_back(env, lower)
    assert ended.messages == ["attempt 1  kept: malpractice_enforcements: the row was changed"]
    async with scenario.target() as target:
        await target.execute("UPDATE malpractice_enforcements SET enforced_max_attempts = NULL")
    assert await picture(scenario) == rebuilt
    assert (await roll_back(env, lower)).code == 0
    assert await picture(scenario) == empty


async def test_only_claims_and_rules_of_the_same_key_count(
    stack: Stack, workspace: Workspace, env: dict[str, str]
) -> None:
    """Higher ones of another learner, course or assessment neither replace nor prevent a rule."""
    scenario = Scenario(stack, workspace)
    other_learner = malpractice(scenario, 11, 2, learner=2)
    other_course = malpractice(scenario, 12, 2)
    other_course.report["TISectionId"] = "82"
    other_assessment = malpractice(scenario, 13, 2)
    other_assessment.report["Exercise"], other_assessment.version = "7CD02 Leading People", "25_01"
    lower, higher = malpractice(scenario, 1, 1), malpractice(scenario, 2, 3)
    await scenario.load([other_learner, other_course, other_assessment, lower, higher])
    await migrate(env, 2, 11, 12, 13)
    others = [row for row in await existing_rules(scenario) if row["attempt_number"] == 2]
    assert len(others) == 3
    await migrate(env, 1)
    ended = await roll_back(env, [2])
    assert (ended.code, ended.messages) == (0, [])
    found = await existing_rules(scenario)
    assert [row for row in found if row["attempt_number"] == 2] == others
    (row,) = [row for row in found if row not in others]
    key = row["lms_user_id"], row["context_id"], row["custom_assessment_code"]
    instance = DEMO_LMS.instance_id
    assert key == (f"{instance}::1", f"{instance}::81", "5AB01")
    assert row["attempt_number"] == 1
    assert (await roll_back(env, [1])).code == 0
    assert sorted(await existing_rules(scenario), key=str) == sorted(others, key=str)


async def test_each_of_several_rules_is_restored(scenario: Scenario, env: dict[str, str]) -> None:
    """Columns whose values the target makes itself are not written."""
    async with scenario.target() as target:
        await target.execute(
            "ALTER TABLE malpractice_enforcements ADD number int GENERATED ALWAYS AS IDENTITY, "
            "ADD learner text GENERATED ALWAYS AS (lower(lms_user_id)) STORED"
        )
    await enter(scenario, None, None)
    empty = await picture(scenario)
    first = await migrate(env, 1)
    await enter(scenario, 2, 3)
    both = await existing_rules(scenario)
    second = await migrate(env, 4)
    assert {row["attempt_number"] for row in await existing_rules(scenario)} == {1, 3}
    assert (await roll_back(env, second)).code == 0
    assert sorted(await existing_rules(scenario), key=str) == sorted(both, key=str)
    assert (await roll_back(env, first)).code == 0
    rows = await existing_rules(scenario)
    assert {row["attempt_number"] for row in rows} == {None, 2}
    assert empty.tables["malpractice_enforcements"][0] in rows
