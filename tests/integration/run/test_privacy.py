"""Output contains no personal data and no secrets (invariant 8)."""

import stat
from collections.abc import Sequence
from pathlib import Path

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import COLUMNS, REFERENCE, Scenario, SourceSubmission
from tests.support.cli import FAILED, NEW_INTERPRETER, run_cli, start_cli, summary

CANARY = "Canary"


def marked(made: SourceSubmission, *, but: Sequence[str] = ()) -> SourceSubmission:
    """The submission with a marker in every cell that may contain personal data."""
    for name in COLUMNS:
        if name not in {"Attempt ID", "Error", "Learner Azure Blob URLs", *but}:
            made.cells[name] = f"{CANARY} {name}"
    made.cells["Learner Email"] = f"{CANARY}@college.example"
    for name in ("TIUserId", "MarkerNotes"):
        made.report[name] = f"{CANARY}-{name}"
    made.cells.update({"Marker Azure Blob URLs": "", "Learner File Names": f"{CANARY}.docx"})
    return made


async def laid_out(scenario: Scenario) -> None:
    """One row for each kind of contact with a server, each with markers."""
    secret_path = f"/{CANARY}/a.txt?sig={CANARY}"
    submissions = [marked(scenario.submission(1))]
    nul = marked(scenario.submission(2))
    nul.cells["Course Title"] = f"{CANARY}\0"
    submissions.append(nul)
    for attempt, url in (
        (3, f"https://{CANARY.lower()}.example{secret_path}"),
        (4, f"{scenario.source.origin}{secret_path}"),
        (5, scenario.serve_file("5", status=403)),
        (6, scenario.serve_file("6", status=410)),
        (7, scenario.serve_file("7", status=302, location=f"https://{CANARY}.example/{CANARY}")),
    ):
        made = marked(scenario.submission(attempt))
        made.cells["Learner Azure Blob URLs"] = url
        submissions.append(made)
    submissions.append(marked(scenario.submission(8, Exercise=f"{CANARY} {CANARY}")))
    submissions.append(marked(scenario.submission(9, Grade=f"Malpractice {CANARY}")))
    scored = marked(scenario.submission(10))
    scored.scores.append({"ScoreLabelCorrected": CANARY, "Score": 1, "MarkerComment": CANARY})
    submissions.append(scored)
    great = marked(scenario.submission(11, Grade=f"{CANARY}"))
    great.submission = "Attempt 2147483647"
    submissions.append(great)
    await scenario.load(submissions, REFERENCE)
    with (scenario.data_dir / "submission_files.csv").open("a", encoding="utf-8") as file:
        file.write(f"{CANARY},{CANARY}\r\n")


async def test_no_cell_of_a_row_is_printed(
    stack: Stack, workspace: Workspace, env: dict[str, str]
) -> None:
    scenario = Scenario(stack, workspace)
    await laid_out(scenario)
    result = await run_cli(env)
    found = summary(workspace.data_dir)
    assert result.code == 1
    assert found["migrated"] >= 2
    assert set(found["by_code"]) >= {
        "row_malformed",
        "assessment_missing",
        "malpractice_level_missing",
        "section_missing",
        "source_file_missing",
        "source_forbidden",
        "source_not_allowed",
        "source_refused",
        "target_refused",
    }
    assert CANARY in (workspace.data_dir / FAILED).read_text(encoding="utf-8")
    assert CANARY.lower() not in result.output.lower()
    for file in (workspace.data_dir / "runs").glob("*.json"):
        assert CANARY.lower() not in file.read_text(encoding="utf-8").lower()


async def test_files_with_personal_data_are_readable_by_their_owner_only(
    stack: Stack, workspace: Workspace, env: dict[str, str]
) -> None:
    scenario = Scenario(stack, workspace)
    await laid_out(scenario)
    await run_cli(env, umask="0")
    await run_cli(env, umask="0")
    written = {_mode(file) for file in _written(workspace.data_dir)}
    assert len(_written(workspace.data_dir)) >= 5
    assert written == {0o600}
    assert _mode(workspace.data_dir / "runs") == 0o700


async def test_no_secret_is_printed_or_in_the_process_list(
    stack: Stack, workspace: Workspace, env: dict[str, str]
) -> None:
    scenario = Scenario(stack, workspace)
    await scenario.load([scenario.submission(1)])
    scenario.serve_file("1.txt", b"slow", delay_s=1.0)
    secrets = _secrets(env)
    assert len(secrets) == 4
    async with start_cli(env, prefix=NEW_INTERPRETER) as command:
        await command.wait_for_event("migration begins")
        line = Path(f"/proc/{command.process.pid}/cmdline").read_text(encoding="utf-8")
        result = await command.wait()
    assert result.code == 0
    assert "rogo_async" in line
    for secret in secrets:
        assert secret not in line
        assert secret not in result.output


async def test_the_message_for_a_wrong_setting_has_no_secret(
    stack: Stack, workspace: Workspace, env: dict[str, str]
) -> None:
    await Scenario(stack, workspace).load([])
    for name in (
        "DATABASE_URL",
        "DATA_WAREHOUSE_CONNECTION_STRING",
        "AZURE_STORAGE_CONNECTION_STRING",
        "ROGO_SOURCE_SAS_TOKEN",
    ):
        for wrong in (f"{CANARY};{CANARY}", env[name].replace("127.0.0.1", CANARY)):
            result = await run_cli({**env, name: wrong}, ROGO_OUTAGE_LIMIT="1")
            assert result.code in {2, 3}, (name, result.output)
            assert not result.events("internal error"), (name, result.output)
            for secret in (CANARY, *_secrets(env)):
                assert secret not in result.output, name


def _written(data_dir: Path) -> list[Path]:
    inputs = {"submission_files.csv", "attempt_number_mapping.csv"}
    return [f for f in data_dir.rglob("*") if f.is_file() and f.name not in inputs]


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _secrets(env: dict[str, str]) -> list[str]:
    """The passwords, the account key and the signature of a scenario."""
    return [
        env["DATABASE_URL"].split(":")[2].partition("@")[0],
        env["DATA_WAREHOUSE_CONNECTION_STRING"].partition("PWD=")[2].partition(";")[0],
        env["AZURE_STORAGE_CONNECTION_STRING"].partition("AccountKey=")[2].partition(";")[0],
        env["ROGO_SOURCE_SAS_TOKEN"].partition("sig=")[2].partition("&")[0],
    ]
