"""Several set-up errors at once: one line each, no secrets, nothing written."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.cli import FAILED, MIGRATED, SUMMARY, CliResult, failures, run_cli

Site = dict[str, str]
SECRET = "s3cr3t-canary-value"


@pytest.fixture
def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    return Scenario(stack, workspace)


@dataclass(frozen=True, slots=True)
class Fault:
    """A change that breaks the set-up, and patterns for each line: the problem and the remedy."""

    name: str
    breaks: Callable[[Scenario, Site], Awaitable[object]]
    lines: tuple[str, ...]


FAULTS: list[Fault] = []


def fault(*lines: str) -> Callable[[Callable[[Scenario, Site], Awaitable[object]]], None]:
    """Register a function that breaks the set-up. ``lines`` are patterns, one for each line."""

    def take(breaks: Callable[[Scenario, Site], Awaitable[object]]) -> None:
        FAULTS.append(Fault(breaks.__name__, breaks, lines))

    return take


def changed(env: Site, name: str, pattern: str, replacement: str) -> None:
    """Change one setting. Fails if the pattern does not match."""
    env[name], count = re.subn(pattern, replacement, env[name])
    assert count == 1


@fault(r"ROGO_CONCURRENCY: ", r"ROGO_OUTAGE_LIMIT: ", r"ROGO_LOG_FORMAT: ")
async def numbers_that_are_none(_desk: Scenario, env: Site) -> None:
    env |= {"ROGO_CONCURRENCY": "many", "ROGO_OUTAGE_LIMIT": "-1", "ROGO_LOG_FORMAT": "xml"}


@fault(r"DATABASE_URL: .*postgresql://")
async def address_of_another_kind(_desk: Scenario, env: Site) -> None:
    env["DATABASE_URL"] = f"mysql://user:{SECRET}@127.0.0.1/db"


@fault(r"DATA_WAREHOUSE_CONNECTION_STRING: .*server")
async def warehouse_without_a_server(_desk: Scenario, env: Site) -> None:
    env["DATA_WAREHOUSE_CONNECTION_STRING"] = f"User ID=me;Password={SECRET}"


@fault(r"ROGO_SOURCE_HOSTS: .*user name or password")
async def host_with_user_info(_desk: Scenario, env: Site) -> None:
    del env["ROGO_SOURCE_SAS_TOKEN"]
    env["ROGO_SOURCE_HOSTS"] = f"https://user:{SECRET}@good.example"


@fault(r"ROGO_SOURCE_SAS_TOKEN: .*sig=")
async def sas_that_is_none(scenario: Scenario, env: Site) -> None:
    env["ROGO_SOURCE_SAS_TOKEN"] = f"{scenario.source.origin}={SECRET}"


def without_column(path: Path, *columns: str) -> None:
    header, _, rest = path.read_text(encoding="utf-8").partition("\r\n")
    for column in columns:
        assert column in header
        header = header.replace(column, f"Not {column[::-1]}")
    path.write_text(f"{header}\r\n{rest}", encoding="utf-8")


@fault(r"submission_files\.csv: .*Attempt ID, Learner Email, Marker Azure Blob URLs.*Export")
async def no_columns_in_the_submissions(scenario: Scenario, _site: Site) -> None:
    without_column(
        scenario.data_dir / "submission_files.csv",
        "Attempt ID",
        "Learner Email",
        "Marker Azure Blob URLs",
    )


@fault(r"attempt_number_mapping\.csv: .*Unit Code Version, Submission.*Export")
async def no_columns_in_the_mapping(scenario: Scenario, _site: Site) -> None:
    without_column(
        scenario.data_dir / "attempt_number_mapping.csv", "Unit Code Version", "Submission"
    )


@fault(r"warehouse: .*Rogo_AssessmentReport .*DateModified", r"Rogo_AssessmentReportScores .*Score")
async def no_columns_in_the_warehouse(scenario: Scenario, _site: Site) -> None:
    async with scenario.warehouse() as warehouse:
        await warehouse.execute(
            'ALTER TABLE dbo."Rogo_AssessmentReport" DROP COLUMN "DateModified";'
            'ALTER TABLE dbo."Rogo_AssessmentReportScores" DROP COLUMN "Score"'
        )


@fault(r"(?i)warehouse: .*(permission|right).*grant")
async def no_right_in_the_warehouse(scenario: Scenario, _site: Site) -> None:
    async with scenario.warehouse() as warehouse:
        await warehouse.execute('REVOKE SELECT ON dbo."Rogo_AssessmentReport" FROM rogo_reader')


@fault(
    r"submission_files\.csv: file not found.*ROGO_DATA_DIR",
    r"attempt_number_mapping\.csv: file not found.*ROGO_DATA_DIR",
)
async def no_files(scenario: Scenario, _site: Site) -> None:
    (scenario.data_dir / "submission_files.csv").unlink()
    (scenario.data_dir / "attempt_number_mapping.csv").unlink()


@fault(r"AZURE_STORAGE.*")
async def storage_key_that_is_none(_desk: Scenario, env: Site) -> None:
    changed(env, "AZURE_STORAGE_CONNECTION_STRING", r"AccountKey=[^;]*", f"AccountKey={SECRET}")


@fault(r"AZURE_STORAGE_CONNECTION_STRING: ")
async def no_connection_string(_desk: Scenario, env: Site) -> None:
    env["AZURE_STORAGE_CONNECTION_STRING"] = f"AccountKey={SECRET}"


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
async def test_every_error_is_reported_with_its_remedy(
    scenario: Scenario, env: Site, fault: Fault
) -> None:
    secrets = _secrets(env)
    await scenario.load([scenario.submission(1), scenario.submission(2)])
    broken = dict(env)
    await fault.breaks(scenario, broken)
    result = await run_cli(broken)
    assert result.code == 2, result.output
    assert len(result.messages) == len(fault.lines), result.messages
    for pattern in fault.lines:
        assert len([line for line in result.messages if re.search(pattern, line)]) == 1, (
            result.messages
        )
    assert result.stdout.splitlines() == result.messages
    _speaks_of_no_secret(result, secrets | {SECRET})
    assert await scenario.nothing_written()
    _nothing_in(scenario.data_dir)


def _secrets(env: Mapping[str, str]) -> set[str]:
    patterns = (r"://\w+:(\w+)@", r"PWD=(\w+)", r"AccountKey=([^;]+)", r"sig=([^&\s]+)")
    text = "\n".join(env.values())
    found = {value for pattern in patterns for value in re.findall(pattern, text)}
    assert len(found) >= 4
    return found


def _speaks_of_no_secret(result: CliResult, secrets: set[str]) -> None:
    assert not [secret for secret in secrets if secret in result.output]
    assert "Traceback" not in result.output
    assert "traceback" not in result.output


def _nothing_in(data_dir: Path) -> None:
    for name in (FAILED, MIGRATED, SUMMARY):
        assert not (data_dir / name).exists(), name
    # Only the record of the start.
    assert [path.name for path in data_dir.glob("runs/*") if path.name != "starts.jsonl"] == []


async def test_an_unclosed_quote_affects_only_its_row(scenario: Scenario, env: Site) -> None:
    await scenario.load([scenario.submission(attempt) for attempt in (1, 2, 3)])
    path = scenario.data_dir / "submission_files.csv"
    first, second, third = path.read_bytes().partition(b",learner2@")
    path.write_bytes(first.removesuffix(b"Lovelace") + b'"Lovelace' + second + third)
    result = await run_cli(env)
    assert result.code == 1
    assert failures(scenario.data_dir / FAILED) == {"2": "row_malformed"}
    assert "line 3" in (scenario.data_dir / FAILED).read_text()
    assert await scenario.attempts() == [1, 3]
