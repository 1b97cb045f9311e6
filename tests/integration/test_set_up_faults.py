"""What is found wrong at start and is certain: exit 2, a line for each fault, nothing written."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from handmade import REFERENCE, Desk
from operating import FAILED, MIGRATED, SUMMARY, Ended, failures, operate, summary

from rogo_async.devstack.stack import Place, Stack

Site = dict[str, str]
NO_LIBODBC = "libodbc.so.2: cannot open shared object file: No such file or directory"
SECRET = "s3cr3t-canary-value"


@pytest.fixture
def desk(stack: Stack, place: Place) -> Desk:
    return Desk(stack, place)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something to break, and what each line about it must say: the thing and the remedy."""

    name: str
    breaks: Callable[[Desk, Site], Awaitable[object]]
    lines: tuple[str, ...]


FAULTS: list[Fault] = []


def fault(*lines: str) -> Callable[[Callable[[Desk, Site], Awaitable[object]]], None]:
    """Take a function that breaks something. ``lines`` are patterns, one for each line."""

    def take(breaks: Callable[[Desk, Site], Awaitable[object]]) -> None:
        FAULTS.append(Fault(breaks.__name__, breaks, lines))

    return take


def changed(site: Site, name: str, pattern: str, replacement: str) -> None:
    """Change one setting; fails when there is nothing to change."""
    site[name], count = re.subn(pattern, replacement, site[name])
    assert count == 1


@fault(
    r"DATABASE_URL: .*set it",
    r"DATA_WAREHOUSE_CONNECTION_STRING: .*set it",
    r"AZURE_STORAGE_ACCOUNT_NAME: .*AZURE_STORAGE_CONNECTION_STRING.*set",
    r"ROGO_SOURCE_HOSTS: .*set it",
    r"ROGO_CONTAINER: .*set it",
    r"ROGO_INSTANCE_ID: .*set it",
    r"ROGO_CONSUMER_KEY: .*set it",
    r"ROGO_CONSUMER_NAME: .*set it",
    r"ROGO_RETURN_URL_BASE: .*set it",
)
async def no_setting_at_all(_desk: Desk, site: Site) -> None:
    kept = site["ROGO_DATA_DIR"]
    site.clear()
    site["ROGO_DATA_DIR"] = kept


@fault(r"ROGO_CONCURRENCY: ", r"ROGO_OUTAGE_LIMIT: ", r"ROGO_LOG_FORMAT: ")
async def numbers_that_are_none(_desk: Desk, site: Site) -> None:
    site |= {"ROGO_CONCURRENCY": "many", "ROGO_OUTAGE_LIMIT": "-1", "ROGO_LOG_FORMAT": "xml"}


@fault(r"DATABASE_URL: .*postgresql://")
async def address_of_another_kind(_desk: Desk, site: Site) -> None:
    site["DATABASE_URL"] = f"mysql://user:{SECRET}@127.0.0.1/db"


@fault(
    r"DATA_WAREHOUSE_CONNECTION_STRING: .*server",
)
async def warehouse_without_a_server(_desk: Desk, site: Site) -> None:
    site["DATA_WAREHOUSE_CONNECTION_STRING"] = f"User ID=me;Password={SECRET}"


@fault(r"ROGO_SOURCE_HOSTS: .*user-info")
async def host_with_user_info(_desk: Desk, site: Site) -> None:
    del site["ROGO_SOURCE_SAS_TOKEN"]
    site["ROGO_SOURCE_HOSTS"] = f"https://user:{SECRET}@good.example"


@fault(r"ROGO_SOURCE_SAS_TOKEN: .*host=token")
async def sas_without_its_host(_desk: Desk, site: Site) -> None:
    site["ROGO_SOURCE_SAS_TOKEN"] = f"sv=2024&sig={SECRET}"


