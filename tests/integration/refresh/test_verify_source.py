"""``verify --source`` finds each column that differs, and nothing else (specification §5)."""

import json
from collections.abc import Iterator, Sequence

import pytest

from rogo_async.commands.verify import source
from rogo_async.commands.verify.command import Verification
from rogo_async.commands.verify.counts import VerificationScope
from rogo_async.common.errors import Dependency, TransientError
from rogo_async.common.shutdown import ExitCode
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.destination.postgres.row_comparison import RULE, SUBMISSION
from rogo_async.rules.records import WarehouseRows
from rogo_async.sources.warehouse.reader import Warehouse
from tests.support.builders import INSERTED, Scenario, SourceSubmission
from tests.support.changed_columns import change_column
from tests.support.cli import run_cli, table
from tests.support.rollback_fixtures import settings_of

FAILURES = "verification_failures.csv"
KEYS = {("assignment_submissions", "id"), ("malpractice_enforcements", "id")}
"""Not compared: all rows are found through the first; a run keeps the id of a rule that it takes
over."""


def compared_columns() -> Iterator[tuple[str, str]]:
    for definition in [*SUBMISSION.tables.values(), *RULE.tables.values()]:
        for column in definition.columns:
            if (definition.name, column) not in KEYS:
                yield definition.name, column


COLUMNS = list(compared_columns())


def submission(scenario: Scenario, attempt: int) -> SourceSubmission:
    made = scenario.submission(attempt, Grade="Malpractice Moderate", MarkerNotes="a note")
    made.scores = [
        {"ScoreLabelCorrected": "Question 1", "Score": 20.1, "DateInserted": INSERTED},
        {"ScoreLabelCorrected": "Question 2", "Score": 20, "MarkerComment": "good"},
    ]
    return made


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace, env: dict[str, str]) -> Scenario:
    """A submission for each column that is compared, and one more."""
    made = Scenario(stack, workspace)
    await made.load(submission(made, attempt) for attempt in range(1, len(COLUMNS) + 2))
    result = await run_cli(env)
    assert result.code == 0, result.output
    return made


async def test_each_changed_column_is_found_and_nothing_else(
    scenario: Scenario, env: dict[str, str]
) -> None:
    intact = await run_cli(env, "verify", "--source", "--quick", "--json")
    assert intact.code == 0, intact.output
    assert json.loads(intact.stdout)["source"]["compared"] == len(COLUMNS) + 1
    assert table(scenario.data_dir / FAILURES) == []

    launch_ids = {
        int(row["launch_id"].split("_")[1]): row["launch_id"]
        for row in await scenario.rows("lti_launch_sessions")
    }
    async with scenario.target() as target:
        await target.execute("SET session_replication_role = replica")
        for attempt, (name, column) in enumerate(COLUMNS, start=1):
            await change_column(target, launch_ids[attempt], name, column)
    result = await run_cli(env, "verify", "--source", "--quick", "--json")
    found: dict[int, list[tuple[str, str, str]]] = {}
    for row in table(scenario.data_dir / FAILURES):
        if row["Table"]:
            place = (row["Table"], row["Column"], row["Verdict"])
            found.setdefault(int(row["Attempt ID"]), []).append(place)
    wrong = {
        (name, column): found.get(attempt)
        for attempt, (name, column) in enumerate(COLUMNS, start=1)
        if found.get(attempt) != [(name, column, "changed_on_platform")]
    }
    assert wrong == {}, result.output
    assert set(found) == set(range(1, len(COLUMNS) + 1))


async def test_a_chunk_that_cannot_be_compared_does_not_end_the_verification(
    stack: Stack, workspace: Workspace, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other chunks are compared; the exit code says that some were not."""
    made = Scenario(stack, workspace)
    await made.load(submission(made, attempt) for attempt in (1, 2, 3))
    assert (await run_cli(env)).code == 0
    async with made.warehouse() as warehouse:
        await warehouse.execute('UPDATE dbo."Rogo_AssessmentReport" SET "MarkerNotes" = \'new\'')
    look_up = Warehouse.look_up

    async def fails_for_the_second(
        self: Warehouse, attempts: Sequence[int]
    ) -> dict[int, WarehouseRows]:
        if 2 in attempts:
            raise TransientError(Dependency.WAREHOUSE, "reports", "the query never ends")
        return await look_up(self, attempts)

    monkeypatch.setattr(Warehouse, "look_up", fails_for_the_second)
    monkeypatch.setattr(source, "CHUNK_ATTEMPTS", 1)
    scope = VerificationScope(sample=None, attempts=(), whole=False, source=True)
    verification = Verification(settings_of(env), scope, None)
    ending = await verification.execute()
    assert ending.exit_code is ExitCode.STOPPED_EARLY
    assert "2 submissions compared with the source; 2 differ" in ending.summary_line
    rows = table(made.data_dir / FAILURES)
    assert {row["Attempt ID"] for row in rows} == {"1", "3"}
