"""Receivers of ROGO_NOTIFY_URL are told how a run began and ended (specification §5)."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rogo_async.common.data_dir import DataDir
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.cli import run_cli, start_cli, summary
from tests.support.http_proxy import HttpProxy

LAUNCHER = Path(__file__).parents[2] / "chaos" / "crash_launcher.py"
TOKEN = "t0ken-canary"
UNDELIVERED = "a notification was not delivered"


@dataclass(slots=True)
class Receiver:
    """Receivers of all kinds on a free port; ``/hang`` never answers."""

    origin: str = ""
    pings: list[tuple[str, str]] = field(default_factory=list)
    pushes: list[dict[str, str]] = field(default_factory=list)
    messages: list[Any] = field(default_factory=list)
    hanging: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def urls(self) -> str:
        """The value of ROGO_NOTIFY_URL."""
        return (
            f"healthchecks+{self.origin}/hc/{TOKEN} kuma+{self.origin}/api/push/{TOKEN} "
            f"json+{self.origin}/hook/{TOKEN}"
        )

    async def ping(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix(f"/hc/{TOKEN}")
        self.pings.append((path, (await request.read()).decode()))
        return web.Response(text="OK")

    async def push(self, request: web.Request) -> web.Response:
        self.pushes.append(dict(request.query))
        return web.json_response({"ok": True})

    async def message(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/json"
        self.messages.append(await request.json())
        return web.Response(text="ok")

    async def hang(self, _request: web.Request) -> web.Response:
        self.hanging.set()
        await self.released.wait()
        return web.Response()

    @property
    def never_answers(self) -> str:
        """The URL of a receiver that accepts a request and never answers it."""
        return f"json+{self.origin}/hang/{TOKEN}"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application()
    app.router.add_post(f"/hc/{TOKEN}", made.ping)
    app.router.add_post(f"/hc/{TOKEN}/{{what}}", made.ping)
    app.router.add_get(f"/api/push/{TOKEN}", made.push)
    app.router.add_post(f"/hook/{TOKEN}", made.message)
    app.router.add_route("*", "/hang/{rest:.*}", made.hang)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    made.released.set()
    await runner.cleanup()


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    submissions = [made.submission(attempt) for attempt in range(1, 5)]
    submissions[0].cells["Learner Email"] = ""
    await made.load(submissions)
    return made


async def test_every_receiver_is_told_of_a_full_run_and_of_no_selection(
    scenario: Scenario, env: dict[str, str], receiver: Receiver
) -> None:
    tried = await run_cli(env, "run", "--limit", "1", ROGO_NOTIFY_URL=receiver.urls)
    assert tried.code == 0, tried.output
    assert [receiver.pings, receiver.pushes, receiver.messages] == [[], [], []]
    result = await run_cli(env, "run", ROGO_NOTIFY_URL=receiver.urls)
    line = result.stdout.strip()
    assert (result.code, "2 migrated, 1 failed" in line) == (1, True), result.output
    assert receiver.pings == [("/start", ""), ("", line)]
    (push,) = receiver.pushes
    assert (push["status"], push["msg"]) == ("up", line)
    assert receiver.messages == [{"text": line}]
    assert not result.events(UNDELIVERED)


async def test_a_run_that_cannot_start_is_a_failure(
    scenario: Scenario, env: dict[str, str], receiver: Receiver
) -> None:
    refused = {**env, "ROGO_CONTAINER": "no-such-container"}
    result = await run_cli(refused, ROGO_NOTIFY_URL=receiver.urls)
    assert result.code == 2, result.output
    (start, (path, text)) = receiver.pings
    assert (start, path) == (("/start", ""), "/fail")
    assert text.startswith("rogo_async: exit 2; ")
    assert "ROGO_CONTAINER" in text
    assert receiver.pushes[0]["status"] == "down"
    assert receiver.messages == [{"text": text}]


async def test_a_run_beside_another_is_a_failure(
    scenario: Scenario, env: dict[str, str], receiver: Receiver, tmp_path: Path
) -> None:
    data = DataDir(tmp_path)
    data.lock("run of another process")
    result = await run_cli(env, ROGO_NOTIFY_URL=receiver.urls)
    data.unlock()
    assert result.code == 4, result.output
    assert receiver.pings[-1][0] == "/fail"
    assert receiver.pings[-1][1].startswith("rogo_async: exit 4; ")


async def test_no_receiver_can_change_the_result(
    scenario: Scenario, env: dict[str, str], receiver: Receiver
) -> None:
    urls = [
        f"healthchecks+{receiver.origin}/hang/{TOKEN}",
        f"json+http://127.0.0.1:1/{TOKEN}",
        f"kuma+{receiver.origin}/unknown/{TOKEN}",
        f"json+{receiver.origin}/hook/{TOKEN}",
    ]
    result = await run_cli(env, "-v", ROGO_NOTIFY_URL=" ".join(urls))
    assert (result.code, "3 migrated, 1 failed" in result.stdout) == (1, True), result.output
    assert receiver.messages == [{"text": result.stdout.strip()}]
    reasons = {entry["reason"] for entry in result.events(UNDELIVERED)}
    assert reasons == {
        "no answer in time",
        "the connection failed (Connection refused)",
        "it answered 404",
    }
    assert TOKEN not in result.output


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("rogo_async.pipeline.migrate:prepare", "0 migrated"),
        ("rogo_async.reporting.summary:RunRecord.summary", "exit 70; internal error, see the log"),
    ],
)
async def test_an_internal_error_is_a_failure(
    scenario: Scenario, env: dict[str, str], receiver: Receiver, where: str, line: str
) -> None:
    prefix = (sys.executable, str(LAUNCHER), where)
    result = await run_cli(env, prefix=prefix, ROGO_NOTIFY_URL=receiver.urls)
    assert result.code == 70, result.output
    path, text = receiver.pings[-1]
    assert (path, line in text, "exit 70" in text) == ("/fail", True, True), text
    assert result.stdout.strip().removeprefix("rogo_async: ") in text
    assert receiver.messages == [{"text": text}]


async def test_invalid_settings_are_a_failure(
    scenario: Scenario, env: dict[str, str], receiver: Receiver
) -> None:
    invalid = {**env, "ROGO_CONCURRENCY": "many", "ROGO_LOG_MAX_BYTES": "few"}
    selected = await run_cli(invalid, "run", "--limit", "1", ROGO_NOTIFY_URL=receiver.urls)
    assert (selected.code, receiver.pings) == (2, [])
    result = await run_cli(invalid, ROGO_NOTIFY_URL=receiver.urls)
    assert result.code == 2, result.output
    ((path, text),) = receiver.pings
    assert path == "/fail"
    lines = [line.removeprefix("rogo_async: ") for line in result.stdout.splitlines()]
    assert text == f"rogo_async: exit 2; {'; '.join(lines)}"
    assert any(line.startswith("ROGO_CONCURRENCY: ") for line in lines)
    assert receiver.messages == [{"text": text}]
    assert receiver.pushes[0]["status"] == "down"


async def test_an_invalid_receiver_leaves_the_line(
    scenario: Scenario, env: dict[str, str], receiver: Receiver
) -> None:
    result = await run_cli(env, ROGO_NOTIFY_URL=f"{receiver.urls} {receiver.origin}/{TOKEN}")
    assert (result.code, receiver.pings) == (2, [])
    (line,) = result.stdout.splitlines()
    assert line.startswith("rogo_async: ROGO_NOTIFY_URL: URL 4 has no prefix")
    assert TOKEN not in result.output


async def test_the_line_is_printed_before_the_receivers_are_told(
    scenario: Scenario, env: dict[str, str], receiver: Receiver
) -> None:
    async with start_cli(env, ROGO_NOTIFY_URL=receiver.never_answers) as command:
        await receiver.hanging.wait()
        command.process.kill()
        result = await command.wait()
    assert result.stdout.startswith("rogo_async: 3 migrated, 1 failed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_the_wait_for_receivers_with_the_exit_code_of_the_run(
    scenario: Scenario, env: dict[str, str], receiver: Receiver, number: signal.Signals
) -> None:
    async with start_cli(env, ROGO_NOTIFY_URL=receiver.never_answers) as command:
        await receiver.hanging.wait()
        command.process.send_signal(number)
        result = await command.wait()
    assert (result.code, summary(scenario.data_dir)["exit_code"]) == (1, 1)
    assert result.stdout.count("3 migrated, 1 failed") == 1
    (stopped,) = result.events("not waiting for the receivers of notifications")
    assert stopped["signal"] == number.name
    assert not result.events(UNDELIVERED)


async def test_receivers_are_told_through_the_proxy(
    scenario: Scenario, env: dict[str, str], receiver: Receiver
) -> None:
    port = int(receiver.origin.rpartition(":")[2])
    host = "receiver.example"
    urls = receiver.urls.replace(f"127.0.0.1:{port}", host)
    async with HttpProxy(addresses={f"{host}:80": port}) as proxy:
        through = {**env, "HTTP_PROXY": proxy.url, "NO_PROXY": "127.0.0.1"}
        result = await run_cli(through, ROGO_NOTIFY_URL=urls)
        proxy.status = 407
        refused = await run_cli(through, ROGO_NOTIFY_URL=urls)
    assert (result.code, refused.code) == (1, 1), result.output
    assert proxy.forwarded == [f"{host}:80"] * 4
    assert [path for path, _ in receiver.pings] == ["/start", ""]
    assert receiver.messages == [{"text": result.stdout.strip()}]
    assert not result.events(UNDELIVERED)
    reasons = {entry["reason"] for entry in refused.events(UNDELIVERED)}
    assert len(refused.events(UNDELIVERED)) == 4
    assert all("answered 407 to a request for receiver.example:80" in text for text in reasons)


@pytest.fixture
def silent_name_server(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """A prefix for a command whose name server takes questions and never answers."""
    address = "127.53.0.1"
    resolver = tmp_path / "resolv.conf"
    resolver.write_text(f"nameserver {address}\noptions timeout:30 attempts:5\n")
    mount = f'mount --bind {resolver} /etc/resolv.conf && exec "$@"'
    prefix = ("unshare", "--mount", "--map-root-user", "sh", "-c", mount, "sh")
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as silent:
        try:
            silent.bind((address, 53))
        except PermissionError:
            pytest.skip("only root may use port 53 here")
        if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
            pytest.skip("mounting a file is not permitted here")
        yield prefix


async def test_a_name_server_that_never_answers_does_not_hold_the_end(
    scenario: Scenario, env: dict[str, str], silent_name_server: tuple[str, ...]
) -> None:
    urls = " ".join(f"{kind}+https://{kind}.example/{TOKEN}" for kind in ("healthchecks", "json"))
    result = await run_cli(env, prefix=silent_name_server, ROGO_NOTIFY_URL=urls)
    assert result.code == 1, result.output
    assert "3 migrated, 1 failed" in result.stdout
    undelivered = {entry["host"]: entry["reason"] for entry in result.events(UNDELIVERED)}
    assert undelivered == {
        "healthchecks.example": "no answer in time",
        "json.example": "no answer in time",
    }


async def test_a_distributed_run_is_told_about_once_when_it_is_collected(
    stack: Stack, workspace: Workspace, env: dict[str, str], receiver: Receiver
) -> None:
    scenario = Scenario(stack, workspace)
    await scenario.load([scenario.submission(1)])
    run_id = "20260301T010000Z-0000000a"
    env = {**env, "ROGO_NOTIFY_URL": receiver.urls}
    shard = await run_cli(env, ROGO_SHARD="0/1", ROGO_RUN_ID=run_id)
    assert shard.code == 0
    assert receiver.pings == []
    assert (await run_cli(env, "collect", "--run", run_id)).code == 0
    ((path, text),) = receiver.pings
    assert path == ""
    assert text.startswith(f"rogo_async: run {run_id}, 1 shard: 1 migrated, 0 failed")
    refused = await run_cli(env, "collect", "--run", run_id.replace("a", "b"))
    assert refused.code == 2
    assert receiver.pings[-1][0] == "/fail"
