"""Errors found at start: one line with the remedy, exit 2, nothing written (specification §3)."""

import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.check_fixtures import add_session_records
from tests.support.cli import FAILED, CliResult, run_cli, summary
from tests.support.snapshot import take_snapshot

Site = dict[str, str]
SUBMISSIONS = "submission_files.csv"
MAPPING = "attempt_number_mapping.csv"


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    """A scenario in which a run would migrate one submission."""
    made = Scenario(stack, workspace)
    await made.load([made.submission(1)])
    return made


async def refused(scenario: Scenario, env: Mapping[str, str], *says: str) -> CliResult:
    """Assert that a run is refused correctly: its one line has every text of ``says``."""
    result = await run_cli(env)
    assert result.code == 2, result.output
    assert len(result.messages) == 1, result.messages
    for text in says:
        assert text in result.messages[0], result.messages
    assert "Traceback" not in result.output
    assert result.stdout.splitlines() == result.messages
    assert result.events("internal error") == []
    for name in ("DATABASE_URL", "AZURE_STORAGE_CONNECTION_STRING"):
        for secret in re.findall(r"(?::|AccountKey=)([^:@;/]{12,})", env.get(name, "")):
            assert secret not in result.output
    assert not (scenario.data_dir / FAILED).exists()
    assert not (scenario.data_dir / "migrated.csv").exists()
    assert await scenario.nothing_written()
    return result


async def test_without_settings_every_missing_one_is_named(tmp_path: Path) -> None:
    result = await run_cli({"ROGO_DATA_DIR": str(tmp_path)})
    assert result.code == 2
    assert result.stdout.splitlines() == result.messages
    for name in (
        "DATABASE_URL",
        "DATA_WAREHOUSE_CONNECTION_STRING",
        "AZURE_STORAGE_CONNECTION_STRING",
        "ROGO_SOURCE_HOSTS",
        "ROGO_CONTAINER",
        "ROGO_INSTANCE_ID",
        "ROGO_CONSUMER_KEY",
        "ROGO_CONSUMER_NAME",
        "ROGO_RETURN_URL_BASE",
    ):
        assert sum(name in line for line in result.messages) == 1, name
    assert len(result.messages) == 9
    assert list(tmp_path.iterdir()) == []


def replaced(name: str, pattern: str, by: str) -> Callable[[Site], Site]:
    """A change of one setting."""

    def change(env: Site) -> Site:
        changed, count = re.subn(pattern, by, env[name], count=1)
        assert count == 1
        return {**env, name: changed}

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (replaced("DATABASE_URL", r":[^:@]+@", ":wrong-password@"), ("DATABASE_URL", "login")),
        (replaced("DATABASE_URL", r"/[^/]+$", "/nowhere"), ("DATABASE_URL", "database")),
        (replaced("DATABASE_URL", r"$", "?sslmode=verify-full"), ("DATABASE_URL", "TLS")),
        (replaced("DATABASE_URL", r"$", "?sslmode=never"), ("DATABASE_URL",)),
        (replaced("DATABASE_URL", r"$", "?no_such_parameter=1"), ("DATABASE_URL",)),
        (replaced("DATABASE_URL", r"$", "?sslmode=require&sslrootcert=/none"), ("DATABASE_URL",)),
        (replaced("DATABASE_URL", r"@[^:]+:", "@" + "x" * 70 + ".example:"), ("DATABASE_URL",)),
        (
            replaced("DATA_WAREHOUSE_CONNECTION_STRING", r"PWD=[^;]*", "PWD=wrong-password"),
            ("DATA_WAREHOUSE_CONNECTION_STRING", "login"),
        ),
        (
            replaced("DATA_WAREHOUSE_CONNECTION_STRING", r"DATABASE=[^;]*", "DATABASE=nowhere"),
            ("DATA_WAREHOUSE_CONNECTION_STRING", "database"),
        ),
        (
            replaced("DATA_WAREHOUSE_CONNECTION_STRING", r"DRIVER=\{[^}]*\}", "DRIVER={Absent}"),
            ("driver", "DATA_WAREHOUSE_CONNECTION_STRING"),
        ),
        (
            replaced("DATA_WAREHOUSE_CONNECTION_STRING", r".*", "nonsense"),
            ("DATA_WAREHOUSE_CONNECTION_STRING",),
        ),
        (
            replaced("AZURE_STORAGE_CONNECTION_STRING", r"AccountKey=[^;]*", "AccountKey=AAAA"),
            ("AZURE_STORAGE", "credentials"),
        ),
        (
            replaced("AZURE_STORAGE_CONNECTION_STRING", r".*", "nonsense"),
            ("AZURE_STORAGE_CONNECTION_STRING",),
        ),
        (replaced("ROGO_CONTAINER", r".*", "absent"), ("ROGO_CONTAINER", "Create")),
        (replaced("ROGO_CONTAINER", r".*", "No Name"), ("ROGO_CONTAINER",)),
        (replaced("ROGO_SOURCE_SAS_TOKEN", r".*", "sv=1&sig=x"), ("ROGO_SOURCE_SAS_TOKEN",)),
        (replaced("ROGO_SOURCE_HOSTS", r".*", "ftp://files.example"), ("ROGO_SOURCE_HOSTS",)),
        (replaced("ROGO_DATA_DIR", r"$", "/absent"), ("--data-dir", "ROGO_DATA_DIR")),
    ],
)
async def test_an_invalid_setting_is_rejected(
    scenario: Scenario, env: Site, change: Callable[[Site], Site], says: tuple[str, ...]
) -> None:
    changed = change(env)
    if "ROGO_SOURCE_SAS_TOKEN" not in says and "ROGO_SOURCE_HOSTS" in says:
        changed.pop("ROGO_SOURCE_SAS_TOKEN")
    if not Path(changed["ROGO_DATA_DIR"]).exists():
        result = await run_cli(env, "run", "--data-dir", changed["ROGO_DATA_DIR"])
        assert result.code == 2
        assert all(text in result.messages[0] for text in says)
        return
    await refused(scenario, changed, *says)


