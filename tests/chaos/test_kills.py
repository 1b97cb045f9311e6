"""Runs that are killed at random moments. ``scripts/chaos`` does it hundreds of times."""

import random
from typing import Final

import asyncpg
import pytest
from azure.storage.blob.aio import ContainerClient

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.chaos.invariants import Findings, inspect
from tests.chaos.kills import Fell, killed
from tests.chaos.rounds import Ground, Round
from tests.support.cli import run_cli

ROWS: Final = 60
SEED: Final = 5
WHEN_S: Final = (0.4, 1.0, 1.8)
"""After the start of its process; each is moved at random by up to half a second."""


@pytest.fixture
async def ground(stack: Stack, workspace: Workspace) -> Ground:
    return await Ground.generated(stack, workspace, ROWS, SEED)


async def test_runs_killed_at_random_leave_nothing_wrong(ground: Ground) -> None:
    generator = random.Random()
    fell = []
    for when_s in WHEN_S:
        kill = await killed(ground, when_s + generator.uniform(0.0, 0.5))
        assert not kill.findings.lines(), (when_s, kill)
        fell.append(kill.fell)
    assert set(fell) != {Fell.AFTER}


DAMAGE: Final = {
    "lost": "DELETE FROM assignment_submissions WHERE id = $1",
    "doubled": "INSERT INTO lti_launch_sessions (launch_id, consumer_key, expires_at) "
    "SELECT lti_launch_id || 'x', 'k', now() FROM assignment_submissions WHERE id = $1",
    "orphaned": "DELETE FROM submission_files WHERE submission_id = $1",
}


async def test_the_checker_sees_each_kind_of_damage(ground: Ground) -> None:
    async with ground.round() as there:
        result = await run_cli(there.env)
        assert result.code == there.expected_code, result.output
        assert not (await found(there)).lines()
        for kind, sql in DAMAGE.items():
            await damage(there, sql)
            assert getattr(await found(there), kind), kind
        before = len((await found(there)).dangling)
        async with ContainerClient.from_connection_string(
            there.stack.azurite.connection_string, there.workspace.container
        ) as container:
            async for blob in container.list_blobs():
                await container.upload_blob(blob.name, b"something else", overwrite=True)
        spoilt = (await found(there)).dangling
        assert len(spoilt) > before
        path = there.workspace.data_dir / "migrated.csv"
        path.write_text("".join(path.read_text("utf-8").splitlines(keepends=True)[:-1]), "utf-8")
        assert any("migrated.csv" in line for line in (await found(there)).lost)


async def found(there: Round) -> Findings:
    return await inspect(there.stack, there.workspace, there.answer)


async def damage(there: Round, sql: str) -> None:
    """Spoil one submission of this tool's, another each time."""
    connection = await asyncpg.connect(there.stack.postgres.dsn(there.workspace.target))
    try:
        submission = await connection.fetchval(
            "SELECT s.id FROM assignment_submissions s "
            "WHERE substring(s.lti_launch_id from '^rogo_0*([0-9]{1,10})_')::bigint = ANY ($1) "
            "AND NOT EXISTS (SELECT FROM malpractice_enforcements WHERE submission_id = s.id) "
            "ORDER BY random() LIMIT 1",
            list(there.answer.files),
        )
        await connection.execute(sql, submission)
    finally:
        await connection.close()
