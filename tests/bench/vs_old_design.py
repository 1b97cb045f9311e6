"""``seed``: compared with the design that this tool replaces, with the same simulated latencies."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from rogo_async.common.settings import DEFAULT_CONCURRENCY
from rogo_async.demo.servers.process import die_with_parent
from tests.bench import dataset
from tests.bench.client import BenchError
from tests.bench.cpu_time import measure_cpu
from tests.bench.delayed import (
    Measured,
    calibrate_stretch,
    ideal_latency_s,
    measurement_of,
    ours_at,
    pids,
    report_cores,
)
from tests.bench.old_design import WORKERS
from tests.bench.report import Report
from tests.bench.wire import Wire, delayed_servers

MOST = 256
WAVES = 12
TARGETS = {"5": 2.0, "default": 25.0, "256": 100.0}


async def measure(report: Report, *, quick: bool, stretch: float | None) -> None:
    """Time the old design on a sample, ours at 5, the default and 256, with the same latencies."""
    waves = 9 if quick else WAVES
    counts = {"5": 5, "default": DEFAULT_CONCURRENCY, "256": MOST}
    rows = waves * MOST
    with tempfile.TemporaryDirectory(prefix="rogo_bench_") as name:
        directory = Path(name)
        async with dataset.start_stack(directory / "stack") as stack:
            data = await dataset.prepare_dataset(stack, rows)
            factor = stretch or await calibrate_stretch(
                data, directory, MOST / ideal_latency_s(), rows
            )
            async with delayed_servers(stack, factor) as wire:
                old = await _old_design(data, directory, wire, WORKERS * (8 if quick else 12))
                ours = {
                    key: await ours_at(data, directory, wire, count, waves)
                    for key, count in counts.items()
                }
    _fill_report(report, factor, old, ours, counts)


async def _old_design(
    data: dataset.BenchDataset, directory: Path, wire: Wire, rows: int
) -> Measured:
    stack = data.stack
    workspace = await data.new_target("seed", directory / "seed")
    base = wire.source_base(stack, data.workspace)
    order = {
        "target": wire.target_dsn(stack, workspace),
        "duplicates": wire.target_dsn(stack, workspace, "duplicates"),
        "warehouse": wire.warehouse_odbc(stack, workspace) + ";UseServerSidePrepare=0",
        "source": base,
        "source_sas": stack.source_sas(data.workspace),
        "store": wire.store_connection_string(stack),
        "container": workspace.container,
        "rows": [
            (dataset.FIRST_ATTEMPT + n, data.blob_urls(n, dataset.FILES, dataset.FILE_BYTES, base))
            for n in range(rows)
        ],
    }
    async with measure_cpu(pids(stack, wire)) as meters:
        answer = await _ask([sys.executable, "-m", "tests.bench.old_design"], json.dumps(order))
    written = await dataset.finish_times(stack.postgres.dsn(workspace.target))
    if answer["faults"] or len(written) != rows:
        raise BenchError(f"the old design migrated {len(written)} of {rows}: {answer['faults']}")
    await stack.remove_workspace(dataset.own_of(workspace))
    return measurement_of(answer["finished"], WORKERS, answer["began"], meters)


async def _ask(command: list[str], order: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *die_with_parent(command, signal.SIGKILL),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ,
        start_new_session=True,
    )
    try:
        stdout, _ = await process.communicate(order.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise BenchError(f"{command[-1]} ended with {process.returncode}: see the lines above")
    answer: dict[str, Any] = json.loads(stdout)
    return answer


def _fill_report(
    report: Report,
    stretch: float,
    old: Measured,
    ours: dict[str, Measured],
    counts: dict[str, int],
) -> None:
    report.add("stretch", stretch)
    report.add_line(f"latencies stretched by {stretch:g}; a submission has two files of 50 KB")
    report.add_line("")
    rows = [_line("old design, 5 workers", old, 1.0, 5 / old.steady.rate)]
    report.add("seed.rate", old.steady.rate)
    report.add("seed.rate_whole", old.whole)
    report.add("seed.spread", old.steady.spread)
    report.add("seed.rows", old.rows)
    report.add_all("seed.cpu", old.cores)
    for key, found in ours.items():
        ratio = found.steady.rate / old.steady.rate
        report.add(f"ours.{key}.consumers", counts[key])
        report.add(f"ours.{key}.rate", found.steady.rate)
        report.add(f"ours.{key}.rate_whole", found.whole)
        report.add(f"ours.{key}.spread", found.steady.spread)
        report.add(f"ours.{key}.rows", found.rows)
        report.add_all(f"ours.{key}.cpu", found.cores)
        report.add(f"ratio.{key}", ratio, 2)
        latency_s = counts[key] / found.steady.rate
        rows.append(_line(f"ours, {counts[key]} consumers", found, ratio, latency_s))
    header = ("", "rows", "rate/s", "spread", "whole/s", "ratio", "consumer-s each")
    report.table(header, rows)
    report_cores(report, {"old design": old, **{f"ours {counts[k]}": m for k, m in ours.items()}})
    _tell_possible(report, old, stretch)
    for key, bound in TARGETS.items():
        report.target(f"ratio.{key}", bound)


def _tell_possible(report: Report, old: Measured, stretch: float) -> None:
    possible = 1 / (ideal_latency_s() * stretch) / old.steady.rate
    needed = -(-TARGETS["default"] // possible)
    report.add("possible.ratio_per_consumer", possible)
    report.add("possible.consumers_for_25", needed)
    report.add_line(
        f"no consumer can do more than {possible:.3f} of the old design's rate here: "
        f"a ratio of 25 takes {needed:g} consumers at least, the default is {DEFAULT_CONCURRENCY}"
    )


def _line(name: str, found: Measured, ratio: float, latency_s: float) -> tuple[str, ...]:
    state = found.steady
    return (
        name,
        str(found.rows),
        f"{state.rate:.2f}",
        f"{state.spread:.1%}",
        f"{found.whole:.2f}",
        f"{ratio:.2f}",
        f"{latency_s:.2f}",
    )
