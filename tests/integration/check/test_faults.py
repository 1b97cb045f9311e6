"""``check``: each way in which a set-up can be broken is named with its remedy, and no other is."""

import re
import resource
import shutil
import struct
import subprocess
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path

import asyncpg
import pytest
from azure.storage.blob import (
    AccountSasPermissions,
    ContainerSasPermissions,
    ResourceTypes,
    generate_account_sas,
    generate_container_sas,
)

from rogo_async.commands.check.results import State
from rogo_async.common.data_dir import DataDir
from rogo_async.demo.servers.process import is_root
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.check_fixtures import NAMES, Scene, lay_out_soundly, secrets_of, seen

SECRET = "s3cr3t-canary-value"
Breaks = Callable[[Scene], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something to break; the checks that turn red or warn, each with what its line says."""

    breaks: Breaks
    red: dict[str, str]
    warned: dict[str, str]
    code: int


FAULTS: dict[str, Fault] = {}


def fault(
    code: int = 1, warned: dict[str, str] | None = None, **red: str
) -> Callable[[Breaks], None]:
    """Take a function that breaks something. ``red`` has ``__`` for the point in a name."""

    def take(breaks: Breaks) -> None:
        named = {name.replace("__", "."): text for name, text in red.items()}
        FAULTS[breaks.__name__] = Fault(breaks, named, warned or {}, code)

    return take


def change(scene: Scene, name: str, pattern: str, by: str) -> None:
    """Change one setting; fails when there is nothing to change."""
    scene.env[name], count = re.subn(pattern, by, scene.env[name], count=1)
    assert count == 1


def target(sql: str) -> Breaks:
    """Run SQL in the target, with every right."""

    async def breaks(scene: Scene) -> None:
        async with scene.scenario.target() as connection:
            await connection.execute(sql.format(database=scene.scenario.workspace.target))

    return breaks


def warehouse(sql: str) -> Breaks:
    """Run SQL in the warehouse, with every right."""

    async def breaks(scene: Scene) -> None:
        async with scene.scenario.warehouse() as connection:
            await connection.execute(sql)

    return breaks


def statement(name: str, breaks: Breaks, **findings: str) -> None:
    """A fault that is one statement; ``warned__`` in front of a name is a warning."""
    red = {k.replace("__", "."): v for k, v in findings.items() if not k.startswith("warned__")}
    warned = {
        k.removeprefix("warned__").replace("__", "."): v
        for k, v in findings.items()
        if k.startswith("warned__")
    }
    FAULTS[name] = Fault(breaks, red, warned, 1 if red else 0)


# Settings.


@fault(code=2, settings__DATABASE_URL=r"postgresql://")
async def an_address_of_another_kind(scene: Scene) -> None:
    scene.env["DATABASE_URL"] = f"mysql://user:{SECRET}@127.0.0.1/x"


@fault(
    code=2,
    settings__ROGO_CONTAINER=r"is missing.*Set it",
    warned={"settings.unknown": r"ROGO_CONTANER.*Is ROGO_CONTAINER meant"},
)
async def a_typo(scene: Scene) -> None:
    scene.env["ROGO_CONTANER"] = scene.env.pop("ROGO_CONTAINER")


@fault(code=2, settings__ROGO_SOURCE_SAS_TOKEN=r"host=token.*Mend it")
async def a_sas_for_another_host(scene: Scene) -> None:
    change(scene, "ROGO_SOURCE_SAS_TOKEN", r"^http://[^=]*=", "https://other.example=")


@fault(code=2, settings__env_file=r"UTF-8.*Save it")
async def a_dotenv_file_that_is_no_text(scene: Scene) -> None:
    (scene.scenario.data_dir / ".env").write_bytes(b"ROGO_KEEP_RUNS=\xff\xfe")


@fault(code=2, settings__env_file=r"UTF-8")
async def settings_in_a_dotenv_file_that_is_no_text(scene: Scene) -> None:
    text = "\n".join(f"{name}='{value}'" for name, value in scene.env.items())
    (scene.scenario.data_dir / ".env").write_bytes(text.encode() + b"\xff")
    scene.env.clear()


@fault(code=2, settings__ROGO_SOURCE_HOSTS=r"source host 1: .*user-info.*Mend it")
async def a_host_with_a_password(scene: Scene) -> None:
    scene.env["ROGO_SOURCE_HOSTS"] = f"https://user:{SECRET}@good.example"


@fault(target__tls=r"sslrootcert.*cannot be used")
async def a_certificate_that_is_none(scene: Scene) -> None:
    path = scene.scenario.data_dir / "ca.pem"
    path.write_text("no certificate", encoding="utf-8")
    scene.env["DATABASE_URL"] += f"?sslmode=verify-full&sslrootcert={path}"


@fault(code=0, warned={"settings.env_file": r"mode 0644.*chmod 600"})
async def a_dotenv_file_for_everyone(scene: Scene) -> None:
    path = scene.scenario.data_dir / ".env"
    path.write_text("ROGO_KEEP_RUNS=7\n", encoding="utf-8")
    path.chmod(0o644)


# The data directory and its files.


@fault(directory__exists=r"is not there.*Create it")
async def no_directory(scene: Scene) -> None:
    scene.options["rogo_data_dir"] = scene.scenario.data_dir / "absent"


@fault(directory__exists=r"is no directory.*Name another")
async def a_file_for_a_directory(scene: Scene) -> None:
    scene.options["rogo_data_dir"] = scene.scenario.data_dir / "submission_files.csv"


def mounted(scene: Scene, size: str, *, read_only: bool = False) -> Path:
    """A small disk with the input files on it, which is the data directory."""
    if not is_root():
        pytest.skip("a small disk can be mounted by root alone")
    workspace = scene.scenario.data_dir / "disk"
    workspace.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(workspace)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    scene.undo.callback(subprocess.run, ["umount", str(workspace)], check=True)
    for path in scene.scenario.data_dir.glob("*.csv"):
        shutil.copy(path, workspace)
    if read_only:
        subprocess.run(["mount", "-o", "remount,ro", str(workspace)], check=True)
    scene.options["rogo_data_dir"] = workspace
    return workspace


@fault(directory__space=r"nearly full.*Make room")
async def a_full_disk(scene: Scene) -> None:
    workspace = mounted(scene, "1m")
    with pytest.raises(OSError, match="No space left"):
        (workspace / "ballast").write_bytes(b"x" * 2_000_000)


@fault(directory__writable=r"takes no more.*inodes")
async def a_disk_without_inodes(scene: Scene) -> None:
    workspace = mounted(scene, "300m,nr_inodes=8")
    ballast = (workspace / f"ballast{number}" for number in range(9))
    with pytest.raises(OSError, match="No space left"):
        deque(path.touch() for path in ballast)


@fault(directory__writable=r"cannot be written.*Mend its owner")
async def a_directory_that_cannot_be_written(scene: Scene) -> None:
    if is_root():
        mounted(scene, "300m", read_only=True)
    else:
        scene.undo.callback(scene.scenario.data_dir.chmod, 0o700)
        scene.scenario.data_dir.chmod(0o500)


@fault(code=0, warned={"directory.lock": r"held by run x since .*Let it finish"})
async def a_run_in_the_directory(scene: Scene) -> None:
    data = DataDir(scene.scenario.data_dir)
    data.lock("run x")
    scene.undo.callback(data.unlock)


@fault(inputs__submissions=r"missing columns: Learner Email.*Export it")
async def a_column_is_missing(scene: Scene) -> None:
    path = scene.scenario.data_dir / "submission_files.csv"
    path.write_text(path.read_text().replace("Learner Email", "Mail"), encoding="utf-8")


@fault(inputs__mapping=r"no such file.*Put it there")
async def a_file_is_missing(scene: Scene) -> None:
    (scene.scenario.data_dir / "attempt_number_mapping.csv").unlink()


# The target.


@fault(target__login=r"login was refused.*Check user and password in DATABASE_URL")
async def a_wrong_password_for_the_target(scene: Scene) -> None:
    change(scene, "DATABASE_URL", r":[^:@]+@", f":{SECRET}@")


@fault(target__login=r"no such database.*Check its name")
async def a_database_that_is_not_there(scene: Scene) -> None:
    change(scene, "DATABASE_URL", r"/[^/]+$", "/nowhere")


@fault(target__tls=r"offers no TLS.*Turn it on")
async def a_target_without_tls(scene: Scene) -> None:
    scene.env["DATABASE_URL"] += "?sslmode=require"


statement(
    "no_right_to_insert",
    target("REVOKE INSERT ON submission_files FROM rogo_writer"),
    target__rights=r"INSERT on submission_files.*Grant it",
)
statement(
    "missing_delete_rights",
    target("REVOKE DELETE ON submission_grades FROM rogo_writer"),
    warned__target__rights=r"DELETE on submission_grades.*rollback.*Grant it",
)
statement(
    "a_right_on_one_column_alone",
    target(
        "REVOKE INSERT ON submission_grades FROM rogo_writer; "
        "GRANT INSERT (id) ON submission_grades TO rogo_writer"
    ),
    target__insert=r"refuses.*42501.*Grant",
)
statement(
    "a_rule_of_the_platforms_own",
    target("ALTER TABLE submission_grades ADD CHECK (final_grade <> 'Pass')"),
    target__insert=r"refuses.*23514.*table submission_grades.*compare",
)
statement(
    "a_rule_for_malpractice",
    target("ALTER TABLE malpractice_enforcements ADD CHECK (attempt_number > 1)"),
    target__enforcement=r"refuses.*23514.*table malpractice_enforcements.*compare",
)
statement(
    "a_column_that_wants_a_value",
    target("ALTER TABLE lti_session_records ADD COLUMN tenant text NOT NULL"),
    target__columns=r"lti_session_records wants a value in tenant.*get one",
)
statement(
    "a_column_of_the_target_is_missing",
    target("ALTER TABLE submission_files DROP COLUMN file_type"),
    target__columns=r"submission_files has no column file_type.*get one",
)
statement(
    "a_table_of_the_target_is_missing",
    target("DROP TABLE submission_section_marks"),
    target__tables=r"no table submission_section_marks.*Check database",
)
statement(
    "no_unique_key",
    target("ALTER TABLE lti_session_records DROP CONSTRAINT lti_session_records_launch_id_key"),
    target__keys=r"lti_session_records: no unique key on launch_id.*twice.*constraint",
)
statement(
    "a_key_for_some_rows",
    target(
        "ALTER TABLE lti_launch_sessions DROP CONSTRAINT lti_launch_sessions_launch_id_key; "
        "CREATE UNIQUE INDEX ON lti_launch_sessions (launch_id) WHERE custom_action IS NOT NULL"
    ),
    target__keys=r"lti_launch_sessions: no unique key",
)
statement(
    "no_admin",
    target("UPDATE users SET role = 'marker'"),
    target__user=r"no user with role admin.*ROGO_MIGRATION_USER_ID",
)
statement(
    "no_assessments",
    target("TRUNCATE assessments CASCADE"),
    target__reference=r"no assessments.*DATABASE_URL",
)
statement(
    "no_active_assessment",
    target("UPDATE assessments SET is_active = 'false'"),
    warned__target__reference=r"\(0 active\)",
)
statement(
    "a_target_that_is_read_only",
    target('ALTER DATABASE "{database}" SET default_transaction_read_only = on'),
    target__primary=r"read only.*default_transaction_read_only",
)
statement(
    "few_connections",
    target('ALTER DATABASE "{database}" CONNECTION LIMIT 7'),
    target__connections=r"7 connections are left, a run may want 21.*Lower ROGO_PG_POOL_SIZE",
)
statement(
    "no_connection",
    target('ALTER DATABASE "{database}" CONNECTION LIMIT 0'),
    target__login=r"no connection left.*End idle",
)
statement(
    "a_clock_that_is_slow",
    target(
        "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql "
        "AS $$SELECT pg_catalog.clock_timestamp() - interval '1 hour'$$; "
        'ALTER DATABASE "{database}" SET search_path = public, pg_catalog'
    ),
    clock__target=r"3,[56]\d\d s behind.*NTP",
)


@fault(target__user=r"ROGO_MIGRATION_USER_ID: there is no such user.*Name a user")
async def a_user_that_is_not_there(scene: Scene) -> None:
    scene.env["ROGO_MIGRATION_USER_ID"] = "nobody"


@fault(target__pooler=r"pooler.*Name the PostgreSQL server itself")
async def a_pooler(scene: Scene) -> None:
    proxy = await scene.proxied("DATABASE_URL", scene.scenario.stack.postgres.port)
    key_data = re.compile(rb"(?s)K\0\0\0\x0c(....)")
    proxy.on_reply = lambda chunk: key_data.sub(b"K\0\0\0\x0c\0\0\0\1", chunk)


@fault(target__version=r"is too old.*Use 12")
async def an_old_server(scene: Scene) -> None:
    async with scene.scenario.target() as connection:
        number = int(await connection.fetchval("SHOW server_version_num"))
    proxy = await scene.proxied("DATABASE_URL", scene.scenario.stack.postgres.port)
    there, told = struct.pack(">i", number), struct.pack(">i", 110_022)
    proxy.on_reply = lambda chunk: chunk.replace(there, told)


@fault(code=0, warned={"target.lock": r"held the lock since 2.*Let it finish"})
async def a_run_in_the_target(scene: Scene) -> None:
    holder = await asyncpg.connect(scene.env["DATABASE_URL"])
    scene.undo.push_async_callback(holder.close)
    assert await holder.fetchval("SELECT pg_try_advisory_lock(x'526F676F'::int, 1)")


# The warehouse.


@fault(warehouse__login=r"login was refused.*DATA_WAREHOUSE_CONNECTION_STRING")
async def a_wrong_password_for_the_warehouse(scene: Scene) -> None:
    change(scene, "DATA_WAREHOUSE_CONNECTION_STRING", r"PWD=[^;]*", f"PWD={SECRET}")


@fault(warehouse__driver=r"driver.*is not installed.*See")
async def a_driver_that_is_not_installed(scene: Scene) -> None:
    change(scene, "DATA_WAREHOUSE_CONNECTION_STRING", r"DRIVER=\{[^}]*\}", "DRIVER={Absent}")


@fault(warehouse__driver=r"DATA_WAREHOUSE_CONNECTION_STRING: is not made of.*must be in quotes")
async def a_string_that_is_none(scene: Scene) -> None:
    scene.env["DATA_WAREHOUSE_CONNECTION_STRING"] = SECRET


statement(
    "a_table_of_the_warehouse_is_missing",
    warehouse('DROP TABLE "dbo"."Rogo_AssessmentReportScores"'),
    warehouse__tables=r"no table dbo.Rogo_AssessmentReportScores.*grant SELECT",
)
statement(
    "columns_of_the_warehouse_are_missing",
    warehouse(
        'ALTER TABLE dbo."Rogo_AssessmentReport" DROP COLUMN "MarksAchieved", '
        'DROP COLUMN "MarksAwarded", DROP COLUMN "Grade"'
    ),
    warehouse__tables=r"no column Grade, MarksAchieved or MarksAwarded.*Have",
)
statement(
    "no_right_on_a_column_of_the_warehouse",
    warehouse(
        'REVOKE SELECT ON dbo."Rogo_AssessmentReport" FROM rogo_reader; '
        'GRANT SELECT ("AttemptId"), UPDATE ON dbo."Rogo_AssessmentReport" TO rogo_reader'
    ),
    warehouse__read=r"permission is missing.*Grant SELECT on dbo.Rogo_AssessmentReport",
    warned__warehouse__rights=r"may change dbo.Rogo_AssessmentReport;.*SELECT alone",
)
statement(
    "an_empty_warehouse",
    warehouse('TRUNCATE "dbo"."Rogo_AssessmentReport"'),
    warned__warehouse__read=r"no row in dbo.Rogo_AssessmentReport",
)


# The destination.


@fault(store__credentials=r"credentials are refused.*AZURE_STORAGE")
async def a_wrong_key(scene: Scene) -> None:
    change(scene, "AZURE_STORAGE_CONNECTION_STRING", r"AccountKey=[^;]*", "AccountKey=AAAA")


@fault(store__container=r"no such container.*Create it")
async def no_container(scene: Scene) -> None:
    scene.env["ROGO_CONTAINER"] = "absent"


@fault(store__delete=r"refuses to delete.*rogo_check_\w{32} is left behind.*delete that blob")
async def no_right_to_delete_blobs(scene: Scene) -> None:
    _sas_for_the_store(scene, AccountSasPermissions(read=True, write=True, list=True, create=True))


@fault(store__write=r"refuses to write.*Give the credentials read, write")
async def no_right_to_write_blobs(scene: Scene) -> None:
    _sas_for_the_store(scene, AccountSasPermissions(read=True, list=True, delete=True))


def _sas_for_the_store(scene: Scene, permission: AccountSasPermissions) -> None:
    azurite = scene.scenario.stack.azurite
    sas = generate_account_sas(
        azurite.account_name,
        azurite.account_key,
        ResourceTypes(service=True, container=True, object=True),
        permission,
        datetime.now(UTC) + timedelta(hours=1),
    )
    scene.env["AZURE_STORAGE_CONNECTION_STRING"] = (
        f"BlobEndpoint={azurite.endpoint};SharedAccessSignature={sas}"
    )


def _fast(chunk: bytes) -> bytes:
    def later(found: re.Match[bytes]) -> bytes:
        when = parsedate_to_datetime(found[1].decode()) + timedelta(hours=1)
        return b"\r\nDate: " + format_datetime(when, usegmt=True).encode()

    return re.sub(rb"\r\nDate: ([^\r]+)", later, chunk)


@fault(clock__store=r"3,[56]\d\d s ahead of.*NTP")
async def a_clock_that_is_fast(scene: Scene) -> None:
    stack = scene.scenario.stack
    proxy = await scene.proxied("AZURE_STORAGE_CONNECTION_STRING", stack.azurite.port)
    proxy.on_reply = _fast


# The sources.


def source_sas(scene: Scene, ends: timedelta = timedelta(days=7), **may: bool) -> None:
    """Another SAS for the source container."""
    azurite = scene.scenario.stack.azurite
    token = generate_container_sas(
        azurite.account_name,
        scene.scenario.workspace.source_container,
        account_key=azurite.account_key,
        permission=ContainerSasPermissions(**(may or {"read": True})),
        expiry=datetime.now(UTC) + ends,
    )
    scene.env["ROGO_SOURCE_SAS_TOKEN"] = f"{azurite.origin}={token}"


@fault(**{"source.{store}.sas": r"expired at .*ROGO_SOURCE_SAS_TOKEN"})
async def an_expired_sas(scene: Scene) -> None:
    source_sas(scene, timedelta(hours=-1))


@fault(code=0, warned={"source.{store}.sas": r"within a day.*ROGO_SOURCE_SAS_TOKEN"})
async def a_sas_that_expires_soon(scene: Scene) -> None:
    source_sas(scene, timedelta(hours=5))


@fault(**{"source.{store}.sas": r"does not permit reading.*that does"})
async def a_sas_without_reading(scene: Scene) -> None:
    source_sas(scene, write=True, list=True)


@fault(**{"source.{store}.files": r"answers 403 .*ROGO_SOURCE_SAS_TOKEN"})
async def a_sas_with_a_wrong_signature(scene: Scene) -> None:
    change(scene, "ROGO_SOURCE_SAS_TOKEN", r"sig=[^&\s]+", "sig=AAAA")


@fault(code=0, warned={"source.{plain}.files": r"answers 404 .*rows"})
async def a_file_that_is_gone(scene: Scene) -> None:
    scene.scenario.source.routes.clear()


@fault(code=0, warned={"source.allowed": r"1 files .*not on the allow-list.*ROGO_SOURCE_HOSTS"})
async def a_host_that_is_not_on_the_list(scene: Scene) -> None:
    scene.env["ROGO_SOURCE_HOSTS"] = scene.scenario.stack.azurite.origin


# The machine.


@fault(machine__files=r"300 files .*ROGO_CONCURRENCY 64 needs 356.*ulimit")
async def few_open_files(scene: Scene) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    scene.undo.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    await lay_out_soundly(made)
    return made


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_is_named_with_its_remedy_and_nothing_else_is(
    scenario: Scenario, env: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, secrets = FAULTS[name], secrets_of(env) | {SECRET}
    async with AsyncExitStack() as undo:
        scene = Scene(scenario, dict(env), undo)
        await broken.breaks(scene)
        found = await seen(scene, monkeypatch)
        secrets |= secrets_of(scene.env)
    red = {key.format(**scene.hosts): text for key, text in broken.red.items()}
    warned = {key.format(**scene.hosts): text for key, text in broken.warned.items()}
    assert found.names(State.FAIL) == red.keys()
    assert found.names(State.WARNING) == warned.keys()
    assert found.code == broken.code
    for key, text in (red | warned).items():
        assert re.search(text, found.said(key)), found.said(key)
        assert found.findings[key].remedy
    for key in found.names(State.SKIPPED):
        what, _, cause = found.findings[key].what.partition(" was not looked at: it needs ")
        assert key.endswith(f".{what}")
        assert cause in red, found.findings[key]
    assert found.findings.keys() >= set(NAMES)
    said = "\n".join(found.said(key) for key in found.findings)
    assert not [secret for secret in secrets if secret in said]