async def test_an_unknown_user_for_malpractice_rules(scenario: Scenario, env: Site) -> None:
    env["ROGO_MIGRATION_USER_ID"] = "nobody"
    await refused(scenario, env, "ROGO_MIGRATION_USER_ID")


async def test_missing_unixodbc_is_reported(scenario: Scenario, env: Site, tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    absent.mkdir()
    error = "libodbc.so.2: cannot open shared object file: No such file or directory"
    (absent / "pyodbc.py").write_text(f"raise ImportError({error!r})\n", encoding="utf-8")
    await refused(
        scenario, {**env, "PYTHONPATH": str(absent)}, "unixODBC", "apt-get install unixodbc"
    )


def change_text(name: str, old: str, new: str) -> Callable[[Scenario], Awaitable[None]]:
    async def change(scenario: Scenario) -> None:
        path = scenario.data_dir / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    return change


def write(name: str, content: bytes) -> Callable[[Scenario], Awaitable[None]]:
    async def change(scenario: Scenario) -> None:
        (scenario.data_dir / name).write_bytes(content)

    return change


def remove(name: str) -> Callable[[Scenario], Awaitable[None]]:
    async def change(scenario: Scenario) -> None:
        (scenario.data_dir / name).unlink()

    return change


def target(sql: str) -> Callable[[Scenario], Awaitable[None]]:
    async def change(scenario: Scenario) -> None:
        async with scenario.target() as connection:
            await connection.execute(sql)

    return change


def warehouse(sql: str) -> Callable[[Scenario], Awaitable[None]]:
    async def change(scenario: Scenario) -> None:
        async with scenario.warehouse() as connection:
            await connection.execute(sql)

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            change_text(SUBMISSIONS, "Surname,Learner Email", "Name,Mail"),
            ("Surname, Learner Email",),
        ),
        (change_text(MAPPING, "Unit Code Version", "Version"), (MAPPING, "Unit Code Version")),
        (write(SUBMISSIONS, b""), (SUBMISSIONS, "the file is empty")),
        (write(MAPPING, b""), (MAPPING, "the file is empty")),
        (change_text(SUBMISSIONS, "Surname", "Surname,Surname"), ("duplicate columns: Surname",)),
        (write(SUBMISSIONS, b"Attempt ID\n1\n\xe9\n"), (SUBMISSIONS, "Surname")),
        (write(MAPPING, "Attempt ID\né\n".encode("utf-16")), (MAPPING, "line 1", "UTF-8")),
        (remove(SUBMISSIONS), (SUBMISSIONS, "file not found")),
        (remove(MAPPING), (MAPPING, "file not found")),
        (target("DROP TABLE submission_grades CASCADE"), ("submission_grades", "DATABASE_URL")),
        (target("ALTER TABLE assessments DROP COLUMN code"), ("assessments", "code")),
        (
            target("ALTER TABLE lti_session_records ADD COLUMN tenant text NOT NULL"),
            ("lti_session_records", "tenant"),
        ),
        (target("REVOKE INSERT ON submission_files FROM rogo_writer"), ("INSERT", "Grant")),
        (target("UPDATE users SET role = 'marker'"), ("admin", "ROGO_MIGRATION_USER_ID")),
        (
            warehouse('DROP TABLE "dbo"."Rogo_AssessmentReportScores"'),
            ("dbo.Rogo_AssessmentReportScores", "DATA_WAREHOUSE_CONNECTION_STRING"),
        ),
        (
            warehouse('ALTER TABLE "dbo"."Rogo_AssessmentReport" DROP COLUMN "Grade"'),
            ("dbo.Rogo_AssessmentReport", "Grade"),
        ),
        (
            warehouse(
                'ALTER TABLE "dbo"."Rogo_AssessmentReport" DROP COLUMN "MarksAchieved", '
                'DROP COLUMN "MarksAwarded"'
            ),
            ("MarksAchieved", "MarksAwarded"),
        ),
    ],
)
async def test_an_invalid_file_or_schema_is_rejected(
    scenario: Scenario,
    env: Site,
    change: Callable[[Scenario], Awaitable[None]],
    says: tuple[str, ...],
) -> None:
    await change(scenario)
    await refused(scenario, env, *says)


