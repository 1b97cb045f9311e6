"""Rounds of faults: one source and one warehouse for all, a target and a container for each."""

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
from rogo_async.demo.servers.ports import LOOPBACK
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.chaos.invariants import ExpectedState, Findings, check_invariants
from tests.support.cli import CliResult, run_cli
from tests.support.copy_proxy import redirect_urls, redirected
from tests.support.store_proxy import StoreProxy
from tests.support.tcp_proxy import TcpProxy

LOCK_S: Final = 10.0
"""A killed run holds its lock until the server notices."""


@dataclass(slots=True)
class ChaosRound:
    """A fresh workspace. All connections to servers go through proxies."""

    stack: Stack
    workspace: Workspace
    expected: ExpectedState
    proxies: Mapping[str, TcpProxy]
    env: dict[str, str]

    @property
    def expected_code(self) -> int:
        """The exit code of an undisturbed run."""
        return 1 if self.expected.failed else 0

    async def recover(self) -> Findings:
        """Run to the end, undisturbed, and check the invariants."""
        for proxy in self.proxies.values():
            proxy.delay_s = 0.0
        findings = Findings()
        await self._expect(findings, self.expected_code)
        findings.add(await self.check())
        return findings

    async def check(self) -> Findings:
        """Sweep and verify after a run that ended by itself, and check the invariants."""
        findings = Findings()
        await self._expect(findings, 0, "sweep", "--delete", "--min-age", "0")
        await self._expect(findings, 0, "verify")
        findings.add(await check_invariants(self.stack, self.workspace, self.expected))
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


class RoundFactory:
    """Makes rounds with the same input. ``base`` is filled and never written to."""

    def __init__(self, stack: Stack, base: Workspace, expected: ExpectedState) -> None:
        self.stack = stack
        self.expected = expected
        self.service: StoreProxy | None = None
        """If set, store and source are behind it, so that the service may copy files."""
        self._base = base
        self._rounds = 0

    @classmethod
    async def generated(cls, stack: Stack, base: Workspace, rows: int, seed: int) -> Self:
        """Rounds with a generated data set, in an empty workspace."""
        dataset = generate_for(stack, base, rows, seed)
        await load(dataset, stack, base)
        return cls(stack, base, await asyncio.to_thread(ExpectedState.of, dataset))

    @asynccontextmanager
    async def round(self, delay_s: float = 0.0) -> AsyncIterator[ChaosRound]:
        """The next round; it is removed afterwards."""
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
            stack.push_async_callback(self.stack.postgres.drop_databases, own.target)
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
            upstream = dict(ports)
            if self.service is not None:
                upstream["store"] = self.service.port
            proxies = {
                name: await stack.enter_async_context(TcpProxy("127.0.0.1", port))
                for name, port in upstream.items()
            }
            for proxy in proxies.values():
                proxy.delay_s = delay_s
            env = via_proxies(self.stack.environment_of(own), ports, proxies)
            if self.service is not None:
                origins = self.stack.azurite.origin, f"http://{LOOPBACK}:{proxies['store'].port}"
                env = redirected(env, *origins)
                redirect_urls(own.data_dir / INPUT, *origins)
            yield ChaosRound(self.stack, own, self.expected, proxies, env)


async def _remove(service: BlobServiceClient, container: str) -> None:
    """Clean up after a round. It has been checked by then: leftovers do no harm."""
    try:
        await service.delete_container(container)
    except AzureError as error:
        click.echo(f"{container} is left over ({type(error).__name__})", err=True)


def via_proxies(
    env: Mapping[str, str], ports: Mapping[str, int], proxies: Mapping[str, TcpProxy]
) -> dict[str, str]:
    """The environment with the servers' addresses replaced by those of the proxies."""
    forms = {
        "target": ("DATABASE_URL", ":{}/"),
        "warehouse": ("DATA_WAREHOUSE_CONNECTION_STRING", "PORT={};"),
        "store": ("AZURE_STORAGE_CONNECTION_STRING", ":{}/"),
    }
    chaos_round = dict(env)
    for name, (variable, form) in forms.items():
        before, after = form.format(ports[name]), form.format(proxies[name].port)
        assert chaos_round[variable].count(before) == 1
        chaos_round[variable] = chaos_round[variable].replace(before, after)
    return chaos_round
