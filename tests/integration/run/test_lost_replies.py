"""After a lost reply the target is asked whose rows it has, whatever it says to the repetition.

The target has committed the rows, and a trigger of the platform refuses the repetition. If the
refusal counted, the row would fail, and the blobs of committed rows would be deleted (invariant 7).
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from rogo_async.common.errors import RowError
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.destination.postgres.writer import Writer, WriteResult
from rogo_async.rules.identity import identify
from tests.chaos.dropped_replies import DroppedReplies, Reply, only_first
from tests.support.builders import REFERENCE, Scenario
from tests.support.tcp_proxy import TcpProxy
from tests.support.writing import LMS, NO_FILES, Finding, open_writer, prepared

REFUSALS = {
    "content": "ERRCODE = 'check_violation'",
    "key": "ERRCODE = 'unique_violation', TABLE = 'lti_launch_sessions'",
    "key of the session": "ERRCODE = 'unique_violation', TABLE = 'lti_session_records'",
    "statement": "ERRCODE = 'insufficient_privilege'",
}


@dataclass(frozen=True, slots=True)
class Ground:
    """A writer whose target is behind a proxy that drops replies."""

    scenario: Scenario
    writer: Writer
    drops: DroppedReplies

    async def refuse_repetitions(self, error: str) -> None:
        """The target refuses a launch id that it has, before its unique key does."""
        async with self.scenario.target() as target:
            await target.execute(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "IF EXISTS (SELECT FROM lti_launch_sessions l WHERE l.launch_id = NEW.launch_id) "
                f"THEN RAISE EXCEPTION 'refused' USING {error}; END IF; RETURN NEW; END $$;"
                "CREATE TRIGGER refuse BEFORE INSERT ON lti_launch_sessions "
                "FOR EACH ROW EXECUTE FUNCTION refuse()"
            )


@pytest.fixture
async def ground(stack: Stack, workspace: Workspace, tmp_path: Path) -> AsyncIterator[Ground]:
    scenario = Scenario(stack, workspace)
    await scenario.load([], REFERENCE)
    port = stack.postgres.port
    store, drops = TcpProxy("127.0.0.1", 0), DroppedReplies(lambda _: False)
    async with TcpProxy("127.0.0.1", port) as target:
        drops.watch(store, target)
        dsn = stack.writer_dsn(workspace).replace(f":{port}/", f":{target.port}/")
        async with open_writer(dsn, tmp_path / "journal") as writer:
            yield Ground(scenario, writer, drops)


@pytest.mark.parametrize("error", REFUSALS.values(), ids=REFUSALS)
async def test_committed_rows_count_although_the_repetition_is_refused(
    ground: Ground, error: str
) -> None:
    await ground.refuse_repetitions(error)
    for attempt, reply in enumerate((Reply.INSERT, Reply.COMMIT), 1):
        with_rule = prepared(Finding(attempt, 2, "severe"), "one")
        submission = with_rule if reply is Reply.COMMIT else replace(with_rule, malpractice=None)
        identity = identify(attempt, "run", LMS.instance_id)
        ground.drops.due = only_first(reply)
        assert await ground.writer.write(submission, NO_FILES, identity) is WriteResult.INSERTED
        assert ground.drops.lost[reply] == 1
        rows = await ground.scenario.rows("assignment_submissions")
        assert identity.submission_id in {row["id"] for row in rows}
    assert len(rows) == 2
    assert len(await ground.scenario.rows("malpractice_enforcements")) == 1


async def test_a_refusal_counts_when_the_rows_are_of_another_run(ground: Ground) -> None:
    """The reply that is lost is a refusal, too."""
    await ground.refuse_repetitions(REFUSALS["content"])
    submission = replace(prepared(Finding(1, 2, "severe"), "one"), malpractice=None)
    other, ours = (identify(1, run, LMS.instance_id) for run in ("another run", "run"))
    assert await ground.writer.write(submission, NO_FILES, other) is WriteResult.INSERTED
    ground.drops.due = only_first(Reply.INSERT)
    with pytest.raises(RowError):
        await ground.writer.write(submission, NO_FILES, ours)
    assert ground.drops.lost == {Reply.INSERT: 1}
    (row,) = await ground.scenario.rows("assignment_submissions")
    assert row["id"] == other.submission_id
