"""Runs with simulated latencies, for ``seed`` and ``bound``."""

from dataclasses import dataclass
from pathlib import Path

from rogo_async.demo.servers.stack import Stack
from tests.bench import client, dataset
from tests.bench.cpu_time import MACHINE, Meters, measure_cpu
from tests.bench.figures import Steady, steady, stretch_for
from tests.bench.report import Report
from tests.bench.wire import ROUND_TRIP_MS, Wire, delayed_servers

HALF_A_CORE = 0.5
POOL_SIZE_OF_A_WORKER = 16
"""Connections to the target: eight workers must fit into the 200 of the embedded server."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One tool's run: its steady state, its total rate, and the cores by process."""

    steady: Steady
    whole: float
    finished: list[float]
    cores: dict[str, float]

    @property
    def rows(self) -> int:
        """The number of submissions."""
        return len(self.finished)


def ideal_latency_s() -> float:
    """The least seconds for one submission: one GET, one PUT, one insert."""
    return sum(ROUND_TRIP_MS[kind] for kind in ("get", "put", "target")) / 1_000


async def calibrate_stretch(
    data: dataset.BenchDataset, directory: Path, peak_rate: float, rows: int
) -> float:
    """The stretch at which every server and proxy uses at most half a core at ``peak_rate``.

    It is computed from the CPU time per submission, in a run through proxies without delay. That
    run has ``rows`` submissions, as many as the longest run that follows, since the CPU time of
    Azurite per blob grows with the number of its blobs.
    """
    async with delayed_servers(data.stack, 0.0) as wire:
        workspace = await data.new_target("calibration", directory / "calibration")
        data.write_inputs(workspace.data_dir, rows, wire.source_base(data.stack, data.workspace))
        async with measure_cpu(pids(data.stack, wire)) as meters:
            await client.run(wire.environment(data.stack, workspace), workspace.data_dir, 64, rows)
        used = meters.all_used()
    await data.stack.remove_workspace(dataset.own_of(workspace))
    each = {n: used[n] / rows for n in used if n != MACHINE}
    return stretch_for(peak_rate, each, HALF_A_CORE)


def pids(stack: Stack, wire: Wire) -> dict[str, int]:
    """Server and proxy processes by name."""
    proxies = {f"proxy-{kind}": pid for kind, pid in wire.pids.items()}
    return {"azurite": stack.azurite.pid, "postgres": stack.postgres.pid, **proxies}


async def ours_at(
    data: dataset.BenchDataset,
    directory: Path,
    wire: Wire,
    consumers: int,
    waves: int,
    *,
    workers: int | None = None,
) -> Measured:
    """A run of this tool with this number of consumers, and ``waves`` submissions for each.

    With ``workers``, each of them has one shard and this number of consumers.
    """
    stack, each, name = data.stack, consumers, f"ours{consumers}"
    command: tuple[str, ...] = client.COMMAND
    if workers is not None:
        consumers = each * workers
        command = (*command, "--workers", str(workers), "--shards", str(workers))
        name = f"workers{workers}"
    rows = waves * consumers
    workspace = await data.new_target(name, directory / name)
    data.write_inputs(workspace.data_dir, rows, wire.source_base(stack, data.workspace))
    environment = wire.environment(stack, workspace)
    if workers is not None:
        environment["ROGO_PG_POOL_SIZE"] = str(POOL_SIZE_OF_A_WORKER)
    async with measure_cpu(pids(stack, wire)) as meters:
        ran = await client.run(environment, workspace.data_dir, each, rows, command)
    finished = await dataset.finish_times(stack.postgres.dsn(workspace.target))
    await stack.remove_workspace(dataset.own_of(workspace))
    found = measurement_of(finished, consumers, ran.used.began, meters)
    found.cores["client"] = ran.used.cpu_s / ran.used.wall_s
    return found


def measurement_of(finished: list[float], consumers: int, began: float, meters: Meters) -> Measured:
    found = steady(finished, consumers)
    whole = len(finished) / (max(finished) - began)
    return Measured(found, whole, finished, meters.cores(found.began, found.ended))


def add_figures(report: Report, name: str, found: Measured) -> None:
    """Rates, spread and cores of a run, for the JSON output."""
    report.add(f"rate.{name}", found.steady.rate)
    report.add(f"rate_whole.{name}", found.whole)
    report.add(f"spread.{name}", found.steady.spread)
    report.add_all(f"cpu.{name}", found.cores)


def report_cores(report: Report, runs: dict[str, Measured]) -> None:
    """A table of the cores that each process used in steady state, and whether it was too busy."""
    names = [name for name in next(iter(runs.values())).cores if name not in {"client", MACHINE}]
    report.table(
        ("cores", *runs),
        [
            (name, *(f"{found.cores.get(name, 0.0):.2f}" for found in runs.values()))
            for name in ("client", *names, MACHINE)
        ],
    )
    most = max(found.cores[name] for found in runs.values() for name in names)
    report.add("cpu.most", most)
    report.target("cpu.most", HALF_A_CORE, most=True)
    report.add_line("")
