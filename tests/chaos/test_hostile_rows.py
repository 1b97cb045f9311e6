"""Hundreds of hostile rows in a run: no request, secret or file goes where it must not."""

import asyncio
import json
import os
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest
from azure.storage.blob.aio import BlobServiceClient

from rogo_async.common.errors import FailureCode, SkipCode
from rogo_async.demo.servers.ports import LOOPBACK, reserve_port
from rogo_async.demo.servers.scripted_source import Answer, ScriptedSource
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario, SourceSubmission, valid_submission
from tests.support.cli import MIGRATED, run_cli, summary, table

ROWS: Final = 200
SEED: Final = 11
LAUNCHER: Final = Path(__file__).with_name("recording_launcher.py")
LOOPBACKS: Final = (
    "2130706433", "0x7f.1", "0x7f000001", "017700000001", "127.1", "127.0.1", "0177.0.0.1", "0",
    "0.0.0.0", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::1]", "[::]", "localhost", "127.0.0.1.",
    "127.0.0.2", "ip6-localhost", "user@127.0.0.1", "%3127.0.0.1",
)  # fmt: skip
LOOKALIKES: Final = ("①27.0.0.1", "127\u30020\u30020\u30021", "１２７.0.0.1")
"""IDNA maps these to 127.0.0.1: only the port is forbidden."""
NAMES: Final = (
    "../../../etc/passwd", "..\\..\\boot.ini", "C:\\x.doc", "a/b/c.pdf", "/abs.docx", "\\",
    "a\0b.pdf", "a\r\nb.docx", "\x1b[31m.txt", "\x7f", "\u202efdp.exe", "😀" * 60 + ".docx",
    "x" * 3000, "..", ".", "a..docx", "%2e%2e%2f%2e%2e%2fx", "<script>.html", "a.İ", "=1+1.csv",
    "'; DROP TABLE x --.sql", "LTI_Uploads/../x",
)  # fmt: skip
HEADERS: Final[tuple[dict[str, str], ...]] = (
    {}, {}, {"Content-MD5": "é"}, {"Content-MD5": "!"}, {"Content-MD5": "AAAA"}, {"ETag": "é"},
    {"Content-Type": "../x; é"}, {"Content-Encoding": "identity"}, {"Last-Modified": "é"},
)  # fmt: skip
FORBIDDEN_BLOB: Final = frozenset("\\") | {chr(code) for code in (*range(32), *range(127, 160))}


@dataclass(slots=True)
class SourceHosts:
    """Three hosts that are allowed, each with its own SAS or none, and one that is not."""

    scenario: Scenario
    signed: ScriptedSource
    other: ScriptedSource
    plain: ScriptedSource
    forbidden_port: int
    callers: list[object]

    @property
    def tokens(self) -> dict[str, str]:
        return {self.signed.origin: "sv=1&sig=sigOfFirst", self.other.origin: "sv=1&sig=sigOfOther"}


@pytest.fixture
async def hosts(stack: Stack, workspace: Workspace, tmp_path: Path) -> AsyncIterator[SourceHosts]:
    inner = replace(workspace, data_dir=tmp_path / "data")
    inner.data_dir.mkdir()
    callers: list[object] = []
    async with (
        ScriptedSource() as other,
        ScriptedSource() as plain,
        recording_port(callers) as port,
    ):
        yield SourceHosts(Scenario(stack, inner), stack.source, other, plain, port, callers)


