"""``cpu``: the client's CPU time per submission, without delays, by stage."""

import json
import statistics
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench import client, dataset
from tests.bench.cpu_time import MACHINE, measure_cpu
from tests.bench.figures import spread
from tests.bench.report import Report

ROWS = 2_000
REPEATS = 5
MOST_MS = 2.8
"""1.5 times the 1.86 ms of version 0.1.0, which had an HTTP client of its own."""
SHOWN = 15


@dataclass(frozen=True, slots=True)
class CpuRun:
    """One run: CPU seconds of the client without startup, of the servers, and the rate."""

    client_s: float
    servers_s: Mapping[str, float]
    others_cores: float
    rate: float


async def measure(report: Report, *, quick: bool, stretch: float | None) -> None:
    """Repeat the same run, then once more under a sampling profiler."""
    del stretch
    rows, repeats = (500, 2) if quick else (ROWS, REPEATS)
    with tempfile.TemporaryDirectory(prefix="rogo_bench_") as name:
        directory = Path(name)
        async with dataset.start_stack(directory / "stack") as stack:
            data = await dataset.prepare_dataset(stack, rows)
            start_s = statistics.median(
                [await _measure_startup(data, directory, number) for number in range(repeats)]
            )
            runs = [
                await _measure_run(data, directory, number, rows, start_s)
                for number in range(repeats)
            ]
            profile = await _profile(data, directory, rows)
    _fill_report(report, rows, start_s, runs, profile)


async def _measure_startup(data: dataset.BenchDataset, directory: Path, number: int) -> float:
    """CPU seconds of a run of an empty file."""
    workspace = await data.new_target(f"empty{number}", directory / f"empty{number}")
    data.write_inputs(workspace.data_dir, 0, data.stack.source_url(workspace))
    ran = await client.run(data.stack.environment_of(workspace), workspace.data_dir, None, 0)
    await data.stack.remove_workspace(dataset.own_of(workspace))
    return ran.used.cpu_s


async def _measure_run(
    data: dataset.BenchDataset, directory: Path, number: int, rows: int, start_s: float
) -> CpuRun:
    stack = data.stack
    workspace = await data.new_target(f"cpu{number}", directory / f"cpu{number}")
    data.write_inputs(workspace.data_dir, rows, stack.source_url(workspace))
    servers = {"azurite": stack.azurite.pid, "postgres": stack.postgres.pid}
    async with measure_cpu(servers) as meters:
        ran = await client.run(stack.environment_of(workspace), workspace.data_dir, None, rows)
    finished = await dataset.finish_times(stack.postgres.dsn(workspace.target))
    await stack.remove_workspace(dataset.own_of(workspace))
    cut = rows // 10
    rate = (rows - 2 * cut) / (finished[-cut] - finished[cut])
    servers_s = meters.all_used()
    others_s = servers_s.pop(MACHINE) - sum(servers_s.values()) - ran.used.cpu_s
    return CpuRun(ran.used.cpu_s - start_s, servers_s, others_s / ran.used.wall_s, rate)


async def _profile(
    data: dataset.BenchDataset, directory: Path, rows: int
) -> dict[str, dict[str, float]]:
    """Sampled milliseconds per submission by stage and by function, without startup."""
    stack = data.stack
    workspace = await data.new_target("profile", directory / "profile")
    data.write_inputs(workspace.data_dir, rows, stack.source_url(workspace))
    used = await client.process(
        [sys.executable, "-m", "tests.bench.profiled"],
        stack.environment_of(workspace),
        workspace.data_dir,
    )
    path = workspace.data_dir / "profile.json"
    if used.code != 0 or not path.exists():
        said = client.last_lines(workspace.data_dir / "output.log")
        raise client.BenchError(f"the profiled run ended with {used.code}: {said}")
    found: dict[str, dict[str, float]] = json.loads(path.read_text("utf-8"))
    return {
        kind: {name: seconds * 1_000 / rows for name, seconds in figures.items()}
        for kind, figures in found.items()
    }


def _fill_report(
    report: Report,
    rows: int,
    start_s: float,
    runs: list[CpuRun],
    profile: dict[str, dict[str, float]],
) -> None:
    each = [run.client_s * 1_000 / rows for run in runs]
    servers = {
        name: statistics.median(run.servers_s[name] for run in runs) * 1_000 / rows
        for name in runs[0].servers_s
    }
    by_process = {"client": statistics.median(each), **servers}
    busiest = max(by_process, key=lambda name: by_process[name])
    report.add("cpu_ms_per_submission", by_process["client"])
    report.add("spread", spread(each))
    report.add("start_s", start_s)
    report.add("rate", statistics.median(run.rate for run in runs), 1)
    report.add("others_cores", statistics.median(run.others_cores for run in runs), 2)
    report.add_all("cpu_ms", by_process)
    report.numbers["busiest"] = busiest
    report.numbers["repeats"] = len(runs)
    report.add_line(
        f"{len(runs)} runs of {rows} submissions of two files of 50 KB: "
        f"{', '.join(f'{value:.2f}' for value in each)} ms of client CPU each "
        f"(spread {spread(each):.1%}), beside {start_s:.2f} s for starting; "
        f"{report.numbers['rate']:g} submissions a second; "
        f"others on this machine used {report.numbers['others_cores']:.2f} cores"
    )
    report.add_line("")
    report.table(
        ("CPU ms a submission", ""), [(name, f"{ms:.2f}") for name, ms in by_process.items()]
    )
    by_stage = profile["stages"]
    total = sum(by_stage.values())
    stages = sorted(by_stage.items(), key=lambda item: -item[1])
    report.table(
        ("client by stage (sampled in a run of its own)", "ms", "share"),
        [(name, f"{ms:.3f}", f"{ms / total:.0%}") for name, ms in stages],
    )
    report.table(
        ("innermost function of ours > of a library", "ms"),
        [(name, f"{ms:.3f}") for name, ms in list(profile["functions"].items())[:SHOWN]],
    )
    report.add_all("stage_ms", by_stage, 4)
    report.add_all("function_ms", profile["functions"], 4)
    report.numbers["azurite_is_busiest"] = int(busiest == "azurite")
    report.target("cpu_ms_per_submission", MOST_MS, most=True)
    report.target("azurite_is_busiest", 1)
