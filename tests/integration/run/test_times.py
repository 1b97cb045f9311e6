"""Times at the ends of the calendar are written exactly (specification §3, derived values)."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta, timezone

import asyncpg
import pytest

from rogo_async.common.database_url import DatabaseUrl
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.destination.postgres.connections import Connections
from rogo_async.destination.postgres.connector import ConnectOptions
from rogo_async.destination.postgres.status import read_target_status
from tests.support.builders import INSERTED, TABLES, Scenario
from tests.support.cli import FAILED, failures, run_cli, table

FIRST, LAST = "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"
NEAR_FIRST, NEAR_LAST = "0001-01-01 00:00:00.000001", "9999-12-31 23:59:59.999998"
WRITTEN_NOW = {"assigned_at", "rule_applied_at", "expires_at", "session_expiry"}


@pytest.fixture
def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    return Scenario(stack, workspace)


@pytest.fixture
async def connections(env: dict[str, str]) -> AsyncIterator[Connections]:
    opened = await Connections.open(ConnectOptions.of(DatabaseUrl.parse(env["DATABASE_URL"])), 1)
    yield opened
    await opened.aclose()


async def times(scenario: Scenario) -> dict[str, set[str]]:
    """All times of the written rows as PostgreSQL prints them, by table and column."""
    found: dict[str, set[str]] = {}
    async with scenario.target() as target:
        await target.execute("SET TimeZone = 'UTC'")
        for name in TABLES:
            columns = await target.fetch(
                "SELECT column_name FROM information_schema.columns "
                "WHERE table_name = $1 AND data_type LIKE 'timestamp%'",
                name,
            )
            for (column,) in columns:
                values = await target.fetch(
                    f'SELECT DISTINCT "{column}"::text AS at FROM "{name}" '
                    f'WHERE "{column}" IS NOT NULL'
                )
                if values and column not in WRITTEN_NOW and name != "malpractice_enforcements":
                    found[f"{name}.{column}"] = {row["at"].removesuffix("+00") for row in values}
    return found


@pytest.mark.parametrize("moment", [FIRST, NEAR_FIRST, LAST, NEAR_LAST])
@pytest.mark.parametrize("zone", ["timestamptz", "timestamp"])
async def test_the_ends_of_the_calendar_are_written_exactly(
    scenario: Scenario, env: dict[str, str], moment: str, zone: str
) -> None:
    made = scenario.submission(1, Grade="Malpractice Severe")
    made.scores = [{"ScoreLabelCorrected": "Question 2", "Score": 3}]
    await scenario.load([made])
    async with scenario.warehouse() as warehouse:
        for name in ("Rogo_AssessmentReport", "Rogo_AssessmentReportScores"):
            await warehouse.execute(
                f'UPDATE dbo."{name}" '
                f"""SET "DateInserted" = '{moment}', "DateModified" = '{moment}'"""
            )
        await warehouse.execute(
            f"""UPDATE dbo."Rogo_AssessmentReport" SET "ResultsApproved" = '{moment}'"""
        )
    if zone == "timestamp":
        async with scenario.target() as target:
            await target.execute("SET TimeZone = 'UTC'")
            await target.execute(
                "ALTER TABLE submission_grades ALTER completed_at TYPE timestamp;"
                "ALTER TABLE submission_section_marks ALTER created_at TYPE timestamp"
            )
    result = await run_cli(env)
    assert result.code == 0, result.output
    found = await times(scenario)
    assert len(found) == 14, found
    assert {text for texts in found.values() for text in texts} == {moment}
    assert (await run_cli(env, "verify")).code == 0


async def test_every_moment_is_sent_and_read_exactly(connections: Connections) -> None:
    """The ends of the calendar, those of the codec's epoch, and a time in another zone."""
    moments = {
        datetime.min.replace(tzinfo=UTC): FIRST,
        datetime(1999, 12, 31, 23, 59, 59, 999999, UTC): "1999-12-31 23:59:59.999999",
        datetime(2000, 1, 1, tzinfo=UTC): "2000-01-01 00:00:00",
        datetime(2025, 3, 1, 10, 0, 0, 1, timezone(timedelta(hours=5.5))): (
            "2025-03-01 04:30:00.000001"
        ),
        datetime.max.replace(tzinfo=UTC): LAST,
    }
    async with connections.session("times") as session:
        await session.raw.execute("SET TimeZone = 'UTC'")
        for moment, text in moments.items():
            sent, read = await session.raw.fetchrow(
                "SELECT $1::timestamptz::text, $2::text::timestamptz", moment, text
            )
            assert (sent, read) == (f"{text}+00", moment)
        sent = await session.raw.fetchval("SELECT $1::timestamptz[]::text[]", list(moments))
        assert sent == [f"{text}+00" for text in moments.values()]
        with pytest.raises(asyncpg.DataError):
            await session.raw.fetchval("SELECT $1::timestamptz", INSERTED)
        for beyond in ("infinity", "-infinity", "10000-01-01", "0001-12-31 BC"):
            assert await session.raw.fetchval("SELECT $1::text::timestamptz", beyond) is None


@pytest.mark.parametrize(
    "moments", [("infinity", "-infinity"), ("294000-01-01", "4000-01-01 BC"), ("9999-12-31",)]
)
async def test_infinity_and_far_years_can_be_read(
    scenario: Scenario, connections: Connections, env: dict[str, str], moments: Sequence[str]
) -> None:
    await scenario.load([scenario.submission(n + 1) for n in range(len(moments))])
    assert (await run_cli(env)).code == 0
    async with scenario.target() as target:
        for number, moment in enumerate(moments, 1):
            await target.execute(
                f"UPDATE submission_marking_assignments SET assigned_at = '{moment}' FROM "
                "assignment_submissions s WHERE s.id = submission_id "
                f"AND s.lti_launch_id LIKE 'rogo\\_{number}\\_%'"
            )
    state = await read_target_status(connections, env["ROGO_INSTANCE_ID"], 5, lambda _: None)
    assert [each.written_at is None for each in state.latest] == [
        moment != "9999-12-31" for moment in moments
    ]
    assert (await run_cli(env, "status")).code == 0


async def test_a_time_that_is_outside_the_calendar_in_utc_names_its_column(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await scenario.load([scenario.submission(1), scenario.submission(2)])
    async with scenario.warehouse() as warehouse:
        await warehouse.execute(
            'ALTER TABLE dbo."Rogo_AssessmentReport" ALTER "DateInserted" TYPE text;'
            """UPDATE dbo."Rogo_AssessmentReport" SET "DateInserted" = """
            """CASE "AttemptId" WHEN 1 THEN '0001-01-01T00:00:00+05:00' """
            """ELSE '9999-12-31T23:59:59-05:00' END"""
        )
    assert (await run_cli(env)).code == 1
    assert failures(scenario.data_dir / FAILED) == dict.fromkeys("12", "report_field_missing")
    for row in table(scenario.data_dir / FAILED):
        assert "DateInserted" in row["Error"]
    assert await scenario.nothing_written()
