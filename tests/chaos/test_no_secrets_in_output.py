"""No output has a secret or personal data, however a command ends (invariant 8)."""

import asyncio
import base64
import sys
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest

from rogo_async.commands.main import main
from rogo_async.demo.servers.scripted_source import Answer
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.chaos.leak_detector import PERSONAL, LeakDetector, with_markers
from tests.support.builders import Scenario, SourceSubmission
from tests.support.cli import FAILED, NEW_INTERPRETER, CliResult, start_cli, summary, table
from tests.support.tcp_proxy import TcpProxy

LAUNCHER: Final = Path(__file__).with_name("crash_launcher.py")
SIGNATURE: Final = "ZqxSignature%2BofSas"
TARGET_PASSWORD: Final = "Zqx/targ3t@:#% ?pw"
WAREHOUSE_PASSWORD: Final = "Zqx;wareh0use pw"


@dataclass(slots=True)
class LeakScenario:
    """A workspace with known secrets, and a detector for all of them."""

    scenario: Scenario
    env: dict[str, str]
    detector: LeakDetector

    async def run_cli(
        self, *args: str, prefix: Sequence[str] = (), umask: str = "", **settings: str
    ) -> CliResult:
        """Run a command to its end; record its command line and those of its child processes."""
        async with start_cli(self.env, *args, prefix=prefix, umask=umask, **settings) as command:
            watching = asyncio.create_task(self._watch(command.process.pid), name="watching")
            try:
                result = await command.wait()
            finally:
                watching.cancel()
        assert result.output
        self.detector.record(f"output of {args} {sorted(settings)}", result.output)
        return result

    def assert_no_leak(self) -> None:
        """Assert that neither output nor files have a secret."""
        if (self.scenario.data_dir / "runs").exists():
            self.detector.record_directory(self.scenario.data_dir)
        assert self.detector.leaks() == []

    async def _watch(self, pid: int) -> None:
        while True:
            for each in (pid, *children_of(pid)):
                self.detector.outputs.setdefault(f"command line {each}", command_line(each))
            await asyncio.sleep(0.02)


