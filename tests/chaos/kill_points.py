"""SIGKILL at the steps of one submission: of a finding, in two files, one of them in blocks."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Final

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.chaos.invariants import Findings
from tests.chaos.rounds import Ground
from tests.chaos.small_dataset import LARGE_BYTES, Handful
from tests.support.builders import Scenario
from tests.support.cli import run_cli

LAUNCHER: Final = Path(__file__).with_name("kill_at.py")
ATTEMPT: Final = 1


async def one_submission(stack: Stack, workspace: Workspace) -> Ground:
    """Ground with that submission alone, whose enforcement row changes an older one."""
    made = Handful(Scenario(stack, workspace))
    made.malpractice(ATTEMPT, LARGE_BYTES)
    ground = await made.load()
    ((user, code, context),) = ground.answer.enforcements
    await stack.postgres.execute_script(
        workspace.target,
        "INSERT INTO malpractice_enforcements (lms_user_id, custom_assessment_code, context_id, "
        "malpractice_level_id, rule_applied_by) VALUES "
        f"('{user}', '{code}', '{context}', 'level-minor', 'user-first')",
    )
    return ground


async def points(ground: Ground) -> dict[str, int]:
    """The points of a run that nobody kills, with how often each is reached."""
    async with ground.round() as there:
        path = there.workspace.data_dir / "points.json"
        result = await run_cli(there.env, prefix=_launcher("-", str(path)))
        assert result.code == there.expected_code, result.output
        found: dict[str, int] = json.loads(await asyncio.to_thread(path.read_text, "utf-8"))
    return found


async def killed_at(ground: Ground, point: str, nth: int) -> tuple[bool, Findings]:
    """Whether the point was reached and the run died there, and what was wrong in the end."""
    async with ground.round() as there:
        result = await run_cli(there.env, prefix=_launcher(point, str(nth)))
        died = result.code == -signal.SIGKILL
        assert died or result.code == there.expected_code, result.output
        return died, await there.settle()


def _launcher(point: str, nth: str) -> tuple[str, ...]:
    # ``run_cli`` appends the interpreter and the module, which the launcher stands for.
    swap = 'python=$1 point=$2 nth=$3; shift 6; exec "$python" "$0" "$point" "$nth" "$@"'
    return ("/bin/sh", "-c", swap, str(LAUNCHER), sys.executable, point, nth)
