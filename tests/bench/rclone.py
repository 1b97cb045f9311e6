"""``rclone``: copying blobs compared with rclone, on the same blobs and the same store."""

import json
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

from rogo_async.common.settings import DEFAULT_CONCURRENCY
from rogo_async.demo.dataset.documents import BlobSpec
from rogo_async.demo.servers.blob_container import Container, run_concurrently
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.bench import client, dataset
from tests.bench.client import BenchError
from tests.bench.cpu_time import MACHINE, measure_cpu
from tests.bench.figures import spread
from tests.bench.report import Report

REMEDY = "rclone is missing: apt-get install rclone"
REPEATS = 3
TARGETS = {"small": 1.5, "large": 1.0}


@dataclass(frozen=True, slots=True)
class Load:
    """The number and the size of the blobs to copy."""

    count: int
    size_bytes: int

    def paths(self) -> list[str]:
        """Their names."""
        return [f"{self.size_bytes}/{n:06d}.txt" for n in range(self.count)]


@dataclass(frozen=True, slots=True)
class Copied:
    """One tool's copy of a load: seconds, CPU seconds of the tool and of the store."""

    wall_s: float
    cpu_s: float
    store_s: float
    others_cores: float


LOADS = {"small": Load(5_000, 20_000), "large": Load(200, 8 * 1024**2)}
QUICK = {"small": Load(1_000, 20_000), "large": Load(40, 8 * 1024**2)}


async def measure(report: Report, *, quick: bool, stretch: float | None) -> None:
    """Copy each load with both in turn, with equal parallelism, and check the copies."""
    del stretch
    program = shutil.which("rclone")
    if program is None:
        raise BenchError(REMEDY)
    loads, repeats = (QUICK, 2) if quick else (LOADS, REPEATS)
    with tempfile.TemporaryDirectory(prefix="rogo_bench_") as name:
        found: dict[str, dict[str, list[Copied]]] = {}
        for key, load in loads.items():
            found[key] = {"rclone": [], "ours": []}
            for number in range(repeats):
                for tool in ("rclone", "ours"):
                    # A separate store for each: with more blobs Azurite is twice as slow.
                    directory = Path(name) / f"{key}-{tool}-{number}"
                    async with dataset.start_stack(directory) as stack:
                        bench = _Bench(stack, load, program, directory)
                        await bench.fill()
                        copy = bench.rclone if tool == "rclone" else bench.ours
                        found[key][tool].append(await copy("copy"))
    _fill_report(report, loads, found)


