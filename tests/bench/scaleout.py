"""``scaleout``: ``run --workers``: the rate of several workers compared with that of one."""

import tempfile
from pathlib import Path

from tests.bench import dataset, delayed
from tests.bench.delayed import HALF_A_CORE, Measured, calibrate_stretch, ideal_latency_s, ours_at
from tests.bench.report import Report
from tests.bench.wire import delayed_servers

WORKERS = (1, 2, 4, 8)
CONSUMERS = 32
WAVES = 12
LEAST = 0.9


async def measure(report: Report, *, quick: bool, stretch: float | None) -> None:
    """Time 1, 2, 4 and 8 workers of 32 consumers each, with the same latencies."""
    waves = 9 if quick else WAVES
    most = max(WORKERS) * CONSUMERS
    rows = waves * most
    with tempfile.TemporaryDirectory(prefix="rogo_bench_") as name:
        directory = Path(name)
        async with dataset.start_stack(directory / "stack") as stack:
            data = await dataset.prepare_dataset(stack, rows)
            factor = stretch or await calibrate_stretch(
                data, directory, most / ideal_latency_s(), rows
            )
            async with delayed_servers(stack, factor) as wire:
                runs = {
                    workers: await ours_at(data, directory, wire, CONSUMERS, waves, workers=workers)
                    for workers in WORKERS
                }
    _fill_report(report, factor, runs)


def _fill_report(report: Report, stretch: float, runs: dict[int, Measured]) -> None:
    report.add("stretch", stretch)
    report.add_line(
        f"latencies stretched by {stretch:g}; {CONSUMERS} consumers and one shard for each worker"
    )
    report.add_line("")
    alone = runs[1]
    rows = []
    for workers, found in runs.items():
        linear = found.steady.rate / (workers * alone.steady.rate)
        delayed.add_figures(report, str(workers), found)
        report.add(f"linear.{workers}", linear, 4)
        rows.append(
            (
                f"{workers} {'worker' if workers == 1 else 'workers'}",
                str(found.rows),
                f"{found.steady.rate:.2f}",
                f"{found.steady.spread:.1%}",
                f"{linear:.3f}",
                f"{found.whole:.2f}",
                f"{found.whole / (workers * alone.whole):.3f}",
            )
        )
    header = ("", "rows", "rate/s", "spread", "of linear", "with start and end/s", "of linear")
    report.table(header, rows)
    delayed.report_cores(report, {str(workers): found for workers, found in runs.items()})
    for workers in WORKERS[1:]:
        report.target(f"linear.{workers}", LEAST)
    report.numbers["cpu.limit"] = HALF_A_CORE
