"""The embedded servers, on which all other integration tests depend."""

import asyncio
import signal
import sys
from pathlib import Path

import aiohttp
import aioodbc
import asyncpg
import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob.aio import BlobServiceClient

from rogo_async.demo.servers.ports import is_free, reserve_port
from rogo_async.demo.servers.process import ServerStartError
from rogo_async.demo.servers.scripted_source import Answer, ScriptedSource
from rogo_async.demo.servers.stack import Stack, Workspace

CONTRACT = {
    "lti_launch_sessions": """launch_id consumer_key! user_id user_email user_name course_name
        return_url resource_link_id context_id tool_consumer_instance_guid custom_params
        lti_message_type context_type context_title roles lis_person_name_given
        lis_person_name_family lis_person_name_full lis_person_contact_email_primary
        tool_consumer_instance_name custom_action assignment_title custom_instruction_set
        custom_assessment_code created_at expires_at!""",
    "lti_session_records": """launch_id lms_user_id consumer_name role first_name last_name
        full_name email custom_action custom_instruction_set custom_assessment_code context_type
        context_title resource_link_id resource_link_title context_id consumer_key
        tool_consumer_instance_guid return_url has_file_submission session_expiry! created_at""",
    "assignment_submissions": """lti_session_record_id lti_launch_id! file_count total_file_size
        submitted_at attempt_number lms_user_id consumer_name role first_name last_name full_name
        email custom_instruction_set custom_assessment_code custom_action context_type
        context_title context_id created_at updated_at""",
    "submission_files": """submission_id file_name original_file_name file_size file_type
        file_mime_type file_url! azure_blob_url azure_container_name azure_blob_name upload_order
        uploaded_at submission_file_type uploaded_by turnitin_status""",
    "submission_marking_assignments": """submission_id assigned_marker_id marking_status
        assigned_at status_updated_at status_updated_by notes hold_reason priority due_date
        created_at updated_at""",
    "submission_section_marks": """submission_id section_id marker_id selected_option_id feedback
        marks_awarded marking_criterias created_at updated_at""",
    "submission_grades": """submission_id assessment_id marker_id total_marks_awarded
        total_marks_possible percentage_score final_grade overall_summary skip_reason_id
        skipped_reason malpractice_level_id malpractice_notes word_count is_complete completed_at
        created_at updated_at""",
    "malpractice_enforcements": """lms_user_id! custom_assessment_code! context_id context_title
        malpractice_level_id! submission_id attempt_number enforced_max_attempts rule_applied_by!
        rule_applied_at created_at updated_at""",
    "users": "username email role created_at",
    "assessments": "code name is_active created_at",
    "assessment_sections": "assessment_id question_text order is_active",
    "malpractice_levels": "level_text sort_order is_active",
}
"""The columns of specification §2 by table; an exclamation mark means NOT NULL."""

FOREIGN_KEYS = {
    "assignment_submissions.lti_session_record_id lti_session_records",
    "submission_files.submission_id assignment_submissions CASCADE",
    "submission_marking_assignments.submission_id assignment_submissions CASCADE",
    "submission_marking_assignments.assigned_marker_id users",
    "submission_marking_assignments.status_updated_by users",
    "submission_section_marks.submission_id assignment_submissions CASCADE",
    "submission_section_marks.section_id assessment_sections",
    "submission_section_marks.marker_id users",
    "submission_grades.submission_id assignment_submissions CASCADE",
    "submission_grades.assessment_id assessments",
    "submission_grades.malpractice_level_id malpractice_levels",
    "malpractice_enforcements.submission_id assignment_submissions",
    "malpractice_enforcements.rule_applied_by users",
    "assessment_sections.assessment_id assessments",
}


