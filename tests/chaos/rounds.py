"""Rounds of havoc: one source and one warehouse for all, a target and a container for each."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, Self

import click
from azure.core.exceptions import AzureError
from azure.storage.blob.aio import BlobServiceClient

from rogo_async.demo.checks.check_files import INPUT, MAPPING
from rogo_async.demo.dataset.load import generate_for, load
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.chaos.invariants import Answer, Findings, inspect
from tests.support.cli import CliResult, run_cli
from tests.support.tcp_proxy import TcpProxy

LOCK_S: Final = 10.0
"""A run that was killed holds its lock until the server has noticed."""


@dataclass(slots=True)
class Round:
    """A place that nothing has happened to yet. Every way to a server leads through a proxy."""

    stack: Stack
    workspace: Workspace
    answer: Answer
    proxies: Mapping[str, TcpProxy]
    env: dict[str, str]

    @property
    def expected_code(self) -> int:
        """The exit code of a run that nobody disturbs."""
        return 1 if self.answer.failed else 0

    async def settle(self) -> Findings:
        """Run to the end, undisturbed, and look at what stands then."""
        for proxy in self.proxies.values():
            proxy.delay_s = 0.0
        findings = Findings()
        await self._expect(findings, self.expected_code)
        findings.add(await self.look())
        return findings

    async def look(self) -> Findings:
        """Sweep and verify after a run that ended by itself, and look at what stands then."""
        findings = Findings()
        await self._expect(findings, 0, "sweep", "--delete", "--min-age", "0")
        await self._expect(findings, 0, "verify")
        findings.add(await inspect(self.stack, self.workspace, self.answer))
        return findings

    async def _expect(self, findings: Findings, code: int, *args: str) -> None:
        result = await self._alone(*args)
        if result.code != code:
            findings.misjudged.append(f"{args} ended with {result.code}: {result.output}")

    async def _alone(self, *args: str) -> CliResult:
        until = asyncio.get_running_loop().time() + LOCK_S
        while True:
            result = await run_cli(self.env, *args)
            if result.code != 4 or asyncio.get_running_loop().time() > until:
                return result


class Ground:
    """What the rounds have in common. ``base`` is filled and never written to."""

    def __init__(self, stack: Stack, base: Workspace, answer: Answer) -> None:
        self.stack = stack
        self.answer = answer
        self._base = base
        self._rounds = 0

    @classmethod
    async def generated(cls, stack: Stack, base: Workspace, rows: int, seed: int) -> Self:
        """Ground with a generated data set, in an empty place."""
        dataset = generate_for(stack, base, rows, seed)
        await load(dataset, stack, base)
        return cls(stack, base, await asyncio.to_thread(Answer.of, dataset))

    @asynccontextmanager
    async def round(self, delay_s: float = 0.0) -> AsyncIterator[Round]:
        """The next round; nothing is left of it afterwards."""
        self._rounds += 1
        own = replace(
            self._base,
            target=f"{self._base.target}_{self._rounds}",
            container=f"{self._base.container}-{self._rounds}",
            data_dir=self._base.data_dir / f"round-{self._rounds}",
        )
        own.data_dir.mkdir(mode=0o700)
        for name in (INPUT, MAPPING):
            shutil.copy(self._base.data_dir / name, own.data_dir / name)
        async with AsyncExitStack() as stack:
            stack.callback(shutil.rmtree, own.data_dir)
            await self.stack.postgres.create_database(own.target, self._base.target)
            stack.push_async_callback(self.stack.postgres.drop_database, own.target)
            service = await stack.enter_async_context(
                BlobServiceClient.from_connection_string(self.stack.azurite.connection_string)
            )
            await service.create_container(own.container)
            stack.push_async_callback(_remove, service, own.container)
            ports = {
                "target": self.stack.postgres.port,
                "warehouse": self.stack.postgres.port,
                "store": self.stack.azurite.port,
            }
            proxies = {
                name: await stack.enter_async_context(TcpProxy("127.0.0.1", port))
                for name, port in ports.items()
            }
            for proxy in proxies.values():
                proxy.delay_s = delay_s
            env = through(self.stack.environment_of(own), ports, proxies)
            yield Round(self.stack, own, self.answer, proxies, env)


async def _remove(service: BlobServiceClient, container: str) -> None:
    """Tidy up after a round. It has been judged by then: what is left over does no harm."""
    try:
        await service.delete_container(container)
    except AzureError as error:
        click.echo(f"{container} is left over ({type(error).__name__})", err=True)


def through(
    env: Mapping[str, str], ports: Mapping[str, int], proxies: Mapping[str, TcpProxy]
) -> dict[str, str]:
    """A site whose servers are reached through proxies."""
    forms = {
        "target": ("DATABASE_URL", ":{}/"),
        "warehouse": ("DATA_WAREHOUSE_CONNECTION_STRING", "PORT={};"),
        "store": ("AZURE_STORAGE_CONNECTION_STRING", ":{}/"),
    }
    there = dict(env)
    for name, (variable, form) in forms.items():
        before, after = form.format(ports[name]), form.format(proxies[name].port)
        assert there[variable].count(before) == 1
        there[variable] = there[variable].replace(before, after)
    return there
