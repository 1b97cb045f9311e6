"""``refresh``: what ``ROGO_REFRESH`` costs a night in which nothing has changed.

All submissions are in the target; a run that copied no files wrote them. Runs with and without the
setting take turns.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rogo_async.demo.servers.stack import Stack
from tests.bench import client, dataset
from tests.bench.client import BenchError
from tests.bench.cpu_time import MACHINE, measure_cpu
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
            settings = {**environment, "ROGO_REFRESH": "true"}
            without, refreshing = [], []
            for _ in range(TURNS):
                without.append(await _measured(stack, environment, workspace.data_dir))
                refreshing.append(await _measured(stack, settings, workspace.data_dir))
    last = refreshing[-1].summary
    if last["refreshed"] or last["by_code"] != {"already_migrated": rows}:
        raise BenchError(f"a submission differs from its unchanged source: {last['by_code']}")
    header = ("", "seconds (median)", "own CPU s", "PostgreSQL CPU s", "others' cores", "peak MB")
    kinds = (("without", without), ("with ROGO_REFRESH", refreshing))
    report.table(header, [(kind, *_figures(nights)) for kind, nights in kinds])
    for query in _QUERIES:
        report.add(f"queries.{query}", last["latency_ms"].get(query, {"count": 0})["count"], 0)
    queries = ", ".join(f"{report.numbers[f'queries.{query}']:g} {query}" for query in _QUERIES)
    report.add_line(f"{rows:,} unchanged submissions; queries: {queries}")
    turns = zip(refreshing, without, strict=True)
    report.add("more_s", median(more.wall_s - less.wall_s for more, less in turns), 1)
    report.target("more_s", MOST_MORE_S, most=True)


@dataclass(frozen=True, slots=True)
class _Night:
    """A run: seconds, CPU seconds of it and of PostgreSQL, cores that other processes used."""

    wall_s: float
    own_s: float
    postgres_s: float
    others: float
    peak_mb: float
    summary: dict[str, Any]


async def _measured(stack: Stack, environment: Mapping[str, str], data_dir: Path) -> _Night:
    async with measure_cpu({"postgres": stack.postgres.pid}) as meters:
        ran = await client.run(environment, data_dir, None, 0)
    used, wall_s, own_s = meters.all_used(), ran.used.wall_s, ran.used.cpu_s
    others = (used[MACHINE] - used["postgres"] - own_s) / wall_s
    peak_mb = ran.used.peak_bytes / 1_000_000
    return _Night(wall_s, own_s, used["postgres"], others, peak_mb, ran.summary)


def _median(nights: Sequence[_Night], name: str) -> float:
    figure: float = median(getattr(night, name) for night in nights)
    return figure


def _figures(nights: Sequence[_Night]) -> list[str]:
    names = ("wall_s", "own_s", "postgres_s", "others")
    peak_mb = max(night.peak_mb for night in nights)
    return [*(f"{_median(nights, name):.1f}" for name in names), f"{peak_mb:.1f}"]