async def fetch(dsn: str, query: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetch(query, *arguments)
    finally:
        await connection.close()


async def test_a_wrong_password_fails(stack: Stack, env: dict[str, str]) -> None:
    dsn = env["DATABASE_URL"]
    await fetch(dsn, "SELECT 1")
    password = dsn.split(":")[2].split("@")[0]
    with pytest.raises(asyncpg.InvalidPasswordError):
        await fetch(dsn.replace(password, "guessed"), "SELECT 1")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await fetch(stack.postgres.dsn("postgres").replace(stack.postgres.password, ""), "SELECT 1")


async def test_the_target_has_the_columns_of_the_contract(target_db: str) -> None:
    found = await fetch(
        target_db,
        "SELECT table_name, array_agg(column_name || CASE is_nullable WHEN 'NO' THEN '!' ELSE '' "
        "END) AS columns FROM information_schema.columns WHERE table_schema = 'public' GROUP BY 1",
    )
    columns = {row["table_name"]: set(row["columns"]) for row in found}
    assert columns.keys() == CONTRACT.keys()
    for table, names in CONTRACT.items():
        further = columns[table] - {"id!", *names.split()}
        assert columns[table] - further == {"id!", *names.split()}
        assert all(name.startswith("turnitin_") for name in further), table


async def test_the_target_has_the_keys_of_the_contract_and_no_others(target_db: str) -> None:
    unique = await fetch(
        target_db,
        "SELECT i.indrelid::regclass || ' ' || string_agg(a.attname, ' ') AS key FROM pg_index i "
        "JOIN pg_class c ON c.oid = i.indrelid AND c.relnamespace = 'public'::regnamespace "
        "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) "
        "GROUP BY i.indexrelid, i.indrelid",
    )
    assert {row["key"] for row in unique} == {f"{table} id" for table in CONTRACT} | {
        "assessments code",
        "lti_launch_sessions launch_id",
        "lti_session_records launch_id",
        "submission_grades submission_id",
    }
    foreign = await fetch(
        target_db,
        "SELECT c.conrelid::regclass || '.' || a.attname || ' ' || c.confrelid::regclass || "
        "CASE c.confdeltype WHEN 'c' THEN ' CASCADE' ELSE '' END AS key FROM pg_constraint c "
        "JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1] "
        "WHERE c.contype = 'f'",
    )
    assert {row["key"] for row in foreign} == FOREIGN_KEYS


async def test_the_target_has_the_default_values_of_the_contract(target_db: str) -> None:
    made = await fetch(
        target_db, "INSERT INTO assignment_submissions (lti_launch_id) VALUES ('x') RETURNING *"
    )
    assert len(made[0]["id"]) == 36
    assert made[0]["created_at"] is None
    file = await fetch(
        target_db,
        "INSERT INTO submission_files (submission_id, file_url) VALUES ($1, 'u') RETURNING *",
        made[0]["id"],
    )
    assert file[0]["turnitin_status"] == "pending"


async def test_the_writer_has_only_the_permissions_that_a_migration_needs(
    env: dict[str, str],
) -> None:
    dsn = env["DATABASE_URL"]
    await fetch(
        dsn, "INSERT INTO lti_launch_sessions (consumer_key, expires_at) VALUES ('k', now())"
    )
    await fetch(dsn, "DELETE FROM lti_launch_sessions")
    await fetch(dsn, "UPDATE malpractice_enforcements SET context_title = 'x'")
    for forbidden in (
        "UPDATE users SET role = 'admin'",
        "INSERT INTO users (role) VALUES ('admin')",
        "CREATE TABLE notes (id int)",
        "ALTER TABLE lti_launch_sessions ADD COLUMN note text",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await fetch(dsn, forbidden)


async def test_workspaces_are_isolated(stack: Stack, workspace: Workspace, tmp_path: Path) -> None:
    other = await stack.new_workspace("other", tmp_path)
    await fetch(stack.postgres.dsn(workspace.target), "INSERT INTO users (role) VALUES ('admin')")
    for target in (other.target, stack.workspace.target):
        assert await fetch(stack.postgres.dsn(target), "SELECT * FROM users") == []
    await stack.remove_workspace(other)
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await fetch(stack.postgres.dsn(other.target), "SELECT 1")


async def test_the_warehouse_is_read_through_odbc(env: dict[str, str], warehouse_db: str) -> None:
    notes = "naïve 😀 " * 20_000
    await fetch(
        warehouse_db,
        'INSERT INTO "dbo"."Rogo_AssessmentReport" ("AttemptId", "MarksAchieved", "MarkerNotes", '
        "\"DateInserted\") VALUES (7, 0.5, $1, '2024-03-31 01:30:00.123456')",
        notes,
    )
    connection = await aioodbc.connect(dsn=env["DATA_WAREHOUSE_CONNECTION_STRING"])
    try:
        cursor = await connection.cursor()
        await cursor.execute(
            'SELECT "AttemptId", "MarksAchieved", "MarkerNotes", "DateInserted" '
            'FROM "dbo"."Rogo_AssessmentReport" WHERE "AttemptId" IN (?, ?)',
            (6, 7),
        )
        rows = await cursor.fetchall()
        assert [(row[0], str(row[1]), row[2], str(row[3])) for row in rows] == [
            (7, "0.5", notes, "2024-03-31 01:30:00.123456")
        ]
        with pytest.raises(Exception, match=r"read-only transaction|permission denied"):
            await cursor.execute('DELETE FROM "dbo"."Rogo_AssessmentReport"')
        await cursor.close()
    finally:
        await connection.close()


async def test_the_source_container_can_be_read_only_with_its_sas(
    stack: Stack, workspace: Workspace, tmp_path: Path
) -> None:
    async with BlobServiceClient.from_connection_string(stack.azurite.connection_string) as store:
        await store.get_blob_client(workspace.source_container, "a b,c.txt").upload_blob(b"hello")
    url = f"{stack.source_url(workspace)}/a%20b%2Cc.txt"
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{url}?{stack.source_sas(workspace)}") as response:
            assert (response.status, await response.read()) == (200, b"hello")
        async with session.get(url) as response:
            assert response.status in {401, 403, 404}
        async with session.put(
            f"{url}?{stack.source_sas(workspace)}",
            data=b"",
            headers={"x-ms-blob-type": "BlockBlob"},
        ) as response:
            assert response.status == 403
    wrong = stack.azurite.connection_string.replace(stack.azurite.account_key, "c2VjcmV0")
    async with BlobServiceClient.from_connection_string(wrong) as store:
        with pytest.raises(HttpResponseError, match="authenticate"):
            await store.get_account_information()


async def test_scripted_responses(source: ScriptedSource) -> None:
    source.routes["/a%20b"] = Answer(503, times=2, then=Answer(200, b"hello", {"X-Note": "n"}))
    source.routes["/short"] = Answer(body=b"0123456789", truncate_at=4)
    source.routes["/moved"] = Answer(302, location=source.url("/a%20b"))
    async with aiohttp.ClientSession() as session:
        statuses = []
        for _ in range(3):
            async with session.head(source.url("/a%20b")) as response:
                statuses.append((response.status, response.headers["Content-Length"]))
        assert statuses == [(503, "0"), (503, "0"), (200, "5")]
        async with session.get(source.url("/moved?sig=1")) as response:
            assert (await response.read(), response.headers["X-Note"]) == (b"hello", "n")
        async with session.get(source.url("/short")) as response:
            assert response.content_length == 10
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        async with session.get(source.url("/none")) as response:
            assert response.status == 404
        source.routes["/slow"] = Answer(delay_s=60)
        with pytest.raises(TimeoutError):
            await session.get(source.url("/slow"), timeout=aiohttp.ClientTimeout(total=0.1))
    assert source.requests[3:] == [
        *(("GET", path) for path in ("/moved", "/a%20b", "/short", "/none", "/slow"))
    ]
    assert source.queries[3:5] == ["sig=1", ""]


def test_a_reserved_port_is_not_assigned_again() -> None:
    reserved = {reserve_port() for _ in range(50)}
    assert len(reserved) == 50
    assert all(map(is_free, reserved))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_kept_stack_restarts_with_the_same_data_and_ports(tmp_path: Path) -> None:
    async with Stack(tmp_path, keep=True) as first:
        environment = first.environment()
        pids = first.postgres.pid, first.azurite.pid
        await fetch(first.postgres.dsn("target"), "INSERT INTO users (id) VALUES ('kept')")
        async with BlobServiceClient.from_connection_string(
            first.azurite.connection_string
        ) as store:
            await store.get_blob_client("migrated", "kept.txt").upload_blob(b"kept")
        with pytest.raises(ServerStartError, match="another stack is running in"):
            await Stack(tmp_path, keep=True).__aenter__()
    assert not any(map(is_alive, pids))
    async with Stack(tmp_path, keep=True) as second:
        assert second.environment().keys() == environment.keys()
        for name in environment.keys() - {"ROGO_SOURCE_SAS_TOKEN"}:  # it has a new expiry
            assert second.environment()[name] == environment[name]
        assert await fetch(second.environment()["DATABASE_URL"], "SELECT id FROM users")
        async with BlobServiceClient.from_connection_string(
            second.azurite.connection_string
        ) as store:
            blob = await store.get_blob_client("migrated", "kept.txt").download_blob()
            assert await blob.readall() == b"kept"


async def test_the_servers_stop_when_their_parent_is_killed(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path\n"
        "from rogo_async.demo.servers.stack import Stack\n"
        "async def main():\n"
        "    async with Stack(Path(sys.argv[1])) as stack:\n"
        "        print(stack.postgres.pid, stack.azurite.pid, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pids = [int(word) for word in (await parent.stdout.readline()).split()]
    assert len(pids) == 2
    assert all(map(is_alive, pids))
    parent.send_signal(signal.SIGKILL)
    await parent.communicate()
    async with asyncio.timeout(5):
        while any(map(is_alive, pids)):
            await asyncio.sleep(0.02)


async def test_a_server_that_cannot_start_reports_why_and_stops_the_others(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    async with stack:
        port = stack.azurite.port
    async with ScriptedSource(port=port):
        with pytest.raises(ServerStartError, match=f"port {port} is in use"):
            await stack.__aenter__()
    with pytest.raises(ServerStartError, match="is not running"):
        assert stack.postgres.pid
