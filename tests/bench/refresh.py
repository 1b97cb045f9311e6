"""``refresh``: what ``ROGO_REFRESH`` costs a night in which nothing has changed.

All submissions are in the target; a run that copied no files wrote them. Runs with and without the
setting take turns.
"""

import tempfile
from pathlib import Path
from statistics import median

from tests.bench import client, dataset
from tests.bench.client import BenchError
from tests.bench.report import Report

ROWS = 30_000
TURNS = 3
FILES = 2
MOST_MORE_S = 20.0
_QUERIES = (
    *("target.submission_heads", "target.unchanged_rows", "target.existing_rows"),
    *("warehouse.reports", "warehouse.scores"),
)


async def measure(report: Report, *, quick: bool, stretch: float | None) -> None:
    """Migrate all rows, then run again in turns."""
    del stretch
    rows = ROWS // 10 if quick else ROWS
    with tempfile.TemporaryDirectory(prefix="rogo_bench_") as name:
        directory = Path(name)
        async with dataset.start_stack(directory / "stack") as stack:
            data = await dataset.prepare_rows(stack, rows)
            workspace = await data.new_target("refresh", directory / "refresh")
            base = stack.source_url(workspace)
            data.write_inputs(workspace.data_dir, rows, base, files=FILES)
            environment = stack.environment_of(workspace)
            await client.run(environment, workspace.data_dir, None, rows, client.WITHOUT_FILES)
            without, refreshing = [], []
            for _ in range(TURNS):
                without.append(await client.run(environment, workspace.data_dir, None, 0))
                settings = {**environment, "ROGO_REFRESH": "true"}
                refreshing.append(await client.run(settings, workspace.data_dir, None, 0))
    last = refreshing[-1].summary
    if last["refreshed"] or last["by_code"] != {"already_migrated": rows}:
        raise BenchError(f"a submission differs from its unchanged source: {last['by_code']}")
    report.table(
        ("", "seconds (median)", "own CPU seconds", "peak MB"),
        [
            (
                kind,
                f"{median(r.used.wall_s for r in ran):.1f}",
                f"{median(r.used.cpu_s for r in ran):.1f}",
                f"{_peak_mb(ran):.1f}",
            )
            for kind, ran in (("without", without), ("with ROGO_REFRESH", refreshing))
        ],
    )
    for query in _QUERIES:
        report.add(f"queries.{query}", last["latency_ms"].get(query, {"count": 0})["count"], 0)
    queries = ", ".join(f"{report.numbers[f'queries.{query}']:g} {query}" for query in _QUERIES)
    report.add_line(f"{rows:,} unchanged submissions; queries: {queries}")
    report.add(
        "more_s",
        median(ran.used.wall_s for ran in refreshing) - median(ran.used.wall_s for ran in without),
        1,
    )
    report.target("more_s", MOST_MORE_S, most=True)


def _peak_mb(ran: list[client.Ran]) -> float:
    return max(each.used.peak_bytes for each in ran) / 1_000_000
