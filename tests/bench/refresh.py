"""``refresh``: what ``ROGO_REFRESH`` costs a night in which nothing has changed.

All submissions are in the target. Runs with and without the setting take turns.
"""

import tempfile
from pathlib import Path
from statistics import median

from tests.bench import client, dataset
from tests.bench.client import BenchError
from tests.bench.report import Report

ROWS = 30_000
TURNS = 3
SIZE_BYTES = 200
MOST_MORE_S = 20.0
_QUERIES = ("target.existing_rows", "target.expected_rows", "warehouse.reports", "warehouse.scores")


async def measure(report: Report, *, quick: bool, stretch: float | None) -> None:
    """Migrate all rows, then run again in turns."""
    del stretch
    rows = ROWS // 10 if quick else ROWS
    with tempfile.TemporaryDirectory(prefix="rogo_bench_") as name:
        directory = Path(name)
        async with dataset.start_stack(directory / "stack") as stack:
            data = await dataset.prepare_dataset(stack, rows, size_bytes=SIZE_BYTES)
            workspace = await data.new_target("refresh", directory / "refresh")
            data.write_inputs(
                workspace.data_dir,
                rows,
                stack.source_url(workspace),
                files=1,
                size_bytes=SIZE_BYTES,
            )
            environment = stack.environment_of(workspace)
            await client.run(environment, workspace.data_dir, None, rows)
            without, refreshing = [], []
            for _ in range(TURNS):
                without.append(await client.run(environment, workspace.data_dir, None, 0))
                settings = {**environment, "ROGO_REFRESH": "true"}
                refreshing.append(await client.run(settings, workspace.data_dir, None, 0))
    last = refreshing[-1].summary
    if last["refreshed"] or last["by_code"] != {"already_migrated": rows}:
        raise BenchError(f"a submission differs from its unchanged source: {last['by_code']}")
    report.table(
        ("", "seconds (median)", "peak MB"),
        [
            (kind, f"{median(r.used.wall_s for r in ran):.1f}", f"{_peak_mb(ran):.1f}")
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