class _Bench:
    """One load on one store."""

    def __init__(self, stack: Stack, load: Load, program: str, directory: Path) -> None:
        self._stack = stack
        self._load = load
        self._program = program
        self._directory = directory

    async def fill(self) -> None:
        """Upload the load to the source container."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=300)) as session:
            source = Container(self._stack.azurite, self._stack.workspace.source_container, session)
            specs = [
                BlobSpec(path, "txt", number, self._load.size_bytes)
                for number, path in enumerate(self._load.paths())
            ]
            await run_concurrently(source.upload, specs)

    async def rclone(self, name: str) -> Copied:
        """Copy with rclone."""
        workspace, stack = await self._workspace(name), self._stack
        url = f"{stack.azurite.endpoint}?{account_sas(stack)}"
        remotes = {
            f"RCLONE_CONFIG_{remote}_{key}": value
            for remote in ("FROM", "TO")
            for key, value in (("TYPE", "azureblob"), ("SAS_URL", url))
        }
        transfers = str(DEFAULT_CONCURRENCY)
        command = [
            *(self._program, "copy", f"from:{stack.workspace.source_container}"),
            *(f"to:{workspace.container}", "--config", "", "--disable", "copy", "--stats", "0"),
            *("--transfers", transfers, "--checkers", transfers, "--retries", "1"),
        ]
        home = {"HOME": str(workspace.data_dir)}
        return await self._copy(workspace, command, {**remotes, **home})

    async def ours(self, name: str) -> Copied:
        """Copy with our FileCopier."""
        workspace, stack = await self._workspace(name), self._stack
        order = workspace.data_dir / "urls.json"
        base = stack.source_url(workspace)
        order.write_text(json.dumps([f"{base}/{path}" for path in self._load.paths()]), "utf-8")
        command = [sys.executable, "-m", "tests.bench.blobpath", str(order)]
        return await self._copy(workspace, command, stack.environment_of(workspace))

    async def _workspace(self, name: str) -> Workspace:
        return await dataset.BenchDataset(self._stack, self._stack.workspace, 0).new_target(
            name, self._directory / name
        )

    async def _copy(
        self, workspace: Workspace, command: list[str], environment: dict[str, str]
    ) -> Copied:
        async with measure_cpu({"azurite": self._stack.azurite.pid}) as meters:
            used = await client.process(command, environment, workspace.data_dir)
        blobs = await dataset.stored(self._stack, workspace)
        await self._stack.remove_workspace(dataset.own_of(workspace))
        whole = sum(size == self._load.size_bytes for size, _ in blobs)
        if used.code != 0 or whole != self._load.count or len(blobs) != whole:
            said = client.last_lines(workspace.data_dir / "output.log")
            raise BenchError(
                f"{command[0]} ended with {used.code}; "
                f"{whole} of {self._load.count} arrived: {said}"
            )
        seconds = meters.all_used()
        others_s = seconds[MACHINE] - seconds["azurite"] - used.cpu_s
        return Copied(used.wall_s, used.cpu_s, seconds["azurite"], others_s / used.wall_s)


def account_sas(stack: Stack) -> str:
    """A SAS of the account with all permissions."""
    return generate_account_sas(
        stack.azurite.account_name,
        account_key=stack.azurite.account_key,
        resource_types=ResourceTypes(service=True, container=True, object=True),
        permission=AccountSasPermissions(
            read=True, write=True, delete=True, list=True, add=True, create=True
        ),
        expiry=datetime.now(UTC) + timedelta(hours=12),
    )


def _fill_report(
    report: Report, loads: dict[str, Load], found: dict[str, dict[str, list[Copied]]]
) -> None:
    rows = []
    for key, load in loads.items():
        for tool, copies in found[key].items():
            walls = [copy.wall_s for copy in copies]
            rate = load.count / statistics.median(walls)
            store_ms = statistics.median(copy.store_s for copy in copies) * 1_000 / load.count
            cpu_ms = statistics.median(copy.cpu_s for copy in copies) * 1_000 / load.count
            report.add(f"{tool}.{key}.rate", rate, 2)
            report.add(f"{tool}.{key}.spread", spread(walls))
            report.add(f"{tool}.{key}.cpu_ms", cpu_ms)
            report.add(f"{tool}.{key}.azurite_ms", store_ms)
            others = statistics.median(copy.others_cores for copy in copies)
            report.add(f"{tool}.{key}.others_cores", others, 2)
            name = f"{tool}, {load.count:,} of {load.size_bytes / 1_000:,.0f} kB"
            costs = f"{cpu_ms:.2f}", f"{store_ms:.2f}", f"{others:.2f}"
            rows.append((name, f"{rate:.1f}", f"{spread(walls):.1%}", *costs))
        ratio = report.numbers[f"ours.{key}.rate"] / report.numbers[f"rclone.{key}.rate"]
        report.add(f"ratio.{key}", ratio)
    report.numbers["ratio"] = report.numbers["ratio.small"]
    report.add_line(
        f"{DEFAULT_CONCURRENCY} transfers each, in turn, {len(found['small']['ours'])} times; "
        "time is the whole process's; every copy was counted"
    )
    report.add_line("")
    report.table(("", "files/s", "spread", "own CPU ms", "Azurite CPU ms", "others' cores"), rows)
    for key, least in TARGETS.items():
        report.target(f"ratio.{key}", least)
