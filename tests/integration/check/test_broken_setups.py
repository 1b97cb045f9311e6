"""Each broken set-up makes ``check`` report exactly its problem, with a remedy."""

import re
import resource
import shutil
import struct
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from types import MappingProxyType

import asyncpg
import pytest
from azure.storage.blob import (
    AccountSasPermissions,
    ContainerSasPermissions,
    ResourceTypes,
    generate_account_sas,
    generate_container_sas,
)

from rogo_async.commands.check.results import CheckStatus
from rogo_async.common.data_dir import DataDir
from rogo_async.demo.servers.process import is_root
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.check_fixtures import NAMES, Setup, load_valid_setup, run_checks, secrets_of

SECRET = "s3cr3t-canary-value"
Breaks = Callable[[Setup], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class BrokenSetup:
    """A change that breaks the set-up, and the expected lines by name (regular expressions)."""

    breaks: Breaks
    failed: dict[str, str]
    warned: dict[str, str]
    code: int


BROKEN_SETUPS: dict[str, BrokenSetup] = {}


def broken(
    failed: Mapping[str, str] = MappingProxyType({}),
    /,
    *,
    code: int = 1,
    warned: dict[str, str] | None = None,
    **named: str,
) -> Callable[[Breaks], None]:
    """Register a function that breaks the set-up. Keywords have ``__`` for the dot in a name."""

    def register(breaks: Breaks) -> None:
        by_name = {name.replace("__", "."): text for name, text in named.items()}
        by_name |= failed
        BROKEN_SETUPS[breaks.__name__] = BrokenSetup(breaks, by_name, warned or {}, code)

    return register


def change(setup: Setup, name: str, pattern: str, by: str) -> None:
    """Change one setting. Fails if the pattern does not match."""
    setup.env[name], count = re.subn(pattern, by, setup.env[name], count=1)
    assert count == 1


def target(sql: str) -> Breaks:
    """Run SQL in the target as a superuser."""

    async def breaks(setup: Setup) -> None:
        async with setup.scenario.target() as connection:
            await connection.execute(sql.format(database=setup.scenario.workspace.target))

    return breaks


def warehouse(sql: str) -> Breaks:
    """Run SQL in the warehouse as a superuser."""

    async def breaks(setup: Setup) -> None:
        async with setup.scenario.warehouse() as connection:
            await connection.execute(sql)

    return breaks


def statement(name: str, breaks: Breaks, **results: str) -> None:
    """Register one SQL statement; the prefix ``warned__`` marks an expected warning."""
    failed = {k.replace("__", "."): v for k, v in results.items() if not k.startswith("warned__")}
    warned = {
        k.removeprefix("warned__").replace("__", "."): v
        for k, v in results.items()
        if k.startswith("warned__")
    }
    BROKEN_SETUPS[name] = BrokenSetup(breaks, failed, warned, 1 if failed else 0)


# Settings.


@broken(
    target__instance=r"ROGO_INSTANCE_ID: no lms_user_id.* begins with 'lms-other', but 1 row with "
    r"another instance id, most of them 'lms-demo-0042'.*Set ROGO_INSTANCE_ID to the id"
)
async def instance_id_of_no_row(setup: Setup) -> None:
    setup.env["ROGO_INSTANCE_ID"] = "lms-other"


@broken(
    code=0,
    warned={"target.instance": r"no lms_user_id yet.*begin with 'lms-demo-0042::'.*Make sure that"},
)
async def instance_id_unconfirmed(setup: Setup) -> None:
    async with setup.scenario.target() as target:
        await target.execute("DELETE FROM lti_session_records")


@broken(code=2, settings__DATABASE_URL=r"postgresql://")
async def database_url_with_other_scheme(setup: Setup) -> None:
    setup.env["DATABASE_URL"] = f"mysql://user:{SECRET}@127.0.0.1/x"


@broken(
    code=2,
    settings__ROGO_CONTAINER=r"is missing.*Set it",
    warned={"settings.unknown": r"ROGO_CONTANER.*Rename ROGO_CONTANER to ROGO_CONTAINER"},
)
async def misspelt_setting(setup: Setup) -> None:
    setup.env["ROGO_CONTANER"] = setup.env.pop("ROGO_CONTAINER")


@broken(code=2, settings__ROGO_SOURCE_SAS_TOKEN=r"host=token.*Fix it")
async def sas_for_another_host(setup: Setup) -> None:
    change(setup, "ROGO_SOURCE_SAS_TOKEN", r"^http://[^=]*=", "https://other.example=")


@broken(code=2, settings__env_file=r"UTF-8.*Save it")
async def env_file_not_utf8(setup: Setup) -> None:
    (setup.scenario.data_dir / ".env").write_bytes(b"ROGO_KEEP_RUNS=\xff\xfe")


@broken(code=2, settings__env_file=r"UTF-8")
async def all_settings_in_env_file_not_utf8(setup: Setup) -> None:
    text = "\n".join(f"{name}='{value}'" for name, value in setup.env.items())
    (setup.scenario.data_dir / ".env").write_bytes(text.encode() + b"\xff")
    setup.env.clear()


@broken(code=2, settings__ROGO_SOURCE_HOSTS=r"source host 1: .*user name or password.*Fix it")
async def source_host_with_password(setup: Setup) -> None:
    setup.env["ROGO_SOURCE_HOSTS"] = f"https://user:{SECRET}@good.example"


@broken(target__tls=r"sslrootcert.*cannot be used")
async def invalid_ca_certificate(setup: Setup) -> None:
    path = setup.scenario.data_dir / "ca.pem"
    path.write_text("no certificate", encoding="utf-8")
    setup.env["DATABASE_URL"] += f"?sslmode=verify-full&sslrootcert={path}"


@broken(code=0, warned={"settings.env_file": r"mode 0644.*chmod 600"})
async def env_file_readable_by_all(setup: Setup) -> None:
    path = setup.scenario.data_dir / ".env"
    path.write_text("ROGO_KEEP_RUNS=7\n", encoding="utf-8")
    path.chmod(0o644)


# The data directory and its files.


@broken(directory__exists=r"does not exist.*Create it")
async def data_dir_missing(setup: Setup) -> None:
    setup.options["rogo_data_dir"] = setup.scenario.data_dir / "absent"


@broken(directory__exists=r"is not a directory.*Use another")
async def data_dir_is_a_file(setup: Setup) -> None:
    setup.options["rogo_data_dir"] = setup.scenario.data_dir / "submission_files.csv"


def mounted(setup: Setup, size: str, *, read_only: bool = False) -> Path:
    """Mount a small disk with the input files on it as the data directory."""
    if not is_root():
        pytest.skip("only root can mount a small disk")
    workspace = setup.scenario.data_dir / "disk"
    workspace.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(workspace)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mount is not permitted here")
    setup.undo.callback(subprocess.run, ["umount", str(workspace)], check=True)
    for path in setup.scenario.data_dir.glob("*.csv"):
        shutil.copy(path, workspace)
    if read_only:
        subprocess.run(["mount", "-o", "remount,ro", str(workspace)], check=True)
    setup.options["rogo_data_dir"] = workspace
    return workspace


@broken(directory__space=r"nearly full.*Free disk space")
async def disk_full(setup: Setup) -> None:
    workspace = mounted(setup, "1m")
    with pytest.raises(OSError, match="No space left"):
        (workspace / "ballast").write_bytes(b"x" * 2_000_000)


@broken(directory__writable=r"cannot write in.*inodes")
async def disk_without_inodes(setup: Setup) -> None:
    workspace = mounted(setup, "300m,nr_inodes=8")
    with pytest.raises(OSError, match="No space left"):  # noqa: PT012 - any of them may fail
        for number in range(9):
            (workspace / f"ballast{number}").touch()


@broken(directory__writable=r"cannot write in.*Fix its owner")
async def data_dir_read_only(setup: Setup) -> None:
    if is_root():
        mounted(setup, "300m", read_only=True)
    else:
        setup.undo.callback(setup.scenario.data_dir.chmod, 0o700)
        setup.scenario.data_dir.chmod(0o500)


@broken(code=0, warned={"directory.lock": r"held by run x since .*Wait until it ends"})
async def data_dir_locked_by_a_run(setup: Setup) -> None:
    data = DataDir(setup.scenario.data_dir)
    data.lock("run x")
    setup.undo.callback(data.unlock)


@broken(inputs__submissions=r"missing columns: Learner Email.*Export it")
async def submissions_column_missing(setup: Setup) -> None:
    path = setup.scenario.data_dir / "submission_files.csv"
    path.write_text(path.read_text().replace("Learner Email", "Mail"), encoding="utf-8")


@broken(inputs__accepted=r"accepted_failures.csv, line 2: Who or Why is empty.*Correct")
async def accepted_failure_without_a_reason(setup: Setup) -> None:
    path = setup.scenario.data_dir / "accepted_failures.csv"
    path.write_text("Attempt ID,Code,Who,Why\n1,email_missing,,\n", encoding="utf-8")


@broken(inputs__mapping=r"file not found.*Put it there")
async def mapping_file_missing(setup: Setup) -> None:
    (setup.scenario.data_dir / "attempt_number_mapping.csv").unlink()


# The target.


@broken(target__login=r"login failed.*Check user and password in DATABASE_URL")
async def target_wrong_password(setup: Setup) -> None:
    change(setup, "DATABASE_URL", r":[^:@]+@", f":{SECRET}@")


@broken(target__login=r"database does not exist.*Check its name")
async def target_database_missing(setup: Setup) -> None:
    change(setup, "DATABASE_URL", r"/[^/]+$", "/nowhere")


@broken(target__tls=r"does not offer TLS.*Enable TLS")
async def target_without_tls(setup: Setup) -> None:
    setup.env["DATABASE_URL"] += "?sslmode=require"


statement(
    "target_insert_not_granted",
    target("REVOKE INSERT ON submission_files FROM rogo_writer"),
    target__rights=r"INSERT on submission_files.*Grant it",
)
statement(
    "target_delete_not_granted",
    target("REVOKE DELETE ON submission_grades FROM rogo_writer"),
    warned__target__rights=r"DELETE on submission_grades.*rollback.*Grant it",
)


@broken(
    target__rights=r"UPDATE on submission_files; DELETE on malpractice_enforcements.*ROGO_REFRESH "
    r"needs them.*Grant it"
)
async def rights_of_a_refresh_not_granted(setup: Setup) -> None:
    setup.env["ROGO_REFRESH"] = "true"
    await target(
        "REVOKE UPDATE ON submission_files FROM rogo_writer; "
        "REVOKE DELETE ON malpractice_enforcements FROM rogo_writer"
    )(setup)


statement(
    "target_insert_granted_on_one_column",
    target(
        "REVOKE INSERT ON submission_grades FROM rogo_writer; "
        "GRANT INSERT (id) ON submission_grades TO rogo_writer"
    ),
    target__insert=r"rejected.*42501.*Grant",
)
statement(
    "target_check_constraint",
    target("ALTER TABLE submission_grades ADD CHECK (final_grade <> 'Pass')"),
    target__insert=r"rejected.*23514.*table submission_grades.*compare",
)
statement(
    "target_check_constraint_on_malpractice",
    target("ALTER TABLE malpractice_enforcements ADD CHECK (attempt_number > 1)"),
    target__enforcement=r"rejected.*23514.*table malpractice_enforcements.*compare",
)
statement(
    "target_new_required_column",
    target(
        "ALTER TABLE lti_session_records ADD COLUMN tenant text NOT NULL DEFAULT ''; "
        "ALTER TABLE lti_session_records ALTER COLUMN tenant DROP DEFAULT"
    ),
    target__columns=r"lti_session_records requires a value in tenant.*install a matching version",
)
statement(
    "target_column_missing",
    target("ALTER TABLE submission_files DROP COLUMN file_type"),
    target__columns=r"submission_files has no column file_type.*install a matching version",
)
statement(
    "target_table_missing",
    target("DROP TABLE submission_section_marks"),
    target__tables=r"missing tables: submission_section_marks.*Check the database",
)
statement(
    "target_unique_key_missing",
    target("ALTER TABLE lti_session_records DROP CONSTRAINT lti_session_records_launch_id_key"),
    target__keys=r"lti_session_records: no unique key on launch_id.*twice.*constraint",
)
statement(
    "target_unique_key_partial",
    target(
        "ALTER TABLE lti_launch_sessions DROP CONSTRAINT lti_launch_sessions_launch_id_key; "
        "CREATE UNIQUE INDEX ON lti_launch_sessions (launch_id) WHERE custom_action IS NOT NULL"
    ),
    target__keys=r"lti_launch_sessions: no unique key",
)
statement(
    "target_admin_missing",
    target("UPDATE users SET role = 'marker'"),
    target__user=r"no user has the role admin.*ROGO_MIGRATION_USER_ID",
)
statement(
    "target_assessments_missing",
    target("TRUNCATE assessments CASCADE"),
    target__reference=r"no assessments.*DATABASE_URL",
)
statement(
    "target_active_assessments_missing",
    target("UPDATE assessments SET is_active = 'false'"),
    warned__target__reference=r"\(0 active\)",
)
statement(
    "target_read_only",
    target('ALTER DATABASE "{database}" SET default_transaction_read_only = on'),
    target__primary=r"read-only.*default_transaction_read_only",
)
statement(
    "target_few_connections",
    target('ALTER DATABASE "{database}" CONNECTION LIMIT 7'),
    target__connections=r"7 connections available, a run needs up to 21.*Lower ROGO_PG_POOL_SIZE",
)
statement(
    "target_no_connections",
    target('ALTER DATABASE "{database}" CONNECTION LIMIT 0'),
    target__login=r"no connection left.*Close idle",
)
statement(
    "target_clock_slow",
    target(
        "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql "
        "AS $$SELECT pg_catalog.clock_timestamp() - interval '1 hour'$$; "
        'ALTER DATABASE "{database}" SET search_path = public, pg_catalog'
    ),
    clock__target=r"3,[56]\d\d s behind.*NTP",
)


@broken(target__user=r"ROGO_MIGRATION_USER_ID: the target has no user.*Set it to the id")
async def migration_user_missing(setup: Setup) -> None:
    setup.env["ROGO_MIGRATION_USER_ID"] = "nobody"


@broken(target__pooler=r"pooler.*Use the address of the PostgreSQL server")
async def target_behind_pooler(setup: Setup) -> None:
    proxy = await setup.proxied("DATABASE_URL", setup.scenario.stack.postgres.port)
    key_data = re.compile(rb"(?s)K\0\0\0\x0c(....)")
    proxy.on_reply = lambda chunk: key_data.sub(b"K\0\0\0\x0c\0\0\0\1", chunk)


@broken(target__version=r"is not supported.*Use version 12")
async def target_old_version(setup: Setup) -> None:
    async with setup.scenario.target() as connection:
        number = int(await connection.fetchval("SHOW server_version_num"))
    proxy = await setup.proxied("DATABASE_URL", setup.scenario.stack.postgres.port)
    real, old = struct.pack(">i", number), struct.pack(">i", 110_022)
    proxy.on_reply = lambda chunk: chunk.replace(real, old)


@broken(code=0, warned={"target.lock": r"holds the run lock since 2.*Wait until it ends"})
async def target_locked_by_a_run(setup: Setup) -> None:
    holder = await asyncpg.connect(setup.env["DATABASE_URL"])
    setup.undo.push_async_callback(holder.close)
    assert await holder.fetchval("SELECT pg_try_advisory_lock(x'526F676F'::int, 1)")


# The warehouse.


@broken(warehouse__login=r"login failed.*DATA_WAREHOUSE_CONNECTION_STRING")
async def warehouse_wrong_password(setup: Setup) -> None:
    change(setup, "DATA_WAREHOUSE_CONNECTION_STRING", r"PWD=[^;]*", f"PWD={SECRET}")


@broken(warehouse__driver=r"driver.*is not installed.*Check")
async def warehouse_driver_missing(setup: Setup) -> None:
    change(setup, "DATA_WAREHOUSE_CONNECTION_STRING", r"DRIVER=\{[^}]*\}", "DRIVER={Absent}")


@broken(warehouse__driver=r"DATA_WAREHOUSE_CONNECTION_STRING: is not a list of.*must be in quotes")
async def warehouse_connection_string_invalid(setup: Setup) -> None:
    setup.env["DATA_WAREHOUSE_CONNECTION_STRING"] = SECRET


statement(
    "warehouse_table_missing",
    warehouse('DROP TABLE "dbo"."Rogo_AssessmentReportScores"'),
    warehouse__tables=r"missing tables.*dbo.Rogo_AssessmentReportScores.*grant SELECT",
)
statement(
    "warehouse_columns_missing",
    warehouse(
        'ALTER TABLE dbo."Rogo_AssessmentReport" DROP COLUMN "MarksAchieved", '
        'DROP COLUMN "MarksAwarded", DROP COLUMN "Grade"'
    ),
    warehouse__tables=r"no column Grade, MarksAchieved or MarksAwarded.*Ask the owner",
)
statement(
    "warehouse_column_not_granted",
    warehouse(
        'REVOKE SELECT ON dbo."Rogo_AssessmentReport" FROM rogo_reader; '
        'GRANT SELECT ("AttemptId"), UPDATE ON dbo."Rogo_AssessmentReport" TO rogo_reader'
    ),
    warehouse__read=r"permission denied.*Grant SELECT on dbo.Rogo_AssessmentReport",
    warned__warehouse__rights=r"can change dbo.Rogo_AssessmentReport;.*SELECT only",
)
statement(
    "warehouse_empty",
    warehouse('TRUNCATE "dbo"."Rogo_AssessmentReport"'),
    warned__warehouse__read=r"no rows in dbo.Rogo_AssessmentReport",
)


# The destination.


@broken(store__credentials=r"credentials refused.*AZURE_STORAGE")
async def store_wrong_key(setup: Setup) -> None:
    change(setup, "AZURE_STORAGE_CONNECTION_STRING", r"AccountKey=[^;]*", "AccountKey=AAAA")


@broken(store__container=r"no such container.*Create it")
async def store_container_missing(setup: Setup) -> None:
    setup.env["ROGO_CONTAINER"] = "absent"


@broken(store__delete=r"no permission to delete.*rogo_check_\w{32} is left.*delete that blob")
async def store_delete_not_permitted(setup: Setup) -> None:
    _sas_for_the_store(setup, AccountSasPermissions(read=True, write=True, list=True, create=True))


@broken(store__write=r"no permission to write.*Grant read, write")
async def store_write_not_permitted(setup: Setup) -> None:
    _sas_for_the_store(setup, AccountSasPermissions(read=True, list=True, delete=True))


def _sas_for_the_store(setup: Setup, permission: AccountSasPermissions) -> None:
    azurite = setup.scenario.stack.azurite
    sas = generate_account_sas(
        azurite.account_name,
        azurite.account_key,
        ResourceTypes(service=True, container=True, object=True),
        permission,
        datetime.now(UTC) + timedelta(hours=1),
    )
    setup.env["AZURE_STORAGE_CONNECTION_STRING"] = (
        f"BlobEndpoint={azurite.endpoint};SharedAccessSignature={sas}"
    )


def _fast(chunk: bytes) -> bytes:
    def later(found: re.Match[bytes]) -> bytes:
        when = parsedate_to_datetime(found[1].decode()) + timedelta(hours=1)
        return b"\r\nDate: " + format_datetime(when, usegmt=True).encode()

    return re.sub(rb"\r\nDate: ([^\r]+)", later, chunk)


@broken(clock__store=r"3,[56]\d\d s ahead of.*NTP")
async def store_clock_fast(setup: Setup) -> None:
    stack = setup.scenario.stack
    proxy = await setup.proxied("AZURE_STORAGE_CONNECTION_STRING", stack.azurite.port)
    proxy.on_reply = _fast


# The sources.


def source_sas(setup: Setup, ends: timedelta = timedelta(days=7), **may: bool) -> None:
    """Another SAS for the source container."""
    azurite = setup.scenario.stack.azurite
    token = generate_container_sas(
        azurite.account_name,
        setup.scenario.workspace.source_container,
        account_key=azurite.account_key,
        permission=ContainerSasPermissions(**(may or {"read": True})),
        expiry=datetime.now(UTC) + ends,
    )
    setup.env["ROGO_SOURCE_SAS_TOKEN"] = f"{azurite.origin}={token}"


@broken({"source.{store}.sas": r"expired at .*ROGO_SOURCE_SAS_TOKEN"})
async def sas_expired(setup: Setup) -> None:
    source_sas(setup, timedelta(hours=-1))


@broken(code=0, warned={"source.{store}.sas": r"within 24 hours.*ROGO_SOURCE_SAS_TOKEN"})
async def sas_expires_soon(setup: Setup) -> None:
    source_sas(setup, timedelta(hours=5))


@broken({"source.{store}.sas": r"has no read permission.*that has it"})
async def sas_without_read_permission(setup: Setup) -> None:
    source_sas(setup, write=True, list=True)


@broken({"source.{store}.files": r"answered 403 .*ROGO_SOURCE_SAS_TOKEN"})
async def sas_with_wrong_signature(setup: Setup) -> None:
    change(setup, "ROGO_SOURCE_SAS_TOKEN", r"sig=[^&\s]+", "sig=AAAA")


@broken(code=0, warned={"source.{plain}.files": r"answered 404 .*rows"})
async def source_file_missing(setup: Setup) -> None:
    setup.scenario.source.routes.clear()


@broken(code=0, warned={"source.allowed": r"\(1 in .*not on the allow-list.*ROGO_SOURCE_HOSTS"})
async def source_host_not_allowed(setup: Setup) -> None:
    setup.env["ROGO_SOURCE_HOSTS"] = setup.scenario.stack.azurite.origin


# The machine.


@broken(machine__files=r"300 open files .*ROGO_CONCURRENCY 64 needs 356.*ulimit")
async def open_files_limit_low(setup: Setup) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    setup.undo.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    await load_valid_setup(made)
    return made


@pytest.mark.parametrize("name", BROKEN_SETUPS)
async def test_only_the_broken_part_is_reported_with_a_remedy(
    scenario: Scenario, env: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, secrets = BROKEN_SETUPS[name], secrets_of(env) | {SECRET}
    async with AsyncExitStack() as undo:
        setup = Setup(scenario, dict(env), undo)
        await expected.breaks(setup)
        output = await run_checks(setup, monkeypatch)
        secrets |= secrets_of(setup.env)
    failed = {key.format(**setup.hosts): text for key, text in expected.failed.items()}
    warned = {key.format(**setup.hosts): text for key, text in expected.warned.items()}
    assert output.names(CheckStatus.FAIL) == failed.keys()
    assert output.names(CheckStatus.WARNING) == warned.keys()
    assert output.code == expected.code
    for key, text in (failed | warned).items():
        assert re.search(text, output.text(key)), output.text(key)
        assert output.results[key].remedy
    for key in output.names(CheckStatus.SKIPPED):
        what, _, cause = output.results[key].message.partition(" skipped: needs ")
        assert key.endswith(f".{what}")
        assert cause in failed, output.results[key]
    assert output.results.keys() >= set(NAMES)
    text = "\n".join(output.text(key) for key in output.results)
    assert not [secret for secret in secrets if secret in text]
