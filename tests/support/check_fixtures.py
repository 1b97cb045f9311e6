"""A set-up in which all checks pass, and the result of ``check`` after a change to it."""

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from rogo_async.commands.check.command import CheckRunner
from rogo_async.commands.check.results import CheckResult, CheckStatus, ReportLine
from rogo_async.common.shutdown import ExitCode
from rogo_async.demo.dataset.dataset import DEMO_LMS
from rogo_async.reporting.progress import Stages
from tests.support.builders import INSERTED, Scenario, valid_submission
from tests.support.tcp_proxy import TcpProxy

PREFIXES = ("DATABASE_URL", "DATA_WAREHOUSE", "AZURE_", "ROGO_")
NAMES = tuple(
    f"{subject}.{what}"
    for subject, names in {
        "settings": "env_file unknown",
        "machine": "python files memory",
        "directory": "exists space writable filesystem lock",
        "inputs": "submissions mapping accepted",
        "target": "reach tls login pooler version primary lock connections "
        "tables columns keys rights instance user reference insert enforcement",
        "warehouse": "driver reach login tables read rights",
        "store": "reach credentials container signature write read list delete",
        "clock": "store target",
        "source": "allowed",
    }.items()
    for what in names.split()
)
"""The stable names of checks, except those of settings and hosts."""


@dataclass(frozen=True, slots=True)
class CheckOutput:
    """The exit code and the results of ``check``, by name."""

    code: ExitCode
    results: Mapping[str, CheckResult]

    def names(self, status: CheckStatus) -> set[str]:
        """The names of the checks with this status. Ignores the memory of the test machine."""
        return {
            name
            for name, result in self.results.items()
            if result.status is status and name != "machine.memory"
        }

    def text(self, name: str) -> str:
        """Message and remedy, as they are printed."""
        return f"{self.results[name].message}. {self.results[name].remedy}"


@dataclass(slots=True)
class Setup:
    """A data directory with servers, its settings, and what to undo after the test."""

    scenario: Scenario
    env: dict[str, str]
    undo: AsyncExitStack
    options: dict[str, object] = field(default_factory=dict)

    async def proxied(self, name: str, port: int) -> TcpProxy:
        """Put a proxy in front of a server, and point the setting ``name`` to it."""
        proxy = await self.undo.enter_async_context(TcpProxy("127.0.0.1", port))
        assert str(port) in self.env[name]
        self.env[name] = self.env[name].replace(str(port), str(proxy.port))
        return proxy

    @property
    def hosts(self) -> dict[str, str]:
        """The two source hosts: ``store`` needs a SAS, ``plain`` does not."""
        return {"store": self.scenario.stack.azurite.origin, "plain": self.scenario.source.origin}


async def load_valid_setup(scenario: Scenario) -> None:
    """Write two valid rows with a file on each host, and a warehouse with scores."""
    served = scenario.submission(1)
    served.scores.append(
        {"ScoreLabelCorrected": "Question 1", "Score": 1, "DateInserted": INSERTED}
    )
    stack, workspace = scenario.stack, scenario.workspace
    stored = valid_submission(2, f"{stack.source_url(workspace)}/2.txt")
    await scenario.upload({"2.txt": b"a file"})
    await scenario.load([served, stored])
    await add_session_records(scenario, DEMO_LMS.instance_id)


async def add_session_records(scenario: Scenario, instance_id: str, count: int = 1) -> None:
    """Add launches of learners with this instance id, as the platform writes them."""
    async with scenario.target() as target:
        await target.execute(
            "INSERT INTO lti_session_records (launch_id, lms_user_id, session_expiry) "
            "SELECT $1 || n, $1 || '::' || n, now() FROM generate_series(1, $2) AS n",
            instance_id,
            count,
        )


async def run_checks(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> CheckOutput:
    """Run ``check`` on a set-up, within this process."""
    for name in list(os.environ):
        if name.startswith(PREFIXES):
            monkeypatch.delenv(name)
    for name, value in setup.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(setup.scenario.data_dir)
    lines: list[ReportLine] = []
    runner = CheckRunner(lines.append)
    runner.load(**setup.options)
    result = await runner.execute(Stages(None, 60.0))
    assert len({line.name for line in lines}) == len(lines)
    return CheckOutput(result.exit_code, {line.name: line.result for line in lines})


def secrets_of(env: Mapping[str, str], names: Sequence[str] = PREFIXES) -> set[str]:
    """Passwords, keys and signatures in the settings."""
    patterns = (r"://\w+:(\w+)@", r"PWD=(\w+)", r"AccountKey=([^;]+)", r"sig=([^&\s;]+)")
    text = "\n".join(value for name, value in env.items() if name.startswith(tuple(names)))
    return {value for pattern in patterns for value in re.findall(pattern, text) if len(value) > 6}
