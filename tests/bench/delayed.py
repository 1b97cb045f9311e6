"""Runs with latencies on the wire, which ``seed`` and ``bound`` share."""

from dataclasses import dataclass
from pathlib import Path

from rogo_async.demo.servers.stack import Stack
from tests.bench import client, dataset
from tests.bench.cpu_time import MACHINE, Meters, metered
from tests.bench.figures import Steady, steady, stretch_for
from tests.bench.report import Report
from tests.bench.wire import ROUND_TRIP_MS, Wire, wired

HALF_A_CORE = 0.5


@dataclass(frozen=True, slots=True)
class Measured:
    """One tool's run: its steady state, the rate over all of it, and cores by process then."""

    steady: Steady
    whole: float
    finished: list[float]
    cores: dict[str, float]

    @property
    def rows(self) -> int:
        """How many submissions it was."""
        return len(self.finished)


def ideal_latency_s() -> float:
    """Seconds that one submission needs at the least here: one GET, one PUT, one insert."""
    return sum(ROUND_TRIP_MS[kind] for kind in ("get", "put", "target")) / 1_000


async def calibrated(field: dataset.Ground, directory: Path, peak_rate: float, rows: int) -> float:
    """The stretch at which ``peak_rate`` leaves every server and proxy half a core to spare.

    Found from the CPU time a submission of each, in a run through proxies that do not delay. It
    has ``rows`` submissions, as many as the longest run that follows: what Azurite needs for a
    blob grows with the number of those that it has.
    """
    async with wired(field.stack, 0.0) as wire:
        workspace = await field.new_target("calibration", directory / "calibration")
        field.write_inputs(workspace.data_dir, rows, wire.source_base(field.stack, field.workspace))
        async with metered(pids(field.stack, wire)) as meters:
            await client.run(wire.environment(field.stack, workspace), workspace.data_dir, 64, rows)
        used = meters.all_used()
    await field.stack.remove_workspace(dataset.own_of(workspace))
    each = {n: used[n] / rows for n in used if n != MACHINE}
    return stretch_for(peak_rate, each, HALF_A_CORE)


def pids(stack: Stack, wire: Wire) -> dict[str, int]:
    """The processes beside the tool."""
    proxies = {f"proxy-{kind}": pid for kind, pid in wire.pids.items()}
    return {"azurite": stack.azurite.pid, "postgres": stack.postgres.pid, **proxies}


async def ours_at(
    field: dataset.Ground, directory: Path, wire: Wire, consumers: int, waves: int
) -> Measured:
    """Ours with so many consumers, ``waves`` submissions for each of them."""
    stack, rows = field.stack, waves * consumers
    name = f"ours{consumers}"
    workspace = await field.new_target(name, directory / name)
    field.write_inputs(workspace.data_dir, rows, wire.source_base(stack, field.workspace))
    async with metered(pids(stack, wire)) as meters:
        ran = await client.run(
            wire.environment(stack, workspace), workspace.data_dir, consumers, rows
        )
    finished = await dataset.finish_times(stack.postgres.dsn(workspace.target))
    await stack.remove_workspace(dataset.own_of(workspace))
    found = measured_from(finished, consumers, ran.used.began, meters)
    found.cores["client"] = ran.used.cpu_s / ran.used.wall_s
    return found


def measured_from(finished: list[float], consumers: int, began: float, meters: Meters) -> Measured:
    found = steady(finished, consumers)
    whole = len(finished) / (max(finished) - began)
    return Measured(found, whole, finished, meters.cores(found.began, found.ended))


def tell_cores(report: Report, runs: dict[str, Measured]) -> None:
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
    report.say("")