@fault(r"ROGO_SOURCE_SAS_TOKEN: .*sig=")
async def sas_that_is_none(desk: Desk, site: Site) -> None:
    site["ROGO_SOURCE_SAS_TOKEN"] = f"{desk.source.origin}={SECRET}"


@fault(r"DATABASE_URL.*(user|password)|target.*password.*DATABASE_URL")
async def wrong_password_of_the_target(_desk: Desk, site: Site) -> None:
    changed(site, "DATABASE_URL", r":[^:@/]*@", f":{SECRET}@")


@fault(r"warehouse: .*password.*DATA_WAREHOUSE_CONNECTION_STRING")
async def wrong_password_of_the_warehouse(_desk: Desk, site: Site) -> None:
    changed(site, "DATA_WAREHOUSE_CONNECTION_STRING", r"PWD=\w+", f"PWD={SECRET}")


@fault(r"target: .*no such database.*DATABASE_URL")
async def no_database_of_the_target(_desk: Desk, site: Site) -> None:
    site["DATABASE_URL"] += "_gone"


@fault(r"warehouse: .*database.*DATA_WAREHOUSE_CONNECTION_STRING")
async def no_database_of_the_warehouse(_desk: Desk, site: Site) -> None:
    changed(site, "DATA_WAREHOUSE_CONNECTION_STRING", r"DATABASE=(\w+)", r"DATABASE=\1_gone")


@fault(r"(?i)driver.*(DATA_WAREHOUSE_CONNECTION_STRING|install)")
async def no_odbc_driver(_desk: Desk, site: Site) -> None:
    changed(site, "DATA_WAREHOUSE_CONNECTION_STRING", r"DRIVER=\{.*?\}", "DRIVER={No Such One}")


@fault(r"unixODBC.*apt-get install unixodbc")
async def no_unixodbc(desk: Desk, site: Site) -> None:
    modules = desk.data_dir / "modules"
    modules.mkdir()
    (modules / "pyodbc.py").write_text(f"raise ImportError({NO_LIBODBC!r})\n")
    site["PYTHONPATH"] = str(modules)


def without_column(path: Path, *columns: str) -> None:
    header, _, rest = path.read_text(encoding="utf-8").partition("\r\n")
    for column in columns:
        assert column in header
        header = header.replace(column, f"Not {column[::-1]}")
    path.write_text(f"{header}\r\n{rest}", encoding="utf-8")


@fault(r"submission_files\.csv: .*Attempt ID, Learner Email, Marker Azure Blob URLs.*Export")
async def no_columns_in_the_submissions(desk: Desk, _site: Site) -> None:
    without_column(
        desk.data_dir / "submission_files.csv",
        "Attempt ID",
        "Learner Email",
        "Marker Azure Blob URLs",
    )


@fault(r"attempt_number_mapping\.csv: .*Unit Code Version, Submission.*Export")
async def no_columns_in_the_mapping(desk: Desk, _site: Site) -> None:
    without_column(desk.data_dir / "attempt_number_mapping.csv", "Unit Code Version", "Submission")


@fault(r"warehouse: .*Rogo_AssessmentReport .*DateModified", r"Rogo_AssessmentReportScores .*Score")
async def no_columns_in_the_warehouse(desk: Desk, _site: Site) -> None:
    async with desk.warehouse() as warehouse:
        await warehouse.execute(
            'ALTER TABLE dbo."Rogo_AssessmentReport" DROP COLUMN "DateModified";'
            'ALTER TABLE dbo."Rogo_AssessmentReportScores" DROP COLUMN "Score"'
        )


@fault(r"warehouse: .*MarksAchieved.*MarksAwarded")
async def no_marks_in_the_warehouse(desk: Desk, _site: Site) -> None:
    async with desk.warehouse() as warehouse:
        await warehouse.execute(
            'ALTER TABLE dbo."Rogo_AssessmentReport" DROP COLUMN "MarksAchieved", '
            'DROP COLUMN "MarksAwarded"'
        )


