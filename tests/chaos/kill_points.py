"""SIGKILL at the points of one submission with malpractice and two files, one of them in blocks."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Final

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.chaos.invariants import Findings
from tests.chaos.rounds import RoundFactory
from tests.chaos.small_dataset import LARGE_BYTES, SmallDataset
from tests.support.builders import Scenario
from tests.support.cli import run_cli

LAUNCHER: Final = Path(__file__).with_name("kill_at.py")
ATTEMPT: Final = 1


async def one_submission(
    stack: Stack, workspace: Workspace, *, in_azure: bool = False
) -> RoundFactory:
    """Rounds with one submission, whose malpractice rule changes an older one."""
    made = SmallDataset(Scenario(stack, workspace), in_azure=in_azure)
    made.malpractice(ATTEMPT, LARGE_BYTES)
    factory = await made.load()
    ((user, code, context),) = factory.expected.enforcements
    await stack.postgres.execute_script(
        workspace.target,
        "INSERT INTO malpractice_enforcements (lms_user_id, custom_assessment_code, context_id, "
        "malpractice_level_id, rule_applied_by) VALUES "
        f"('{user}', '{code}', '{context}', 'level-minor', 'user-first')",
    )
    return factory


async def measure_kill_points(factory: RoundFactory) -> dict[str, int]:
    """The points of an undisturbed run, with how often each is reached."""
    async with factory.round() as chaos_round:
        path = chaos_round.workspace.data_dir / "points.json"
        result = await run_cli(chaos_round.env, prefix=_launcher("-", str(path)))
        assert result.code == chaos_round.expected_code, result.output
        found: dict[str, int] = json.loads(await asyncio.to_thread(path.read_text, "utf-8"))
    return found


async def run_killed_at(factory: RoundFactory, point: str, nth: int) -> tuple[bool, Findings]:
    """Whether the run was killed at the point, and the findings after the next run."""
    async with factory.round() as chaos_round:
        result = await run_cli(chaos_round.env, prefix=_launcher(point, str(nth)))
        died = result.code == -signal.SIGKILL
        assert died or result.code == chaos_round.expected_code, result.output
        return died, await chaos_round.recover()


def _launcher(point: str, nth: str) -> tuple[str, ...]:
    # ``run_cli`` appends the interpreter and the module, which the launcher replaces.
    swap = 'python=$1 point=$2 nth=$3; shift 6; exec "$python" "$0" "$point" "$nth" "$@"'
    return ("/bin/sh", "-c", swap, str(LAUNCHER), sys.executable, point, nth)
