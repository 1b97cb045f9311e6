"""``verify`` finds every kind of damage to a migrated submission.

verification.json has its result (specification §2).
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from hashlib import md5 as md5_of

import pytest
from azure.storage.blob import ContentSettings

from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.reporting.verification import read_verification
from tests.support.builders import Scenario
from tests.support.cli import CliResult, run_cli, start_cli, table
from tests.support.tcp_proxy import TcpProxy, forward

COUNT = 6
FAILURES = "verification_failures.csv"
Spoil = Callable[[Scenario], Awaitable[None]]


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace, env: dict[str, str]) -> Scenario:
    """Migrated submissions, the last of them with malpractice."""
    made = Scenario(stack, workspace)
    submissions = [made.submission(attempt) for attempt in range(1, COUNT + 1)]
    submissions[-1].report["Grade"] = "Malpractice Severe"
    await made.load(submissions)
    assert (await run_cli(env)).code == 0
    return made


async def verified(env: dict[str, str], *options: str, **settings: str) -> CliResult:
    return await run_cli({**env, **settings}, "verify", *options)


def found(scenario: Scenario) -> dict[str, set[str]]:
    """The verdicts of each attempt."""
    verdicts: dict[str, set[str]] = {}
    for row in table(scenario.data_dir / FAILURES):
        verdicts.setdefault(row["Attempt ID"], set()).add(row["Verdict"])
    return verdicts


@pytest.mark.parametrize("options", [(), ("--quick",), ("--sample", "100")])
async def test_an_intact_migration_has_no_problems(
    scenario: Scenario, env: dict[str, str], options: tuple[str, ...]
) -> None:
    result = await verified(env, *options)
    assert result.code == 0, result.output
    kind = "sampled submissions" if "--sample" in options else "submissions"
    assert f"{COUNT} {kind} ok" in result.stdout
    assert "0 wrong, 0 unverifiable, 0 written by another tool" in result.stdout
    assert found(scenario) == {}
    assert (scenario.data_dir / FAILURES).stat().st_mode & 0o777 == 0o600
    recorded = read_verification(scenario.data_dir)
    assert recorded is not None
    assert recorded.exit_code == 0
    assert recorded.result.startswith(f"{COUNT} {kind} ok, 0 wrong")


async def test_json_has_the_counts(scenario: Scenario, env: dict[str, str]) -> None:
    result = await verified(env, "--json", "--quick")
    found = json.loads(result.stdout)
    assert (result.code, found["exit_code"]) == (0, 0)
    assert (found["submissions"], found["ok"], found["wrong"]) == (COUNT, COUNT, 0)
    assert (found["quick"], found["by_verdict"], found["stopped_by"]) == (True, {}, {})
    assert any(f"{COUNT} submissions ok" in line for line in result.messages)


async def test_a_sample_has_the_requested_size(scenario: Scenario, env: dict[str, str]) -> None:
    assert "2 sampled submissions ok" in (await verified(env, "--sample", "2")).stdout


def statement(sql: str) -> Spoil:
    async def spoil(scenario: Scenario) -> None:
        async with scenario.target() as target:
            await target.execute(sql.format(submission=await id_of(scenario)))

    return spoil


async def id_of(scenario: Scenario, attempt: int = 6) -> str:
    async with scenario.target() as target:
        found: str = await target.fetchval(
            "SELECT id FROM assignment_submissions WHERE lti_launch_id LIKE $1",
            f"rogo\\_{attempt}\\_%",
        )
    return found


async def blob_of(scenario: Scenario) -> str:
    return next(name for name in await scenario.blobs() if "/rogo_6/" in name)


async def delete_blob(scenario: Scenario) -> None:
    async with scenario.container() as container:
        await container.delete_blob(await blob_of(scenario))


def rewrite(data: bytes, md5: bytes, **others: str) -> Spoil:
    async def spoil(scenario: Scenario) -> None:
        name = await blob_of(scenario)
        async with scenario.container() as container:
            blob = container.get_blob_client(name)
            before = await blob.get_blob_properties()
            metadata = {key.lower(): value for key, value in before.metadata.items()} | others
            await blob.upload_blob(data, overwrite=True, metadata=metadata)
            await blob.set_http_headers(ContentSettings(content_md5=bytearray(md5)))

    return spoil


SPOILT = {
    "submission_doubled": statement(
        "INSERT INTO assignment_submissions (lti_launch_id) VALUES ('rogo_6_earlier')"
    ),
    "submission_missing": statement("DELETE FROM assignment_submissions WHERE id = '{submission}'"),
    "launch_missing": statement(
        "DELETE FROM lti_launch_sessions l USING assignment_submissions s "
        "WHERE s.lti_launch_id = l.launch_id AND s.id = '{submission}'"
    ),
    "session_missing": statement(
        "UPDATE lti_session_records r SET launch_id = 'elsewhere' FROM assignment_submissions s "
        "WHERE s.lti_launch_id = r.launch_id AND s.id = '{submission}'"
    ),
    "records_disagree": statement(
        "UPDATE assignment_submissions SET lms_user_id = 'x', context_id = context_id "
        "WHERE id = '{submission}'"
    ),
    "file_rows_wrong": statement("DELETE FROM submission_files WHERE submission_id='{submission}'"),
    "grade_missing": statement("DELETE FROM submission_grades WHERE submission_id='{submission}'"),
    "marking_missing": statement(
        "DELETE FROM submission_marking_assignments WHERE submission_id = '{submission}'"
    ),
    "mark_of_another_assessment": statement(
        "WITH other AS (INSERT INTO assessment_sections (id) VALUES ('stray') RETURNING id) "
        "INSERT INTO submission_section_marks (submission_id, section_id) "
        "SELECT '{submission}', id FROM other"
    ),
    "enforcement_missing": statement("DELETE FROM malpractice_enforcements"),
    "timestamp_infinite": statement(
        "UPDATE submission_grades SET completed_at = '-infinity' "
        "WHERE submission_id = '{submission}'"
    ),
    "blob_missing": delete_blob,
    "blob_length_wrong": rewrite(b"x" * 900_000, b"0123456789abcdef"),
    "blob_md5_wrong": rewrite(b"another", b"0123456789abcdef"),
    "blob_of_another": rewrite(b"text 6", md5_of(b"text 6").digest(), attemptid="5"),
}
CONSEQUENCES = {
    "blob_length_wrong": {"blob_md5_wrong"},
    "records_disagree": {"enforcement_missing"},
}


@pytest.mark.parametrize("verdict", SPOILT)
async def test_each_kind_of_damage_is_found(
    scenario: Scenario, env: dict[str, str], verdict: str
) -> None:
    if verdict == "submission_missing":
        await statement("DELETE FROM malpractice_enforcements")(scenario)
    await SPOILT[verdict](scenario)
    result = await verified(env)
    assert result.code == 1, result.output
    assert found(scenario) == {"6": {verdict} | CONSEQUENCES.get(verdict, set())}
    assert f"{verdict}: 1" in result.stdout
    assert "1 wrong, 0 unverifiable" in result.stdout


async def test_quick_does_not_read_the_bytes(scenario: Scenario, env: dict[str, str]) -> None:
    await SPOILT["blob_md5_wrong"](scenario)
    result = await verified(env, "--quick")
    assert result.code == 0, result.output
    assert "(0 bytes read)" in result.stdout


async def test_submissions_of_another_tool_are_counted_separately(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await statement("INSERT INTO assignment_submissions (lti_launch_id) VALUES ('rogo_9_a')")(
        scenario
    )
    result = await verified(env)
    assert result.code == 0, result.output
    assert "1 written by another tool" in result.stdout


async def test_two_submissions_of_an_attempt_are_found_whoever_wrote_them(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await statement(
        "INSERT INTO assignment_submissions (lti_launch_id) VALUES "
        "('rogo_9_a'), ('rogo_009_b'), "  # one attempt, two launch ids
        "('rogo_10_a'), ('rogo_10_a'), "  # one launch id
        "('rogo_91_a'), ('rogo_2147483648_a'), ('rogo_2147483648_b'), ('rogo_0_a'), ('rogo_0_b'), "
        "('lti_9'), ('lti_9')"
    )(scenario)
    result = await verified(env)
    assert result.code == 1, result.output
    assert found(scenario) == {"9": {"submission_doubled"}, "10": {"submission_doubled"}}
    assert "submission_doubled: 2" in result.stdout


async def test_a_file_in_another_container_is_unverifiable(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await statement(
        "UPDATE submission_files SET azure_container_name = 'x' WHERE submission_id='{submission}'"
    )(scenario)
    assert (await verified(env)).code == 0
    assert found(scenario) == {"6": {"unverifiable"}}


async def test_it_waits_for_a_store_that_is_down(
    scenario: Scenario, env: dict[str, str], stack: Stack
) -> None:
    async with TcpProxy("127.0.0.1", stack.azurite.port) as proxy:

        def stop_after_first_blob(reply: bytes) -> bytes:
            if b"text " in reply:
                proxy.on_reply = forward
                proxy.refuse = True
                asyncio.get_running_loop().call_soon(proxy.cut)
            return reply

        proxy.on_reply = stop_after_first_blob
        name = "AZURE_STORAGE_CONNECTION_STRING"
        there = {**env, name: env[name].replace(str(stack.azurite.port), str(proxy.port))}
        async with start_cli(there, "verify", ROGO_CONCURRENCY="1") as command:
            await command.wait_for_event("outage began")
            proxy.refuse = False
            result = await command.wait()
    assert result.code == 0, result.output
    assert "0 wrong, 0 unverifiable" in result.stdout
    assert result.events("outage ended")
