"""A set-up in which a check finds nothing to say, and what it finds in one that was broken."""

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
from azure.storage.blob.aio import ContainerClient

from rogo_async.commands.check.command import Checkup
from rogo_async.commands.check.results import Finding, State
from rogo_async.common.shutdown import ExitCode
from tests.support.builders import INSERTED, Scenario, valid_submission
from tests.support.tcp_proxy import TcpProxy

MADE = ("DATABASE_URL", "DATA_WAREHOUSE", "AZURE_", "ROGO_")
NAMES = tuple(
    f"{subject}.{what}"
    for subject, names in {
        "settings": "env_file unknown",
        "machine": "python files memory",
        "directory": "exists space writable filesystem lock",
        "inputs": "submissions mapping",
        "target": "reach tls login pooler version primary lock connections "
        "tables columns keys rights user reference insert enforcement",
        "warehouse": "driver reach login tables read rights",
        "store": "reach credentials container signature write read list delete",
        "clock": "store target",
        "source": "allowed",
    }.items()
    for what in names.split()
)
"""The names that operators may rely on, but for the settings' and the hosts'."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a check found, by name."""

    code: ExitCode
    findings: Mapping[str, Finding]

    def names(self, state: State) -> set[str]:
        """Those that ended so. Memory is the machine's own business."""
        return {
            name
            for name, finding in self.findings.items()
            if finding.state is state and name != "machine.memory"
        }

    def said(self, name: str) -> str:
        """What and remedy, as a line has them."""
        return f"{self.findings[name].what}. {self.findings[name].remedy}"


@dataclass(slots=True)
class Scene:
    """A place, its settings, and what has to be undone afterwards."""

    scenario: Scenario
    env: dict[str, str]
    undo: AsyncExitStack
    options: dict[str, object] = field(default_factory=dict)

    async def proxied(self, name: str, port: int) -> TcpProxy:
        """Put a proxy before a server, in the setting that leads to it."""
        proxy = await self.undo.enter_async_context(TcpProxy("127.0.0.1", port))
        assert str(port) in self.env[name]
        self.env[name] = self.env[name].replace(str(port), str(proxy.port))
        return proxy

    @property
    def hosts(self) -> dict[str, str]:
        """The two hosts of source files: the one with a SAS, and the one without."""
        return {"store": self.scenario.stack.azurite.origin, "plain": self.scenario.source.origin}


async def lay_out_soundly(scenario: Scenario) -> None:
    """Rows with a file on each host, in a warehouse with scores."""
    served = scenario.submission(1)
    served.scores.append(
        {"ScoreLabelCorrected": "Question 1", "Score": 1, "DateInserted": INSERTED}
    )
    stack, workspace = scenario.stack, scenario.workspace
    stored = valid_submission(2, f"{stack.source_url(workspace)}/2.txt")
    async with ContainerClient.from_connection_string(
        stack.azurite.connection_string, workspace.source_container
    ) as container:
        await container.upload_blob("2.txt", b"a file")
    await scenario.load([served, stored])


async def seen(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Check the scene within this process."""
    for name in list(os.environ):
        if name.startswith(MADE):
            monkeypatch.delenv(name)
    for name, value in scene.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(scene.scenario.data_dir)
    found: list[Finding] = []
    ending = await Checkup.of(scene.options, found.append).execute()
    assert len({finding.name for finding in found}) == len(found)
    return Seen(ending.exit_code, {finding.name: finding for finding in found})


def secrets_of(env: Mapping[str, str], names: Sequence[str] = MADE) -> set[str]:
    """Passwords, keys and signatures in the settings."""
    patterns = (r"://\w+:(\w+)@", r"PWD=(\w+)", r"AccountKey=([^;]+)", r"sig=([^&\s;]+)")
    text = "\n".join(value for name, value in env.items() if name.startswith(tuple(names)))
    return {value for pattern in patterns for value in re.findall(pattern, text) if len(value) > 6}