@asynccontextmanager
async def recording_port(callers: list[object]) -> AsyncIterator[int]:
    """A port on all addresses of this machine that records who connects."""

    async def called(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.append(writer.get_extra_info("peername"))
        writer.close()

    port = reserve_port()
    server = await asyncio.start_server(called, None, port)
    async with server:
        yield port


def forbidden_url(hosts: SourceHosts, rng: random.Random, number: int) -> str:
    """A URL that must not be requested, whichever way it is parsed."""
    there = f"/never/{number}"
    allowed = f"{LOOPBACK}:{hosts.signed.port}"
    bad = f"{LOOPBACK}:{hosts.forbidden_port}"
    port = rng.choice((hosts.forbidden_port, hosts.signed.port))
    return rng.choice(
        (
            *(f"http://{host}:{port}{there}" for host in rng.sample(LOOPBACKS, 8)),
            *(f"http://{host}:{hosts.forbidden_port}{there}" for host in LOOKALIKES),
            f"http://{bad}{there}",
            f"http://{allowed}@{bad}{there}",
            f"http://user:{allowed}@{bad}{there}",
            f"http://{bad}\\@{allowed}{there}",
            f"http://{allowed}\\@{bad}{there}",
            f"http://{bad}%2f@{allowed}{there}",
            f"http://{allowed}.evil.test{there}",
            f"http://{allowed}\t@{bad}{there}",
            f"http:\\\\{bad}{there}",
            f"http:{bad}{there}",
            f"https://{allowed}{there}",
            f"ftp://{allowed}{there}",
            f"file:///etc/passwd?{there}",
            f"http://{allowed}:{hosts.forbidden_port}{there}",
            f"HTTP://{bad}/{'x' * 5000}{there}",
        )
    )


def redirect(hosts: SourceHosts, rng: random.Random) -> str:
    """A redirect of an allowed host that must not be followed."""
    bad = f"{LOOPBACK}:{hosts.forbidden_port}"
    allowed = f"{LOOPBACK}:{hosts.signed.port}"
    return rng.choice(
        (
            f"http://{bad}/never/r",
            f"//{bad}/never/r",
            f"http://{allowed}@{bad}/never/r",
            f"http:\\\\{bad}/r",
            f"\\\\{bad}\\r",
            f"https://{allowed}/never/r",
            f"http://2130706433:{hosts.signed.port}/never/r",
            f"http://[::ffff:127.0.0.1]:{hosts.forbidden_port}/never/r",
            f"{hosts.other.origin}/never/r",
            f"{hosts.plain.origin}/never/r",
            f"{hosts.scenario.stack.azurite.origin}/never/r",
            "http://[",
            "javascript:alert(1)",
            "",
            f"http://{bad}:99999/never/r",
        )
    )


def hostile_submission(hosts: SourceHosts, rng: random.Random, attempt: int) -> SourceSubmission:
    """One submission; the attempt modulo 5 selects the kind of attack."""
    kind = attempt % 5
    path = f"/{attempt}.docx"
    source = rng.choice((hosts.signed, hosts.other, hosts.plain))
    good = source.url(path)
    if kind == 0:
        return valid_submission(attempt, forbidden_url(hosts, rng, attempt))
    if kind == 1:
        good = source.url(f"/never/beside/{attempt}")
        other = forbidden_url(hosts, rng, attempt)
        # A comma separates before http:// and https:// only: all else is part of the name.
        later = rng.random() < 0.5 and other.lower().startswith(("http://", "https://"))
        return valid_submission(attempt, *((good, other) if later else (other, good)))
    if kind == 2:
        location = redirect(hosts, rng)
        hosts.signed.routes[path] = Answer(
            status=rng.choice((301, 302, 303, 307, 308)), location=location
        )
        return valid_submission(attempt, hosts.signed.url(path))
    source.routes[path] = Answer(body=b"text %d" % attempt, headers=rng.choice(HEADERS))
    if kind == 3:
        made = valid_submission(attempt, good)
        made.cells["Learner File Names"] = rng.choice(NAMES)
    else:
        made = valid_submission(attempt)
        made.cells["Marker Azure Blob URLs"] = good
    for name in ("First Name", "Surname", "Assessment ID", "Course Title", "Rogo User ID"):
        if rng.random() < 0.4:
            made.cells[name] = rng.choice(NAMES)
    return made


async def test_hostile_rows_reach_only_allowed_hosts_and_paths(
    hosts: SourceHosts, stack: Stack, tmp_path: Path
) -> None:
    scenario, rng = hosts.scenario, random.Random(SEED)
    await scenario.load(hostile_submission(hosts, rng, attempt) for attempt in range(1, ROWS + 1))
    before = await every_blob(stack)
    around = listed(tmp_path, scenario.data_dir)
    record = tmp_path / "record.jsonl"
    azure = stack.azurite.origin
    env = stack.environment_of(scenario.workspace)
    secret = env["ROGO_SOURCE_SAS_TOKEN"].removeprefix(f"{azure}=")
    tokens = {azure: secret, **hosts.tokens}
    result = await run_cli(
        env,
        prefix=(sys.executable, str(LAUNCHER), str(record)),
        ROGO_SOURCE_HOSTS=",".join((azure, *(s.origin for s in allowed_sources(hosts)))),
        ROGO_SOURCE_SAS_TOKEN=" ".join(f"{host}={token}" for host, token in tokens.items()),
        PYTHONDONTWRITEBYTECODE="1",
    )
    assert result.code == 1, result.output
    assert result.events("internal error") == []
    assert_summary(scenario)
    await assert_requests(hosts, secret)
    assert_process_record(record, hosts)
    after = await every_blob(stack)
    here = scenario.workspace.container
    assert {**after, here: None} == {**before, here: None}
    assert len(after[here]) == summary(scenario.data_dir)["migrated"]
    for name in after[here]:
        assert name.startswith(("LTI_Uploads/rogo_", "Marker_files/rogo_"))
        assert ".." not in name
        assert not FORBIDDEN_BLOB & set(name)
        assert len(name) <= 1024
    assert listed(tmp_path, scenario.data_dir) == around | {record}


def assert_summary(scenario: Scenario) -> None:
    found = summary(scenario.data_dir)
    assert found["rows_total"] == ROWS
    assert found["not_reached"] == 0
    assert found["by_code"].keys() <= {*FailureCode, *SkipCode}
    # Kinds 0 and 1 are refused for their addresses, kind 2 for its redirect, unless that is read
    # as a path of the same host, where there is nothing.
    assert found["by_code"]["source_not_allowed"] == ROWS * 2 // 5
    assert found["by_code"]["source_refused"] > ROWS // 10
    stayed = found["by_code"]["source_file_missing"]
    assert found["by_code"]["source_refused"] + stayed == ROWS // 5
    assert found["migrated"] > ROWS // 5
    assert len(table(scenario.data_dir / MIGRATED)) == found["migrated"]


def allowed_sources(hosts: SourceHosts) -> tuple[ScriptedSource, ...]:
    return hosts.signed, hosts.other, hosts.plain


async def assert_requests(hosts: SourceHosts, secret: str) -> None:
    """No other host, no forbidden path, and no SAS sent to another host."""
    assert hosts.callers == []
    secrets = {secret.partition("sig=")[2].partition("&")[0], "sigOfFirst", "sigOfOther"}
    assert len(secrets) == 3
    own = {hosts.signed.port: "sigOfFirst", hosts.other.port: "sigOfOther"}
    for source in allowed_sources(hosts):
        assert len(source.requests) > ROWS // 10
        assert [path for _, path in source.requests if "/never/" in path] == []
        for query in source.queries:
            assert [each for each in secrets if each in query] == [
                each for each in (own.get(source.port),) if each
            ]


def assert_process_record(record: Path, hosts: SourceHosts) -> None:
    """Connections, resolved names and written files of the process itself."""
    ports = {source.port for source in allowed_sources(hosts)}
    ports |= {hosts.scenario.stack.azurite.port, hosts.scenario.stack.postgres.port}
    events: list[tuple[str, Any]] = [
        json.loads(line) for line in record.read_text("utf-8").splitlines()
    ]
    kinds = {kind for kind, _ in events}
    assert {"connect", "write"} <= kinds
    # The platform module asks for the processor's name, for Azure's User-Agent.
    assert [what for kind, what in events if kind == "child" and what[0] != "uname"] == []
    assert {tuple(what) for kind, what in events if kind == "connect"} <= {
        (LOOPBACK, port) for port in ports
    }
    assert {what for kind, what in events if kind == "resolve"} <= {LOOPBACK}
    data_dir = hosts.scenario.data_dir
    for kind, what in events:
        if kind == "write" and not isinstance(what, int) and what != os.devnull:
            assert (data_dir / what).resolve().is_relative_to(data_dir), what


async def every_blob(stack: Stack) -> dict[str, list[str]]:
    """The blobs of every container of the account."""
    async with BlobServiceClient.from_connection_string(stack.azurite.connection_string) as account:
        found = {}
        async for container in account.list_containers():
            client = account.get_container_client(container.name)
            found[container.name] = [name async for name in client.list_blob_names()]
        return found


def listed(directory: Path, but: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if not path.is_relative_to(but)}
