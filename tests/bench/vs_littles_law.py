"""``bound``: compared with Little's law: consumers divided by the latency of one submission."""

import tempfile
from pathlib import Path

from tests.bench import dataset, delayed
from tests.bench.delayed import HALF_A_CORE, Measured, calibrate_stretch, ideal_latency_s, ours_at
from tests.bench.figures import latency_alone
from tests.bench.report import Report
from tests.bench.wire import delayed_servers

COUNTS = (8, 32, 128, 256)
WAVES = 12
ALONE_ROWS = 12
TARGETS = {8: 0.95, 32: 0.95, 128: 0.95, 256: 0.9}


async def measure(report: Report, *, quick: bool, stretch: float | None) -> None:
    """Time one consumer, then 8, 32, 128 and 256, with the same latencies."""
    waves = 9 if quick else WAVES
    most = max(COUNTS)
    rows = waves * most
    with tempfile.TemporaryDirectory(prefix="rogo_bench_") as name:
        directory = Path(name)
        async with dataset.start_stack(directory / "stack") as stack:
            data = await dataset.prepare_dataset(stack, rows)
            factor = stretch or await calibrate_stretch(
                data, directory, most / ideal_latency_s(), rows
            )
            async with delayed_servers(stack, factor) as wire:
                alone = await ours_at(data, directory, wire, 1, ALONE_ROWS)
                runs = {
                    count: await ours_at(data, directory, wire, count, waves) for count in COUNTS
                }
    _fill_report(report, factor, latency_alone(alone.finished), runs)


def _fill_report(report: Report, stretch: float, alone_s: float, runs: dict[int, Measured]) -> None:
    report.add("stretch", stretch)
    report.add("latency_alone_s", alone_s, 4)
    report.add_line(
        f"latencies stretched by {stretch:g}; a submission alone takes {alone_s:.3f} s, "
        f"of which {ideal_latency_s() * stretch:.3f} s are on the wire"
    )
    report.add_line("")
    rows = []
    for count, found in runs.items():
        possible = count / alone_s
        efficiency = found.steady.rate / possible
        delayed.add_figures(report, str(count), found)
        report.add(f"efficiency.{count}", efficiency, 4)
        rows.append(
            (
                f"{count} consumers",
                str(found.rows),
                f"{found.steady.rate:.2f}",
                f"{found.steady.spread:.1%}",
                f"{possible:.2f}",
                f"{efficiency:.3f}",
            )
        )
    report.table(("", "rows", "rate/s", "spread", "possible/s", "efficiency"), rows)
    delayed.report_cores(report, {str(count): found for count, found in runs.items()})
    for count, least in TARGETS.items():
        report.target(f"efficiency.{count}", least)
    report.numbers["cpu.limit"] = HALF_A_CORE