@fault(r"warehouse: .*Rogo_AssessmentReportScores.*DATA_WAREHOUSE_CONNECTION_STRING")
async def no_table_in_the_warehouse(desk: Desk, _site: Site) -> None:
    async with desk.warehouse() as warehouse:
        await warehouse.execute('DROP TABLE dbo."Rogo_AssessmentReportScores"')


@fault(r"target: .*submission_grades .*word_count|target: .*submission_grades .*final_grade")
async def no_column_in_the_target(desk: Desk, _site: Site) -> None:
    async with desk.target() as target:
        await target.execute("ALTER TABLE submission_grades DROP COLUMN final_grade")


@fault(r"target: .*no table submission_section_marks.*DATABASE_URL")
async def no_table_in_the_target(desk: Desk, _site: Site) -> None:
    async with desk.target() as target:
        await target.execute("DROP TABLE submission_section_marks")


@fault(r"target: .*INSERT.*submission_grades.*(?i:grant)")
async def no_right_in_the_target(desk: Desk, _site: Site) -> None:
    async with desk.target() as target:
        await target.execute("REVOKE INSERT ON submission_grades FROM rogo_writer")


@fault(r"(?i)warehouse: .*(permission|right).*grant")
async def no_right_in_the_warehouse(desk: Desk, _site: Site) -> None:
    async with desk.warehouse() as warehouse:
        await warehouse.execute('REVOKE SELECT ON dbo."Rogo_AssessmentReport" FROM rogo_reader')


@fault(r"target: .*admin.*ROGO_MIGRATION_USER_ID")
async def no_admin(desk: Desk, _site: Site) -> None:
    async with desk.target() as target:
        await target.execute("UPDATE users SET role = 'marker'")


@fault(r"ROGO_MIGRATION_USER_ID: .*no such user")
async def no_such_user(_desk: Desk, site: Site) -> None:
    site["ROGO_MIGRATION_USER_ID"] = "nobody-of-this-id"


@fault(r"submission_files\.csv: .*no bytes.*Export")
async def no_bytes(desk: Desk, _site: Site) -> None:
    (desk.data_dir / "submission_files.csv").write_bytes(b"")


@fault(r"submission_files\.csv, line 3: .*UTF-8.*Export")
async def not_utf_8(desk: Desk, _site: Site) -> None:
    path = desk.data_dir / "submission_files.csv"
    path.write_bytes(path.read_bytes().replace(b"Lovelace", b"L\xf6velace", 2).replace(
        b"L\xf6velace", b"Lovelace", 1))  # fmt: skip


@fault(
    r"submission_files\.csv: no such file.*ROGO_DATA_DIR",
    r"attempt_number_mapping\.csv: no such file.*ROGO_DATA_DIR",
)
async def no_files(desk: Desk, _site: Site) -> None:
    (desk.data_dir / "submission_files.csv").unlink()
    (desk.data_dir / "attempt_number_mapping.csv").unlink()


@fault(r"store: .*no such container.*ROGO_CONTAINER")
async def no_container(_desk: Desk, site: Site) -> None:
    site["ROGO_CONTAINER"] += "-gone"


@fault(r"store: .*credentials.*AZURE_STORAGE_")
async def wrong_storage_key(_desk: Desk, site: Site) -> None:
    changed(
        site,
        "AZURE_STORAGE_CONNECTION_STRING",
        r"AccountKey=[^;]*",
        "AccountKey=c2VjcmV0LWNhbmFyeQ==",
    )


@fault(r"AZURE_STORAGE.*")
async def storage_key_that_is_none(_desk: Desk, site: Site) -> None:
    changed(site, "AZURE_STORAGE_CONNECTION_STRING", r"AccountKey=[^;]*", f"AccountKey={SECRET}")