async def test_a_file_that_is_not_utf8_is_rejected_with_its_line(
    scenario: Scenario, env: Site
) -> None:
    path = scenario.data_dir / SUBMISSIONS
    path.write_bytes(path.read_bytes() + "José,\r\n".encode("latin-1"))
    await refused(scenario, env, SUBMISSIONS, "line 3", "UTF-8")


async def test_one_marks_column_is_enough(scenario: Scenario, env: Site) -> None:
    await warehouse('ALTER TABLE "dbo"."Rogo_AssessmentReport" DROP COLUMN "MarksAwarded"')(
        scenario
    )
    assert (await run_cli(env)).code == 0
    assert await scenario.attempts() == [1]


async def test_a_file_without_rows_is_an_empty_run_with_a_warning(
    scenario: Scenario, env: Site
) -> None:
    scenario.write_lines([])
    result = await run_cli(env)
    assert result.code == 0
    assert [entry for entry in result.log if entry["level"] == "warning"]
    assert summary(scenario.data_dir)["rows_total"] == 0
    assert await scenario.nothing_written()


async def test_a_dotenv_file_in_the_current_directory_is_read(
    scenario: Scenario, env: Site
) -> None:
    lines = [f"{name}='{value}'" for name, value in env.items() if name != "ROGO_DATA_DIR"]
    (scenario.data_dir / ".env").write_text("\n".join(lines), encoding="utf-8")
    result = await run_cli({"ROGO_DATA_DIR": env["ROGO_DATA_DIR"]})
    assert result.code == 0, result.output
    assert await scenario.attempts() == [1]


@pytest.mark.parametrize("command", ["run", "plan"])
async def test_an_instance_id_that_only_others_have_is_refused(
    scenario: Scenario, env: dict[str, str], command: str
) -> None:
    await add_session_records(scenario, "lms-real", 3)
    await add_session_records(scenario, "lms-rare", 1)
    before = {**await take_snapshot(scenario), "files": None}  # the lock file is new
    result = await run_cli(env, command)
    assert result.code == 2, result.output
    (line,) = result.messages
    for text in ("ROGO_INSTANCE_ID", "4 rows", "most of them 'lms-real'", "Set ROGO_INSTANCE_ID"):
        assert text in line
    assert {**await take_snapshot(scenario), "files": None} == before
    assert not (scenario.data_dir / "migrated.csv").exists()


async def test_several_learning_systems_may_use_one_platform(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await add_session_records(scenario, "lms-other", 3)
    await add_session_records(scenario, env["ROGO_INSTANCE_ID"], 1)
    result = await run_cli(env)
    assert result.code == 0, result.output
    assert await scenario.attempts() == [1]


async def test_the_first_run_into_an_empty_target_names_its_instance_id(
    scenario: Scenario, env: dict[str, str]
) -> None:
    first, second = await run_cli(env), await run_cli(env)
    assert (first.code, second.code) == (0, 0)
    warned = [each["event"] for each in first.log if "no lms_user_id yet" in each["event"]]
    assert len(warned) == 1
    assert env["ROGO_INSTANCE_ID"] in warned[0]
    assert "no lms_user_id yet" not in second.output