def children_of(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        texts = [(task / "children").read_text(encoding="ascii") for task in tasks]
    except OSError:
        return []
    return [int(child) for text in texts for child in text.split()]


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
    except OSError:
        return ""


@pytest.fixture
async def leak_scenario(
    stack: Stack, workspace: Workspace, env: dict[str, str]
) -> AsyncIterator[LeakScenario]:
    writer, reader = (f"canary_{role}_{uuid.uuid4().hex[:8]}" for role in ("w", "r"))
    execute = stack.postgres.execute_script
    await execute(
        "postgres",
        f"CREATE ROLE {writer} LOGIN PASSWORD '{TARGET_PASSWORD}' IN ROLE rogo_writer;"
        f"CREATE ROLE {reader} LOGIN PASSWORD '{WAREHOUSE_PASSWORD}' IN ROLE rogo_reader;",
    )
    odbc = env["DATA_WAREHOUSE_CONNECTION_STRING"].partition("UID=")[0]
    signed = f"{stack.source.origin}=sv=1&sig={SIGNATURE}"
    settings = {
        **env,
        "DATABASE_URL": stack.postgres.dsn_of(
            writer, quote(TARGET_PASSWORD, safe=""), workspace.target
        ),
        "DATA_WAREHOUSE_CONNECTION_STRING": f"{odbc}UID={reader};PWD={{{WAREHOUSE_PASSWORD}}}",
        "ROGO_SOURCE_SAS_TOKEN": f"{env['ROGO_SOURCE_SAS_TOKEN']} {signed}",
        "ROGO_WRITE_INTERVAL": "0.2",
        "ROGO_PROGRESS_INTERVAL": "0.2",
    }
    secrets = {
        "target password": TARGET_PASSWORD,
        "warehouse password": WAREHOUSE_PASSWORD,
        "account key": stack.azurite.account_key,
        "signature": SIGNATURE,
        "signature of the store": env["ROGO_SOURCE_SAS_TOKEN"].partition("sig=")[2],
    }
    yield LeakScenario(Scenario(stack, workspace), settings, LeakDetector(secrets))
    await execute("postgres", f"DROP ROLE {writer}; DROP ROLE {reader};")


def every_kind(scenario: Scenario) -> list[SourceSubmission]:
    """Rows that migrate and rows with most failure codes, all with markers."""
    made = [with_markers(scenario.submission(attempt)) for attempt in range(1, 9)]
    made[0].cells["Marker Azure Blob URLs"] = scenario.serve_file("m.docx")
    made[1].report["Grade"] = f"Malpractice Severe {PERSONAL}"
    made[1].submission = f"Attempt 2 {PERSONAL}"
    made[2].report["TIUserId"] = made[1].report["TIUserId"]
    spoiled: list[tuple[dict[str, str], dict[str, object]]] = [
        ({"Course Title": f"{PERSONAL}\0"}, {}),
        ({"Learner Email": ""}, {}),
        ({"Learner Azure Blob URLs": ""}, {}),
        ({"Learner Azure Blob URLs": f"https://elsewhere.example/{PERSONAL}?sig={PERSONAL}"}, {}),
        ({"Learner Azure Blob URLs": f"{scenario.source.origin}/{PERSONAL}?sig={PERSONAL}"}, {}),
        ({"Learner Azure Blob URLs": scenario.serve_file(f"{PERSONAL}.a", status=403)}, {}),
        ({"Learner Azure Blob URLs": scenario.serve_file(f"{PERSONAL}.b", status=410)}, {}),
        (
            {
                "Learner Azure Blob URLs": scenario.serve_file(
                    f"{PERSONAL}.c", status=302, location=f"https://{PERSONAL}.example/{PERSONAL}"
                )
            },
            {},
        ),
        (
            {
                "Learner Azure Blob URLs": scenario.serve_file(
                    f"{PERSONAL}.d", headers={"Content-MD5": base64.b64encode(b"0" * 16).decode()}
                )
            },
            {},
        ),
        ({}, {"Exercise": PERSONAL}),
        ({}, {"Exercise": f"{PERSONAL} {PERSONAL}"}),
        ({}, {"Grade": f"Malpractice {PERSONAL}"}),
        ({}, {"Grade": "Grade Missed"}),
        ({}, {"Grade": None}),
    ]
    for attempt, (cells, report) in enumerate(spoiled, start=101):
        each = with_markers(scenario.submission(attempt, **report))
        each.cells.update(cells)
        made.append(each)
    scored = with_markers(scenario.submission(201))
    scored.scores.append({"ScoreLabelCorrected": PERSONAL, "Score": 1, "MarkerComment": PERSONAL})
    excluded, unmapped = (
        with_markers(scenario.submission(202)),
        with_markers(scenario.submission(203)),
    )
    excluded.version, unmapped.submission = PERSONAL, PERSONAL
    strange = with_markers(scenario.submission(204))
    strange.cells["Attempt ID"] = f"{PERSONAL}|204"
    return [*made, scored, excluded, unmapped, strange, with_markers(scenario.submission(8))]


async def test_no_command_shows_a_secret_for_rows_of_any_kind(leak_scenario: LeakScenario) -> None:
    scenario = leak_scenario.scenario
    leak_scenario.env["ROGO_LOG_FORMAT"] = "json"
    made = every_kind(scenario)
    repeated = made.pop()
    await scenario.load(made)
    lines = scenario.data_dir / "submission_files.csv"
    scenario.write_lines([*(each.line() for each in made), repeated.line(), [PERSONAL, PERSONAL]])
    result = await leak_scenario.run_cli(prefix=NEW_INTERPRETER, umask="0")
    assert result.code == 1, result.output
    found = summary(scenario.data_dir)
    assert set(found["by_code"]) >= {
        "row_malformed", "attempt_id_invalid", "duplicate_row", "version_excluded",
        "attempt_number_missing", "email_missing", "report_field_missing", "exercise_invalid",
        "assessment_missing", "section_missing", "grade_missed", "malpractice_level_missing",
        "files_missing", "source_not_allowed", "source_file_missing", "source_forbidden",
        "source_refused", "file_corrupt", "target_refused",
    }, found["by_code"]  # fmt: skip
    assert found["migrated"] >= 8
    assert PERSONAL in (scenario.data_dir / FAILED).read_text(encoding="utf-8")
    assert PERSONAL in lines.read_text(encoding="utf-8")
    leak_scenario.env["ROGO_LOG_FORMAT"] = "console"
    await leak_scenario.run_cli("run", "--input", FAILED, umask="0")
    assert summary(scenario.data_dir)["failed"] == found["failed"]
    await damage(scenario)
    for name in sorted(main.commands.keys() - {"run", "demo"}):
        result = await leak_scenario.run_cli(name, umask="0")
        assert result.code in {0, 1, 2}, (name, result.output)
    await leak_scenario.run_cli("sweep", "--min-age", "0", umask="0")
    result = await leak_scenario.run_cli("rollback", "--run", found["run_id"], "--yes", umask="0")
    assert result.code in {0, 1}, result.output
    assert len(await scenario.attempts()) < found["migrated"]
    assert {row["Verdict"] for row in table(scenario.data_dir / "verification_failures.csv")}
    leak_scenario.assert_no_leak()


async def damage(scenario: Scenario) -> None:
    """A blob without its row and a row without its blob, for sweep and verify to find."""
    async with scenario.target() as target:
        await target.execute("DELETE FROM submission_files WHERE file_name LIKE '%feedback%'")
        name = await target.fetchval("SELECT min(azure_blob_name) FROM submission_files")
    async with scenario.container() as container:
        await container.delete_blob(name)


@pytest.mark.parametrize(
    "where",
    [
        "rogo_async.pipeline.migrate:prepare",
        "rogo_async.rules.row_filter:parse_attempt_id",
        "rogo_async.destination.postgres.writer:submission_values",
        "rogo_async.sources.host_access:signed",
        "rogo_async.sources.warehouse.reader:_by_attempt",
        "rogo_async.pipeline.writer:AppendFile.append",
    ],
)
async def test_an_internal_error_shows_no_secret(leak_scenario: LeakScenario, where: str) -> None:
    await leak_scenario.scenario.load(
        [with_markers(leak_scenario.scenario.submission(attempt)) for attempt in (1, 2)]
    )
    style = "console" if len(where) % 2 else "json"
    result = await leak_scenario.run_cli(
        prefix=(sys.executable, str(LAUNCHER), where), ROGO_LOG_FORMAT=style
    )
    assert result.code == 70, result.output
    assert LAUNCHER.name in result.output  # in the traceback
    leak_scenario.assert_no_leak()


async def test_an_internal_error_in_the_producer_is_reported_with_its_place(
    leak_scenario: LeakScenario,
) -> None:
    await leak_scenario.scenario.load([with_markers(leak_scenario.scenario.submission(1))])
    where = "rogo_async.rules.row_filter:parse_attempt_id"
    result = await leak_scenario.run_cli(prefix=(sys.executable, str(LAUNCHER), where))
    assert result.code == 70, result.output
    assert LAUNCHER.name in result.output


@pytest.mark.parametrize("server", ["target", "warehouse", "store", "source"])
async def test_a_lost_server_shows_no_secret(leak_scenario: LeakScenario, server: str) -> None:
    scenario = leak_scenario.scenario
    made = [with_markers(scenario.submission(attempt)) for attempt in range(1, 21)]
    await scenario.load(made)
    ports = {"store": scenario.stack.azurite.port, "source": scenario.stack.source.port}
    port = ports.get(server, scenario.stack.postgres.port)
    setting = {
        "target": "DATABASE_URL",
        "warehouse": "DATA_WAREHOUSE_CONNECTION_STRING",
        "store": "AZURE_STORAGE_CONNECTION_STRING",
        "source": "ROGO_SOURCE_HOSTS",
    }[server]
    style = "console" if server in {"target", "store"} else "json"
    async with TcpProxy("127.0.0.1", port) as proxy:
        if server == "source":
            lines = scenario.data_dir / "submission_files.csv"
            lines.write_text(lines.read_text().replace(f":{port}/", f":{proxy.port}/"))
            token = leak_scenario.env["ROGO_SOURCE_SAS_TOKEN"]
            leak_scenario.env["ROGO_SOURCE_SAS_TOKEN"] = token.replace(
                f":{port}=", f":{proxy.port}="
            )
        leak_scenario.env[setting] = leak_scenario.env[setting].replace(f"{port}", f"{proxy.port}")
        proxy.delay_s = 0.1 if server == "warehouse" else 0.0
        with scenario.source.held():
            running = asyncio.create_task(
                leak_scenario.run_cli(
                    ROGO_OUTAGE_LIMIT="1", ROGO_CONCURRENCY="2", ROGO_LOG_FORMAT=style
                )
            )
            # While the source is held, the run has only its first connection to the store.
            connections = 1 if server == "store" else 2
            while proxy.accepted < connections or not (
                server == "warehouse" or scenario.source.requests
            ):
                assert not running.done(), running.result().output
                await asyncio.sleep(0.02)
            proxy.refuse = True
            proxy.cut()
        result = await running
    assert result.code == 3, result.output
    leak_scenario.assert_no_leak()


WRONG: Final = "ZqxWr0ngCredential"


def wrong_settings(env: Mapping[str, str]) -> list[dict[str, str]]:
    """Settings that are wrong in or next to their secret parts."""
    url, odbc = env["DATABASE_URL"], env["DATA_WAREHOUSE_CONNECTION_STRING"]
    store, sas = env["AZURE_STORAGE_CONNECTION_STRING"], env["ROGO_SOURCE_SAS_TOKEN"]
    password, key = quote(TARGET_PASSWORD, safe=""), store.partition("AccountKey=")[2]
    key = key.partition(";")[0]
    other_key = base64.b64encode(WRONG.encode() * 4).decode()
    return [
        {"DATABASE_URL": url.replace(password, WRONG)},
        {"DATA_WAREHOUSE_CONNECTION_STRING": odbc.replace(WAREHOUSE_PASSWORD, WRONG)},
        {"AZURE_STORAGE_CONNECTION_STRING": store.replace(key, other_key)},
        {
            "DATABASE_URL": url.replace("canary_w", WRONG),
            "DATA_WAREHOUSE_CONNECTION_STRING": odbc.replace("UID=", f"UID={WRONG}"),
        },
        {
            "DATABASE_URL": url.replace("@127.0.0.1:", f"@127.0.0.1:{WRONG}"),
            "DATA_WAREHOUSE_CONNECTION_STRING": odbc.removesuffix("}"),
            "AZURE_STORAGE_CONNECTION_STRING": store.replace(key, WRONG),
            "ROGO_SOURCE_HOSTS": f"https://{WRONG}:{SIGNATURE}@host.example",
        },
        {
            "DATABASE_URL": f"{url}?sslmode={WRONG}",
            "DATA_WAREHOUSE_CONNECTION_STRING": f"{odbc};{WRONG}",
            "AZURE_STORAGE_CONNECTION_STRING": store.replace("AccountKey=", f"{WRONG}="),
            "ROGO_SOURCE_SAS_TOKEN": f"{sas} {WRONG}",
        },
        {
            "DATABASE_URL": url.replace(password, f"{WRONG}/@{WRONG}"),
            "DATA_WAREHOUSE_CONNECTION_STRING": f"Server=tcp:x,1433;Password='{WRONG}",
            "AZURE_STORAGE_CONNECTION_STRING": key,
            "ROGO_SOURCE_SAS_TOKEN": f"https://{WRONG}.example=sig={WRONG}",
        },
        {
            "DATABASE_URL": url.replace("postgresql://", f"{WRONG}://"),
            "AZURE_STORAGE_CONNECTION_STRING": "",
            "AZURE_STORAGE_ACCOUNT_KEY": WRONG,
            "ROGO_CONCURRENCY": "x",
        },
    ]


async def test_wrong_settings_show_no_secret(leak_scenario: LeakScenario) -> None:
    await leak_scenario.scenario.load([with_markers(leak_scenario.scenario.submission(1))])
    leak_scenario.detector.secrets = {**leak_scenario.detector.secrets, "wrong credential": WRONG}
    for number, wrong in enumerate(wrong_settings(leak_scenario.env)):
        style = "console" if number % 2 else "json"
        result = await leak_scenario.run_cli(
            ROGO_OUTAGE_LIMIT="0.5", ROGO_LOG_FORMAT=style, **wrong
        )
        assert result.code in {2, 3}, (number, result.output)
        assert "Traceback" not in result.output
        assert "traceback" not in result.output
    leak_scenario.assert_no_leak()


async def test_a_refused_sas_signature_is_not_shown(leak_scenario: LeakScenario) -> None:
    made = [with_markers(leak_scenario.scenario.submission(attempt)) for attempt in range(1, 15)]
    await leak_scenario.scenario.load(made)
    for path in leak_scenario.scenario.source.routes:
        leak_scenario.scenario.source.routes[path] = Answer(
            status=403, body=f"{SIGNATURE} {PERSONAL}".encode(), headers={"X-Why": SIGNATURE}
        )
    result = await leak_scenario.run_cli(ROGO_OUTAGE_LIMIT="1", ROGO_LOG_FORMAT="json")
    assert result.code == 3, result.output
    assert "ROGO_SOURCE_SAS_TOKEN" in result.output
    assert any(SIGNATURE in query for query in leak_scenario.scenario.source.queries)
    leak_scenario.assert_no_leak()