@fault(r"AZURE_STORAGE_CONNECTION_STRING: ")
async def no_connection_string(_desk: Desk, site: Site) -> None:
    site["AZURE_STORAGE_CONNECTION_STRING"] = f"AccountKey={SECRET}"


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
async def test_a_fault_is_named_with_its_remedy(desk: Desk, site: Site, fault: Fault) -> None:
    secrets = _secrets(site)
    await desk.lay_out([desk.sound(1), desk.sound(2)])
    broken = dict(site)
    await fault.breaks(desk, broken)
    ended = await operate(broken)
    assert ended.code == 2, ended.output
    assert len(ended.said) == len(fault.lines), ended.said
    for pattern in fault.lines:
        assert len([line for line in ended.said if re.search(pattern, line)]) == 1, ended.said
    assert ended.stdout == ""
    _speaks_of_no_secret(ended, secrets | {"c2VjcmV0LWNhbmFyeQ==", SECRET})
    assert await desk.nothing_written()
    _nothing_in(desk.data_dir)


def _secrets(site: Mapping[str, str]) -> set[str]:
    patterns = (r"://\w+:(\w+)@", r"PWD=(\w+)", r"AccountKey=([^;]+)", r"sig=([^&\s]+)")
    text = "\n".join(site.values())
    found = {value for pattern in patterns for value in re.findall(pattern, text)}
    assert len(found) >= 4
    return found


def _speaks_of_no_secret(ended: Ended, secrets: set[str]) -> None:
    assert not [secret for secret in secrets if secret in ended.output]
    assert "Traceback" not in ended.output
    assert "traceback" not in ended.output


def _nothing_in(data_dir: Path) -> None:
    for name in (FAILED, MIGRATED, SUMMARY, "runs"):
        assert not (data_dir / name).exists(), name


async def test_a_data_directory_that_is_not_there(desk: Desk, site: Site) -> None:
    missing = desk.data_dir / "gone"
    ended = await operate(site, "run", "--data-dir", str(missing))
    assert ended.code == 2
    (line,) = ended.said
    assert str(missing) in line
    assert "--data-dir" in line
    assert not missing.exists()


async def test_an_attempt_that_is_not_in_the_file(desk: Desk, site: Site) -> None:
    await desk.lay_out([desk.sound(1), desk.sound(2)])
    ended = await operate(site, "--attempt", "2", "--attempt", "3", "--attempt", "12")
    assert ended.code == 2
    (line,) = ended.said
    assert re.search(r"submission_files\.csv.*3, 12.*--attempt", line)
    assert await desk.nothing_written()


@pytest.mark.parametrize("args", [("--limit", "0"), ("--attempt", "x"), ("--such",), ("gone",)])
async def test_usage(desk: Desk, site: Site, args: tuple[str, ...]) -> None:
    ended = await operate(site, *args)
    assert ended.code == 2
    assert "Usage:" in "\n".join(ended.said)


async def test_a_header_alone_is_an_empty_run(desk: Desk, site: Site) -> None:
    await desk.lay_out([], REFERENCE)
    ended = await operate(site)
    assert ended.code == 0
    assert ended.said == []
    assert [entry for entry in ended.log if entry["level"] == "warning"]
    assert summary(desk.data_dir)["rows_total"] == 0
    assert await desk.nothing_written()


async def test_a_quote_never_closed_costs_its_own_row_alone(desk: Desk, site: Site) -> None:
    await desk.lay_out([desk.sound(attempt) for attempt in (1, 2, 3)])
    path = desk.data_dir / "submission_files.csv"
    first, second, third = path.read_bytes().partition(b",learner2@")
    path.write_bytes(first.removesuffix(b"Lovelace") + b'"Lovelace' + second + third)
    ended = await operate(site)
    assert ended.code == 1
    assert failures(desk.data_dir / FAILED) == {"2": "row_malformed"}
    assert "line 3" in (desk.data_dir / FAILED).read_text()
    assert await desk.attempts() == [1, 3]
