"""Runs killed at random moments (invariants 1 to 4). ``scripts/chaos`` kills hundreds."""

import random
from typing import Final

import asyncpg
import pytest
from azure.storage.blob.aio import ContainerClient

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.chaos.invariants import Findings, check_invariants
from tests.chaos.kills import KillPhase, run_killed_after
from tests.chaos.rounds import ChaosRound, RoundFactory
from tests.support.cli import run_cli

ROWS: Final = 60
SEED: Final = 5
WHEN_S: Final = (0.4, 1.0, 1.8)
"""After the start of the process; each is delayed at random by up to half a second."""


@pytest.fixture
async def factory(stack: Stack, workspace: Workspace) -> RoundFactory:
    return await RoundFactory.generated(stack, workspace, ROWS, SEED)


async def test_the_next_run_repairs_a_run_killed_at_a_random_moment(factory: RoundFactory) -> None:
    generator = random.Random()
    phase = []
    for when_s in WHEN_S:
        kill = await run_killed_after(factory, when_s + generator.uniform(0.0, 0.5))
        assert not kill.findings.lines(), (when_s, kill)
        phase.append(kill.phase)
    assert set(phase) != {KillPhase.AFTER_END}


DAMAGE: Final = {
    "lost": "DELETE FROM assignment_submissions WHERE id = $1",
    "doubled": "INSERT INTO lti_launch_sessions (launch_id, consumer_key, expires_at) "
    "SELECT lti_launch_id || 'x', 'k', now() FROM assignment_submissions WHERE id = $1",
    "orphaned": "DELETE FROM submission_files WHERE submission_id = $1",
}


async def test_the_checker_sees_each_kind_of_damage(factory: RoundFactory) -> None:
    async with factory.round() as chaos_round:
        result = await run_cli(chaos_round.env)
        assert result.code == chaos_round.expected_code, result.output
        assert not (await findings_of(chaos_round)).lines()
        for kind, sql in DAMAGE.items():
            await damage(chaos_round, sql)
            assert getattr(await findings_of(chaos_round), kind), kind
        before = len((await findings_of(chaos_round)).dangling)
        async with ContainerClient.from_connection_string(
            chaos_round.stack.azurite.connection_string, chaos_round.workspace.container
        ) as container:
            async for blob in container.list_blobs():
                await container.upload_blob(blob.name, b"something else", overwrite=True)
        changed = (await findings_of(chaos_round)).dangling
        assert len(changed) > before
        path = chaos_round.workspace.data_dir / "migrated.csv"
        path.write_text("".join(path.read_text("utf-8").splitlines(keepends=True)[:-1]), "utf-8")
        assert any("migrated.csv" in line for line in (await findings_of(chaos_round)).lost)


async def findings_of(chaos_round: ChaosRound) -> Findings:
    return await check_invariants(chaos_round.stack, chaos_round.workspace, chaos_round.expected)


async def damage(chaos_round: ChaosRound, sql: str) -> None:
    """Damage one submission of this tool, another each time."""
    connection = await asyncpg.connect(chaos_round.stack.postgres.dsn(chaos_round.workspace.target))
    try:
        submission = await connection.fetchval(
            "SELECT s.id FROM assignment_submissions s "
            "WHERE substring(s.lti_launch_id from '^rogo_0*([0-9]{1,10})_')::bigint = ANY ($1) "
            "AND NOT EXISTS (SELECT FROM malpractice_enforcements WHERE submission_id = s.id) "
            "ORDER BY random() LIMIT 1",
            list(chaos_round.expected.files),
        )
        await connection.execute(sql, submission)
    finally:
        await connection.close()
